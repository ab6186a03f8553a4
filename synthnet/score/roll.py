"""Piano rolls: note events in samples, and the roll of a slice of them.

Seconds become samples here and nowhere else. Rolls are kept as events and rasterised slice by slice, because a dense
roll at the audio rate would take 128 bytes a sample. Sample t of a roll belongs to sample t of the audio.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from synthnet.score.notes import Note

N_KEYS = 128
RESTRIKE_GAP_S = 0.005


@dataclass(frozen=True)
class RollEvents:
    """Keys down from `onset` to before `release`: int64 arrays [N], sorted by onset, then pitch; times in samples."""

    pitch: np.ndarray
    onset: np.ndarray
    release: np.ndarray
    velocity: np.ndarray  # 1 to 127
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
    """The nearest sample to a time in seconds, halves rounded up; int64, of the shape of `seconds`."""
    return np.floor(np.asarray(seconds) * sample_rate_hz + 0.5).astype(np.int64)[()]


def roll_events(notes: Iterable[Note], sample_rate_hz: int) -> RollEvents:
    """The events of a roll, in which a key struck again is up for 5 ms before each later onset.

    Except for that gap, overlapping notes of one key hold it down until the later release; a shorter gap is widened to
    5 ms. Notes of one key and onset are one event with the later release and the higher velocity. An event lasts at
    least a sample, even where that narrows the gap.
    """
    columns = np.array([(n.pitch, n.velocity, n.start_s, n.end_s) for n in notes], np.float64).reshape(-1, 4).T
    pitches, velocities = columns[:2].astype(np.int64)
    onsets, releases = to_samples(columns[2:], sample_rate_hz)
    gap = to_samples(RESTRIKE_GAP_S, sample_rate_hz)
    keys = [np.zeros((4, 0), np.int64)]
    for key in np.unique(pitches):
        of_key = pitches == key
        onset, group = np.unique(onsets[of_key], return_inverse=True)
        release, velocity = np.zeros((2, len(onset)), np.int64)
        np.maximum.at(release, group, releases[of_key])
        np.maximum.at(velocity, group, velocities[of_key])
        release = np.maximum.accumulate(release)
        release[:-1] = np.minimum(release[:-1], onset[1:] - gap)
        keys.append(np.stack([np.full_like(onset, key), onset, np.maximum(release, onset + 1), velocity]))
    events = np.concatenate(keys, axis=1)
    pitch, onset, release, velocity = np.take(events, np.lexsort(events[:2]), axis=1)
    return RollEvents(pitch, onset, release, velocity, sample_rate_hz)


def events_from(events: RollEvents, start: int) -> RollEvents:
    """The same events with time 0 at sample `start`; earlier ones have negative times."""
    return replace(events, onset=events.onset - start, release=events.release - start)


def rasterise(events: RollEvents, start: int, stop: int, velocity: bool = False) -> np.ndarray:
    """The roll [128, stop - start] from sample `start` to before `stop`, any integers: 0 while a key is up.

    While it is down: 1, uint8; or with `velocity` its velocity / 127, float32.
    """
    roll = np.zeros((N_KEYS, stop - start), np.float32 if velocity else np.uint8)
    n_begun = np.searchsorted(events.onset, stop)
    for index in np.flatnonzero(events.release[:n_begun] > start):
        down = slice(max(int(events.onset[index]) - start, 0), int(events.release[index]) - start)
        roll[events.pitch[index], down] = events.velocity[index] / 127 if velocity else 1
    return roll
