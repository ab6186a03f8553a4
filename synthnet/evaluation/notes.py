"""Single notes of an instrument beside its teacher's: level and brightness by velocity, and how a held note goes on.

Three keys are played: a sixth, half and five sixths of the way up the instrument's range. Levels are relative to other
levels of the same player, so that no figure depends on a gain.

The spectral centroid is the mean frequency, weighted by the power of short-time spectra (Peeters et al. 2011, "The
Timbre Toolbox"): by magnitude, faint noise over the whole band would outweigh the partials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from synthnet.evaluation.baselines import Play
from synthnet.score.general_midi import MidiInstrument
from synthnet.score.notes import Note
from synthnet.score.roll import to_samples

VELOCITIES = (20, 40, 60, 80, 100, 127)
NOTE_S = 1.0
BEFORE_S = 0.1  # of silence before a note
AFTER_S = 0.4
HELD_VELOCITY = 100
HELD_S = 8.5
MOMENTS_S = (1.0, 2.0, 4.0, 6.0, 8.0)  # after the onset, the middles of windows
WINDOW_S = 0.25
LOWEST_DB = -120.0  # of any level
COUNTED_DB = -50.0  # of a held note: what is below it in the teacher is not compared
WINDOW_SAMPLES = 2048


@dataclass(frozen=True)
class NoteLevels:
    """Notes of one second at several velocities.

    Attributes:
        keys: [K] MIDI keys.
        velocities: [V].
        level_db, teacher_level_db: [K][V] root mean square over the second, relative to the highest velocity.
        centroid_hz, teacher_centroid_hz: [K][V] spectral centroid of the second; 0 in silence.
    """

    keys: tuple[int, ...]
    velocities: tuple[int, ...]
    level_db: tuple[tuple[float, ...], ...]
    teacher_level_db: tuple[tuple[float, ...], ...]
    centroid_hz: tuple[tuple[float, ...], ...]
    teacher_centroid_hz: tuple[tuple[float, ...], ...]

    @property
    def worst_level_db(self) -> float:
        """The greatest difference of levels from the teacher's, in dB, at least 0."""
        return float(np.abs(np.array(self.level_db) - np.array(self.teacher_level_db)).max())

    @property
    def worst_centroid(self) -> float:
        """The greatest difference of centroids from the teacher's, as a share of the teacher's, at least 0."""
        mine, theirs = np.array(self.centroid_hz), np.array(self.teacher_centroid_hz)
        return float(np.abs(mine / np.maximum(theirs, 1.0) - 1).max())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, with the worst differences."""
        return asdict(self) | {"worst_level_db": self.worst_level_db, "worst_centroid": self.worst_centroid}


@dataclass(frozen=True)
class HeldNotes:
    """Notes of velocity 100 with the key held down for 8.5 s.

    Attributes:
        keys: [K] MIDI keys.
        moments_s: [M] seconds after the onset, the middles of windows of 0.25 s.
        level_db, teacher_level_db: [K][M] root mean squares, relative to the player's loudest such window.
    """

    keys: tuple[int, ...]
    moments_s: tuple[float, ...]
    level_db: tuple[tuple[float, ...], ...]
    teacher_level_db: tuple[tuple[float, ...], ...]

    @property
    def worst_db(self) -> float:
        """The greatest difference from the teacher's level, in dB, where that is above -50 dB; 0 if it never is."""
        mine, theirs = np.array(self.level_db), np.array(self.teacher_level_db)
        return float(np.abs(mine - theirs).max(initial=0.0, where=theirs > COUNTED_DB))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, with the worst difference."""
        return asdict(self) | {"worst_db": self.worst_db}


def tried_keys(instrument: MidiInstrument) -> tuple[int, ...]:
    """A low, a middle and a high MIDI key of an instrument's range."""
    span = instrument.highest_pitch - instrument.lowest_pitch
    return tuple(instrument.lowest_pitch + round(span * share) for share in (1 / 6, 1 / 2, 5 / 6))


def note_levels(
    play: Play, teacher: Play, keys: Sequence[int], sample_rate_hz: int, velocities: Sequence[int] = VELOCITIES
) -> NoteLevels:
    """Level and centroid of single notes of `play` and the teacher, for each key and velocity (rising)."""
    figures = []
    for player in (play, teacher):
        sounds = [[_one_note(player, key, v, NOTE_S, sample_rate_hz) for v in velocities] for key in keys]
        levels = [[level_db(sound) for sound in row] for row in sounds]
        figures += [
            tuple(tuple(level - row[-1] for level in row) for row in levels),
            tuple(tuple(spectral_centroid_hz(sound, sample_rate_hz) for sound in row) for row in sounds),
        ]
    level, centroid, teacher_level, teacher_centroid = figures
    return NoteLevels(tuple(keys), tuple(velocities), level, teacher_level, centroid, teacher_centroid)


def held_notes(play: Play, teacher: Play, keys: Sequence[int], sample_rate_hz: int) -> HeldNotes:
    """Levels of held notes of `play` and the teacher, for each key."""
    levels = [
        tuple(
            _levels_over_time(_one_note(player, key, HELD_VELOCITY, HELD_S, sample_rate_hz), sample_rate_hz)
            for key in keys
        )
        for player in (play, teacher)
    ]
    return HeldNotes(tuple(keys), MOMENTS_S, *levels)


def level_db(samples: np.ndarray) -> float:
    """Root mean square of samples [n] in dB of full scale, at least -120."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return 10 * float(np.log10(max(power, 10 ** (LOWEST_DB / 10))))


def spectral_centroid_hz(samples: np.ndarray, sample_rate_hz: int) -> float:
    """Mean frequency of samples [n] in Hz, weighted by power, over Hann windows of 2048 samples; 0 for silence."""
    padded = np.pad(samples.astype(np.float64), (0, max(0, WINDOW_SAMPLES - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[:: WINDOW_SAMPLES // 4]
    power = (np.abs(np.fft.rfft(frames * np.hanning(WINDOW_SAMPLES))) ** 2).sum(axis=0)  # [bins]
    total = float(power.sum())
    return float(power @ np.fft.rfftfreq(WINDOW_SAMPLES, 1 / sample_rate_hz)) / total if total else 0.0


def _one_note(play: Play, key: int, velocity: int, length_s: float, rate: int) -> np.ndarray:
    """The sound from the onset of a note to its release."""
    start, length = (int(to_samples(seconds, rate)) for seconds in (BEFORE_S, length_s))
    note = Note(key, velocity, start / rate, (start + length) / rate)
    sound = play((note,), start + length + int(to_samples(AFTER_S, rate)), rate)
    return sound[start : start + length]


def _levels_over_time(sound: np.ndarray, rate: int) -> tuple[float, ...]:
    length = int(to_samples(WINDOW_S, rate))
    loudest = max(level_db(sound[start : start + length]) for start in range(0, len(sound) - length, length // 2))
    begins = (int(to_samples(moment - WINDOW_S / 2, rate)) for moment in MOMENTS_S)
    return tuple(level_db(sound[begin : begin + length]) - loudest for begin in begins)
