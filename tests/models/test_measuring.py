"""Release times and the other things that are measured before training, on notes made with known ones."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SMALL

from synthnet.models.envelopes import Notes, make_notes
from synthnet.models.measuring import measure, release_times

RATE_HZ = 8_000


def ringing(keys: np.ndarray, times_s: np.ndarray) -> tuple[np.ndarray, Notes]:
    """Notes of 0.5 s every 4 s that fall by 50 dB in so many seconds after the release."""
    onset = np.arange(len(keys)) * 4 * RATE_HZ
    samples = np.zeros((len(keys), 4 * RATE_HZ))
    time_s = np.arange(4 * RATE_HZ) / RATE_HZ
    for row, key, fall_s in zip(samples, keys, times_s, strict=True):
        level_db = -50 / fall_s * np.maximum(time_s - 0.5, 0)
        row += 25_000 * 10 ** (level_db / 20) * np.sin(2 * np.pi * 440 * 2 ** ((key - 69) / 12) * time_s)
    notes = make_notes(keys, np.full(len(keys), 90), onset, onset + RATE_HZ // 2, RATE_HZ)
    return samples.ravel().astype(np.int16), notes


def test_release_times_of_notes_that_die_away() -> None:
    keys = np.arange(50, 90, 2)
    falls_s = np.where(keys < 70, 0.4, 1.5)
    times = release_times([ringing(keys, falls_s)], RATE_HZ)
    assert times.shape == (128,)
    np.testing.assert_allclose(times[[0, 50, 60]], 1.2 * 0.4, atol=0.05)
    np.testing.assert_allclose(times[[80, 88, 127]], 1.2 * 1.5, atol=0.05)


def test_release_times_have_limits() -> None:
    keys = np.arange(50, 60)
    np.testing.assert_allclose(release_times([ringing(keys, np.full(10, 0.03))], RATE_HZ), 0.1)
    np.testing.assert_allclose(release_times([ringing(keys, np.full(10, 8.0))], RATE_HZ), 3)


def test_a_release_that_cannot_be_heard_alone_is_not_measured() -> None:
    samples, notes = ringing(np.array([60]), np.array([0.4]))
    struck_at_once = make_notes(np.array([60, 64]), np.array([90, 90]), np.array([0, 4_000]), np.array([4_000, 9_000]),
                                RATE_HZ)  # fmt: skip
    assert (release_times([(samples[:9_000], struck_at_once)], RATE_HZ) == 1).all()
    soft = notes._replace(velocity=np.array([39]))
    assert (release_times([(samples, soft)], RATE_HZ) == 1).all()


def test_all_that_is_measured_fits_the_completed_config() -> None:
    keys = np.arange(50, 62, 3)
    config, measured = measure([ringing(keys, np.full(4, 0.5))], RATE_HZ, SMALL)
    assert config.longest_s == 2  # at least the length of what is repeated beyond it
    shapes = config.shapes()
    assert {name: value.shape for name, value in measured.items()} == {name: shapes[name] for name in measured}
    assert measured["nearest"][[0, 50, 51, 52, 127]].tolist() == [50, 50, 50, 53, 59]
    np.testing.assert_allclose(measured["release_s"], 0.6, atol=0.05)


def test_the_longest_note_is_remembered() -> None:
    notes = make_notes(np.array([60]), np.array([90]), np.array([0]), np.array([3 * RATE_HZ]), RATE_HZ)
    config, _ = measure([(np.zeros(4 * RATE_HZ, np.int16), notes)], RATE_HZ, SMALL)
    assert config.longest_s == pytest.approx(3.0)
