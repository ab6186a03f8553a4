"""How an instrument's partials lie: frequency, phase and level of each, for every key, measured on its recordings.

Samples and strings are some cents off, a piano is stretched, and the partials of stiff strings lie above the harmonics
(Fletcher 1964, "Normal vibration frequencies of a stiff piano string"): f_k = k f_1 sqrt(1 + B (k^2 - 1)), for a
piano's C5 50 cents at the 10th. To the second order the law is a line: partial k is s (k^2 - 1) cents above the
harmonic, s = 866 B. It tells where to look. Each partial is then where the notes of its key agree best on one
frequency and one phase at the onset.

Oscillators that have them sound like the instrument in phase, too, as far as its notes begin alike: a sampled one's do,
and a hammer always pushes. What does not agree is as good as any other phase. At their levels, the median of windows at
so many seconds after the onset, the partials together are what is deterministic in a sound (Serra and Smith 1990):
sample by sample, FluidR3's piano correlates with them by 0.91 to 0.96 in music that was not measured, its trumpet by
0.63 to 0.81.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from synthnet.corpus import FULL_SCALE, Corpus
from synthnet.roll import HIGHEST_PARTIAL, KNOTS_S, N_KEYS, SILENT_LEVEL, Partials, fundamental_hz, roll_events

SPEECH_S, ATTACK_S = 0.02, 0.3  # what is left out of a note's beginning: at least, and where enough is left of it
SHORTEST_S, LONGEST_S = 0.1, 2.0  # of what is left
SEARCH_CENTS = (45.0, 20.0, 12.0)  # on either side of the guess, which gets better
FIRST_PARTIALS = 6  # that are looked for at first; the higher ones may be far from the harmonics
PROMINENCE = 6.0  # of a partial, over the median magnitude around it
NEIGHBOURS, NEIGHBOUR_WEIGHT = 2, 0.1  # keys on either side that help, as a sample serves several keys
LEAST_STRETCH = 0.008  # cents over k^2, median of the keys; an instrument below it is taken to have harmonics

WINDOW_S, HOP_S = 0.064, 0.032
AGREEING_S = 1.5  # from the onset on, over which the notes of a key are to agree
AGREE_CENTS, STEP_HZ = 12.0, 0.05  # searched on either side, and how finely
UNAMBIGUOUS = 0.4  # turns from one window to the next; with half a turn more, up is down
# A window counts for the nearest of KNOTS_S, by the ratio of times; one after the last of these edges for none.
EDGES_S = np.concatenate([[0.0], np.sqrt(KNOTS_S[1:] * KNOTS_S[:-1]), [KNOTS_S[-1] ** 2 / KNOTS_S[-2]]])
FAINT = 10**-2.5  # share of the strongest partial in its window: fainter ones are not asked


class _Seen(NamedTuple):
    """Partials found in notes, arrays [n]: key, index of the partial, cents from its multiple, weight."""

    key: np.ndarray
    partial: np.ndarray
    cents: np.ndarray
    weight: np.ndarray


def measure_partials(corpus: Corpus, multiples: Sequence[float]) -> Partials:
    """The H partials of each key, near these multiples of its fundamental, as the training notes have them.

    Keys that are never heard have frequencies between their neighbours' and the phases of the nearest key. A partial
    that is never loud enough is where Fletcher's law has it, and where nothing is found at all, at its multiple.
    """
    expected = np.asarray(multiples, dtype=np.float64)
    ratios = expected * 2 ** (_law(corpus, expected) / 1200)
    phases = np.zeros_like(ratios)
    heard = _windows(corpus)
    for key, (times_s, windows) in heard.items():
        key_hz = fundamental_hz(key)
        below = int((ratios[key] * key_hz < HIGHEST_PARTIAL * corpus.sample_rate_hz).sum())
        early = times_s < AGREEING_S - WINDOW_S
        hz, turns = _agreed(times_s[early], windows[early], ratios[key, :below] * key_hz, corpus.sample_rate_hz)
        ratios[key, :below], phases[key, :below] = hz / key_hz, turns
    if heard:
        keys = np.array(sorted(heard))
        phases = phases[[keys[np.argmin(np.abs(keys - key))] for key in range(N_KEYS)]]
    levels = _levels(heard, ratios, corpus.sample_rate_hz)
    return Partials(ratios.astype(np.float32), phases.astype(np.float32), levels.astype(np.float32))


def _levels(heard: Mapping[int, tuple[np.ndarray, np.ndarray]], ratios: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Natural logarithms of the partials' amplitudes [128, H, J] at KNOTS_S: of windows about that time, the median.

    After the longest note of a key its partials go on as those of the nearest key that is heard for longer; keys that
    are never heard have the levels of the nearest.
    """
    levels = np.full((*ratios.shape, len(KNOTS_S)), np.nan)
    for key, (times_s, windows) in heard.items():
        hz = ratios[key] * fundamental_hz(key)
        spectra = windows @ _kernels(hz, windows.shape[1], sample_rate_hz)
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
    return levels[[keys[np.argmin(np.abs(keys - key))] for key in range(N_KEYS)]]


def _kernels(hz: np.ndarray, length: int, sample_rate_hz: int) -> np.ndarray:
    """Of the Fourier transform at these frequencies [H]: complex128 [length, H]."""
    turns = np.arange(length)[:, None] * (hz / sample_rate_hz)
    kernels: np.ndarray = np.exp(-2j * np.pi * turns)
    return kernels


def _windows(corpus: Corpus) -> dict[int, tuple[np.ndarray, np.ndarray]]:
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


