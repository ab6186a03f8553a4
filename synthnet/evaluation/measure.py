"""An instrument and its baselines against the teacher: the figures of a card, and rows of a table.

Everything is played at the corpus's rate and compared with the teacher that made the corpus, at the corpus's gain.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthnet.corpus.build import DEFAULT_SCORES
from synthnet.corpus.corpus import FULL_SCALE, Corpus
from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.evaluation.baselines import Play
from synthnet.evaluation.compose import PIECE_S, compose_piece
from synthnet.evaluation.distances import Distances, distances, mean_distances
from synthnet.evaluation.level import fitted_level
from synthnet.evaluation.notes import HeldNotes, NoteLevels, held_notes, note_levels, tried_keys
from synthnet.score.dynamics import add_dynamics
from synthnet.score.general_midi import MidiInstrument
from synthnet.score.midi import read_score
from synthnet.score.notes import Note, Score

PRELUDE = DEFAULT_SCORES / "bwv1007_1_prelude.mid"
TAIL_S = 0.5
PIECE_VOICES = (1, 2, 3)
SEEDS = (1, 2)  # of the pieces for each number of voices
HEADER = """\
| instrument | player | Prelude -80 / -50 | spectra | pieces -80 / -50 | spectra | levels | centroid | held |
|---|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Excerpt:
    """Music as the teacher plays it.

    Attributes:
        name: of the piece.
        score: with times on the teacher's grid.
        reference: float32 [n] at the rate it is compared at.
    """

    name: str
    score: Score
    reference: np.ndarray


@dataclass(frozen=True)
class PlayerFigures:
    """How near a player is to the teacher.

    Attributes:
        player: such as "network", "sampler".
        prelude: of the Prelude with dynamics.
        pieces: of each generated piece, by name.
        levels, held: of single notes.
    """

    player: str
    prelude: Distances
    pieces: Mapping[str, Distances]
    levels: NoteLevels
    held: HeldNotes

    @property
    def mean_of_pieces(self) -> Distances:
        """The mean over the generated pieces."""
        return mean_distances(list(self.pieces.values()))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "player": self.player,
            "prelude": self.prelude.as_dict(),
            "pieces_mean": self.mean_of_pieces.as_dict(),
            "pieces": {name: piece.as_dict() for name, piece in self.pieces.items()},
            "levels": self.levels.as_dict(),
            "held": self.held.as_dict(),
        }

    def markdown_row(self, instrument: str) -> str:
        """A row of the table that begins with `HEADER`."""
        return markdown_row(instrument, self.as_dict())


def markdown_row(instrument: str, figures: Mapping[str, Any]) -> str:
    """A row of the table that begins with `HEADER`, from the plain values of `PlayerFigures`."""
    cells = [instrument, figures["player"]]
    for music in (figures["prelude"], figures["pieces_mean"]):
        cells += [f"{music['rmse_cqt_db']:.2f} / {music['rmse_cqt_50_db']:.2f}", f"{music['log_spectral_db']:.2f}"]
    levels, held = figures["levels"], figures["held"]
    cells += [f"{levels['worst_level_db']:.1f}", f"{levels['worst_centroid']:.0%}", f"{held['worst_db']:.1f}"]
    return "| " + " | ".join(cells) + " |"


