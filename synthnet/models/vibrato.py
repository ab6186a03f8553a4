"""The pitch curve of each note of a recording, and the vibrato in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synthnet.models.config import HarmonicConfig
from synthnet.models.envelopes import Notes

STEP_S = 0.005  # of curves
PARTIALS, HIGHEST = 4, 0.45  # partials that are followed, below this share of the sample rate
PERIODS, HOPS = 4, 8  # of a window, whose lobe reaches half way to the partials beside; windows overlap by 7/8
SMOOTH_S = 0.05  # Hann window, -6 dB at 20 Hz
ATTACK_S = 0.06  # of a note: not yet steady
WIDEST_CENTS = 100.0  # of a curve
RATES_HZ = np.linspace(3.0, 9.0, 61)
STRETCH_S, EVERY_S = 0.3, 0.1  # of curves, where a vibrato is sought
SLOWEST_HZ, FASTEST_HZ = 4.0, 8.9  # of a vibrato: a slower one is a drift, at the end of the scale a tremor
EXPLAINED, SHALLOWEST_CENTS, LEAST_SHARE = 0.6, 5.0, 0.15


def pitch_curves(samples: NDArray, notes: Notes, cents: NDArray, rate: int) -> list[NDArray[np.float32]]:
    """How far each note is from its key's tuning, in cents, at the middle of each 5 ms from its onset to its release.

    The phases of partials 1 to 4 that no other note covers are demodulated at the tuning's frequency; their slopes,
    weighted by power, are averaged over a Hann window of 50 ms. The first 60 ms have the value at their end. A note
    without a clear partial has zeros.

    Args:
        samples: [n].
        cents: [128], the keys' tuning.
    """
    return [_curve(samples, notes, i, cents, rate) for i in range(len(notes.pitch))]


def _curve(samples: NDArray, notes: Notes, i: int, cents: NDArray, rate: int) -> NDArray[np.float32]:
    pitch, onset, release = int(notes.pitch[i]), int(notes.onset[i]), int(notes.release[i])
    f0 = 440.0 * 2 ** ((pitch - 69 + float(cents[pitch]) / 100) / 12)
    late = onset + ATTACK_S * rate
    others = np.unique(notes.pitch[(notes.onset < release) & (notes.release > late) & (notes.pitch != pitch)])
    orders = np.arange(1, PARTIALS + 1)
    orders = orders[(orders * f0 < HIGHEST * rate) & _clear(orders, 2 ** ((others[:, None] - pitch) / 12))]
    at = np.maximum(STEP_S * (np.arange(np.ceil((release - onset) / (STEP_S * rate))) + 0.5), ATTACK_S)
    width, x = round(PERIODS / f0 * rate), samples[onset:release].astype(np.float32)
    hop = max(width // HOPS, 1)
    if not len(orders) or len(x) < width + ATTACK_S * rate:
        return np.zeros(len(at), np.float32)
    tones = np.hanning(width) * np.exp(-2j * np.pi * f0 * orders[:, None] * np.arange(width) / rate)
    z = np.lib.stride_tricks.sliding_window_view(x, width)[::hop] @ tones.T.astype(np.complex64)  # [n, H]
    pairs = z[1:] * z[:-1].conj() * np.exp(-2j * np.pi * f0 * orders * hop / rate)
    window = np.hanning(round(SMOOTH_S * rate / hop) + 2)[1:-1]
    means = np.stack([np.convolve(pair, window)[len(window) // 2 :][: len(pairs)] for pair in pairs.T], axis=1)
    power = np.abs(means) * orders
    slope = (power * np.angle(means)).sum(axis=1) / np.maximum((power * orders).sum(axis=1), 1e-12)
    curve = 1200 * np.log2(np.maximum(1 + slope / (2 * np.pi * f0 * hop / rate), 0.5))
    time_s = ((width + hop) / 2 + hop * np.arange(len(curve))) / rate
    return np.clip(np.interp(at, time_s, curve), -WIDEST_CENTS, WIDEST_CENTS).astype(np.float32)


def _clear(orders: NDArray, others: NDArray) -> NDArray:
    """Whether partials [H] are half a fundamental away from all partials of others, at M multiples [M, 1] of it."""
    return (np.abs(orders - others * np.maximum(np.round(orders / others), 1)) > 0.5).all(axis=0)


def fit_vibrato(curves: NDArray) -> NDArray:
    """The sine of 3 to 9 Hz that fits each stretch [M, W] of curves best, beside a straight line, in least squares.

    Returns:
        float64 [3, M]: rates in Hz, depths in cents to either side and the shares of the variance about the line that
        the sines explain. Depths make up for the Hann window of `pitch_curves`.
    """
    t = STEP_S * np.arange(curves.shape[1])
    line = np.stack([np.ones_like(t), t], axis=1)
    rest = curves.T - line @ np.linalg.lstsq(line, curves.T, rcond=None)[0]
    found = np.zeros((3, len(curves)))
    for hz in RATES_HZ:
        smoothed = np.sinc(hz * SMOOTH_S) / (1 - (hz * SMOOTH_S) ** 2)
        sine = np.stack([np.cos(2 * np.pi * hz * t), np.sin(2 * np.pi * hz * t)], axis=1)
        basis = np.concatenate([line, sine], axis=1)
        weights = np.linalg.lstsq(basis, rest, rcond=None)[0]
        explained = 1 - ((rest - basis @ weights) ** 2).sum(axis=0) / np.maximum((rest**2).sum(axis=0), 1e-12)
        fit = np.stack([np.full_like(explained, hz), np.hypot(*weights[2:]) / smoothed, explained])
        found = np.where(explained > found[2], fit, found)
    return found


def measure_vibrato(recordings: Sequence[tuple[NDArray, Notes]], cents: NDArray, rate: int) -> tuple[float, float]:
    """Rate in Hz and depth in cents of a player's vibrato in notes of 0.36 s and more; depth 0: there is none.

    Stretches of 0.3 s of their curves have a vibrato where a sine of 4 to 8.9 Hz and at least 5 cents explains 60% of
    the variance. Rate and depth are the medians over these, if they are 15% of all at least.

    Args:
        recordings: samples [n] and notes of each piece.
        cents: [128], the keys' tuning.
    """
    first, length, step = (round(seconds / STEP_S) for seconds in (ATTACK_S, STRETCH_S, EVERY_S))
    stretches = [
        np.lib.stride_tricks.sliding_window_view(curve[first:], length)[::step]
        for samples, notes in recordings
        for curve in pitch_curves(samples, notes, cents, rate)
        if len(curve) >= first + length and curve.any()
    ]
    if not stretches:
        return HarmonicConfig.vibrato_hz, 0.0
    rate_hz, depth, explained = fit_vibrato(np.concatenate(stretches))
    moving = (explained >= EXPLAINED) & (depth >= SHALLOWEST_CENTS) & (rate_hz >= SLOWEST_HZ) & (rate_hz <= FASTEST_HZ)
    if moving.mean() < LEAST_SHARE:
        return HarmonicConfig.vibrato_hz, 0.0
    return round(float(np.median(rate_hz[moving])), 2), round(float(np.median(depth[moving])), 1)
