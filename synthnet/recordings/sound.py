"""A recording as one channel at one rate, checked; levels of its tones."""

from __future__ import annotations

import functools
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
MOST_CLIPPED, CLIPPED_MARGIN_S = 1e-3, 0.02  # of all samples; left out on either side
SILENT, SILENT_S = 1e-6, 0.05  # digital silence: amplitude, shortest run
NOISE = 10 ** (-90 / 20)  # a recording whose softest 100 ms are louder has a floor of its own
CONTENT, CONTENT_BAND_HZ = 0.4, 500.0  # of the rate, up to which a recording should reach; width of a band
CONTENT_POWER = 1e-14  # full scale squared per Hz: below it a band holds nothing
RUMBLE_HZ, RUMBLE, OFFSET = 20.0, 1e-3, 1e-3  # below this frequency: amplitude, and mean, that are taken out
FLOOR_WINDOW_S = 0.1
HOP_S = 0.002  # of the amplitudes of tones


@dataclass(frozen=True)
class Recording:
    """float32 samples [n], full scale +-1, and a line for whatever was done to them or should be known.

    `left_out` are spans in seconds that must not be learned, and why: clipping, and silence without the room's noise.
    """

    samples: np.ndarray
    remarks: tuple[str, ...]
    left_out: tuple[tuple[float, float, str], ...] = ()


