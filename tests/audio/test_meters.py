"""True peak against closed forms and SciPy's resampling, loudness against pyloudnorm."""

from __future__ import annotations

import numpy as np
import pyloudnorm
import pytest
from scipy.signal import resample_poly

from synthnet.audio.meters import Loudness, TruePeak

RATE = 44_100


def true_peak(samples: np.ndarray, n_blocks: int = 1) -> float:
    meter = TruePeak(RATE, samples.shape[1])
    for block in np.array_split(samples.astype(np.float32), n_blocks):
        meter.add(block)
    assert meter.read() == meter.read()
    return meter.read()


def noise(seconds: float, channels: int = 2) -> np.ndarray:
    """Noise whose level goes up and down, with a gap."""
    n = round(seconds * RATE)
    sound = np.random.default_rng(0).standard_normal((n, channels)) * 0.1
    sound *= (1 + 0.8 * np.sin(np.arange(n) / RATE * 3))[:, None]
    sound[n // 3 : n // 2] = 0
    return sound


def test_a_sine_between_its_samples_is_3_db_louder() -> None:
    """At a quarter of the rate, 45 degrees off, all samples are sqrt(1/2) of the amplitude."""
    n = np.arange(RATE)
    fade = np.minimum(1, np.minimum(n, n[::-1]) / 2_000)
    sine = 0.5 * fade * np.sin(np.pi / 2 * n + np.pi / 4)
    assert np.abs(sine).max() == pytest.approx(0.5 * np.sqrt(0.5), rel=1e-6)
    stereo = np.stack([0.3 * sine, sine], axis=1)
    assert 20 * np.log10(true_peak(stereo) / 0.5) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("n_blocks", [1, 7])
def test_true_peak_agrees_with_scipy(n_blocks: int) -> None:
    smooth = resample_poly(np.random.default_rng(1).standard_normal((8_000, 2)), 3, 1, axis=0)  # up to a third
    expected = np.abs(resample_poly(smooth, 4, 1, axis=0, window=("kaiser", 12.0))).max()
    assert 20 * np.log10(true_peak(smooth, n_blocks) / expected) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (48_000, 1), (22_050, 2), (8_000, 2)])
def test_loudness_agrees_with_pyloudnorm(rate: int, channels: int) -> None:
    sound, meter = noise(6, channels), Loudness(rate, channels)
    for block in np.array_split(sound, 11):
        meter.add(block)
    assert meter.read() == pytest.approx(pyloudnorm.Meter(rate).integrated_loudness(sound), abs=0.05)


def test_what_is_short_or_silent_has_no_loudness() -> None:
    for sound in (np.ones((RATE // 3, 2)), np.zeros((RATE, 2)), noise(2) * 1e-4):
        meter = Loudness(RATE, 2)
        meter.add(sound)
        assert meter.read() == -np.inf
