"""An instrument and its baselines against the teacher: the figures of a card, and rows of a table.

Everything is played at the rate and the gain of the corpus and compared with the teacher that made the corpus.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

import numpy as np

from synthnet.corpus.build import DEFAULT_SCORES
from synthnet.corpus.corpus import Corpus, Piece
from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.evaluation.baselines import Play, Sampler, harmonic_play
from synthnet.evaluation.compose import PIECE_S, compose_piece
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.level import level_difference_db
from synthnet.evaluation.notes import HeldNotes, NoteLevels, held_notes, note_levels, tried_keys
from synthnet.evaluation.spectral import log_spectral_distance_db
from synthnet.generation.library import SHIPPED
from synthnet.models import HarmonicConfig
from synthnet.models.checkpoint import fact, load_checkpoint
from synthnet.score.dynamics import add_dynamics
from synthnet.score.general_midi import MidiInstrument
from synthnet.score.midi import read_score
from synthnet.score.notes import Note

PRELUDE = DEFAULT_SCORES / "bwv1007_1_prelude.mid"
TAIL_S = 0.5
PIECE_VOICES = (1, 2, 3)
SEEDS = (1, 2)  # of the pieces for each number of voices
HEADER = """\
| instrument | player | Prelude -80 / -50 | spectra | pieces -80 / -50 | spectra | levels | centroid | held |
|---|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Distances:
    """How far a sound is from its reference, in dB."""

    rmse_cqt_db: float  # mean over whole seconds, floor -80 dB
    rmse_cqt_50_db: float  # floor -50 dB
    log_spectral_db: float
    level_db: float  # how much louder than the reference

    def as_dict(self) -> dict[str, float]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class PlayerFigures:
    """How near a player, such as "network" or "sampler", is to the teacher."""

    player: str
    prelude: Distances  # with dynamics
    pieces: Mapping[str, Distances]  # of each composed piece, by name
    levels: NoteLevels
    held: HeldNotes
    pieces_mean: Distances


@dataclass(frozen=True)
class InstrumentFigures:
    """Figures of an instrument's players at one sample rate, the network first."""

    instrument: str
    sample_rate_hz: int
    players: tuple[PlayerFigures, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def markdown_row(instrument: str, figures: Mapping[str, Any]) -> str:
    """A row of the table that begins with `HEADER`, from the plain values of `PlayerFigures`."""
    return f"| {' | '.join([instrument, figures['player'], *player_cells(figures)])} |"


def player_cells(figures: Mapping[str, Any]) -> list[str]:
    """The figures in such a row."""
    cells = []
    for music in (figures["prelude"], figures["pieces_mean"]):
        cells += [f"{music['rmse_cqt_db']:.2f} / {music['rmse_cqt_50_db']:.2f}", f"{music['log_spectral_db']:.2f}"]
    levels, held = figures["levels"], figures["held"]
    return [*cells, f"{levels['worst_level_db']:.1f}", f"{levels['worst_centroid']:.0%}", f"{held['worst_db']:.1f}"]


def distances(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> Distances:
    """All distances of samples [n] from reference samples [n]; raises InputError as each metric."""
    at_80, at_50 = rmse_cqt_at_floors(reference, test, sample_rate_hz).mean(axis=1).tolist()
    spectral = log_spectral_distance_db(reference, test, sample_rate_hz)
    return Distances(at_80, at_50, spectral, level_difference_db(reference, test))


def teacher_of(corpus: Corpus) -> tuple[Teacher, Play]:
    """The teacher that made a corpus, and its playing at the corpus's gain; InputError if there is no sound font."""
    teacher = Teacher(find_soundfont(), corpus.program, corpus.sample_rate_hz)

    def play(notes: Sequence[Note], n_samples: int, sample_rate_hz: int) -> np.ndarray:
        at_rate = replace(teacher, sample_rate_hz=sample_rate_hz)
        return at_rate.play(notes, n_samples / sample_rate_hz) * np.float32(corpus.gain)

    return teacher, play


def measure_instrument(
    corpus: Corpus, instrument: MidiInstrument, players: Mapping[str, Play], prelude_s: float | None = None
) -> InstrumentFigures:
    """Measure players, by name, against the teacher of a corpus: Prelude with dynamics, six composed pieces, notes.

    Args:
        instrument: pieces and single notes keep to its range.
        prelude_s: seconds of the Prelude; None: all.

    Raises:
        InputError: there is no sound font.
    """
    rate, keys = corpus.sample_rate_hz, tried_keys(instrument)
    teacher, play_teacher = teacher_of(corpus)
    play_teacher = functools.cache(play_teacher)  # all players are compared with the same sounds
    prelude = add_dynamics(read_score(PRELUDE))
    prelude = prelude if prelude_s is None else prelude.excerpt(0.0, prelude_s)
    music = {"prelude": (prelude, prelude.end_s + TAIL_S)}
    for n_voices in PIECE_VOICES:
        for seed in SEEDS:
            music[f"{n_voices} voices, seed {seed}"] = (compose_piece(instrument, n_voices, seed), PIECE_S)
    figures = []
    for name, play in players.items():
        pieces = {}
        for title, (score, duration_s) in music.items():
            heard = teacher.snap(score.notes), round(duration_s * rate), rate
            pieces[title] = distances(play_teacher(*heard), play(*heard), rate)
        prelude_distances = pieces.pop("prelude")
        mean = Distances(*np.mean([astuple(piece) for piece in pieces.values()], axis=0).tolist())
        levels, held = note_levels(play, play_teacher, keys, rate), held_notes(play, play_teacher, keys, rate)
        figures.append(PlayerFigures(name, prelude_distances, pieces, levels, held, mean))
    return InstrumentFigures(instrument.name, rate, tuple(figures))


def measure_beside(corpus: Corpus, piece: Piece, n_samples: int) -> dict[str, Distances]:
    """Distances of two other players from the first samples of a piece, for comparison with a network.

    They are a sampler cut from the corpus, and the harmonic instrument of its name, if one ships.
    """
    players = {"sampler": Sampler.from_corpus(corpus).play}
    file = SHIPPED / f"{corpus.instrument}.safetensors"
    if file.exists() and isinstance((checkpoint := load_checkpoint(file)).config, HarmonicConfig):
        gain = corpus.gain / (fact(checkpoint.training, "corpora", 0, "gain") or corpus.gain)
        harmonic = harmonic_play(checkpoint)
        players = {"harmonic": lambda *music: harmonic(*music) * np.float32(gain), **players}
    return {name: piece_distances(corpus, piece, play, n_samples) for name, play in players.items()}


def measure_recordings(corpus: Corpus, play: Play) -> dict[str, Distances]:
    """Distances of a player from the validation recordings of a corpus, by name; needs no teacher."""
    return {piece.name: piece_distances(corpus, piece, play, piece.n_samples) for piece in corpus.split("valid")}


def piece_distances(corpus: Corpus, piece: Piece, play: Play, n_samples: int) -> Distances:
    """Distances of a player from the first samples of a recording; seconds with something left out do not count."""
    rate = corpus.sample_rate_hz
    reference = corpus.read_audio(piece)[:n_samples]
    sound = play(corpus.read_notes(piece), n_samples, rate)
    return distances(piece.measured(reference, rate), piece.measured(sound, rate), rate)
