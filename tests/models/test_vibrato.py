"""Pitch curves and vibrato of tones whose frequency is known in closed form, and of a teacher's, moved in time."""

from __future__ import annotations

import numpy as np
import pytest

from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.models import vibrato
from synthnet.models.config import HarmonicConfig
from synthnet.models.envelopes import Notes, make_notes
from synthnet.models.vibrato import STEP_S, fit_vibrato, measure_vibrato, pitch_curves
from synthnet.score.notes import Note

RATE_HZ = 22_050
EQUAL = np.zeros(128)


def tone(key: int, cents: np.ndarray, seed: int = 0) -> np.ndarray:
    """Partials 1 / h with random phases, at so many cents [n] from a key, and noise at -60 dB."""
    rng = np.random.default_rng(seed)
    hz = 440 * 2 ** ((key - 69 + cents / 100) / 12)
    orders = np.arange(1, int(10_000 / hz.max()) + 1)
    cycles = orders[:, None] * np.cumsum(hz) / RATE_HZ + rng.random((len(orders), 1))
    x = (np.sin(2 * np.pi * cycles) / orders[:, None]).sum(axis=0)
    return x / np.abs(x).max() + 1e-3 * rng.standard_normal(len(x))


def together(*rows: tuple[int, float, float]) -> Notes:
    """Notes of (key, onset in seconds, release in seconds)."""
    key, onset, release = np.array(rows, float).T
    return make_notes(key, np.full(len(key), 80), onset * RATE_HZ, release * RATE_HZ, RATE_HZ)


def middles(curve: np.ndarray) -> np.ndarray:
    return STEP_S * (np.arange(len(curve)) + 0.5)


@pytest.mark.parametrize("key", [45, 55, 62, 76, 98])
def test_a_vibrato_is_followed(key: int) -> None:
    rng, t = np.random.default_rng(key), np.arange(int(0.7 * RATE_HZ)) / RATE_HZ
    for seed in range(4):
        rate_hz, depth, tuning = rng.uniform(4.5, 7.5), rng.uniform(8, 35), rng.uniform(-20, 20)
        cents = tuning + depth * np.sin(2 * np.pi * rate_hz * t + rng.uniform(0, 6))
        (curve,) = pitch_curves(tone(key, cents, seed), together((key, 0, 0.7)), EQUAL, RATE_HZ)
        assert len(curve) == 140
        found_hz, found_depth, explained = (float(x[0]) for x in fit_vibrato(curve[None, 12:]))
        assert found_hz == pytest.approx(rate_hz, abs=0.3)
        assert found_depth == pytest.approx(depth, abs=4)
        assert explained > 0.95
        if key > 50:  # below, a window of four periods smooths as much as that of 50 ms
            np.testing.assert_allclose(curve[20:-16], np.interp(middles(curve), t, cents)[20:-16], atol=4.5)


def test_tuning_counts_from_the_keys() -> None:
    keys, tuning = np.arange(50, 90, 3), 25 * np.sin(np.arange(14))
    cents = np.full(128, 7.0)
    for key, deviation in zip(keys, tuning, strict=True):
        samples = tone(key, np.full(int(0.2 * RATE_HZ), 7 + deviation))
        (curve,) = pitch_curves(samples, together((key, 0, 0.2)), cents, RATE_HZ)
        assert np.median(curve[12:]) == pytest.approx(deviation, abs=1)


def test_partials_that_others_cover_are_not_followed() -> None:
    n = RATE_HZ // 2
    samples = np.concatenate([tone(57, np.full(n, 12.0)) + tone(64, np.full(n, -9.0)), np.zeros(n)])
    notes = together((57, 0, 0.5), (64, 0, 0.5))
    low, high = pitch_curves(samples, notes, EQUAL, RATE_HZ)
    assert np.median(low) == pytest.approx(12, abs=3)  # by its first partial
    assert not high.any()
    low, high = pitch_curves(samples, together((57, 0, 0.5), (69, 0, 0.5)), EQUAL, RATE_HZ)
    assert (low.any(), high.any()) == (True, False)  # all partials of an octave lie on those of the lower key
    short = pitch_curves(samples, together((57, 0, 0.05)), EQUAL, RATE_HZ)
    assert (len(short[0]), short[0].any()) == (10, False)


def test_the_players_vibrato(monkeypatch: pytest.MonkeyPatch) -> None:
    t, rng = STEP_S * np.arange(140), np.random.default_rng(0)
    moving = [15 * np.sin(2 * np.pi * 6.2 * t + rng.uniform(0, 6)) + rng.normal(0, 2, 140) for _ in range(4)]
    still = [rng.normal(0, 2, 140) for _ in range(4)]
    slow = [15 * np.sin(2 * np.pi * 2 * t)]

    def measured(*curves: np.ndarray) -> tuple[float, float]:
        monkeypatch.setattr(vibrato, "pitch_curves", lambda samples, notes, cents, rate: list(curves))
        return measure_vibrato([(np.zeros(1), together((60, 0, 1)))], EQUAL, RATE_HZ)

    rate_hz, depth = measured(*moving, *still, np.zeros(140), np.full(50, 30.0))
    assert rate_hz == pytest.approx(6.2, abs=0.2)
    assert depth == pytest.approx(16, abs=1.5)  # the Hann window takes 7% of such a swing
    for curves in (still, slow, [], [np.zeros(140)], [moving[0][:71]], [moving[0], *still, *still]):
        assert measured(*curves)[1] == 0
    assert measure_vibrato([], EQUAL, RATE_HZ) == (HarmonicConfig.vibrato_hz, 0)  # as in a config without one


def test_a_teachers_clarinet_with_a_vibrato() -> None:
    """Resampled to 17 cents above; from 0.25 s on read to and fro, which bends it by 20 cents at 5.5 Hz."""
    keys, sharp, swing = [57, 62, 66, 69, 74, 81], 2 ** (17 / 1200), 2 * np.pi * 5.5
    onset_s, since_s = 0.9 * np.arange(6), np.arange(int(0.8 * RATE_HZ)) / RATE_HZ
    score = [Note(key, 90, start_s, start_s + 0.85) for key, start_s in zip(keys, onset_s, strict=True)]
    audio = Teacher(find_soundfont(), 71, RATE_HZ).play(score, 6.0)
    bend = (2 ** (20 / 1200) - 1) / swing * (1 - np.cos(swing * np.maximum(since_s - 0.25, 0)))
    read_s = onset_s[:, None] + sharp * since_s + bend
    moved = np.interp(read_s.ravel(), np.arange(len(audio)) / RATE_HZ, audio)
    notes = together(*((key, 0.8 * i, 0.8 * (i + 1)) for i, key in enumerate(keys)))
    curves = np.array(pitch_curves(moved, notes, EQUAL, RATE_HZ))
    assert (np.abs(np.median(curves[:, 12:46], axis=1) - 17) < 3).sum() >= 5
    rate_hz, depth, _ = fit_vibrato(curves[:, 55:-5])
    np.testing.assert_allclose(rate_hz, 5.5, atol=0.3)
    np.testing.assert_allclose(depth, 20, atol=4)
    rate_hz, depth = measure_vibrato([(moved, notes)], EQUAL, RATE_HZ)
    assert rate_hz == pytest.approx(5.5, abs=0.3)
    assert depth == pytest.approx(20, abs=4)
