"""Piano rolls: note events in samples, and the roll of a slice of them.

Seconds become samples here and nowhere else. A roll is kept as events and rasterised slice by slice: a dense
roll at the audio rate would be 128 bytes a sample. Sample t of a roll belongs to sample t of the audio.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from synthnet.score.notes import Note

N_KEYS = 128
RESTRIKE_GAP_S = 0.005
LOUDEST = 127  # velocity


@dataclass(frozen=True)
class RollEvents:
    """Keys down from `onset` to before `release`: int64 arrays [N], sorted by onset, then pitch; times in samples.

    `velocity` is that of each onset, 1 to 127.
    """

    pitch: np.ndarray
    onset: np.ndarray
    release: np.ndarray
    velocity: np.ndarray
    sample_rate_hz: int

    @property
    def n_samples(self) -> int:
        """The last release, 0 if there are no events."""
        return int(self.release.max(initial=0))


@overload
def to_samples(seconds: float, sample_rate_hz: int) -> np.int64: ...
@overload
def to_samples(seconds: np.ndarray, sample_rate_hz: int) -> np.ndarray: ...
def to_samples(seconds: float | np.ndarray, sample_rate_hz: int) -> np.int64 | np.ndarray:
    """The nearest sample of a time in seconds, of two the later; int64, of the shape of `seconds`."""
    return np.floor(np.asarray(seconds) * sample_rate_hz + 0.5).astype(np.int64)[()]


def roll_events(notes: Iterable[Note], sample_rate_hz: int) -> RollEvents:
    """The events of a roll, in which a key struck again drops to 0 for 5 ms before each later onset.

    Overlapping notes of one key hold it down until the later release, but for that gap; a shorter gap between two
    notes is widened to 5 ms. Notes of one key and onset are one event with the later release and the higher velocity.
    An event lasts at least a sample, even where that narrows the gap.
    """
    notes = list(notes)
    note_pitch = np.array([note.pitch for note in notes], dtype=np.int64)
    note_onset = to_samples(np.array([note.start_s for note in notes]), sample_rate_hz)
    note_release = to_samples(np.array([note.end_s for note in notes]), sample_rate_hz)
    gap = to_samples(RESTRIKE_GAP_S, sample_rate_hz)
    note_velocity = np.array([note.velocity for note in notes], dtype=np.int64)
    keys = [np.zeros((4, 0), dtype=np.int64)]
    for key in np.unique(note_pitch):
        of_key = note_pitch == key
        onset, group = np.unique(note_onset[of_key], return_inverse=True)
        release = np.zeros_like(onset)
        np.maximum.at(release, group, note_release[of_key])
        velocity = np.ones_like(onset)
        np.maximum.at(velocity, group, note_velocity[of_key])
        release = np.maximum.accumulate(release)
        release[:-1] = np.minimum(release[:-1], onset[1:] - gap)
        release = np.maximum(release, onset + 1)
        keys.append(np.stack([np.full_like(onset, key), onset, release, velocity]))
    pitch, onset, release, velocity = np.concatenate(keys, axis=1)
    order = np.lexsort((pitch, onset))
    return RollEvents(pitch[order], onset[order], release[order], velocity[order], sample_rate_hz)


def events_from(events: RollEvents, start: int) -> RollEvents:
    """The same events with time 0 at sample `start`; those before it have times below 0."""
    return replace(events, onset=events.onset - start, release=events.release - start)


def rasterise(events: RollEvents, start: int, stop: int, velocity: bool = False) -> np.ndarray:
    """The roll from sample `start` to before `stop`, any integers: [128, stop - start], 0 while a key is up.

    While it is down: 1, uint8; or with `velocity` its velocity / 127, float32.
    """
    roll = np.zeros((N_KEYS, stop - start), dtype=np.float32 if velocity else np.uint8)
    n_begun = np.searchsorted(events.onset, stop)
    for index in np.flatnonzero(events.release[:n_begun] > start):
        down = slice(max(int(events.onset[index]) - start, 0), int(events.release[index]) - start)
        roll[events.pitch[index], down] = events.velocity[index] / LOUDEST if velocity else 1
    return roll
