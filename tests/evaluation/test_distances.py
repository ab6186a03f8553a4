"""RMSE-CQT at both floors against librosa; the log-spectral distance against one written out."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import soxr

from synthnet.evaluation.cqt import rmse_cqt_at_floors, rmse_cqt_db
from synthnet.evaluation.distances import Distances, distances, mean_distances
from synthnet.evaluation.level import fitted_level
from synthnet.evaluation.spectral import FFT_SIZES, log_spectral_distance_db
from synthnet.files import InputError

RATE = 16_000


def music(seed: int, seconds: int = 3, rate: int = RATE) -> np.ndarray:
    """Notes with 12 falling partials that die away, one every 0.4 s, over a noise at -66 dB."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(seconds * rate) / rate
    sound = 5e-4 * np.random.default_rng(seed + 1).standard_normal(len(time_s))
    for start_s in np.arange(0.05, seconds, 0.4):
        hz, age_s = 440 * 2 ** (rng.integers(-24, 12) / 12), (time_s - start_s).clip(0)
        for order in range(1, 13):
            loud = 0.2 * order**-1.5 * np.exp(-age_s * (1 + order / 2)) * (time_s >= start_s)
            sound += loud * np.sin(2 * np.pi * hz * order * age_s) * (hz * order < 7_000)
    return sound.astype(np.float32)


def by_librosa(reference: np.ndarray, test: np.ndarray, floor_db: float) -> np.ndarray:
    figures = []
    for start in range(0, len(reference) - RATE + 1, RATE):
        theirs, mine = (
            np.abs(librosa.cqt(x[start : start + RATE], sr=RATE, hop_length=512, fmin=32.703, n_bins=84))
            for x in (reference, test)
        )
        floor = theirs.max() * 10 ** (floor_db / 20)
        difference = 20 * np.log10(np.maximum(theirs, floor) / np.maximum(mine, floor))
        figures.append(np.sqrt(np.mean(difference**2)))
    return np.array(figures)


class TestRmseCqtAtFloors:
    def test_agrees_with_librosa_at_both_floors(self) -> None:
        reference, test = music(0), music(2)
        for figures, floor in zip(rmse_cqt_at_floors(reference, test, RATE), (-80.0, -50.0), strict=True):
            assert figures == pytest.approx(by_librosa(reference, test, floor), abs=1)
            assert figures.min() > 4

    def test_is_the_metric_of_the_paper_at_the_lower_floor(self) -> None:
        reference, test = music(0), music(2)
        both = rmse_cqt_at_floors(reference, test, RATE)
        assert both.shape == (2, 3)
        np.testing.assert_array_equal(both[0], rmse_cqt_db(reference, test, RATE))

    def test_higher_rates_give_the_figures_of_16_khz(self) -> None:
        reference, test = music(0), music(2)
        high = [soxr.resample(x, RATE, 44_100, quality="VHQ") for x in (reference, test)]
        at_44_100, at_16_000 = rmse_cqt_at_floors(*high, 44_100), rmse_cqt_at_floors(reference, test, RATE)
        assert at_44_100 == pytest.approx(at_16_000, abs=0.2)

    def test_half_the_amplitude_of_a_steady_sound_costs_at_most_6_db(self) -> None:
        noise = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
        (at_80,), (at_50,) = rmse_cqt_at_floors(noise, noise / 2, RATE)
        assert at_80 == pytest.approx(20 * np.log10(2), abs=0.01)  # all bins of white noise are above the floor
        assert at_50 <= at_80

    def test_refuses_what_cannot_be_compared(self) -> None:
        with pytest.raises(InputError, match="one length"):
            rmse_cqt_at_floors(music(0), music(0)[1:], RATE)
        for floor in (-90.0, 0.0):
            with pytest.raises(ValueError, match="floors"):
                rmse_cqt_at_floors(music(0), music(0), RATE, [floor])


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


def test_all_distances_and_their_mean() -> None:
    reference, test = music(0), music(2)
    one, none = distances(reference, test, RATE), distances(reference, reference, RATE)
    assert none == Distances(0, 0, 0, 0)
    assert one.rmse_cqt_db == rmse_cqt_db(reference, test, RATE).mean() > one.rmse_cqt_50_db > 0
    assert mean_distances([one, none]).as_dict() == pytest.approx({k: v / 2 for k, v in one.as_dict().items()})


def test_a_fitted_level_is_the_reference_s() -> None:
    reference, silence = music(0), np.zeros(100, np.float32)
    assert fitted_level(reference, 3 * reference) == pytest.approx(reference, rel=1e-5)
    np.testing.assert_array_equal(fitted_level(reference, silence), silence)
