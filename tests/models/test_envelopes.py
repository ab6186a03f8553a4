"""What a harmonic instrument is shown of notes, by examples made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthnet.models.config import NOTE_FEATURES, RELEASE_BUMPS, TIME_BUMPS
from synthnet.models.envelopes import (
    LEGATO_S,
    WOBBLE_S,
    Notes,
    fill_keys,
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


def notes(*rows: tuple[int, int, int]) -> Notes:
    """Notes of (pitch, onset, release)."""
    pitch, onset, release = np.array(rows).reshape(-1, 3).T
    return make_notes(pitch, np.full(len(pitch), 80), onset, release, RATE_HZ)


def test_touch_and_step_tell_legato() -> None:
    found = notes((60, 0, 500), (64, 500, 900), (62, 950, 1_200), (69, 1_000, 1_500))
    gap = math.exp(-0.05 / LEGATO_S)
    np.testing.assert_allclose(found.touch, [0, 1, gap, 1], rtol=1e-6)
    assert found.step.tolist() == [0, 4, -2, 7]


def test_notes_are_sorted_by_onset_and_pitch() -> None:
    found = notes((62, 900, 1_000), (64, 0, 500), (60, 0, 500))
    assert found.pitch.tolist() == [60, 64, 62]
    assert found.onset.tolist() == [0, 0, 900]
    assert found.release.tolist() == [500, 500, 1_000]


def test_notes_of_a_chord_do_not_touch_each_other() -> None:
    found = notes((60, 0, 500), (64, 0, 500), (67, 600, 900), (72, 600, 900))
    assert found.touch[:2].tolist() == [0, 0]
    np.testing.assert_allclose(found.touch[2:], math.exp(-0.1 / LEGATO_S), rtol=1e-6)
    assert found.step.tolist() == [0, 0, 3, 8]  # from the highest of the chord before


def test_the_last_release_before_counts_not_that_of_the_last_note() -> None:
    found = notes((40, 0, 2_000), (60, 100, 200), (62, 1_000, 1_100))
    assert found.touch.tolist() == [0, 1, 1]  # the bass is held
    assert found.step.tolist() == [0, 20, 2]


@pytest.mark.parametrize("seed", range(3))
def test_what_comes_later_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    onset = np.sort(rng.integers(0, 3_000, 30))
    rows = list(zip(rng.integers(40, 80, 30), onset, onset + rng.integers(1, 900, 30), strict=True))
    whole, begun = notes(*rows), notes(*rows[:12])
    same = np.flatnonzero(begun.onset < begun.onset[-1])
    for column in ("pitch", "touch", "step"):
        np.testing.assert_array_equal(getattr(whole, column)[same], getattr(begun, column)[same])


def test_no_notes() -> None:
    assert [len(column) for column in notes()] == [0] * 6


def test_notes_of_a_score_are_those_of_its_roll() -> None:
    events = roll_events([Note(60, 90, 0.0, 0.5), Note(60, 50, 0.5, 0.8)], RATE_HZ)
    found = notes_of(events)
    assert (found.release[0], found.onset[1]) == (495, 500)
    assert found.velocity.tolist() == [90, 50]


def test_features_have_the_sizes_that_the_network_expects() -> None:
    assert note_features(notes((60, 0, 500), (64, 500, 900))).shape == (2, NOTE_FEATURES)
    times = np.linspace(0, 5, 14, dtype=np.float32).reshape(2, 7)
    assert time_features(times, times - 1, 3.0).shape == (2, 7, TIME_BUMPS + 1 + RELEASE_BUMPS + 1)


def test_times_beyond_the_longest_note_swing_to_and_fro_over_its_last_seconds() -> None:
    times = np.array([0.0, 2.9, 3.0, 3.5, 3 + WOBBLE_S, 3.5 + WOBBLE_S, 3 + 2 * WOBBLE_S, 99.0])
    swung = [0, 2.9, 3, 2.5, 1, 1.5, 3, 3]
    np.testing.assert_allclose(fold(times, 3.0), swung, atol=1e-5)


def test_frequencies_of_a_stretched_string() -> None:
    cents, stretch = np.zeros(128), np.zeros(128)
    cents[57], stretch[57] = 1200.0, 4e-4
    f0_hz, ratios = frequencies_of(np.array([69, 57]), cents, stretch, np.arange(1.0, 11.0))
    np.testing.assert_allclose(f0_hz, [440, 440])
    np.testing.assert_allclose(ratios[0], np.arange(1, 11))
    np.testing.assert_allclose(ratios[1, [0, 9]], [1, 10 * math.sqrt(1.04 / 1.0004)])


def test_keys_without_a_value_take_the_nearest_ones() -> None:
    filled = fill_keys({40: 1.0, 50: 2.0})
    assert (filled[0], filled[44], filled[46], filled[127]) == (1, 1, 2, 2)
    assert not fill_keys({}).any()
