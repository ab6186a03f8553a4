"""Corruption and noise have the distributions that they claim, and depend on the slice's number alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from synthnet.audio import decode_mu_law
from synthnet.corruption import LEAST_NOISE, STEEPEST_NOISE, add_noise, corrupt


def test_corruption_replaces_shares_up_to_the_most() -> None:
    x = torch.full((200, 2_000), 300)  # a class that noise never draws
    share = (corrupt(x, 0.6, seed=1, first_slice=0) != 300).double().mean(dim=1)
    assert share.max() < 0.65
    assert share.mean() == pytest.approx(0.3, abs=0.04)
    assert share.std() == pytest.approx(0.6 / math.sqrt(12), abs=0.02)
    # A slice's corruption depends on its number alone, not on the batch that it comes in.
    assert torch.equal(corrupt(x, 0.6, seed=1, first_slice=0)[5:7], corrupt(x[:2], 0.6, seed=1, first_slice=5))


def test_noise_has_log_uniform_levels_and_all_colours_from_white_to_brown() -> None:
    loud = torch.full((300, 2_000), 230)  # classes are 3% apart there
    levels = (decode_mu_law(add_noise(loud, 0.2, seed=1, first_slice=0).numpy()) - decode_mu_law(np.array(230))).std(
        axis=1
    )
    logs = np.log(levels[levels > 0.02] / LEAST_NOISE) / math.log(0.2 / LEAST_NOISE)
    assert scipy.stats.kstest(logs, "uniform", (0.5, 0.5)).pvalue > 0.01
    assert (levels > 0.02).mean() == pytest.approx(0.5, abs=0.1)
    noise = decode_mu_law(add_noise(loud, 0.2, seed=1, first_slice=0).numpy())[levels > 0.02]
    power = np.abs(np.fft.rfft(noise - noise.mean(axis=1, keepdims=True)))[:, 1:] ** 2
    octaves = np.log([power[:, 2**k - 1 : 2 ** (k + 1) - 1].mean(axis=1) for k in range(3, 9)])  # [6, rows]
    slopes = -np.diff(octaves, axis=0).mean(axis=0) / math.log(2) / 2  # of amplitude over frequency
    assert -0.2 < slopes.min() < 0.2
    assert STEEPEST_NOISE - 0.2 < slopes.max() < STEEPEST_NOISE + 0.2
    assert slopes.mean() == pytest.approx(STEEPEST_NOISE / 2, abs=0.1)
    assert torch.equal(
        add_noise(loud, 0.2, seed=1, first_slice=0)[5:7], add_noise(loud[:2], 0.2, seed=1, first_slice=5)
    )
    assert not torch.equal(
        add_noise(loud[:1], 0.2, seed=1, first_slice=0), add_noise(loud[:1], 0.2, seed=2, first_slice=0)
    )
