"""Sums of partials and noise against a slow sum in double precision, and their gradients against torch's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from synthnet.kernels.voices import INAUDIBLE, TABLE_SAMPLES, Voices, add_voices, noise_tables, voices_gradient

N, K, H, B = 3, 5, 4, 3


def slow_voices(n_samples: int, tones: Any, noises: Any, *fixed: Any) -> torch.Tensor:
    """The formula of the module, sample by sample, with nothing left out; [N, n_samples]."""
    onset, breakpoints, phases, cycles, ratios, tables, positions = fixed
    rows = []
    for i in range(len(onset)):
        row = torch.zeros(n_samples, dtype=torch.float64)
        for k in range(breakpoints.shape[1] - 1):
            start, length = int(onset[i] + breakpoints[i, k]), int(breakpoints[i, k + 1] - breakpoints[i, k])
            j = np.arange(max(0, -start), min(length, n_samples - start))
            if not len(j):
                continue
            share = torch.from_numpy(j / length)[:, None]
            sines = np.sin(2 * np.pi * np.outer(phases[i, k] + j * cycles[i, k], ratios[i]))
            noise = tables[:, (positions[i] + start + j) % tables.shape[1]].T.astype(np.float64)
            heard = 0
            for levels, sound in ((tones, sines), (noises, noise)):
                moving = levels[i, k].double() * (1 - share) + levels[i, k + 1].double() * share
                heard = heard + (moving * torch.from_numpy(sound)).sum(1)
            row = row.index_add(0, torch.from_numpy(start + j), heard)
        rows.append(row)
    return torch.stack(rows)


def random_voices(seed: int, longest: int) -> tuple[torch.Tensor, torch.Tensor, tuple]:
    """Amplitudes and all else of three voices: one begun before the block, one with it, one in it."""
    rng = np.random.default_rng(seed)
    tones = torch.tensor(rng.uniform(0.01, 0.3, (N, K, H)), dtype=torch.float32)
    noises = torch.tensor(rng.uniform(0.01, 0.1, (N, K, B)), dtype=torch.float32)
    lengths = rng.integers(1, longest, (N, K))
    lengths[:, 0], lengths[1, -1] = 0, 0  # the last breakpoint is repeated where a voice has fewer
    breakpoints = np.cumsum(lengths, axis=1) + 7
    orders = np.arange(1, H + 1)
    ratios = orders * np.sqrt(1 + rng.uniform(0, 1e-3, (N, 1)) * orders**2)
    fixed = (
        np.array([-longest - longest // 3, 0, longest // 2]),
        breakpoints,
        rng.uniform(0, 50, (N, K)),
        rng.uniform(0.01, 0.06, (N, K)),
        ratios,
        rng.standard_normal((B, 257)).astype(np.float32),
        rng.integers(0, 257, N),
    )
    return tones, noises, fixed


@pytest.mark.parametrize("longest", [90, 1500])
@pytest.mark.parametrize("seed", [0, 1])
def test_voices_are_the_sum_of_sines_and_noise(seed: int, longest: int) -> None:
    tones, noises, fixed = random_voices(seed, longest)
    out = np.zeros((N, 2 * longest), np.float32)
    add_voices(out, tones.numpy(), noises.numpy(), Voices(*fixed))
    expected = slow_voices(2 * longest, tones, noises, *fixed).numpy()
    assert np.abs(expected).max(axis=1).min() > 0.1
    np.testing.assert_allclose(out, expected, atol=3e-5)


def test_voices_are_added_to_what_is_there() -> None:
    tones, noises, fixed = random_voices(0, 90)
    out, more = np.zeros((N, 100), np.float32), np.ones((N, 100), np.float32)
    for block in (out, more):
        add_voices(block, tones.numpy(), noises.numpy(), Voices(*fixed))
    np.testing.assert_allclose(more, out + 1, atol=1e-6)


@pytest.mark.parametrize("longest", [90, 1500])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_gradient_is_torchs(seed: int, longest: int) -> None:
    tones, noises, fixed = random_voices(seed, longest)
    n_samples = 2 * longest
    upstream = np.random.default_rng(9).standard_normal((N, n_samples)).astype(np.float32)
    d_tones, d_noises = np.zeros((N, K, H), np.float32), np.zeros((N, K, B), np.float32)
    voices_gradient(upstream, d_tones, d_noises, Voices(*fixed))
    inputs = [tones.double().requires_grad_(), noises.double().requires_grad_()]
    loss = (slow_voices(n_samples, *inputs, *fixed) * torch.from_numpy(upstream)).sum()
    for mine, expected in zip((d_tones, d_noises), torch.autograd.grad(loss, inputs), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-4 * float(expected.abs().max()))


def one_partial(low: float, high: float, n_samples: int, begin: int = 0, cycles: float = 0.0417) -> np.ndarray:
    """A block of a segment of 3,000 samples with phase 0.3 and a partial at 2.5 times the fundamental."""
    out = np.zeros((1, n_samples), np.float32)
    tones = np.array([low, high], np.float32).reshape(1, 2, 1)
    voices = Voices(
        np.array([-begin]), np.array([[0, 3_000]]), np.full((1, 2), 0.3), np.full((1, 2), cycles), np.array([[2.5]]),
        np.zeros((1, 8), np.float32), np.zeros(1, np.int64),
    )  # fmt: skip
    add_voices(out, tones, np.zeros((1, 2, 1), np.float32), voices)
    return out[0]


@pytest.mark.parametrize("begin", [0, 511, 777, 2_000])
def test_one_partial_is_a_sine_and_decays_in_a_straight_line(begin: int) -> None:
    j = begin + np.arange(900)
    sine = np.sin(2 * np.pi * 2.5 * (0.3 + 0.0417 * j))
    np.testing.assert_allclose(one_partial(0.5, 0.5, 900, begin), 0.5 * sine, atol=2e-5)
    np.testing.assert_allclose(one_partial(0.8, 0.2, 900, begin), (0.8 - 0.6 * j / 3_000) * sine, atol=3e-5)


def test_partials_near_half_the_rate_are_left_out() -> None:
    assert one_partial(0.5, 0.5, 100, cycles=0.1955).any()  # 0.489 cycles a sample
    assert not one_partial(0.5, 0.5, 100, cycles=0.1965).any()  # 0.491


def test_what_is_inaudible_at_both_ends_is_left_out() -> None:
    assert not one_partial(0.9 * INAUDIBLE, 0.9 * INAUDIBLE, 100).any()
    assert one_partial(0.9 * INAUDIBLE, 1.1 * INAUDIBLE, 100).any()


def test_what_is_inaudible_or_too_high_has_and_has_no_gradient() -> None:
    upstream = np.ones((1, 100), np.float32)
    d_tones, d_noises = np.zeros((1, 2, 2), np.float32), np.zeros((1, 2, 1), np.float32)
    voices = Voices(
        np.array([0]), np.array([[0, 100]]), np.full((1, 2), 0.1), np.full((1, 2), 0.0123), np.array([[1.0, 45.0]]),
        np.ones((1, 8), np.float32), np.zeros(1, np.int64),
    )  # fmt: skip
    voices_gradient(upstream, d_tones, d_noises, voices)
    assert d_tones[0, :, 0].all()  # whatever the amplitude is
    assert not d_tones[0, :, 1].any()


def test_blocks_are_the_whole() -> None:
    tones, noises, fixed = random_voices(3, 700)
    onset, rest, positions = fixed[0], fixed[1:-1], fixed[-1]
    whole = np.zeros((N, 1400), np.float32)
    add_voices(whole, tones.numpy(), noises.numpy(), Voices(*fixed))
    for size in (40, 77, 613):
        blocks = []
        for begin in range(0, 1400, size):
            block = np.zeros((N, min(size, 1400 - begin)), np.float32)
            add_voices(block, tones.numpy(), noises.numpy(), Voices(onset - begin, *rest, positions + begin))
            blocks.append(block)
        np.testing.assert_allclose(np.concatenate(blocks, axis=1), whole, atol=1e-6)


def test_noise_bands_are_triangles_of_power_between_their_neighbours_centres() -> None:
    tables = noise_tables(10, 44_100)
    centres = np.geomspace(40, 18_000, 10)
    hz = np.fft.rfftfreq(TABLE_SAMPLES, 1 / 44_100)
    assert tables.shape == (10, TABLE_SAMPLES)
    for band, table in enumerate(tables):
        assert np.sqrt(np.mean(table**2, dtype=np.float64)) == pytest.approx(1, abs=1e-5)
        power = np.abs(np.fft.rfft(table.astype(np.float64))) ** 2
        corners = [centres[max(band - 1, 0)], centres[band], centres[min(band + 1, 9)]]
        triangle = np.interp(np.log(np.maximum(hz, 1)), np.log(corners), [0, 1, 0])
        inside = (hz > corners[0]) & (hz < corners[2])
        np.testing.assert_allclose(power[inside] / power.max(), triangle[inside], atol=0.02)
        assert hz[power.argmax()] == pytest.approx(centres[band], rel=0.02)


def test_noise_is_deterministic_and_silent_above_half_the_rate() -> None:
    tables = noise_tables(10, 8_000)
    audible = np.geomspace(40, 18_000, 10) < 4_000
    np.testing.assert_array_equal(tables.any(axis=1), audible)
    noise_tables.cache_clear()
    np.testing.assert_array_equal(noise_tables(10, 8_000), tables)
