"""Features of notes and times, by examples made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthnet.models.config import NOTE_FEATURES, RELEASE_BUMPS, TIME_BUMPS
from synthnet.models.envelopes import (
    LEGATO_S,
    WOBBLE_S,
    Notes,
    fold,
    frequencies_of,
    make_notes,
    note_features,
    notes_of,
    time_features,
)
from synthnet.score.notes import Note
from synthnet.score.roll import roll_events

RATE_HZ = 1_000
GAP = math.exp(-0.05 / LEGATO_S)  # touch after 50 ms of silence


def notes(*rows: tuple[int, int, int]) -> Notes:
    """Notes of (pitch, onset, release)."""
    pitch, onset, release = np.array(rows).reshape(-1, 3).T
    return make_notes(pitch, np.full(len(pitch), 80), onset, release, RATE_HZ)


@pytest.mark.parametrize(
    ("rows", "touch", "step"),
    [
        (((60, 0, 500), (64, 500, 900), (62, 950, 1_200), (69, 1_000, 1_500)), [0, 1, GAP, 1], [0, 4, -2, 7]),
        # Notes of a chord do not touch each other; a step is from the highest of the chord before.
        (((60, 0, 500), (64, 0, 500), (67, 550, 900), (72, 550, 900)), [0, 0, GAP, GAP], [0, 0, 3, 8]),
        # The last release counts, not that of the last note: the bass is held.
        (((40, 0, 2_000), (60, 100, 200), (62, 1_000, 1_100)), [0, 1, 1], [0, 20, 2]),
        ((), [], []),
    ],
)
def test_touch_and_step(rows: tuple[tuple[int, int, int], ...], touch: list[float], step: list[int]) -> None:
    found = notes(*rows)
    np.testing.assert_allclose(found.touch, touch, rtol=1e-6)
    assert found.step.tolist() == step


def test_notes_are_sorted_by_onset_and_pitch() -> None:
    found = notes((62, 900, 1_000), (64, 0, 500), (60, 0, 501))
    assert np.stack(found[:4]).T.tolist() == [[60, 80, 0, 501], [64, 80, 0, 500], [62, 80, 900, 1_000]]


def test_later_notes_change_nothing() -> None:
    rng = np.random.default_rng(0)
    onset = np.sort(rng.integers(0, 3_000, 30))
    rows = list(zip(rng.integers(40, 80, 30), onset, onset + rng.integers(1, 900, 30), strict=True))
    for n in range(2, 30):
        whole, begun = notes(*rows), notes(*rows[:n])
        same = np.flatnonzero(begun.onset < begun.onset[-1])
        for column in ("pitch", "touch", "step"):
            np.testing.assert_array_equal(getattr(whole, column)[same], getattr(begun, column)[same])


def test_notes_of_a_score_are_those_of_its_roll() -> None:
    found = notes_of(roll_events([Note(60, 90, 0.0, 0.5), Note(60, 50, 0.5, 0.8)], RATE_HZ))
    assert (found.release[0], found.onset[1]) == (495, 500)
    assert found.velocity.tolist() == [90, 50]


def test_features_have_the_sizes_that_the_network_expects() -> None:
    assert note_features(notes((60, 0, 500), (64, 500, 900))).shape == (2, NOTE_FEATURES)
    times = np.linspace(0, 5, 14, dtype=np.float32).reshape(2, 7)
    assert time_features(times, times - 1, 3.0).shape == (2, 7, TIME_BUMPS + 1 + RELEASE_BUMPS + 1)


def test_times_beyond_the_longest_note_swing_to_and_fro_over_its_last_seconds() -> None:
    times = np.array([0.0, 2.9, 3.0, 3.5, 3 + WOBBLE_S, 3.5 + WOBBLE_S, 3 + 2 * WOBBLE_S, 99.0])
    np.testing.assert_allclose(fold(times, 3.0), [0, 2.9, 3, 2.5, 1, 1.5, 3, 3], atol=1e-5)


def test_frequencies_of_a_stretched_string() -> None:
    cents, stretch = np.zeros(128), np.zeros(128)
    cents[57], stretch[57] = 1200.0, 4e-4
    f0_hz, ratios = frequencies_of(np.array([69, 57]), cents, stretch, np.arange(1.0, 11.0))
    np.testing.assert_allclose(f0_hz, [440, 440])
    np.testing.assert_allclose(ratios[0], np.arange(1, 11))
    np.testing.assert_allclose(ratios[1, [0, 9]], [1, 10 * math.sqrt(1.04 / 1.0004)])
