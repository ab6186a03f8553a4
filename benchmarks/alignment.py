"""How exactly a score is laid over its recording, on music whose truth is known, beside plain time warping.

A minute of Bach's Prelude played by the sound font as a player might (tests/recordings/standin.py). Milliseconds from
the truth; `scatter` is the distance from the median, `by key` from each key's own, of the notes that count as found.

    python -m benchmarks.alignment
"""

from __future__ import annotations

import time

import numpy as np
import soxr

from synthnet.recordings.alignment import RATE_HZ, align, place, tuning_cents
from tests.recordings.measured import measured
from tests.recordings.standin import PLAYERS, risen_s, stand_in

SEED = 0


def row(late_s: np.ndarray, pitch: np.ndarray) -> str:
    """Median; scatter 50, 90%; by key 50, 80%."""
    late = 1e3 * late_s
    own = late - np.array([np.median(late[pitch == key]) for key in pitch])
    away = np.abs(late - np.median(late))
    cells = (np.median(late), *np.percentile(away, (50, 90)), *np.percentile(np.abs(own), (50, 80)))
    return " ".join(f"{cell:8.1f}" for cell in cells)


if __name__ == "__main__":
    head = f"{'':10} {'':12} {'median':>8} {'scat 50%':>8} {'90%':>8} {'key 50%':>8} {'80%':>8}"
    print(head + "  after 10%, 95%  first  last  good lost  reported  velocity: slope, r  tuning  s/min")
    align(stand_in("guitar", 10).score, stand_in("guitar", 10).samples, 44_100)  # compiles
    for player in PLAYERS:
        played = stand_in(player, seed=SEED)
        started = time.process_time()
        aligned = align(played.score, played.samples, played.sample_rate_hz)
        took = (time.process_time() - started) / (len(played.samples) / played.sample_rate_hz) * 60
        m = measured(played, aligned)
        x = soxr.resample(played.samples, played.sample_rate_hz, RATE_HZ, "VHQ")
        warped = place(played.score, x, tuning_cents(x))[0]
        there = np.array([truth is not None for truth in played.truth])
        true_s = np.array([truth.start_s for truth in played.truth if truth])
        late = warped[there] - true_s
        print(f"{player:10} {'DTW alone':12} {row(late[m.found], m.pitch[m.found])}")
        rises = risen_s(player, m.pitch.tolist())
        after = 1e3 * (m.late_s - np.array([rises[key] for key in m.pitch.tolist()]))[m.found]
        velocities = np.log(m.velocities[:, m.found])
        slope, r = np.polyfit(*velocities, 1)[0], np.corrcoef(velocities)[0, 1]
        good = np.abs(m.late_s - np.median(m.late_s)) < 0.05
        ends = 1e3 * m.late_s[[m.true_s.argmin(), m.true_s.argmax()]]
        print(
            f"{'':10} {'aligned':12} {row(m.late_s[m.found], m.pitch[m.found])} {np.percentile(after, 95):15.1f} "
            f"{ends[0]:6.1f} {ends[1]:5.1f} {100 * (good & ~m.found).sum() / good.sum():9.1f}% "
            f"{100 * m.reported.mean():8.0f}% {slope:14.2f} {r:5.2f} {aligned.tuning_cents:7.1f} {took:6.1f}"
        )
