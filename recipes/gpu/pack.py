"""Build the corpora of the runs that want a GPU where there is a synthesizer, small enough to carry.

    python recipes/gpu/pack.py instruments    # into runs/gpu/instruments: the paper's seven
    python recipes/gpu/pack.py music          # into runs/gpu/music: the trumpet from 1, 2, 4 and 9 minutes of music

The seven play six minutes of wide études and BWV 1007 with dynamics; the trumpet plays études of the paper's
velocities. All are at 16 kHz, and the first 40 s of the Prelude validate. Training pieces have 9 bits with rectangular
dither: their noise is 7 dB below that of the dither that training adds. The Prelude has 16 bits: in 12, it would be
2.2 dB from itself (RMSE-CQT, floor at -80 dB).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from synthnet.cli.options import say
from synthnet.corpus.build import build_corpus, wide_music
from synthnet.corpus.corpus import Corpus, write_manifest, write_piece
from synthnet.evaluation.measure import PRELUDE
from synthnet.models.config import PAPER_RATE_HZ
from synthnet.score.etudes import compose_etudes
from synthnet.score.general_midi import INSTRUMENTS, MidiInstrument, find_instrument
from synthnet.score.midi import read_score
from synthnet.score.notes import Score

BITS = 9
PRELUDE_S = 40.0  # of it are carried
ETUDE_MINUTES = 6.0
MUSIC_MINUTES = (1.0, 2.0, 4.0, 9.0)


def packed(folder: Path, instrument: MidiInstrument, music: Mapping[str, Score]) -> Corpus:
    """The corpus of some scores, by name, in a folder, training pieces in `BITS` bits; built anew."""
    if folder.exists():
        shutil.rmtree(folder)
    beside = folder.with_name(f"{folder.name}.whole")
    music = {name: score.excerpt(0.0, PRELUDE_S) if name == PRELUDE.stem else score for name, score in music.items()}
    corpus = build_corpus(beside, instrument, [], PAPER_RATE_HZ, report=say, etudes=music)
    pieces = []
    for number, piece in enumerate(corpus.pieces):
        samples = corpus.read_audio(piece)
        if piece.split == "train":
            rng, scale = np.random.default_rng((instrument.program, number)), 2.0 ** (BITS - 1)
            dithered = np.rint(samples * scale + rng.uniform(-0.5, 0.5, len(samples)))
            samples = np.clip(dithered, 1 - scale, scale - 1) / scale
        pieces.append(write_piece(replace(corpus, folder=folder), piece, samples, corpus.read_notes(piece)))
    corpus = replace(corpus, folder=folder, pieces=tuple(pieces))
    write_manifest(corpus)
    shutil.rmtree(beside)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(f"{folder}: {sum(piece.n_samples for piece in pieces) / PAPER_RATE_HZ / 60:.1f} minutes, {size / 1e6:.1f} MB")
    return corpus


@click.command()
@click.argument("what", type=click.Choice(["instruments", "music"]))
@click.option("--only", multiple=True, help="Instruments to build; repeat for more.  [default: all]")
@click.option("--minutes", default=ETUDE_MINUTES, help="Of the instruments' études.")
@click.option("--out", default=Path("runs/gpu"), type=click.Path(path_type=Path), help="The folder above all.")
def main(what: str, only: tuple[str, ...], minutes: float, out: Path) -> None:
    """Build corpora to carry to a machine with a GPU."""
    if what == "instruments":
        for instrument in INSTRUMENTS:
            if not only or instrument.name in only:
                packed(out / what / instrument.name, instrument, wide_music(instrument, minutes))
        return
    trumpet = find_instrument("trumpet")
    for length in MUSIC_MINUTES:
        music = compose_etudes(trumpet, length) | {PRELUDE.stem: read_score(PRELUDE)}
        packed(out / what / f"{length:g}" / trumpet.name, trumpet, music)


if __name__ == "__main__":
    main()
