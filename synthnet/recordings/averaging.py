"""Onsets by adaptive averaging: each note moves to where it looks most like the others of its key.

Woody, "Characterization of an adaptive filter for the analysis of variable latency neuroelectric signals", 1967. A slow
attack has no instant at which it begins, but all attacks of a key are alike. Networks learn a lag that is the same for
all notes of a key; they cannot learn one that scatters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

HOP_S = 0.002
BEFORE, AFTER, FURTHEST = (
    60,
    90,
    60,
)  # frames of a template about the onset; how far notes move from where they were put
LOOK_BACK = 60  # frames before a template in which its rise may begin
PARTIALS, BESIDE_CENTS = 12, (-25.0, 0.0, 25.0)
WINDOW_S, PERIODS = 0.032, 8  # low keys need longer windows
FEWEST, PRIOR_S, ROUNDS = 8, 0.08, 10  # notes of a template, if need be of keys nearby
FOOT, HEAD = 0.08, 0.95  # of root amplitudes
EARLIER_S, HANN_FOOT, MOST_SMEARED_S = 0.004, 0.244, 0.008
STRUCK_S = 0.025


class Averaged(NamedTuple):
    """Of N notes: onsets in seconds; correlation with their key's template; rise by the template against the median
    note's; how long the template takes to rise."""

    start_s: np.ndarray
    correlation: np.ndarray
    gain: np.ndarray
    rise_s: np.ndarray


def average_onsets(samples: np.ndarray, sample_rate_hz: int, pitch: np.ndarray, start_s: np.ndarray) -> Averaged:
    """Move onsets, at most 120 ms beyond their common lag, so that notes of a key are alike.

    Curves are the sum of the partials' root amplitudes, each relative to its mean, and are compared by their slopes.
    An onset is put 4 ms before its key's mean curve has risen to 10%: networks are causal.

    Args:
        pitch: key of each note, float [N]; the tuning of the piece is its fraction.
        start_s: onsets to begin with, [N].
    """
    before, after = LOOK_BACK + FURTHEST + BEFORE, AFTER + FURTHEST + 1
    slope = np.diff(partial_curves(samples, sample_rate_hz, pitch, start_s, before, after), axis=1)
    keys, of_key = np.unique(pitch, return_inverse=True)
    groups = [_nearest(pitch, key) for key in keys]
    shift = np.zeros(len(pitch), int)
    between, correlation, gain = np.zeros((3, len(pitch)))
    lag = 0
    for _ in range(ROUNDS):
        now = _rows(slope, shift)
        now = now / (np.linalg.norm(now, axis=1, keepdims=True) + 1e-9)
        templates = [np.median(now[group], axis=0) for group in groups]
        moved = shift.copy()
        for number, template in enumerate(templates):
            mine = np.flatnonzero(of_key == number)
            moved[mine], between[mine], correlation[mine], gain[mine] = _best(
                slope[mine, LOOK_BACK:], template[LOOK_BACK:], lag
            )
        lag = round(np.mean(moved))
        changed, shift = np.abs(moved - shift).max(initial=0), moved
        if changed == 0:
            break
    start_s = start_s + (shift + between) * HOP_S
    feet, rises = np.array([foot_of(np.cumsum(template)) for template in templates]).T
    usual = np.median(feet[of_key])
    feet = np.where(np.abs(feet - usual) > LOOK_BACK, usual, feet)  # a rise of other notes before
    smeared = np.minimum(HANN_FOOT * np.array([_window_s(key) for key in keys]), MOST_SMEARED_S)
    start_s += ((feet - LOOK_BACK - BEFORE) * HOP_S + smeared - EARLIER_S)[of_key]
    return Averaged(start_s, correlation, gain / max(np.median(gain), 1e-9), rises[of_key] * HOP_S)


def _nearest(pitch: np.ndarray, key: float) -> np.ndarray:
    """Notes of a key, and of keys beside it while they are too few."""
    away = np.abs(pitch - key)
    enough = np.sort(away)[min(FEWEST, len(away)) - 1]
    return np.flatnonzero(away <= enough)


