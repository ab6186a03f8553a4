"""A recording as one channel at one rate, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from scipy.signal import butter, sosfiltfilt, welch

from synthnet.audio.files import read_channels
from synthnet.files import InputError

LOWEST_RATE_HZ = 8_000
SHORTEST_S = 0.5
LEFT_RIGHT = ("left", "right")
COMB_CORRELATION = 0.5  # of two channels: below it their mean is a comb
CLIPPED_FROM, CLIPPED_WITHIN_DB, CLIPPED_RUN = 10 ** (-1 / 20), 0.02, 3
MOST_CLIPPED = 1e-3  # of all samples
RUMBLE_HZ, RUMBLE, OFFSET = 20.0, 1e-3, 1e-3  # below this frequency: amplitude, and mean, that are taken out
FLOOR_WINDOW_S = 0.1


@dataclass(frozen=True)
class Recording:
    """float32 samples [n], full scale +-1, and a line for whatever was done to them or should be known."""

    path: Path
    samples: np.ndarray
    sample_rate_hz: int
    remarks: tuple[str, ...]


def read_recording(path: Path, sample_rate_hz: int, channel: str = "mean") -> Recording:
    """Read a recording of an instrument: one channel, without DC and rumble below 20 Hz, resampled (soxr, VHQ).

    Args:
        channel: "mean" of all, "left" or "right".

    Raises:
        InputError: see `read_channels`; also silence, less than half a second, a rate below 8 kHz, "left" or "right" of
            a mono file, the mean of two channels that cancel each other, or more than 0.1% of the samples clipped.
    """
    channels, rate = read_channels(path)
    if rate < LOWEST_RATE_HZ:
        raise InputError(f"{path}: {rate} samples a second are too few to learn from; at least {LOWEST_RATE_HZ}")
    remarks: list[str] = []
    samples = _one_channel(path, channels, channel, remarks.append)
    if len(samples) < SHORTEST_S * rate or not samples.any():
        raise InputError(f"{path}: less than {SHORTEST_S:g} s long, or silence")
    clipped = clipped_samples(samples)
    if clipped > MOST_CLIPPED * len(samples):
        raise InputError(f"{path}: {100 * clipped / len(samples):.1f}% of its samples are clipped; record it softer")
    if clipped:
        remarks.append(f"{path}: {clipped} samples are clipped")
    hz, density = welch(samples, rate, nperseg=min(rate, len(samples)))  # without the mean
    if abs(samples.mean()) > OFFSET or np.sqrt(density[hz < RUMBLE_HZ].sum() * hz[1]) > RUMBLE:
        samples = sosfiltfilt(butter(2, RUMBLE_HZ, "high", fs=rate, output="sos"), samples).astype(np.float32)
        remarks.append(f"{path}: direct current or rumble below {RUMBLE_HZ:g} Hz was taken out")
    if rate != sample_rate_hz:
        samples = soxr.resample(samples, rate, sample_rate_hz, "VHQ")
        remarks.append(f"{path}: resampled from {rate} Hz to {sample_rate_hz} Hz")
    return Recording(path, samples, sample_rate_hz, tuple(remarks))


def _one_channel(path: Path, channels: np.ndarray, channel: str, remark: Callable[[str], None]) -> np.ndarray:
    """The channel asked for of samples [n, channels], float32 [n]."""
    if channel in LEFT_RIGHT:
        if channels.shape[1] != 2:
            raise InputError(f"{path}: has {channels.shape[1]} channel(s), so none is {channel}")
        return np.ascontiguousarray(channels[:, LEFT_RIGHT.index(channel)])
    if channels.shape[1] == 2:
        left, right = channels.T.astype(np.float64)
        power = np.sqrt((left**2).sum() * (right**2).sum())
        correlation = (left * right).sum() / power if power else 1.0
        if correlation < 0:
            raise InputError(f"{path}: left and right cancel each other; choose one by --channel left or right")
        if correlation < COMB_CORRELATION:
            remark(
                f"{path}: left and right correlate at {correlation:.1f} only, so their mean is a comb; "
                "--channel left or right is better"
            )
    return channels.mean(axis=1)


def clipped_samples(samples: np.ndarray) -> int:
    """Samples in runs of 3 or more within 0.02 dB of the peak, where that is above -1 dBFS."""
    peak = float(np.abs(samples).max())
    if peak < CLIPPED_FROM:
        return 0
    flat = np.abs(samples) >= peak * 10 ** (-CLIPPED_WITHIN_DB / 20)
    edges = np.flatnonzero(np.diff(np.r_[0, flat, 0].astype(np.int8)))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= CLIPPED_RUN].sum())


def floor_db(samples: np.ndarray, sample_rate_hz: int) -> float:
    """How far the softest 1% of the 100 ms windows that are not digital silence lie below the RMS of all, in dB."""
    width = round(FLOOR_WINDOW_S * sample_rate_hz)
    n = max(1, len(samples) // width)
    power = np.array([float(np.mean(part.astype(np.float64) ** 2)) for part in np.array_split(samples, n)])
    power = power[power > 0]
    return float(10 * np.log10(power.mean() / np.percentile(power, 1)))