def _agreed(
    times_s: np.ndarray, windows: np.ndarray, guess_hz: np.ndarray, sample_rate_hz: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frequency in Hz and phase at the onset in turns (0: a sine) that windows [W, L] agree on, for each guess [H].

    The sum of the windows' phases, turned back to the onset, is longest where they agree.
    """
    spectra = windows @ _kernels(guess_hz, windows.shape[1], sample_rate_hz)  # [W, H]
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
        width_hz = min(guess_hz[partial] * (2 ** (AGREE_CENTS / 1200) - 1), UNAMBIGUOUS / HOP_S)
        offsets_hz = np.linspace(-width_hz, width_hz, 2 * int(np.ceil(width_hz / STEP_HZ)) + 1)
        sums = votes_then[:, partial] @ np.exp(-2j * np.pi * offsets_hz * centres_s[:, None])
        best = int(np.argmax(np.abs(sums)))
        hz[partial] += offsets_hz[best]
        turns[partial] = np.angle(sums[best]) / (2 * np.pi) + 0.25  # of a sine, which is a cosine a quarter late
    return hz, turns


def _law(corpus: Corpus, expected: np.ndarray) -> np.ndarray:
    """Cents [128, H] by which the partials lie above these multiples, by Fletcher's law, if they are harmonics.

    Peaks in the spectra of the training notes, the longer and higher the more trusted; a median for each key, so that
    other notes sounding at the time do not matter.
    """
    spectra = list(_note_spectra(corpus))
    harmonic = np.array_equal(expected, np.arange(1, len(expected) + 1))
    law = expected**2 - 1 if harmonic else np.zeros_like(expected)
    offset, stretch = np.zeros((2, N_KEYS))
    for number, width in enumerate(SEARCH_CENTS):
        searched = expected[:FIRST_PARTIALS] if number == 0 else expected
        guess = offset[:, None] + stretch[:, None] * law
        seen = _partials_seen(spectra, searched, guess, width, corpus.sample_rate_hz)
        if not len(seen.key):
            break
        if harmonic:
            stretch = _stretch(seen, law)
        if number == len(SEARCH_CENTS) - 1 and np.median(stretch[np.unique(seen.key)]) < LEAST_STRETCH:
            stretch = np.zeros(N_KEYS)
        offset = _offset(seen, stretch, law)
    return offset[:, None] + stretch[:, None] * law


def _note_spectra(corpus: Corpus) -> Iterator[tuple[int, int, np.ndarray]]:
    """Of the training notes that are long enough: key, samples looked at, and magnitudes [bins] under a Hann window."""
    rate = corpus.sample_rate_hz
    for piece in corpus.split("train"):
        samples = corpus.read_samples(piece).astype(np.float64) / FULL_SCALE
        events = roll_events(corpus.read_notes(piece), rate)
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
) -> _Seen:
    """The highest peak about each partial's guess [128, H], if it stands out."""
    rows = []
    for key, length, magnitudes in spectra:
        bin_hz = sample_rate_hz / (2 * (len(magnitudes) - 1))
        nominal_hz = fundamental_hz(key) * multiples
        around = int(0.45 * nominal_hz[0] / bin_hz)
        for partial, hz in enumerate(nominal_hz * 2 ** (guess_cents[key, : len(multiples)] / 1200)):
            half_hz = max(hz * (2 ** (width_cents / 1200) - 1), 0.6 * sample_rate_hz / length)
            low, high = int((hz - half_hz) / bin_hz), int((hz + half_hz) / bin_hz) + 2
            if hz + half_hz > HIGHEST_PARTIAL * sample_rate_hz or half_hz > 0.4 * nominal_hz[0]:
                continue
            top = low + int(np.argmax(magnitudes[low:high]))
            nearby = magnitudes[max(top - around, 0) : top + around + 1]
            if not low < top < high - 1 or magnitudes[top] <= PROMINENCE * np.median(nearby):
                continue
            left, middle, right = np.log(magnitudes[top - 1 : top + 2].astype(np.float64) + 1e-12)
            found_hz = (top + 0.5 * (left - right) / (left - 2 * middle + right)) * bin_hz
            rows.append((key, partial, 1200 * np.log2(found_hz / nominal_hz[partial]), (length * hz) ** 2))
    keys, partials, cents, weight = np.array(rows).reshape(-1, 4).T
    return _Seen(keys.astype(np.int64), partials.astype(np.int64), cents, weight)


def _stretch(seen: _Seen, law: np.ndarray) -> np.ndarray:
    """Cents over k^2 - 1 of each key [128]: the median of the slopes between its partials (Theil 1950, Sen 1968)."""
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
    return _filled(stretch)


def _offset(seen: _Seen, stretch: np.ndarray, law: np.ndarray) -> np.ndarray:
    """Cents of each key's fundamental [128] that its partials, less their stretch, tell."""
    cents = seen.cents - stretch[seen.key] * law[seen.partial]
    offset = np.full(N_KEYS, np.nan)
    for key in np.unique(seen.key):
        near = np.abs(seen.key - key) <= NEIGHBOURS
        weight = np.where(seen.key == key, 1.0, NEIGHBOUR_WEIGHT) * seen.weight
        offset[key] = _weighted_median(cents[near], weight[near])
    return _filled(offset)


def _filled(values: np.ndarray) -> np.ndarray:
    """Values of the keys [128], those that are missing in a line between their neighbours; all missing: 0."""
    known = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(N_KEYS), known, values[known]) if len(known) else np.zeros(N_KEYS)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])
