"""Frequencies and releases measured in strings, reeds and bars that were made with known ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from conftest import SMALL

from synthnet.models.envelopes import TABLE_SCALE, Notes, make_notes
from synthnet.models.measuring import fill_keys, find_peaks, measure, measure_frequencies, release_times

RATE_HZ = 16_000
KEYS = np.arange(40, 77, 4)
MODES = np.array([1.0, 2.74, 5.38])  # of a bar

Ratios = Callable[[int], np.ndarray]  # of a key's partials to its frequency in equal temperament
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


def recording(ratios: Ratios, chords: int = 1, tilt: float = 1.0) -> tuple[np.ndarray, Notes]:
    """Notes of 0.7 s every 1.1 s, `chords` at a time; partials have amplitudes 1 / h^tilt and random phases."""
    rng = np.random.default_rng(0)
    onset = (1.1 * RATE_HZ * (np.arange(len(KEYS)) // chords)).astype(int)
    length = int(0.7 * RATE_HZ)
    samples = np.zeros(onset[-1] + 2 * length)
    time_s = np.arange(length) / RATE_HZ
    for key, start in zip(KEYS, onset, strict=True):
        hz = 440 * 2 ** ((key - 69) / 12) * ratios(key)
        for h, partial_hz in enumerate(hz[hz < 0.49 * RATE_HZ]):
            phase = rng.uniform(0, 2 * np.pi)
            samples[start : start + length] += np.sin(2 * np.pi * partial_hz * time_s + phase) / (h + 1) ** tilt
    samples = (samples / np.abs(samples).max() * 25_000).astype(np.int16)
    return samples, make_notes(KEYS, np.full(len(KEYS), 90), onset, onset + length, RATE_HZ)


def measured(ratios: Ratios, chords: int = 1, tilt: float = 1.0) -> Found:
    peaks = find_peaks(*recording(ratios, chords, tilt), RATE_HZ)
    assert len(peaks) == len(KEYS)
    return measure_frequencies(peaks, 12)


def detuning(key: int) -> float:
    return 8 - 0.4 * (key - 55)


@pytest.mark.parametrize(("b", "chords"), [(1e-4, 1), (4e-4, 1), (2e-3, 1), (0, 1), (0, 2)])
def test_strings_and_reeds(b: float, chords: int) -> None:
    def string(key: int) -> np.ndarray:
        h = np.arange(1, 31 if b else 13)
        return 2 ** (detuning(key) / 1200) * h * np.sqrt((1 + b * h**2) / (1 + b))

    cents, stretch, ratios = measured(string, chords)
    np.testing.assert_allclose(cents[KEYS], detuning(KEYS), atol=0.5)
    np.testing.assert_allclose(stretch[KEYS], b, rtol=0.1)
    assert ratios.tolist() == list(range(1, 13))


def test_bars_and_their_detuning() -> None:
    for spread in (0.0, 12.0):
        expected = np.where(KEYS % 8, spread, -spread)
        by_key = dict(zip(KEYS.tolist(), expected, strict=True))
        cents, stretch, ratios = measured(lambda key, by_key=by_key: MODES * 2 ** (by_key[key] / 1200), tilt=0)
        deviations = 1200 * np.log2(ratios / MODES)
        np.testing.assert_allclose(deviations, np.median(deviations), atol=2)
        np.testing.assert_allclose(cents[KEYS] + np.median(deviations), expected, atol=2)
        assert not stretch.any()


def test_a_mode_that_one_key_in_ten_has_and_where_its_level_begins() -> None:
    own = np.array([1.0, 2.74, 6.37])
    samples, notes = recording(lambda key: own if key == KEYS[-1] else MODES, tilt=0.3)
    found = measure([(samples, notes)], RATE_HZ, SMALL)[1]
    np.testing.assert_allclose(found["ratios"], [*MODES, own[-1]], rtol=2e-3)
    level_db = 20 * math.log10(math.e) * TABLE_SCALE * found["gain.weight"][KEYS]
    np.testing.assert_allclose(level_db[0, :4], [0, -1.81, -2.86, -60], atol=0.5)
    np.testing.assert_allclose(level_db[-1, :4], [0, -1.81, -60, -2.86], atol=0.5)
    assert not level_db[:, 4:].any()  # noise


def test_a_single_lone_note_whose_key_is_wrong_makes_no_bell() -> None:
    chords = find_peaks(*recording(lambda key: np.arange(1.0, 13.0), chords=2), RATE_HZ)
    lone = find_peaks(*recording(lambda key: MODES, tilt=0), RATE_HZ)[:1]
    assert measure_frequencies(chords + lone, 5)[2].tolist() == [1, 2, 3, 4, 5]
    assert [note.alone for note in (*chords, *lone)] == [False] * len(KEYS) + [True]


def test_an_instrument_without_peaks_is_harmonic_and_in_tune() -> None:
    cents, stretch, ratios = measure_frequencies([], 5)
    assert ratios.tolist() == [1, 2, 3, 4, 5]
    assert not cents.any()
    assert not stretch.any()


@pytest.mark.parametrize(
    ("keys", "velocity", "length_s", "n"),
    [
        ([60], 90, 0.5, 1),
        ([60], 29, 0.5, 0),
        ([60], 90, 0.25, 0),
        ([60, 62, 65, 69], 90, 0.5, 4),
        ([60, 62, 65, 69, 70], 90, 0.5, 0),
    ],
)
def test_soft_and_short_notes_and_clusters_are_not_measured(
    keys: Sequence[int], velocity: int, length_s: float, n: int
) -> None:
    samples, zeros = np.random.default_rng(0).integers(-99, 99, RATE_HZ), np.zeros(len(keys))
    notes = make_notes(np.array(keys), zeros + velocity, zeros, zeros + int(length_s * RATE_HZ), RATE_HZ)
    assert len(find_peaks(samples, notes, RATE_HZ)) == n


def ringing(keys: np.ndarray, times_s: np.ndarray) -> tuple[np.ndarray, Notes]:
    """Notes of 0.5 s every 4 s that fall by 50 dB in these times after the release."""
    onset = np.arange(len(keys)) * 4 * RATE_HZ
    time_s = np.arange(4 * RATE_HZ) / RATE_HZ
    level_db = -50 / times_s[:, None] * np.maximum(time_s - 0.5, 0)
    tones = np.sin(2 * np.pi * 440 * 2 ** ((keys[:, None] - 69) / 12) * time_s)
    notes = make_notes(keys, np.full(len(keys), 90), onset, onset + RATE_HZ // 2, RATE_HZ)
    return (25_000 * 10 ** (level_db / 20) * tones).ravel().astype(np.int16), notes


def test_release_times_within_their_limits() -> None:
    keys = np.arange(50, 90, 2)
    times = release_times([ringing(keys, np.where(keys < 70, 0.4, 1.5))], RATE_HZ)
    assert times.shape == (128,)
    np.testing.assert_allclose(times[[0, 50, 60]], 1.2 * 0.4, atol=0.05)
    np.testing.assert_allclose(times[[80, 88, 127]], 1.2 * 1.5, atol=0.05)
    for fall_s, limit_s in ((0.03, 0.1), (8.0, 3)):
        np.testing.assert_allclose(release_times([ringing(keys[:10], np.full(10, fall_s))], RATE_HZ), limit_s)


def test_a_release_that_cannot_be_heard_alone_is_not_measured() -> None:
    samples, notes = ringing(np.array([60]), np.array([0.4]))
    onset = np.array([0, RATE_HZ // 2])
    struck_at_once = make_notes(np.array([60, 64]), np.array([90, 90]), onset, onset + RATE_HZ // 2, RATE_HZ)
    soft = notes._replace(velocity=np.array([39]))
    for pieces in ((samples[: RATE_HZ * 9 // 8], struck_at_once), (samples, soft)):
        assert (release_times([pieces], RATE_HZ) == 1).all()


def test_measured_weights_fit_the_completed_config() -> None:
    keys = np.arange(50, 62, 3)
    config, found = measure([ringing(keys, np.full(4, 0.5))], RATE_HZ, SMALL)
    assert config.longest_s == 2  # at least the length of what is repeated beyond it
    shapes = config.shapes()
    assert {name: value.shape for name, value in found.items()} == {name: shapes[name] for name in found}
    assert found["nearest"][[0, 50, 51, 52, 127]].tolist() == [50, 50, 50, 53, 59]
    np.testing.assert_allclose(found["release_s"], 0.6, atol=0.05)
    long = make_notes(np.array([60]), np.array([90]), np.array([0]), np.array([3 * RATE_HZ]), RATE_HZ)
    assert measure([(np.zeros(4 * RATE_HZ, np.int16), long)], RATE_HZ, SMALL)[0].longest_s == 3


def test_keys_without_a_value_take_the_nearest_ones() -> None:
    filled = fill_keys({40: 1.0, 50: 2.0})
    assert (filled[0], filled[44], filled[46], filled[127]) == (1, 1, 2, 2)
    assert not fill_keys({}).any()
