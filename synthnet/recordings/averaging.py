"""Onsets by adaptive averaging: each note moves to where it looks most like the others of its key.

Woody, "Characterization of an adaptive filter for the analysis of variable latency neuroelectric signals", 1967. A slow
attack has no instant at which it begins, but all attacks of a key are alike. Networks learn a lag that is the same for
all notes of a key; they cannot learn one that scatters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from synthnet.recordings.sound import HOP_S, key_tones, tone_amplitudes

BEFORE, AFTER, FURTHEST = 60, 90, 60  # frames of a template about the onset; how far notes move from their start
LOOK_BACK = 60  # frames before a template in which its rise may begin
PARTIALS, BESIDE_CENTS = 12, (-25.0, 0.0, 25.0)
WINDOW_S, PERIODS = 0.032, 8  # low keys need longer windows
FEWEST, PRIOR_S, ROUNDS = 8, 0.08, 10  # notes of a template, if need be of keys nearby
FOOT, HEAD = 0.08, 0.95  # of root amplitudes
EARLIER_S, HANN_FOOT, MOST_SMEARED_S = 0.004, 0.244, 0.008


class Averaged(NamedTuple):
    """Of N notes: onsets in seconds; correlation with their key's template; how long the template takes to rise."""

    start_s: np.ndarray
    correlation: np.ndarray
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
    between, correlation = np.zeros((2, len(pitch)))
    lag = 0
    for _ in range(ROUNDS):
        now = _rows(slope, shift)
        now = now / (np.linalg.norm(now, axis=1, keepdims=True) + 1e-9)
        templates = [np.median(now[group], axis=0) for group in groups]
        moved = shift.copy()
        for number, template in enumerate(templates):
            mine = np.flatnonzero(of_key == number)
            moved[mine], between[mine], correlation[mine] = _best(slope[mine, LOOK_BACK:], template[LOOK_BACK:], lag)
        settled = np.array_equal(moved, shift)
        lag, shift = round(np.mean(moved)), moved
        if settled:
            break
    start_s = start_s + (shift + between) * HOP_S
    feet, rises = np.array([foot_of(np.cumsum(template)) for template in templates]).T
    usual = np.median(feet[of_key])
    feet = np.where(np.abs(feet - usual) > LOOK_BACK, usual, feet)  # a rise of other notes before
    window_s = np.maximum(WINDOW_S, PERIODS / (440 * 2 ** ((keys - 69) / 12)))
    smeared = np.minimum(HANN_FOOT * window_s, MOST_SMEARED_S)
    start_s += ((feet - LOOK_BACK - BEFORE) * HOP_S + smeared - EARLIER_S)[of_key]
    return Averaged(start_s, correlation, rises[of_key] * HOP_S)


def _nearest(pitch: np.ndarray, key: float) -> np.ndarray:
    """Notes of a key, and of keys beside it while they are too few."""
    away = np.abs(pitch - key)
    enough = np.sort(away)[min(FEWEST, len(away)) - 1]
    return np.flatnonzero(away <= enough)


def _rows(curves: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The part of each curve about its onset, [N, LOOK_BACK + BEFORE + AFTER]."""
    return curves[np.arange(len(curves))[:, None], FURTHEST + shift[:, None] + np.arange(LOOK_BACK + BEFORE + AFTER)]


def _best(slope: np.ndarray, template: np.ndarray, lag: int) -> tuple[np.ndarray, ...]:
    """The shift at which each curve is most like a template, in whole frames and the rest, and the correlation."""
    template = template - template.mean()
    template = template / (np.linalg.norm(template) + 1e-9)
    windows = np.lib.stride_tricks.sliding_window_view(slope, len(template), axis=1)  # [N, shifts, length]
    correlation = windows @ template / (windows.std(axis=2) * np.sqrt(len(template)) + 1e-9)
    away = np.arange(correlation.shape[1]) - FURTHEST
    best = (np.maximum(correlation, 0) * np.exp(-0.5 * ((away - lag) * HOP_S / PRIOR_S) ** 2)).argmax(axis=1)
    rows = np.arange(len(slope))
    inside = np.clip(best, 1, correlation.shape[1] - 2)
    a, b, c = (correlation[rows, inside + k] for k in (-1, 0, 1))
    between = np.where(inside == best, 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9), 0).clip(-0.5, 0.5)
    return away[best], between, correlation[rows, best]


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
    hop_s = round(HOP_S * sample_rate_hz) / sample_rate_hz
    curves = np.zeros((len(pitch), before + after), np.float32)
    for i, (key, time_s) in enumerate(zip(pitch.tolist(), start_s.tolist(), strict=True)):
        tones = key_tones(key, sample_rate_hz, PARTIALS, WINDOW_S, PERIODS, BESIDE_CENTS)
        root = np.sqrt(tone_amplitudes(samples, sample_rate_hz, tones, time_s - before * hop_s, before + after))
        curves[i] = (root / (np.sqrt((root**2).mean(axis=0)) + 1e-6)).sum(axis=1)
    return curves
