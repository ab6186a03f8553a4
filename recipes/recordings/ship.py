"""Measure the two instruments that run.py learned, and ship them.

    python recipes/recordings/ship.py [NAME ...]

    synthnet/shipped/NAME.safetensors, NAME.md    weights in half precision, the card
    recipes/recordings/results/NAME.json          figures on the held-out piece
    recipes/recordings/results/NAME.flac, .png    Bach's Prelude BWV 1007, which the player never played here

Reads data/corpora and runs/, as run.py leaves them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthnet.audio.files import read_audio
from synthnet.corpus.corpus import Corpus, read_corpus
from synthnet.corpus.slices import piece_notes
from synthnet.evaluation.baselines import harmonic_players
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.measure import PRELUDE
from synthnet.evaluation.plots import plot_song
from synthnet.evaluation.systems import system_figures
from synthnet.experiments.machine import machine
from synthnet.experiments.results import table, write_text
from synthnet.generation.library import SHIPPED, read_file
from synthnet.generation.render import Settings, render_score
from synthnet.models.checkpoint import Checkpoint, credit_of, halved, load_checkpoint, save_checkpoint
from synthnet.models.vibrato import measure_vibrato
from synthnet.score.dynamics import add_dynamics
from synthnet.score.general_midi import pitch_name
from synthnet.score.midi import read_score
from synthnet.score.notes import Score
from synthnet.text import bullets, clock, wrapped

RESULTS = Path(__file__).parent / "results"
KEYS_UP = {"violin-garner": 19, "piano-ishizaka": 12}  # from the cello's range
HEARD_S, JITTER_S = 14.0, 0.010
ROWS = {
    "network": "**network**",
    "static partials": "static partials",
    "sampler": "sampler of the same recordings",
    "recording": "the recording itself",
}
COLUMNS = ("rmse_cqt_db", "rmse_cqt_50_db", "log_spectral_db", "level_db", "right_pitch", "note_f1")


@dataclass(frozen=True)
class Learned:
    """An instrument, the corpus that it learned from, and its figures on the held-out piece by player."""

    name: str
    checkpoint: Checkpoint
    corpus: Corpus
    figures: dict[str, Any]


def measured(name: str) -> Learned:
    """The instrument in runs/NAME beside its baselines."""
    corpus = read_corpus(Path(f"data/corpora/{name}-44100-wide"))
    checkpoint = load_checkpoint(Path(f"runs/{name}/best.safetensors"))
    (piece,), rate = corpus.split("valid"), corpus.sample_rate_hz
    reference, notes = corpus.read_audio(piece), corpus.read_notes(piece)
    players = harmonic_players(checkpoint, corpus)
    figures: dict[str, Any] = {}
    for player, play in players.items():
        sound = play(notes, piece.n_samples, rate)
        figures[player] = system_figures(reference, sound, notes, rate, piece).as_dict()
        if player == "network":
            rng = np.random.default_rng(0)
            late = [replace(n, start_s=max(0.0, n.start_s + d), end_s=max(n.end_s + d, n.start_s + d + 0.02))
                    for n, d in zip(notes, rng.normal(0, JITTER_S, len(notes)).tolist(), strict=True)]  # fmt: skip
            bound = rmse_cqt_at_floors(sound, play(late, piece.n_samples, rate), rate).mean(axis=1)
            figures["network, onsets moved by 10 ms"] = dict(zip(COLUMNS, bound.tolist(), strict=False))
            cents, columns = checkpoint.weights["cents"], piece_notes(corpus, piece, rate)
            figures["vibrato"] = {
                whose: dict(zip(("hz", "cents"), measure_vibrato([(x, columns)], cents, rate), strict=True))
                for whose, x in (("recording", reference), ("network", sound))
            }
    figures["recording"] = system_figures(reference, reference, notes, rate, piece).as_dict()
    return Learned(name, checkpoint, corpus, figures)


def card(one: Learned) -> str:
    """The model card."""
    (piece,), facts, rate = one.corpus.split("valid"), one.checkpoint.training, one.corpus.sample_rate_hz
    trained = one.corpus.split("train")
    low, high = map(pitch_name, one.corpus.compass())
    rows = []
    for player, title in ROWS.items():
        found = one.figures[player]
        cells = [title, f"{found['rmse_cqt_db']:.2f} / {found['rmse_cqt_50_db']:.2f}", f"{found['level_db']:+.1f}"]
        rows.append([*cells, f"{found['right_pitch']:.1%}", f"{found['note_f1']:.2f}"])
    bound = one.figures["network, onsets moved by 10 ms"]
    found = one.figures["vibrato"]
    vibrato = "; ".join(f"{whose} {found[whose]['hz']:.1f} Hz, {found[whose]['cents']:.0f} cents" for whose in found)
    vibrato = f"Vibrato of held notes: {vibrato}." if found["recording"]["cents"] else "The player has no vibrato."
    minutes = sum(p.n_samples for p in trained) / rate / 60
    credit, sources = credit_of(one.checkpoint), ", ".join(f"`{p.source}`" for p in trained)
    parts = [
        f"# {one.name}",
        f"A real instrument: {credit}. Name the player where you let it be heard; `render` does.",
        bullets(
            f"**Asked for by name**: `synthnet render song.mid --instrument {one.name}`. It never plays by a track's "
            "program alone.",
            f"**Plays** keys {low} to {high}, those of its recordings, at any rate.",
            f"**Learned from** a corpus of {minutes:.1f} minutes: {sources}, with their scores aligned. "
            f"`{piece.source}` was held out. `python recipes/recordings/run.py FOLDER`",
            f"**Training**: {facts['steps']:,} steps in {clock(facts['elapsed_s'])} on one core; {machine()}.",
            f"**Licence** of the recordings: {credit}.",
        ),
        table(("player", "RMSE-CQT -80 / -50, dB", "level, dB", "right pitch", "note F1"), rows),
        wrapped(
            "The held-out piece, with the notes found in it. *Right pitch*: share of the notes whose pitch is right in "
            "the recording. *Note F1*: of the notes that a transcriber (Basic Pitch) hears, within 50 ms. The network "
            f"against itself, with onsets moved at random by 10 ms: {bound['rmse_cqt_db']:.2f} / "
            f"{bound['rmse_cqt_50_db']:.2f} dB; so much may labels cost alone. {vibrato}"
        ),
    ]
    return "\n\n".join(parts) + "\n"


def ship(one: Learned) -> None:
    """Write everything for an instrument."""
    shown = {player: {"held_out": one.figures[player]} for player in ROWS if player != "recording"}
    checkpoint = halved(replace(one.checkpoint, figures={**one.checkpoint.figures, "measured": {one.name: shown}}))
    save_checkpoint(SHIPPED / f"{one.name}.safetensors", checkpoint)
    write_text(SHIPPED / f"{one.name}.md", card(one))
    write_text(RESULTS / f"{one.name}.json", json.dumps(one.figures, indent=1) + "\n")
    (track,) = add_dynamics(read_score(PRELUDE)).excerpt(0.0, HEARD_S).tracks
    up = KEYS_UP[one.name]
    song = Score((replace(track, notes=tuple(replace(n, pitch=n.pitch + up) for n in track.notes)),))
    sound = RESULTS / f"{one.name}.flac"
    seat = read_file(SHIPPED / f"{one.name}.safetensors").seat(one.name)
    render_score([seat], song, sound, Settings(mono=True), force=True)
    audio = read_audio(sound)
    title = f"{one.name} plays the Prelude BWV 1007, {up} keys up"
    plot_song(RESULTS / f"{one.name}.png", audio.samples, audio.sample_rate_hz, [song.notes], title)


if __name__ == "__main__":
    for name in sys.argv[1:] or KEYS_UP:
        ship(measured(name))
        print(f"{name}: {SHIPPED / name}.md, {RESULTS}")
