"""Level, bursts and collapses on sounds made to have them."""

from __future__ import annotations

import numpy as np
import pytest

from synthnet.evaluation.level import collapsed_seconds, fitted_level, level_db, level_difference_db, start_burst_db
from synthnet.files import InputError

RATE = 16_000


def noise(n: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(n)).astype(np.float32)


def sine(n: int, hz: float = 261.6) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(n) / RATE)).astype(np.float32)


class TestLevel:
    def test_known_decibels(self) -> None:
        x = noise(RATE)
        assert level_difference_db(x, x / 2) == pytest.approx(-6.0206, abs=1e-4)
        assert level_difference_db(x, 10 * x) == pytest.approx(20, abs=1e-4)

    def test_a_sine_is_3_db_below_its_amplitude(self) -> None:
        assert level_db(sine(RATE, 1000.0) / 3) == pytest.approx(-20 - 10 * np.log10(2), abs=1e-3)
        assert level_db(np.zeros((2, 10)), -120.0).tolist() == [-120, -120]

    def test_a_fitted_level_is_that_of_the_reference(self) -> None:
        assert fitted_level(noise(RATE), 3 * noise(RATE)) == pytest.approx(noise(RATE), rel=1e-5)
        np.testing.assert_array_equal(fitted_level(noise(RATE), np.zeros(100)), np.zeros(100))

    def test_silence_is_90_decibels_down(self) -> None:
        silence, x = np.zeros(RATE, np.float32), np.ones(RATE, np.float32)
        assert level_difference_db(silence, silence) == 0
        assert level_difference_db(x, silence) == pytest.approx(-90)
        assert level_difference_db(silence[:0], silence[:0]) == 0


class TestStartBurst:
    music = np.concatenate([np.zeros(RATE // 2, np.float32), 0.5 * sine(2 * RATE)])  # half a second of rest

    def test_none(self) -> None:
        assert start_burst_db(self.music, self.music, RATE // 2, RATE) <= 0
        assert start_burst_db(self.music, self.music / 4, RATE // 2, RATE) < 0

    def test_a_louder_attack(self) -> None:
        burst = self.music.copy()
        burst[RATE // 2 : RATE // 2 + RATE // 10] *= 4
        assert start_burst_db(self.music, burst, RATE // 2, RATE) == pytest.approx(12.04, abs=0.1)
        later = self.music.copy()
        later[2 * RATE :] *= 4
        assert start_burst_db(self.music, later, RATE // 2, RATE) < 1

    def test_noise_before_the_first_note(self) -> None:
        level = np.sqrt(np.mean(self.music**2))
        burst, hiss = self.music.copy(), self.music.copy()
        burst[: RATE // 4] = level * noise(RATE // 4) / 0.1
        hiss[: RATE // 4] = 0.03 * burst[: RATE // 4]
        assert start_burst_db(self.music, burst, RATE // 2, RATE) == pytest.approx(30, abs=1)  # 30 dB below counts as 0
        assert start_burst_db(self.music, hiss, RATE // 2, RATE) < 1

    def test_a_little_early_is_no_burst(self) -> None:
        early = np.roll(self.music, -RATE // 100)
        assert start_burst_db(self.music, early, RATE // 2, RATE) < 1

    def test_too_short(self) -> None:
        with pytest.raises(InputError, match="50 ms"):
            start_burst_db(self.music[:700], self.music[:700], 0, RATE)


class TestCollapse:
    def test_seconds_far_below_the_reference(self) -> None:
        x = noise(5 * RATE + 99)
        test = x.copy()
        test[RATE : 2 * RATE] = 0
        test[2 * RATE : 3 * RATE] *= 10 ** (-21 / 20)
        test[3 * RATE : 4 * RATE] *= 10 ** (-19 / 20)
        assert collapsed_seconds(x, test, RATE).tolist() == [1, 2]

    def test_a_rest_is_no_collapse(self) -> None:
        x = noise(3 * RATE)
        x[RATE : 2 * RATE] *= 10 ** (-35 / 20)
        test = x.copy()
        test[RATE : 2 * RATE] = 0
        assert collapsed_seconds(x, test, RATE).tolist() == []
        assert collapsed_seconds(0 * x, 0 * x, RATE).tolist() == []
