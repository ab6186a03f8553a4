"""The log-spectral distance against one written out."""

from __future__ import annotations

import numpy as np
import pytest

from synthnet.evaluation.spectral import FFT_SIZES, log_spectral_distance_db
from synthnet.files import InputError

RATE = 16_000


def music(seed: int) -> np.ndarray:
    """Notes with 12 falling partials that die away, one every 0.4 s, over a noise at -66 dB."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(3 * RATE) / RATE
    sound = 5e-4 * np.random.default_rng(seed + 1).standard_normal(len(time_s))
    for start_s in np.arange(0.05, 3, 0.4):
        hz, age_s = 440 * 2 ** (rng.integers(-24, 12) / 12), (time_s - start_s).clip(0)
        for order in range(1, 13):
            loud = 0.2 * order**-1.5 * np.exp(-age_s * (1 + order / 2)) * (time_s >= start_s)
            sound += loud * np.sin(2 * np.pi * hz * order * age_s) * (hz * order < 7_000)
    return sound.astype(np.float32)


def written_out(reference: np.ndarray, test: np.ndarray) -> float:
    means = []
    for size in FFT_SIZES:
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        padded = [np.pad(x.astype(np.float64), size // 2, mode="reflect") for x in (reference, test)]
        theirs, mine = (
            np.abs([np.fft.rfft(window * x[at : at + size]) for at in range(0, len(x) - size + 1, size // 4)])
            for x in padded
        )
        floor = 1e-4 * theirs.max()
        means.append(np.abs(20 * np.log10(np.maximum(theirs, floor) / np.maximum(mine, floor))).mean())
    return float(np.mean(means))


class TestLogSpectralDistance:
    def test_agrees_with_a_transform_written_out(self) -> None:
        reference, test = music(0), music(2)
        assert log_spectral_distance_db(reference, test, RATE) == pytest.approx(written_out(reference, test), rel=1e-3)

    def test_half_the_amplitude_is_6_db(self) -> None:
        noise = np.random.default_rng(0).standard_normal(25 * RATE).astype(np.float32)  # three blocks
        assert log_spectral_distance_db(noise, noise / 2, RATE) == pytest.approx(20 * np.log10(2), abs=1e-3)

    def test_silence_is_no_distance_from_silence_and_all_of_the_range_from_a_sound(self) -> None:
        silence = np.zeros(RATE, np.float32)
        assert log_spectral_distance_db(silence, silence, RATE) == 0
        assert log_spectral_distance_db(music(0)[:RATE], silence, RATE) > 10

    def test_what_is_80_db_down_does_not_count(self) -> None:
        time_s = np.arange(RATE) / RATE
        tone = np.sin(2 * np.pi * 1000 * time_s).astype(np.float32)
        hiss = 1e-6 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
        assert log_spectral_distance_db(tone, tone + hiss, RATE) < 0.02

    def test_refuses_what_cannot_be_compared(self) -> None:
        for length in (100, RATE - 1):
            with pytest.raises(InputError, match="one length"):
                log_spectral_distance_db(np.zeros(length, np.float32), np.zeros(min(length, 100), np.float32), RATE)
