"""Where to look for an instrument's partials: Fletcher's law, and how far an instrument is from equal temperament.

Samples and strings are some cents off, a piano is stretched, and the partials of stiff strings lie above the harmonics
(Fletcher 1964, "Normal vibration frequencies of a stiff piano string"): f_k = k f_1 sqrt(1 + B (k^2 - 1)), for a
piano's C5 50 cents at the 10th. To the second order the law is a line: partial k is s (k^2 - 1) cents above the
harmonic, s = 866 B.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from synthnet.roll import FUNDAMENTALS_HZ, HIGHEST_PARTIAL, N_KEYS
from synthnet.tuning.partials import Recording

SPEECH_S, ATTACK_S = 0.02, 0.3  # what is left out of a note's beginning: at least, and where enough is left of it
SHORTEST_S, LONGEST_S = 0.1, 2.0  # of what is left
SEARCH_CENTS = (45.0, 20.0, 12.0)  # on either side of the guess, which gets better
FIRST_PARTIALS = 6  # that are looked for at first; the higher ones may be far from the harmonics
PROMINENCE = 6.0  # of a partial, over the median magnitude around it
NEIGHBOURS, NEIGHBOUR_WEIGHT = 2, 0.1  # keys on either side that help, as a sample serves several keys
LEAST_STRETCH = 0.008  # cents over k^2, median of the keys; an instrument below it is taken to have harmonics


class Seen(NamedTuple):
    """Partials found in notes, arrays [n]: key, index of the partial, cents from its multiple, weight."""

    key: np.ndarray
    partial: np.ndarray
    cents: np.ndarray
    weight: np.ndarray


def fletcher_cents(recordings: Sequence[Recording], expected: np.ndarray, rate: int) -> np.ndarray:
    """Cents [128, H] by which the partials lie above these multiples, by Fletcher's law, if they are harmonics.

    Peaks in the spectra of the training notes, the longer and higher the more trusted; a median for each key, so that
    other notes sounding at the time do not matter.
    """
    spectra = list(_note_spectra(recordings, rate))
    harmonic = np.array_equal(expected, np.arange(1, len(expected) + 1))
    law = expected**2 - 1 if harmonic else np.zeros_like(expected)
    offset, stretch = _fitted(spectra, expected, law, rate)
    heard = np.unique([key for key, _, _ in spectra]).astype(np.int64)
    if harmonic and len(heard) and np.median(stretch[heard]) < LEAST_STRETCH:
        law = np.zeros_like(expected)  # from the beginning: the stretch of single keys has misled the search
        offset, stretch = _fitted(spectra, expected, law, rate)
    return offset[:, None] + stretch[:, None] * law


def _fitted(
    spectra: Sequence[tuple[int, int, np.ndarray]], expected: np.ndarray, law: np.ndarray, rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cents of the keys' fundamentals [128], and cents over law [H] of their stretch [128]; 0 without a law."""
    offset, stretch = np.zeros((2, N_KEYS))
    for number, width in enumerate(SEARCH_CENTS):
        searched = expected[:FIRST_PARTIALS] if number == 0 else expected
        guess = offset[:, None] + stretch[:, None] * law
        seen = _partials_seen(spectra, searched, guess, width, rate)
        if not len(seen.key):
            break
        if law.any():
            stretch = stretch_of_keys(seen, law)
        offset = _offset(seen, stretch, law)
    return offset, stretch


