"""Any system in one table: networks, baselines and other programs' recordings of the validation pieces.

F0 error is the mean difference in cents from the pitches found in the reference, over notes that have the right pitch
there (`pitch.py`). Loudness error is the mean difference of the levels of windows of 50 ms, where the reference is at
most 50 dB below its loudest window (after DDSP, Engel et al. 2020, without its weighting). Note F1 compares the notes
that a transcriber hears with the score: same key, onset within 50 ms (mir_eval's onset F1; Raffel et al. 2014).
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from synthnet.audio.files import read_audio
from synthnet.corpus.corpus import Piece
from synthnet.evaluation.cqt import mean_and_ci95
from synthnet.evaluation.level import fitted_level, level_db
from synthnet.evaluation.measure import Distances, distances
from synthnet.evaluation.pitch import kept_onsets, note_pitches
from synthnet.files import InputError
from synthnet.recordings.transcribe import transcribe
from synthnet.score.general_midi import HARMONICS
from synthnet.score.notes import Note
from synthnet.score.roll import roll_events
from synthnet.text import columns

WINDOW_S, COUNTED_DB = 0.05, -50.0
ONSET_S = 0.05  # within which a note is right


@dataclass(frozen=True)
class SystemFigures(Distances):
    """How far a system's sound of a piece is from its reference; nan where there is nothing to measure."""

    right_pitch: float  # share of the notes that have the right pitch in the reference
    f0_cents: float
    loudness_db: float
    note_f1: float  # nan without onnxruntime


COLUMNS = {
    "rmse_cqt_db": ("RMSE-CQT, -80 dB", ".2f"),
    "rmse_cqt_50_db": ("-50 dB", ".2f"),
    "log_spectral_db": ("spectra, dB", ".2f"),
    "level_db": ("level, dB", "+.2f"),
    "loudness_db": ("loudness, dB", ".2f"),
    "right_pitch": ("right pitch", ".1%"),
    "f0_cents": ("F0, cents", ".1f"),
    "note_f1": ("note F1", ".3f"),
}


def system_figures(
    reference: np.ndarray,
    test: np.ndarray,
    notes: Sequence[Note],
    sample_rate_hz: int,
    piece: Piece,
    partials: Sequence[float] = HARMONICS,
) -> SystemFigures:
    """All figures of samples [n] against reference samples [n] and the score; raises InputError as each metric.

    What the piece leaves out does not count: seconds of it, and notes that begin there.
    """
    events = roll_events(notes, sample_rate_hz)
    theirs, mine = (note_pitches(samples, events, partials) for samples in (reference, test))
    heard = theirs.right & kept_onsets(piece, theirs.start_s, sample_rate_hz)
    found = heard & ~np.isnan(mine.found)
    first, second = (piece.measured(samples, sample_rate_hz) for samples in (reference, test))
    return SystemFigures(
        **asdict(distances(first, second, sample_rate_hz)),
        right_pitch=float(mine.right[heard].mean()) if heard.any() else math.nan,
        f0_cents=100 * float(np.abs(mine.found - theirs.found)[found].mean()) if found.any() else math.nan,
        loudness_db=loudness_error_db(first, second, sample_rate_hz),
        note_f1=note_f1(test, notes, sample_rate_hz, piece),
    )


def loudness_error_db(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> float:
    """Mean difference of levels, see above; nan for a silent reference."""
    window = round(WINDOW_S * sample_rate_hz)
    theirs, mine = (level_db(x[: len(x) // window * window].reshape(-1, window)) for x in (reference, test))
    counted = (theirs >= theirs.max(initial=-math.inf) + COUNTED_DB) & (theirs > level_db(np.zeros(1)))
    return float(np.abs(theirs - mine)[counted].mean()) if counted.any() else math.nan


def note_f1(samples: np.ndarray, notes: Sequence[Note], sample_rate_hz: int, piece: Piece) -> float:
    """F1 of the notes heard in samples [n] against those of the score that begin there; nan without onnxruntime."""
    if not importlib.util.find_spec("onnxruntime"):
        return math.nan
    counted = []
    for group in (transcribe(samples, sample_rate_hz), notes):
        pairs = [(note.pitch, note.start_s) for note in group if note.start_s < len(samples) / sample_rate_hz]
        kept = kept_onsets(piece, np.array([start_s for _, start_s in pairs]), sample_rate_hz)
        counted.append(list(itertools.compress(pairs, kept)))
    return f1(*counted)


def f1(found: Sequence[tuple[int, float]], wanted: Sequence[tuple[int, float]]) -> float:
    """F1 of pairs of a key and an onset in seconds, each matched once; nan for none at all."""
    if not found or not wanted:
        return 0.0 if found or wanted else math.nan
    (keys, start_s), (wanted_keys, wanted_s) = np.array(found).T, np.array(wanted).T
    match = (keys[:, None] == wanted_keys) & (np.abs(start_s[:, None] - wanted_s) <= ONSET_S)
    right = np.count_nonzero(maximum_bipartite_matching(csr_array(match)) >= 0)
    return 2 * right / (len(found) + len(wanted))


def playing_path(folder: Path, name: str) -> Path:
    """Another program's recording of a piece in a folder, NAME.wav, .flac or .ogg; InputError if there is none."""
    for ending in (".wav", ".flac", ".ogg"):
        if (path := folder / f"{name}{ending}").is_file():
            return path
    raise InputError(f"{folder}: no {name}.wav, .flac or .ogg")


def read_playing(folder: Path, name: str, reference: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Another program's recording of a piece, cut or padded: float32 [n] as `reference`.

    It is brought to the reference's level, since a program's gain is arbitrary.

    Raises:
        InputError: there is none, or it is not a readable sound file.
    """
    samples = read_audio(playing_path(folder, name), sample_rate_hz).samples[: len(reference)]
    return fitted_level(reference, np.pad(samples, (0, len(reference) - len(samples))))


def table(figures: Mapping[str, Sequence[Mapping[str, SystemFigures]]]) -> str:
    """A row for each piece of a system, and one over its trainings, a mapping each, where it has several.

    A system's mean over pieces is a value for each training; the interval is over these.
    """
    rows = [("piece", "system", *(title for title, _ in COLUMNS.values()))]
    for system, trainings in figures.items():
        several = len(trainings) > 1
        for number, pieces in enumerate(trainings, 1):
            for piece, one in pieces.items():
                cells = (f"{getattr(one, key):{form}}" for key, (_, form) in COLUMNS.items())
                rows.append((piece, f"{system} {number}" if several else system, *cells))
        if several:
            pooled = over_trainings(trainings)
            cells = (f"{pooled[key][0]:{form}} ± {pooled[key][1]:{form}}" for key, (_, form) in COLUMNS.items())
            rows.append((f"mean of {len(trainings)} trainings", system, *cells))
    return columns(rows)


def over_trainings(trainings: Sequence[Mapping[str, SystemFigures]]) -> dict[str, tuple[float, float]]:
    """Mean and half its 95% interval over trainings, of each figure's mean over pieces."""
    means = np.array([np.mean([astuple(one) for one in pieces.values()], axis=0) for pieces in trainings])
    names = SystemFigures.__dataclass_fields__
    return {name: mean_and_ci95(column) for name, column in zip(names, means.T, strict=True)}
