"""Each partial by itself: its frequency and phase, on which the notes of a key agree, and its level over time.

All from the same windows of the training notes, cut out once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np

from synthnet.corpus import FULL_SCALE, Corpus
from synthnet.roll import HIGHEST_PARTIAL, KNOTS_S, N_KEYS, SILENT_LEVEL, fundamental_hz, roll_events

WINDOW_S, HOP_S = 0.064, 0.032
AGREEING_S = 1.5  # from the onset on, over which the notes of a key are to agree
AGREE_CENTS, STEP_HZ = 12.0, 0.05  # searched on either side, and how finely
UNAMBIGUOUS = 0.4  # turns from one window to the next; with half a turn more, up is down
FAINT = 10**-2.5  # share of the strongest partial in its window: fainter ones are not asked
# A window counts for the nearest of KNOTS_S, by the ratio of times; one after the last of these edges for none.
EDGES_S = np.concatenate([[0.0], np.sqrt(KNOTS_S[1:] * KNOTS_S[:-1]), [KNOTS_S[-1] ** 2 / KNOTS_S[-2]]])

Windows: TypeAlias = Mapping[int, tuple[np.ndarray, np.ndarray]]  # of each key: onsets before them, in seconds, samples


def nearest_keys(keys: Iterable[int]) -> np.ndarray:
    """Of these keys the nearest to each of 0 to 127, of two the lower: int64 [128]."""
    known = np.array(sorted(keys), dtype=np.int64)
    nearest: np.ndarray = known[np.abs(known[:, None] - np.arange(N_KEYS)).argmin(axis=0)]
    return nearest


def note_windows(corpus: Corpus) -> Windows:
    """By key: when windows begin after their note's onset [W], in seconds, and the windows [W, L], Hann."""
    rate = corpus.sample_rate_hz
    length, hop = round(WINDOW_S * rate), round(HOP_S * rate)
    window = np.hanning(length)
    by_key: dict[int, list[tuple[float, np.ndarray]]] = {}
    for piece in corpus.split("train"):
        samples = corpus.read_samples(piece).astype(np.float64) / FULL_SCALE
        events = roll_events(corpus.read_notes(piece), rate)
        for key, onset, release in zip(events.pitch, events.onset, events.release, strict=True):
            last = min(release, onset + int(EDGES_S[-1] * rate), len(samples)) - length
            for start in range(onset, last, hop):
                part = samples[start : start + length] * window
                by_key.setdefault(int(key), []).append(((start - onset) / rate, part))
    return {
        key: (np.array([time_s for time_s, _ in windows]), np.stack([part for _, part in windows]))
        for key, windows in by_key.items()
    }


def agreed(
    times_s: np.ndarray,
    windows: np.ndarray,
    guess_hz: np.ndarray,
    sample_rate_hz: int,
    width_cents: float = AGREE_CENTS,
) -> tuple[np.ndarray, np.ndarray]:
    """Frequency in Hz and phase at the onset in turns (0: a sine) that windows [W, L] agree on, for each guess [H].

    The sum of the windows' phases, turned back to the onset, is longest where they agree.
    """
    spectra = windows @ kernels(guess_hz, windows.shape[1], sample_rate_hz)  # [W, H]
    magnitudes = np.abs(spectra)
    asked = magnitudes > FAINT * magnitudes.max(axis=1, keepdims=True)
    # Loud windows count more, but not as much as they are louder.
    votes = np.where(asked, spectra * np.maximum(magnitudes, 1e-9) ** -0.5, 0.0)
    votes *= np.exp(-2j * np.pi * guess_hz * times_s[:, None])
    # All notes' windows are as far from their onsets: their votes are added before the search.
    begun_s, moment = np.unique(times_s, return_inverse=True)
    votes_then = np.zeros((len(begun_s), len(guess_hz)), dtype=np.complex128)
    np.add.at(votes_then, moment, votes)
    centres_s = begun_s + WINDOW_S / 2
    hz, turns = guess_hz.copy(), np.zeros_like(guess_hz)
    for partial in np.flatnonzero(asked.any(axis=0)):
        width_hz = min(guess_hz[partial] * (2 ** (width_cents / 1200) - 1), UNAMBIGUOUS / HOP_S)
        offsets_hz = np.linspace(-width_hz, width_hz, 2 * int(np.ceil(width_hz / STEP_HZ)) + 1)
        sums = votes_then[:, partial] @ np.exp(-2j * np.pi * offsets_hz * centres_s[:, None])
        best = int(np.argmax(np.abs(sums)))
        hz[partial] += offsets_hz[best]
        turns[partial] = np.angle(sums[best]) / (2 * np.pi) + 0.25  # of a sine, which is a cosine a quarter late
    return hz, turns


def measure_levels(
    heard: Mapping[int, tuple[np.ndarray, np.ndarray]], ratios: np.ndarray, sample_rate_hz: int
) -> np.ndarray:
    """Natural logarithms of the partials' amplitudes [128, H, J] at KNOTS_S: of windows about that time, the median.

    After the longest note of a key its partials go on as those of the nearest key that is heard for longer; keys that
    are never heard have the levels of the nearest.
    """
    levels = np.full((*ratios.shape, len(KNOTS_S)), np.nan)
    for key, (times_s, windows) in heard.items():
        hz = ratios[key] * fundamental_hz(key)
        spectra = windows @ kernels(hz, windows.shape[1], sample_rate_hz)
        nats = np.log(np.abs(spectra) * (2 / np.hanning(windows.shape[1]).sum()) + 1e-6)
        nats[:, hz > HIGHEST_PARTIAL * sample_rate_hz] = SILENT_LEVEL
        knots = np.searchsorted(EDGES_S, times_s + WINDOW_S / 2, side="right") - 1
        for knot in np.unique(knots):
            levels[key, :, knot] = np.median(nats[knots == knot], axis=0)
    keys = np.array(sorted(heard), dtype=np.int64)
    measured = np.isfinite(levels[:, 0])  # [128, J]
    for key in keys:
        known = np.flatnonzero(measured[key])
        for partial in levels[key]:
            partial[: known[-1] + 1] = np.interp(KNOTS_S[: known[-1] + 1], KNOTS_S[known], partial[known])
        for knot in range(known[-1] + 1, len(KNOTS_S)):
            longer = keys[measured[keys, knot - 1] & measured[keys, knot]]
            fall = 0.0
            if len(longer):
                other = levels[longer[np.argmin(np.abs(longer - key))]]
                fall = np.minimum(other[:, knot] - other[:, knot - 1], 0.0)
            levels[key, :, knot] = levels[key, :, knot - 1] + fall
    if not len(keys):
        return np.full_like(levels, SILENT_LEVEL)
    return levels[nearest_keys(heard)]


def kernels(hz: np.ndarray, length: int, sample_rate_hz: int) -> np.ndarray:
    """Of the Fourier transform at these frequencies [H]: complex128 [length, H]."""
    turns = np.arange(length)[:, None] * (hz / sample_rate_hz)
    kernels: np.ndarray = np.exp(-2j * np.pi * turns)
    return kernels
