"""Breakpoints of envelopes: where they lie in a block, and that blocks find those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from synthnet.kernels.voices import Breakpoints, find_breakpoints, grid

RATE_HZ = 8_000


def random_notes(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Onsets and releases, in samples of a block of 2,000, and times after the release, in seconds."""
    rng = np.random.default_rng(seed)
    onset = rng.integers(-9_000, 3_000, n)
    return onset, onset + rng.integers(1, 6_000, n), rng.uniform(0.01, 0.6, n)


def found(seed: int, n_samples: int = 2_000) -> Breakpoints:
    return find_breakpoints(*random_notes(seed), n_samples, RATE_HZ)


@pytest.mark.parametrize("seed", range(5))
def test_segments_cover_what_sounds_of_a_note_in_the_block_and_nothing_else_twice(seed: int) -> None:
    onset, release, end_s = random_notes(seed)
    points = found(seed)
    stop = release + np.round(end_s * RATE_HZ).astype(int)
    assert ((stop <= 0) | (onset >= 2_000)).any()  # some notes sound before or after the block alone
    for i in range(len(onset)):
        covered = np.zeros(2_000, int)
        for first, last in zip(points.at[i], points.at[i, 1:], strict=False):
            assert first <= last
            covered[np.clip(onset[i] + first, 0, 2_000) : np.clip(onset[i] + last, 0, 2_000)] += 1
        sounding = np.zeros(2_000, int)
        sounding[max(onset[i], 0) : max(stop[i], 0)] = 1
        np.testing.assert_array_equal(covered, sounding)


@pytest.mark.parametrize("seed", range(5))
def test_a_note_is_cut_at_its_release(seed: int) -> None:
    onset, release, _ = random_notes(seed)
    points, steps = found(seed), grid(RATE_HZ, 20_000)
    for i in np.flatnonzero((release > 0) & (release < 2_000) & (onset < 2_000)):
        held = release[i] - onset[i]
        cut = int(np.flatnonzero(points.at[i] == held)[0])
        above = steps[np.searchsorted(steps, held)]
        below = steps[np.searchsorted(steps, held) - 1]
        assert points.time_s[i, cut] * RATE_HZ == pytest.approx(above, abs=0.01)
        assert points.share[i, cut] == pytest.approx((held - below) / (above - below))
        assert (points.share[i, np.arange(points.share.shape[1]) != cut] == 1).all()
        assert (points.release_s[i, : cut + 1] < 0).all()
        after = points.at[i] > held
        np.testing.assert_allclose(points.release_s[i, after], (points.at[i, after] - held) / RATE_HZ, atol=1e-6)
        np.testing.assert_allclose(points.time_s[i, after], points.at[i, after] / RATE_HZ, atol=1e-6)


def test_a_note_that_is_held_has_the_grid() -> None:
    points = find_breakpoints(np.array([0]), np.array([50_000]), np.array([0.1]), 2_000, RATE_HZ)
    steps = grid(RATE_HZ, 2_000)
    np.testing.assert_array_equal(points.at[0], steps[: len(points.at[0])])
    assert points.at[0, -2] < 2_000 <= points.at[0, -1]
    assert (points.release_s == np.float32(-1 / RATE_HZ)).all()
    assert (points.share == 1).all()


@pytest.mark.parametrize("size", [40, 250])
def test_the_segments_of_a_block_are_those_of_the_whole(size: int) -> None:
    onset, release, end_s = random_notes(7)
    whole = found(7)
    for begin in range(0, 2_000, size):
        part = find_breakpoints(onset - begin, release - begin, end_s, size, RATE_HZ)
        for i in range(len(onset)):
            known = set(zip(*(column[i].tolist() for column in whole), strict=True))
            for k in range(part.at.shape[1] - 1):
                first, last = part.at[i, k : k + 2] + onset[i] - begin
                if first < last and last > 0 and first < size:  # heard in this block
                    for end in (k, k + 1):
                        assert tuple(column[i, end].item() for column in part) in known


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_breakpoints_get_rarer_in_proportion_to_the_time_from_2_to_40_ms(rate_hz: int) -> None:
    times_s = [0.0]
    while times_s[-1] < 3:
        times_s.append(times_s[-1] + min(max(0.12 * times_s[-1], 0.002), 0.04))
    longest = grid(rate_hz, 3 * rate_hz)
    np.testing.assert_allclose(longest[: len(times_s)], np.array(times_s) * rate_hz, atol=1)
    for n_samples in (0, 5, 100, 1_000, 12_345):
        steps = grid(rate_hz, n_samples)
        assert steps[-1] > n_samples
        np.testing.assert_array_equal(steps[: len(longest)], longest[: len(steps)])
