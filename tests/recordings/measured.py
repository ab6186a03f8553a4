"""An alignment against the truth of a stand-in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from synthnet.recordings.alignment import Aligned
from synthnet.recordings.notes import note_levels_db, with_velocities
from tests.recordings.standin import StandIn


@dataclass(frozen=True)
class Measured:
    """Of the M notes that are played: key, onset, errors of onset and end in s, velocities played and found, `found`.

    `reported` [L] tells which of those that are not played were reported as not found.
    """

    pitch: np.ndarray
    true_s: np.ndarray
    late_s: np.ndarray
    end_late_s: np.ndarray
    velocities: np.ndarray
    found: np.ndarray
    reported: np.ndarray

    def scatter_s(self, by_key: bool = False) -> np.ndarray:
        """Distances of the found notes' errors from their median, or from each key's own."""
        late, pitch = self.late_s[self.found], self.pitch[self.found]
        if not by_key:
            return np.abs(late - np.median(late))
        return np.abs(late - np.array([np.median(late[pitch == key]) for key in pitch]))


def measured(stand_in: StandIn, aligned: Aligned) -> Measured:
    """Notes of a key are compared in their order."""
    levels = note_levels_db(stand_in.samples, stand_in.sample_rate_hz, aligned.notes, aligned.tuning_cents)
    mine = defaultdict(list)
    for note, found in zip(with_velocities(aligned.notes, levels), aligned.found, strict=True):
        mine[note.pitch].append((note, bool(found)))
    rows, reported = [], []
    for note, truth in zip(stand_in.score, stand_in.truth, strict=True):
        got, found = mine[note.pitch].pop(0)
        if truth is None:
            reported.append(not found)
        else:
            late, end_late = got.start_s - truth.start_s, got.end_s - truth.end_s
            rows.append((note.pitch, truth.start_s, late, end_late, truth.velocity, got.velocity, found))
    columns = np.array(rows, float).T
    pitch, found = columns[0].astype(int), columns[6].astype(bool)
    return Measured(pitch, columns[1], columns[2], columns[3], columns[4:6], found, np.array(reported, bool))