@dataclass(frozen=True)
class InstrumentFigures:
    """Figures of an instrument's players at one sample rate, the network first."""

    instrument: str
    sample_rate_hz: int
    players: tuple[PlayerFigures, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        players = [player.as_dict() for player in self.players]
        return {"instrument": self.instrument, "sample_rate_hz": self.sample_rate_hz, "players": players}

    def markdown_rows(self) -> str:
        """Rows of the table that begins with `HEADER`, a line each."""
        return "\n".join(player.markdown_row(self.instrument) for player in self.players)

    def json(self) -> str:
        """The figures as a JSON text, rounded to a thousandth."""
        return json.dumps(_rounded(self.as_dict()), indent=1) + "\n"


def teacher_of(corpus: Corpus, soundfont: Path | None = None) -> tuple[Teacher, Play]:
    """The teacher that made a corpus, and its playing at the corpus's gain.

    Raises:
        InputError: there is no sound font.
    """
    teacher = Teacher(find_soundfont(soundfont), corpus.program, corpus.sample_rate_hz)

    def play(notes: Sequence[Note], n_samples: int, sample_rate_hz: int) -> np.ndarray:
        at_rate = replace(teacher, sample_rate_hz=sample_rate_hz)
        return at_rate.play(notes, n_samples / sample_rate_hz) * np.float32(corpus.gain)

    return teacher, play


def excerpts(corpus: Corpus, instrument: MidiInstrument, prelude_s: float | None = None) -> tuple[Excerpt, ...]:
    """The Prelude with dynamics, whole or its first seconds, then six generated pieces, as the teacher plays them."""
    teacher, play = teacher_of(corpus)
    prelude = add_dynamics(read_score(PRELUDE))
    if prelude_s is not None:
        prelude = prelude.excerpt(0.0, prelude_s)
    music = {"prelude": (prelude, prelude.end_s + TAIL_S)}
    for n_voices in PIECE_VOICES:
        for seed in SEEDS:
            music[f"{n_voices} voices, seed {seed}"] = (compose_piece(instrument, n_voices, seed), PIECE_S)
    made = []
    for name, (score, duration_s) in music.items():
        tracks = tuple(replace(track, notes=teacher.snap(track.notes)) for track in score.tracks)
        score = replace(score, tracks=tracks)
        n_samples = round(duration_s * corpus.sample_rate_hz)
        made.append(Excerpt(name, score, play(score.notes, n_samples, corpus.sample_rate_hz)))
    return tuple(made)


def measure_instrument(
    corpus: Corpus,
    instrument: MidiInstrument,
    players: Mapping[str, Play],
    *,
    prelude_s: float | None = None,
    fit_level: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> InstrumentFigures:
    """Measure players, by name, against the teacher of a corpus.

    Args:
        instrument: whose range the pieces and single notes keep to.
        prelude_s: so many seconds of the Prelude, default all.
        fit_level: whether each piece is compared after one gain that makes its root mean square the teacher's; for
            players with a level of their own.
        report: gets the player's row of the table.

    Raises:
        InputError: there is no sound font.
    """
    rate = corpus.sample_rate_hz
    music, keys = excerpts(corpus, instrument, prelude_s), tried_keys(instrument)
    teacher = functools.cache(teacher_of(corpus)[1])  # its single notes serve all players
    figures = []
    for name, play in players.items():
        pieces = {}
        for excerpt in music:
            sound = play(excerpt.score.notes, len(excerpt.reference), rate)
            sound = fitted_level(excerpt.reference, sound) if fit_level else sound
            pieces[excerpt.name] = distances(excerpt.reference, sound, rate)
        prelude = pieces.pop("prelude")
        levels, held = note_levels(play, teacher, keys, rate), held_notes(play, teacher, keys, rate)
        figures.append(PlayerFigures(name, prelude, pieces, levels, held))
        report(figures[-1].markdown_row(instrument.name))
    return InstrumentFigures(instrument.name, rate, tuple(figures))


def measure_recordings(corpus: Corpus, play: Play, fit_level: bool = False) -> dict[str, Distances]:
    """Distances of a player from the validation recordings of a corpus, by name; `fit_level` as `measure_instrument`.

    For corpora of real instruments, which no teacher can play.
    """
    figures = {}
    for piece in corpus.split("valid"):
        reference = corpus.read_samples(piece).astype(np.float32) / FULL_SCALE
        sound = play(corpus.read_notes(piece), piece.n_samples, corpus.sample_rate_hz)
        sound = fitted_level(reference, sound) if fit_level else sound
        figures[piece.name] = distances(reference, sound, corpus.sample_rate_hz)
    return figures


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value
