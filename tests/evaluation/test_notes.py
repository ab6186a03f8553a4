"""Levels, centroids and held notes of players whose figures are known in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from synthnet.evaluation.notes import VELOCITIES, held_notes, note_levels, spectral_centroid_hz, tried_keys
from synthnet.score.general_midi import find_instrument
from synthnet.score.notes import Note

RATE = 16_000
DECAY_S = 0.8


def sine(hz: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def steady(
    notes: Sequence[Note], n_samples: int, rate: int, power: float = 1.0, decay_s: float = math.inf
) -> np.ndarray:
    """A sine for each note, with the amplitude (velocity / 127)^power, that dies away."""
    out = np.zeros(n_samples)
    for note in notes:
        age_s = np.arange(n_samples) / rate - note.start_s
        loud = (note.velocity / 127) ** power * np.exp(-age_s.clip(0) / decay_s) * (age_s >= 0)
        out += loud * np.sin(2 * np.pi * 440 * 2 ** ((note.pitch - 69) / 12) * age_s)
    return out.astype(np.float32)


def decaying(notes: Sequence[Note], n_samples: int, rate: int) -> np.ndarray:
    return steady(notes, n_samples, rate, decay_s=DECAY_S)


def squared(notes: Sequence[Note], n_samples: int, rate: int) -> np.ndarray:
    return steady(notes, n_samples, rate, power=2)


class TestSpectralCentroid:
    def test_of_a_sine_is_its_frequency(self) -> None:
        for hz in (300.0, 1234.5, 5000.0):
            assert spectral_centroid_hz(sine(hz), RATE) == pytest.approx(hz, rel=1e-3)

    def test_of_two_sines_is_their_mean_by_power(self) -> None:
        assert spectral_centroid_hz(2 * sine(1000) + sine(4000), RATE) == pytest.approx((4 * 1000 + 4000) / 5, rel=1e-3)

    def test_of_white_noise_is_the_middle_of_the_band(self) -> None:
        noise = np.random.default_rng(0).standard_normal(10 * RATE)
        assert spectral_centroid_hz(noise, RATE) == pytest.approx(RATE / 4, rel=0.02)

    def test_of_silence_is_0(self) -> None:
        assert spectral_centroid_hz(np.zeros(100), RATE) == 0


class TestNoteLevels:
    def test_levels_follow_the_player_s_law(self) -> None:
        figures = note_levels(squared, steady, (60, 72), RATE)
        law = [20 * math.log10(velocity / 127) for velocity in VELOCITIES]
        for row, teacher_row in zip(figures.level_db, figures.teacher_level_db, strict=True):
            assert row == pytest.approx([2 * level for level in law], abs=0.01)
            assert teacher_row == pytest.approx(law, abs=0.01)
        assert figures.worst_level_db == pytest.approx(-law[0], abs=0.01)

    def test_centroids_are_compared_as_shares(self) -> None:
        def a_fifth_up(notes: Sequence[Note], n_samples: int, rate: int) -> np.ndarray:
            return steady([Note(n.pitch + 7, n.velocity, n.start_s, n.end_s) for n in notes], n_samples, rate)

        figures = note_levels(a_fifth_up, steady, (69,), RATE)
        assert figures.teacher_centroid_hz == pytest.approx(np.full((1, 6), 440), rel=0.01)
        assert figures.worst_centroid == pytest.approx(2 ** (7 / 12) - 1, abs=0.02)


class TestHeldNotes:
    def test_a_decay_is_measured(self) -> None:
        figures = held_notes(decaying, steady, (60,), RATE)
        (row,) = figures.level_db
        assert figures.moments_s == (1.0, 2.0, 4.0, 6.0, 8.0)
        slope = 20 / math.log(10) / DECAY_S
        assert np.diff(row) == pytest.approx([-slope, -2 * slope, -2 * slope, -2 * slope], abs=0.05)
        assert row[0] == pytest.approx(-slope * (1 - 0.125), abs=0.01)  # the loudest window begins at the onset
        assert figures.teacher_level_db[0] == pytest.approx([0] * 5, abs=0.05)
        assert figures.worst_db == pytest.approx(-row[-1], abs=0.02)

    def test_what_the_teacher_has_below_50_db_is_not_compared(self) -> None:
        figures = held_notes(steady, decaying, (60,), RATE)
        heard = [level for level in figures.teacher_level_db[0] if level > -50]
        assert len(heard) == 3
        assert figures.worst_db == pytest.approx(-heard[-1], abs=0.02)


def test_a_low_a_middle_and_a_high_key_are_tried() -> None:
    assert tried_keys(find_instrument("trumpet")) == (44, 61, 78)