def _note_spectra(recordings: Sequence[Recording], rate: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Of the training notes that are long enough: key, samples looked at, and magnitudes [bins] under a Hann window."""
    for samples, events in recordings:
        for key, onset, release in zip(events.pitch, events.onset, events.release, strict=True):
            begin = onset + int(max(SPEECH_S * rate, min(ATTACK_S * rate, release - onset - SHORTEST_S * rate)))
            part = samples[begin : min(release, begin + int(LONGEST_S * rate))]
            if len(part) >= SHORTEST_S * rate:
                n_fft = 1 << int(np.ceil(np.log2(4 * len(part))))
                magnitudes = np.abs(np.fft.rfft(part * np.hanning(len(part)), n_fft))
                yield int(key), len(part), magnitudes.astype(np.float32)


def _partials_seen(
    spectra: Sequence[tuple[int, int, np.ndarray]],
    multiples: np.ndarray,
    guess_cents: np.ndarray,
    width_cents: float,
    sample_rate_hz: int,
) -> Seen:
    """The highest peak about each partial's guess [128, H], if it stands out."""
    rows = []
    for key, length, magnitudes in spectra:
        bin_hz = sample_rate_hz / (2 * (len(magnitudes) - 1))
        nominal_hz = FUNDAMENTALS_HZ[key] * multiples
        around = int(0.45 * nominal_hz[0] / bin_hz)
        for partial, hz in enumerate(nominal_hz * 2 ** (guess_cents[key, : len(multiples)] / 1200)):
            half_hz = max(hz * (2 ** (width_cents / 1200) - 1), 0.6 * sample_rate_hz / length)
            low, high = int((hz - half_hz) / bin_hz), int((hz + half_hz) / bin_hz) + 2
            if hz + half_hz > HIGHEST_PARTIAL * sample_rate_hz or half_hz > 0.4 * nominal_hz[0]:
                continue
            top = low + int(np.argmax(magnitudes[low:high]))
            nearby = magnitudes[max(top - around, 0) : top + around + 1]
            low_ones = np.count_nonzero(nearby < magnitudes[top] / PROMINENCE)  # as their median, but ten times as fast
            if not low < top < high - 1 or 2 * low_ones <= len(nearby):
                continue
            left, middle, right = np.log(magnitudes[top - 1 : top + 2].astype(np.float64) + 1e-12)
            found_hz = (top + 0.5 * (left - right) / (left - 2 * middle + right)) * bin_hz
            rows.append((key, partial, 1200 * np.log2(found_hz / nominal_hz[partial]), (length * hz) ** 2))
    keys, partials, cents, weight = np.array(rows).reshape(-1, 4).T
    return Seen(keys.astype(np.int64), partials.astype(np.int64), cents, weight)


def stretch_of_keys(seen: Seen, law: np.ndarray) -> np.ndarray:
    """Cents over k^2 - 1 of each key [128]: the median of the slopes between its partials (Theil 1950, Sen 1968).

    Of a key that is stretched more than twice as much as any near it, the median of these: it was misled by a peak or
    two, and would mislead the next search.
    """
    stretch = np.full(N_KEYS, np.nan)
    for key in np.unique(seen.key):
        of_key = seen.key == key
        partials = np.unique(seen.partial[of_key])
        if len(partials) >= 4:
            groups = [of_key & (seen.partial == partial) for partial in partials]
            cents = np.array([_weighted_median(seen.cents[group], seen.weight[group]) for group in groups])
            low, high = np.triu_indices(len(partials), 1)
            slopes = (cents[high] - cents[low]) / (law[partials[high]] - law[partials[low]])
            stretch[key] = max(0.0, float(np.median(slopes)))
    known, own = np.flatnonzero(np.isfinite(stretch)), stretch.copy()
    for key in known:
        near = own[known[(known != key) & (np.abs(known - key) <= NEIGHBOURS)]]
        if len(near) and own[key] > 2 * near.max():
            stretch[key] = np.median(near)
    return filled(stretch)


def _offset(seen: Seen, stretch: np.ndarray, law: np.ndarray) -> np.ndarray:
    """Cents of each key's fundamental [128] that its partials, less their stretch, tell."""
    cents = seen.cents - stretch[seen.key] * law[seen.partial]
    offset = np.full(N_KEYS, np.nan)
    for key in np.unique(seen.key):
        near = np.abs(seen.key - key) <= NEIGHBOURS
        weight = np.where(seen.key == key, 1.0, NEIGHBOUR_WEIGHT) * seen.weight
        offset[key] = _weighted_median(cents[near], weight[near])
    return filled(offset)


def filled(values: np.ndarray, default: float = 0.0) -> np.ndarray:
    """Values of the keys [128], those that are missing in a line between their neighbours; all missing: the default."""
    known = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(N_KEYS), known, values[known]) if len(known) else np.full(N_KEYS, default)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])
