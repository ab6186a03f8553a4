"""What a harmonic instrument is given before it learns: frequencies of its partials, and how long notes ring on."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import median_filter

from synthnet.models.config import HarmonicConfig
from synthnet.models.envelopes import LONGEST_RELEASE_S, N_KEYS, WOBBLE_S, Notes, fill_keys
from synthnet.models.frequencies import find_peaks, measure_frequencies

MEASURED = ("cents", "stretch", "ratios", "release_s", "nearest")  # weights of `HarmonicInstrument`
WINDOW_S = 0.025  # of levels after a release
FALL_DB = 50.0  # a note that has fallen so far is gone; 20% of the time more, for the fade
SHORTEST_RELEASE_S, UNKNOWN_RELEASE_S = 0.1, 1.0
CLEAR_S = 1.0  # before a release no other note has ended


def measure(
    recordings: Sequence[tuple[np.ndarray, Notes]], sample_rate_hz: int, config: HarmonicConfig
) -> tuple[HarmonicConfig, dict[str, np.ndarray]]:
    """The config, completed, and the measured weights of `HarmonicInstrument`, by name.

    Args:
        recordings: samples, int16 [n], and notes of each piece.
    """
    peaks, seen, longest = [], [], WOBBLE_S
    for samples, notes in recordings:
        peaks += find_peaks(samples, notes, sample_rate_hz)
        seen.append(np.unique(notes.pitch))
        longest = max(longest, float((notes.release - notes.onset).max(initial=0)) / sample_rate_hz)
    cents, stretch, ratios = measure_frequencies(peaks, config.partials)
    keys = np.unique(np.concatenate(seen))
    measured = {
        "cents": cents.astype(np.float32),
        "stretch": stretch.astype(np.float32),
        "ratios": ratios.astype(np.float32),
        "release_s": release_times(recordings, sample_rate_hz).astype(np.float32),
        "nearest": keys[np.abs(np.arange(N_KEYS)[:, None] - keys).argmin(axis=1)].astype(np.int32),
    }
    return dataclasses.replace(config, partials=len(ratios), longest_s=round(longest, 3)), measured


def release_times(recordings: Sequence[tuple[np.ndarray, Notes]], rate: int) -> np.ndarray:
    """Time in seconds that a note of each key takes to die away after its release, [128], 0.1 to 3 s."""
    step, by_key = round(WINDOW_S * rate), defaultdict(list)
    for samples, notes in recordings:
        for i in np.flatnonzero((notes.velocity >= 40) & (notes.release - notes.onset > 2 * step)):
            off, others = notes.release[i], np.arange(len(notes.pitch)) != i
            following = notes.onset[notes.onset > notes.onset[i]].min(initial=len(samples))
            before = notes.release[others & (notes.onset <= notes.onset[i])].max(initial=-rate * 10)
            stop = min(following, off + round(LONGEST_RELEASE_S * rate))
            if stop - off < 6 * step or before > off - CLEAR_S * rate:
                continue
            x = samples[off - step : stop].astype(np.float64)
            level = 10 * np.log10((x[: len(x) // step * step].reshape(-1, step) ** 2).mean(axis=1) + 1e-3)
            fallen = level[0] - level
            if (fallen > FALL_DB).any():
                by_key[int(notes.pitch[i])].append(float((fallen > FALL_DB).argmax() * WINDOW_S))
            else:
                slope = np.polyfit(np.arange(len(fallen)) * WINDOW_S, fallen, 1)[0]
                by_key[int(notes.pitch[i])].append(FALL_DB / max(slope, 1.0))
    if not by_key:
        return np.full(N_KEYS, UNKNOWN_RELEASE_S)
    times = median_filter(fill_keys({key: float(np.median(v)) for key, v in by_key.items()}), 9, mode="nearest")
    return np.clip(1.2 * times, SHORTEST_RELEASE_S, LONGEST_RELEASE_S)
