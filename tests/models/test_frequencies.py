"""Frequencies measured in strings, reeds and bars that were made with known ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest

from synthnet.models.envelopes import Notes, make_notes
from synthnet.models.frequencies import find_peaks, measure_frequencies

RATE_HZ = 16_000
KEYS = np.arange(40, 77, 4)

Ratios = Callable[[int], np.ndarray]  # of a key's partials to its frequency in equal temperament


class Found(NamedTuple):
    cents: np.ndarray
    stretch: np.ndarray
    ratios: np.ndarray


def recording(keys: Sequence[int], ratios: Ratios, chords: int = 1, tilt: float = 1.0) -> tuple[np.ndarray, Notes]:
    """Notes of 0.7 s every 1.1 s, so many at a time, of partials with amplitudes 1 / h^tilt and phases by chance."""
    rng = np.random.default_rng(0)
    place = np.arange(len(keys)) // chords
    onset = (1.1 * RATE_HZ * place).astype(int)
    length = int(0.7 * RATE_HZ)
    samples = np.zeros(onset[-1] + 2 * length)
    time_s = np.arange(length) / RATE_HZ
    for key, start in zip(keys, onset, strict=True):
        hz = 440 * 2 ** ((key - 69) / 12) * ratios(key)
        for h, partial_hz in enumerate(hz[hz < 0.49 * RATE_HZ]):
            phase = rng.uniform(0, 2 * np.pi)
            samples[start : start + length] += np.sin(2 * np.pi * partial_hz * time_s + phase) / (h + 1) ** tilt
    samples = (samples / np.abs(samples).max() * 25_000).astype(np.int16)
    return samples, make_notes(np.array(keys), np.full(len(keys), 90), onset, onset + length, RATE_HZ)


def measured(keys: Sequence[int], ratios: Ratios, partials: int = 20, chords: int = 1, tilt: float = 1.0) -> Found:
    samples, notes = recording(keys, ratios, chords, tilt)
    peaks = find_peaks(samples, notes, RATE_HZ)
    assert len(peaks) == len(keys)
    return Found(*measure_frequencies(peaks, partials))


def detuning(key: int) -> float:
    return 8 - 0.4 * (key - 55)


@pytest.mark.parametrize("b", [1e-4, 4e-4, 2e-3])
def test_stretched_strings(b: float) -> None:
    def string(key: int) -> np.ndarray:
        h = np.arange(1, 31)
        return 2 ** (detuning(key) / 1200) * h * np.sqrt((1 + b * h**2) / (1 + b))

    found = measured(KEYS, string)
    np.testing.assert_allclose(found.cents[KEYS], detuning(KEYS), atol=0.5)
    np.testing.assert_allclose(found.stretch[KEYS], b, rtol=0.1)
    assert found.ratios.tolist() == list(range(1, 21))


@pytest.mark.parametrize("chords", [1, 2])
def test_reeds_are_harmonic(chords: int) -> None:
    def reed(key: int) -> np.ndarray:
        return 2 ** (detuning(key) / 1200) * np.arange(1, 13)

    found = measured(KEYS, reed, partials=12, chords=chords)
    np.testing.assert_allclose(found.cents[KEYS], detuning(KEYS), atol=0.5)
    assert not found.stretch.any()
    assert found.ratios.tolist() == list(range(1, 13))


def test_bars() -> None:
    modes = np.array([1.0, 2.74, 5.38])
    found = measured(KEYS, lambda key: modes, tilt=0)
    np.testing.assert_allclose(1200 * np.log2(found.ratios / modes), 0, atol=2)
    np.testing.assert_allclose(found.cents[KEYS], 0, atol=2)
    assert not found.stretch.any()


def test_bars_may_be_out_of_tune() -> None:
    modes = np.array([1.0, 2.74, 5.38])
    cents = {int(key): 12.0 if key % 8 else -12.0 for key in KEYS}
    found = measured(KEYS, lambda key: modes * 2 ** (cents[key] / 1200), tilt=0)
    middle = np.median(1200 * np.log2(found.ratios / modes))
    for key in cents:
        assert found.cents[key] + middle == pytest.approx(cents[key], abs=2)


def test_nothing_heard_is_harmonic_and_in_tune() -> None:
    found = Found(*measure_frequencies([], 5))
    assert found.ratios.tolist() == [1, 2, 3, 4, 5]
    assert not found.cents.any()
    assert not found.stretch.any()


def test_notes_to_measure_are_loud_and_long_and_not_in_a_cluster() -> None:
    samples = np.random.default_rng(0).integers(-99, 99, RATE_HZ)

    def measured_of(keys: Sequence[int], velocity: int = 90, length_s: float = 0.5) -> int:
        n = len(keys)
        release = np.full(n, int(length_s * RATE_HZ))
        notes = make_notes(np.array(keys), np.full(n, velocity), np.zeros(n), release, RATE_HZ)
        return len(find_peaks(samples, notes, RATE_HZ))

    assert measured_of([60]) == 1
    assert measured_of([60], velocity=29) == 0
    assert measured_of([60], length_s=0.25) == 0
    assert measured_of([60, 62, 65, 69]) == 4
    assert measured_of([60, 62, 65, 69, 70]) == 0
