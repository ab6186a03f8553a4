"""Notes that were found, checked and made exact: onsets where the sound rises, and velocities by level."""

from __future__ import annotations

import numpy as np

HOP_S, WINDOW_S, PERIODS = 0.002, 0.023, 4  # of the spectra; low keys need longer windows
PARTIALS = 6
EARLIEST_S, LATEST_S = 0.08, 0.04  # about the transcriber's onset


def partial_level_db(
    samples: np.ndarray, sample_rate_hz: int, pitch: int, start_s: float, stop_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Level in dB of the sum of a key's first partials, every 2 ms, and the times of the windows' centres in seconds.

    Samples beyond the ends count as silence; the level is at least -100 dB of full scale.
    """
    hop, f0 = round(HOP_S * sample_rate_hz), 440.0 * 2.0 ** ((pitch - 69) / 12)
    width = round(max(WINDOW_S, PERIODS / f0) * sample_rate_hz)
    first = round(start_s * sample_rate_hz) - width // 2
    n = max(1, round((stop_s - start_s) * sample_rate_hz) // hop)
    at = first + hop * np.arange(n)[:, None] + np.arange(width)
    inside = (at >= 0) & (at < len(samples))
    frames = np.where(inside, samples[np.clip(at, 0, len(samples) - 1)], 0)
    orders = np.arange(1, PARTIALS + 1)
    orders = orders[orders * f0 < 0.45 * sample_rate_hz]
    window, t = np.hanning(width), np.arange(width) / sample_rate_hz
    tones = (np.exp(-2j * np.pi * f0 * orders[:, None] * t) * (2 * window / window.sum())).astype(np.complex64)
    level = np.abs(frames.astype(np.float32) @ tones.T).sum(axis=1)
    return 20 * np.log10(level + 1e-5), (first + width / 2 + hop * np.arange(n)) / sample_rate_hz
