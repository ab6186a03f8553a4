"""Learn a harp, which does not ship, and play a song with it.

python examples/train_own_instrument.py song.mid --minutes 10

FluidSynth plays the training music with General MIDI program 46. To learn from a player, see recipes/recordings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import synthnet
from synthnet.corpus.build import DEFAULT_SCORES, build_corpus
from synthnet.score.etudes import compose_etudes
from synthnet.score.general_midi import own_instrument


def main() -> None:
    """Build a corpus, train for some minutes, and write harp.wav."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("song", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="of training")
    parser.add_argument("--etudes", type=float, default=24.0, help="minutes of training music")
    parser.add_argument("--scores", type=Path, default=DEFAULT_SCORES, help="more music to learn from")
    parser.add_argument("--out", type=Path, default=Path("harp"), help="folder of corpus, run and sound")
    arguments = parser.parse_args()

    harp = own_instrument("harp", 46, lowest_pitch=28, highest_pitch=96, chords=True)
    etudes = compose_etudes(harp, arguments.etudes, wide=True)
    corpus = build_corpus(
        arguments.out / "corpus", harp, [arguments.scores], 44_100, valid=["prelude"], report=print, etudes=etudes
    )
    trained = synthnet.Instrument.train(
        "harp", arguments.minutes, folder=arguments.out / "run", corpus=corpus.folder, report=print
    )
    trained.play(arguments.song).save(arguments.out / "harp.wav")
    print(f"listen to {arguments.out / 'harp.wav'}")


if __name__ == "__main__":
    main()
