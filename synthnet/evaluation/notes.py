"""Single notes beside the teacher's: level and brightness by velocity, and how a held note goes on.

Three keys are played: a sixth, half and five sixths of the way up the instrument's range. Levels are relative to other
levels of the same player, so that no figure depends on a gain. The spectral centroid is the mean frequency, weighted by
the power of short-time spectra (Peeters et al. 2011): by magnitude, faint noise would outweigh the partials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from synthnet.evaluation.baselines import Play
from synthnet.evaluation.level import level_db
from synthnet.score.general_midi import MidiInstrument
from synthnet.score.notes import Note
from synthnet.score.roll import to_samples

VELOCITIES = (20, 40, 60, 80, 100, 127)
NOTE_S, HELD_S = 1.0, 8.5
BEFORE_S, AFTER_S = 0.1, 0.4  # around a note
HELD_VELOCITY = 100
MOMENTS_S = (1.0, 2.0, 4.0, 6.0, 8.0)  # after the onset, the middles of windows
WINDOW_S = 0.25
LOWEST_DB = -120.0  # of any level
COUNTED_DB = -50.0  # of a held note: where the teacher is below it, levels are not compared
WINDOW_SAMPLES = 2048


@dataclass(frozen=True)
class NoteLevels:
    """Notes of one second on K keys at V velocities (rising): lists [K][V], and the greatest differences in them."""

    keys: Sequence[int]
    velocities: Sequence[int]
    level_db: list[list[float]]  # over the second, relative to the highest velocity
    teacher_level_db: list[list[float]]
    centroid_hz: list[list[float]]  # over the second; 0 in silence
    teacher_centroid_hz: list[list[float]]
    worst_level_db: float
    worst_centroid: float  # as a share of the teacher's


@dataclass(frozen=True)
class HeldNotes:
    """Notes of velocity 100 on K keys, held down for 8.5 s, at M moments: lists [K][M], and the greatest difference."""

    keys: Sequence[int]
    moments_s: Sequence[float]  # after the onset, the middles of windows of 0.25 s
    level_db: list[list[float]]  # relative to the player's loudest such window
    teacher_level_db: list[list[float]]
    worst_db: float  # where the teacher is above -50 dB; 0 if it never is


def tried_keys(instrument: MidiInstrument) -> tuple[int, ...]:
    """A low, a middle and a high MIDI key of an instrument's range."""
    span = instrument.highest_pitch - instrument.lowest_pitch
    return tuple(instrument.lowest_pitch + round(span * share) for share in (1 / 6, 1 / 2, 5 / 6))


def note_levels(play: Play, teacher: Play, keys: Sequence[int], sample_rate_hz: int) -> NoteLevels:
    """Level and centroid of single notes of `play` and the teacher, for each key and velocity."""
    levels, centroids = [], []
    for player in (play, teacher):
        sounds = np.array([[_one_note(player, key, v, NOTE_S, sample_rate_hz) for v in VELOCITIES] for key in keys])
        level = level_db(sounds, LOWEST_DB)
        levels.append(level - level[:, -1:])
        centroids.append(np.array([[spectral_centroid_hz(sound, sample_rate_hz) for sound in row] for row in sounds]))
    (mine, theirs), (mine_hz, theirs_hz) = levels, centroids
    worst_level_db = float(np.abs(mine - theirs).max())
    worst_centroid = float(np.abs(mine_hz / np.maximum(theirs_hz, 1.0) - 1).max())
    figures = mine.tolist(), theirs.tolist(), mine_hz.tolist(), theirs_hz.tolist()
    return NoteLevels(keys, VELOCITIES, *figures, worst_level_db, worst_centroid)


def held_notes(play: Play, teacher: Play, keys: Sequence[int], sample_rate_hz: int) -> HeldNotes:
    """Levels of held notes of `play` and the teacher, for each key."""
    length = int(to_samples(WINDOW_S, sample_rate_hz))
    begins = to_samples(np.array(MOMENTS_S) - WINDOW_S / 2, sample_rate_hz)
    levels = []
    for player in (play, teacher):
        sounds = np.array([_one_note(player, key, HELD_VELOCITY, HELD_S, sample_rate_hz) for key in keys])
        windows = sliding_window_view(sounds, length, axis=1)[:, :-1]
        loudest = level_db(windows[:, :: length // 2], LOWEST_DB).max(axis=1, keepdims=True)
        levels.append(level_db(windows[:, begins], LOWEST_DB) - loudest)
    mine, theirs = levels
    worst_db = float(np.abs(mine - theirs).max(initial=0.0, where=theirs > COUNTED_DB))
    return HeldNotes(keys, MOMENTS_S, mine.tolist(), theirs.tolist(), worst_db)


def spectral_centroid_hz(samples: np.ndarray, sample_rate_hz: int) -> float:
    """Mean frequency of samples [n] in Hz, weighted by power, over Hann windows of 2048 samples; 0 for silence."""
    padded = np.pad(samples.astype(np.float64), (0, max(0, WINDOW_SAMPLES - len(samples))))
    frames = sliding_window_view(padded, WINDOW_SAMPLES)[:: WINDOW_SAMPLES // 4]
    power = (np.abs(np.fft.rfft(frames * np.hanning(WINDOW_SAMPLES))) ** 2).sum(axis=0)
    total = float(power.sum())
    return float(power @ np.fft.rfftfreq(WINDOW_SAMPLES, 1 / sample_rate_hz)) / total if total else 0.0


def _one_note(play: Play, key: int, velocity: int, length_s: float, rate: int) -> np.ndarray:
    """The sound of a note from its onset to its release."""
    start, length, after = (int(to_samples(seconds, rate)) for seconds in (BEFORE_S, length_s, AFTER_S))
    note = Note(key, velocity, start / rate, (start + length) / rate)
    return play((note,), start + length + after, rate)[start : start + length]
