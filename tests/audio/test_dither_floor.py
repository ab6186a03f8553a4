"""The dither floor against a closed form and against draws."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from synthnet.audio.mulaw import DITHER_WIDTH, dither, dither_floor_nats, encode_mu_law


class TestDitherFloor:
    def test_silence_in_closed_form(self) -> None:
        f = (2 * np.arange(1, 256) - 256) / 255
        boundary = np.concatenate([[-1], np.sign(f) * (256.0 ** np.abs(f) - 1) / 255, [1]])
        share = np.diff(scipy.stats.triang(0.5, loc=-DITHER_WIDTH, scale=2 * DITHER_WIDTH).cdf(boundary))
        share = share[share > 0]
        assert dither_floor_nats(np.zeros(1000, np.float32)) == pytest.approx(-(share @ np.log(share)))

    def test_against_draws(self) -> None:
        clean = np.array([0.0, 0.0004, -0.01, 0.03, -0.2, 0.7])
        rng, n = np.random.default_rng(9), 200_000
        entropies = [
            scipy.stats.entropy(np.bincount(encode_mu_law(value + dither(n, rng)), minlength=256)) for value in clean
        ]
        assert dither_floor_nats(clean) == pytest.approx(np.mean(entropies), abs=0.003)

    def test_every_sample_counts(self) -> None:
        quiet, loud = dither_floor_nats(np.zeros(1)), dither_floor_nats(np.array([0.7]))
        assert quiet > 2 > loud
        mixed = np.concatenate([np.zeros(30), np.full(10, 0.7)])
        assert dither_floor_nats(mixed) == pytest.approx((3 * quiet + loud) / 4)
        many = np.arange(-20_000, 20_000) / 32768  # more levels than are worked on at once
        single = [dither_floor_nats(many[start : start + 100]) for start in range(0, len(many), 100)]
        assert dither_floor_nats(many) == pytest.approx(np.mean(single))

    def test_clipped_sound_has_no_entropy(self) -> None:
        assert dither_floor_nats(np.array([-1.0, 1.0])) == 0.0

    def test_nothing(self) -> None:
        with pytest.raises(ValueError, match="no samples"):
            dither_floor_nats(np.zeros(0))