def _rows(curves: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The part of each curve about its onset, [N, LOOK_BACK + BEFORE + AFTER]."""
    return curves[np.arange(len(curves))[:, None], FURTHEST + shift[:, None] + np.arange(LOOK_BACK + BEFORE + AFTER)]


def _best(slope: np.ndarray, template: np.ndarray, lag: int) -> tuple[np.ndarray, ...]:
    """The shift at which each curve is most like a template, in whole frames and the rest; its correlation and rise."""
    template = template - template.mean()
    template = template / (np.linalg.norm(template) + 1e-9)
    windows = np.lib.stride_tricks.sliding_window_view(slope, len(template), axis=1)  # [N, shifts, length]
    gain = windows @ template
    correlation = gain / (windows.std(axis=2) * np.sqrt(len(template)) + 1e-9)
    away = np.arange(correlation.shape[1]) - FURTHEST
    best = (np.maximum(correlation, 0) * np.exp(-0.5 * ((away - lag) * HOP_S / PRIOR_S) ** 2)).argmax(axis=1)
    rows = np.arange(len(slope))
    inside = np.clip(best, 1, correlation.shape[1] - 2)
    a, b, c = (correlation[rows, inside + k] for k in (-1, 0, 1))
    between = np.where(inside == best, 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9), 0).clip(-0.5, 0.5)
    return away[best], between, correlation[rows, best], gain[rows, best]


def foot_of(level: np.ndarray) -> tuple[float, float]:
    """Where a mean curve has risen to 10% of its first peak, in frames, and how many it takes from there to 90%."""
    first = BEFORE // 2 + LOOK_BACK
    top = first + int(level[first:].argmax())
    lowest = int(level[: top + 1].argmin())
    height = (level[lowest : top + 1] - level[lowest]) / max(level[top] - level[lowest], 1e-9)
    foot, head = (_crossing(height, share) for share in (FOOT, HEAD))
    return lowest + foot, head - foot


def _crossing(height: np.ndarray, share: float) -> float:
    """Where a curve that ends at 1 rises through a share for the last time, by linear interpolation."""
    below = int(np.flatnonzero(height <= share)[-1])
    return below + float((share - height[below]) / (height[below + 1] - height[below])) if height[-1] > share else below


def partial_curves(
    samples: np.ndarray, sample_rate_hz: int, pitch: np.ndarray, start_s: np.ndarray, before: int, after: int
) -> np.ndarray:
    """Curves of each note's partials about its onset, every 2 ms, float32 [N, before + after].

    The sum of root amplitudes, each relative to its root mean square. Tones 25 cents off either way count, too: players
    do not keep to a pitch.
    """
    hop, n = round(HOP_S * sample_rate_hz), before + after
    curves, tones = np.zeros((len(pitch), n), np.float32), {}
    margin = n * hop + sample_rate_hz
    padded = np.pad(samples.astype(np.float32), margin)
    for i, (key, time_s) in enumerate(zip(pitch.tolist(), start_s.tolist(), strict=True)):
        if key not in tones:
            tones[key] = _tones(key, sample_rate_hz)
        real, imaginary = tones[key]
        width = len(real)
        first = min(
            max(margin + round(time_s * sample_rate_hz) - before * hop - width // 2, 0), len(padded) - n * hop - width
        )
        frames = np.lib.stride_tricks.sliding_window_view(padded[first : first + (n - 1) * hop + width], width)[::hop]
        root = np.sqrt(np.hypot(frames @ real, frames @ imaginary))
        curves[i] = (root / (np.sqrt((root**2).mean(axis=0)) + 1e-6)).sum(axis=1)
    return curves


def _window_s(key: float) -> float:
    return max(WINDOW_S, PERIODS / (440 * 2 ** ((key - 69) / 12)))


def _tones(key: float, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Windowed tones of a key's partials, real and imaginary part, float32 [width, tones]."""
    f0 = 440 * 2 ** ((key - 69) / 12)
    width = round(_window_s(key) * rate)
    orders = np.arange(1, PARTIALS + 1)
    hz = (f0 * orders[orders * f0 < 0.45 * rate, None] * 2 ** (np.array(BESIDE_CENTS) / 1200)).ravel()
    window = np.hanning(width + 1)[:width]
    waves = np.exp(-2j * np.pi * hz / rate * np.arange(width)[:, None]) * (2 * window / window.sum())[:, None]
    return waves.real.astype(np.float32), waves.imag.astype(np.float32)