def read_recording(
    path: Path,
    sample_rate_hz: int,
    channel: str = "mean",
    span_s: tuple[float, float | None] = (0.0, None),
    *,
    keep_clipped: bool = False,
) -> Recording:
    """Read a recording of an instrument: one channel, without DC and rumble below 20 Hz, resampled (soxr, VHQ).

    Args:
        channel: "mean" of all, "left" or "right".
        span_s: the part of the file to read, in seconds.
        keep_clipped: take a recording however much of it is clipped.

    Raises:
        InputError: see `read_channels`; also silence, less than half a second, a rate below 8 kHz, "left" or "right" of
            a mono file, the mean of two channels that cancel each other, or more than 0.1% of the samples clipped.
    """
    channels, rate = read_channels(path)
    channels = channels[slice(*(None if s is None else round(s * rate) for s in span_s))]
    if rate < LOWEST_RATE_HZ:
        raise InputError(f"{path}: {rate} samples a second are too few to learn from; at least {LOWEST_RATE_HZ}")
    remarks: list[str] = []
    samples = _one_channel(path, channels, channel, remarks.append)
    if len(samples) < SHORTEST_S * rate or not samples.any():
        raise InputError(f"{path}: less than {SHORTEST_S:g} s long, or silence")
    clipped = clipped_runs(samples)
    if (n_clipped := int(np.diff(clipped).sum())) > MOST_CLIPPED * len(samples) and not keep_clipped:
        share = f"{100 * n_clipped / len(samples):.1f}%"
        raise InputError(
            f"{path}: {share} of its samples are clipped; record it softer (corpus import --keep-clipped takes it so)"
        )
    if n_clipped:
        remarks.append(f"{path}: {n_clipped} samples are clipped")
    left_out = [(a / rate - CLIPPED_MARGIN_S, b / rate + CLIPPED_MARGIN_S, "clipped") for a, b in clipped.tolist()]
    silent = [(a, b) for a, b in runs(np.abs(samples) < SILENT).tolist() if b - a >= SILENT_S * rate]
    if silent and (softest(samples, rate) or 0.0) > NOISE:
        left_out += [(a / rate, b / rate, "digital silence") for a, b in silent]
    hz, density = welch(samples, rate, nperseg=min(rate, len(samples)))  # without the mean
    bands = np.array_split(np.arange(len(hz)), hz[-1] // CONTENT_BAND_HZ)
    heard = [float(hz[band[-1]]) for band in bands if density[band].mean() > CONTENT_POWER]
    if heard and heard[-1] < CONTENT * sample_rate_hz:
        remarks.append(f"{path}: holds nothing above {heard[-1] / 1000:.1f} kHz, nor will the instrument")
    if abs(samples.mean()) > OFFSET or np.sqrt(density[hz < RUMBLE_HZ].sum() * hz[1]) > RUMBLE:
        samples = sosfiltfilt(butter(2, RUMBLE_HZ, "high", fs=rate, output="sos"), samples).astype(np.float32)
        remarks.append(f"{path}: direct current or rumble below {RUMBLE_HZ:g} Hz was taken out")
    if rate != sample_rate_hz:
        samples = soxr.resample(samples, rate, sample_rate_hz, "VHQ")
        remarks.append(f"{path}: resampled from {rate} Hz to {sample_rate_hz} Hz")
    return Recording(samples, tuple(remarks), tuple(sorted(left_out)))


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


def runs(mask: np.ndarray) -> np.ndarray:
    """Where runs of True in [n] start and stop, int [runs, 2]."""
    return np.flatnonzero(np.diff(np.r_[0, mask, 0].astype(np.int8))).reshape(-1, 2)


def clipped_runs(samples: np.ndarray) -> np.ndarray:
    """Runs of 3 or more samples within 0.02 dB of the peak, where that is above -1 dBFS: int [runs, 2]."""
    peak = float(np.abs(samples).max())
    if peak < CLIPPED_FROM:
        return np.zeros((0, 2), int)
    found = runs(np.abs(samples) >= peak * 10 ** (-CLIPPED_WITHIN_DB / 20))
    return found[found[:, 1] - found[:, 0] >= CLIPPED_RUN]


def softest(samples: np.ndarray, sample_rate_hz: int, fewest: int = 1) -> float | None:
    """Root mean square of the 100 ms windows, not digital silence, than which 1% are softer; None for too few."""
    width = round(FLOOR_WINDOW_S * sample_rate_hz)
    windows = samples[: len(samples) // width * width].reshape(-1, width)
    power = np.square(windows, dtype=np.float64).mean(axis=1)
    heard = power[power > SILENT**2]
    return float(np.sqrt(np.percentile(heard, 1))) if len(heard) >= fewest else None


@functools.lru_cache(maxsize=256)
def key_tones(
    pitch: float, sample_rate_hz: int, partials: int, window_s: float, periods: int, cents: tuple[float, ...] = (0.0,)
) -> np.ndarray:
    """Windowed tones at a key's partials, moved by each of `cents`: cosines, then sines, float32 [width, 2 tones].

    The window lasts `window_s`, or `periods` of the key if that is longer.
    """
    f0 = 440 * 2 ** ((pitch - 69) / 12)
    width = round(max(window_s, periods / f0) * sample_rate_hz)
    orders = np.arange(1, partials + 1)
    hz = (f0 * orders[orders * f0 < 0.45 * sample_rate_hz, None] * 2 ** (np.array(cents) / 1200)).ravel()
    window = np.hanning(width + 1)[:width]
    waves = np.exp(2j * np.pi * hz / sample_rate_hz * np.arange(width)[:, None]) * (2 * window / window.sum())[:, None]
    return np.concatenate([waves.real, waves.imag], axis=1).astype(np.float32)


def tone_amplitudes(samples: np.ndarray, sample_rate_hz: int, tones: np.ndarray, start_s: float, n: int) -> np.ndarray:
    """Amplitudes of `key_tones` in samples, every 2 ms from `start_s` on, [n, tones]; beyond the ends is silence."""
    hop, width = round(HOP_S * sample_rate_hz), len(tones)
    first = round(start_s * sample_rate_hz) - width // 2
    stop = first + (n - 1) * hop + width
    inside = samples[max(first, 0) : max(stop, 0)]
    before = min(max(-first, 0), stop - first)
    padded = np.pad(inside, (before, stop - first - before - len(inside)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, width)[::hop]
    cosines, sines = np.split(frames @ tones, 2, axis=1)
    return np.hypot(cosines, sines)
