"""Voices as sums of partials and noise bands: numba kernels and their gradient.

A *voice* is a note that sounds. Its envelopes have breakpoints, at samples counted from its onset. Between two of them
amplitudes are linear and the frequency is constant. The phase of every segment is given in closed form, so that a
sample is the same wherever a block begins:

    y(j) = sum over partials h of a_h(j) sin(2 pi (phase + j cycles) ratio_h)
         + sum over bands b of g_b(j) noise_b(position + j)

j counts from the segment's first sample; phases are in cycles of the fundamental, `cycles` in cycles a sample. Noise is
read from periodic tables at the sample's own position, so that it depends on nothing else.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numba as nb
import numpy as np

from synthnet.kernels import CACHE

INAUDIBLE = 1e-5  # -100 dB of full scale: partials and bands below it at both ends of a segment are not computed
RESTART = 512  # samples after which the recurrence of sines starts anew, before its rounding is heard
NYQUIST = 0.49  # cycles a sample: partials above it are left out

_options: dict[str, Any] = {"fastmath": {"contract", "reassoc", "arcp", "nsz"}, "cache": CACHE, "nogil": True}


class Voices(NamedTuple):
    """All of N voices but their amplitudes, with K breakpoints, H partials and B noise bands.

    Attributes:
        onset: int64 [N], in samples of the block; negative before it.
        breakpoints: int64 [N, K], samples after the onset, never falling; equal ones bound no segment.
        phases, cycles: float64 [N, K], of the segment that begins at each breakpoint.
        ratios: float64 [N, H], frequencies of the partials relative to the fundamental.
        tables: float32 [B, P], periodic noise, in Fortran's order: the kernels read all bands of a sample.
        positions: int64 [N], where in the tables the block's sample 0 is read.
    """

    onset: np.ndarray
    breakpoints: np.ndarray
    phases: np.ndarray
    cycles: np.ndarray
    ratios: np.ndarray
    tables: np.ndarray
    positions: np.ndarray


# Taylor's series of sine and cosine at half a period at most: the first term left out is below 1e-8.
S0, S1, S2, S3, S4, S5, S6 = ((-1) ** k * math.pi ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(7))
C0, C1, C2, C3, C4, C5, C6 = ((-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k) for k in range(7))


@nb.njit(**_options)
def _sine_cosine(cycles: float, ratio: Any) -> Any:
    """Sines and cosines, float32 [H] each, of partials where the fundamental's phase is `cycles`.

    Without branches and calls, so that the loop becomes vectors: libm would take most of the time of short blocks.
    """
    sine, cosine = np.empty(len(ratio), np.float32), np.empty(len(ratio), np.float32)
    for h in range(len(ratio)):
        phase = cycles * ratio[h]
        phase -= np.rint(phase)
        square = phase * phase  # of half the angle, in half periods
        s = phase * (S0 + square * (S1 + square * (S2 + square * (S3 + square * (S4 + square * (S5 + square * S6))))))
        c = C0 + square * (C1 + square * (C2 + square * (C3 + square * (C4 + square * (C5 + square * C6)))))
        sine[h], cosine[h] = 2 * s * c, 1 - 2 * s * s
    return sine, cosine


@nb.njit(**_options)
def _add_partials(out: Any, segment: Any, low: Any, high: Any, phase: float, cycles: float, ratios: Any) -> None:
    """Add samples `first` to `last` of a segment, whose sample 0 is out[start]; amplitudes go from `low` to `high`."""
    start, first, last, length = segment
    ratio, base, slope = np.empty(len(ratios)), np.empty(len(ratios), np.float32), np.empty(len(ratios), np.float32)
    n = 0  # partials that are heard; without array expressions, since most segments are short
    for h in range(len(ratios)):
        if cycles * ratios[h] < NYQUIST and (low[h] >= INAUDIBLE or high[h] >= INAUDIBLE):
            ratio[n], base[n], slope[n] = ratios[h], low[h], (high[h] - low[h]) / length
            n += 1
    if n == 0:
        return
    ratio, base, slope = ratio[:n], base[:n], slope[:n]
    dsine, dcosine = _sine_cosine(cycles, ratio)
    for begin in range(first - first % RESTART, last, RESTART):
        sine, cosine = _sine_cosine(phase + begin * cycles, ratio)
        amplitude = base + slope * np.float32(begin)
        for j in range(begin, min(begin + RESTART, last)):
            total = np.float32(0.0)
            for h in range(len(ratio)):
                s, c = sine[h], cosine[h]
                total += amplitude[h] * s
                amplitude[h] += slope[h]
                sine[h] = s * dcosine[h] + c * dsine[h]
                cosine[h] = c * dcosine[h] - s * dsine[h]
            if j >= first:
                out[start + j] += total


@nb.njit(**_options)
def _add_noise(out: Any, segment: Any, low: Any, high: Any, position: int, tables: Any) -> None:
    """As `_add_partials`; the segment's sample 0 is read at `position` of the tables."""
    start, first, last, length = segment
    base, step = np.zeros(len(low), np.float32), np.zeros(len(low), np.float32)
    heard = False
    for b in range(len(low)):
        if low[b] >= INAUDIBLE or high[b] >= INAUDIBLE:
            base[b], step[b] = low[b], (high[b] - low[b]) / np.float32(length)
            heard = True
    if not heard:
        return
    while first < last:  # once, or twice where the tables begin again
        at = (position + first) % tables.shape[1]
        n = min(last - first, tables.shape[1] - at)
        for j in range(n):
            time, total = np.float32(first + j), np.float32(0.0)
            for b in range(len(base)):
                total += (base[b] + step[b] * time) * tables[b, at + j]
            out[start + first + j] += total
        first += n


@nb.njit(parallel=True, **_options)
def add_voices(out: Any, tones: Any, noises: Any, voices: Any) -> None:
    """Add each of the `Voices` to its row of `out`, float32 [N, L], a block of L samples.

    `tones` [N, K, H] and `noises` [N, K, B], float32, are the amplitudes of partials and bands at the breakpoints.
    """
    onset, breakpoints, phases, cycles, ratios, tables, positions = voices
    for i in nb.prange(len(out)):
        for k in range(breakpoints.shape[1] - 1):
            start, length = onset[i] + breakpoints[i, k], breakpoints[i, k + 1] - breakpoints[i, k]
            segment = (start, max(0, -start), min(length, out.shape[1] - start), length)
            if segment[1] < segment[2]:
                _add_partials(out[i], segment, tones[i, k], tones[i, k + 1], phases[i, k], cycles[i, k], ratios[i])
                _add_noise(out[i], segment, noises[i, k], noises[i, k + 1], positions[i] + start, tables)


@nb.njit(**_options)
def split_at_cells(
    amplitudes: Any, breakpoints: Any, first: Any, last: Any, cell: int, starts: Any, cycles: Any
) -> Any:
    """Breakpoints of N voices with those that moving frequencies need, at the edges of cells of `cell` samples.

    Args:
        amplitudes: float32 [N, K, C], at the breakpoints.
        breakpoints: int64 [N, K], as in `Voices`.
        first, last: int64 [N], numbers of each voice's cells, counted from its onset.
        starts, cycles: float64 [N, M], phase at the start of each of these cells, and the frequency within it.

    Returns:
        Amplitudes [N, K + M, C], breakpoints, phases and frequencies [N, K + M]. Before `first` phases are wrong.
    """
    n, k_in, channels = amplitudes.shape
    k_out = k_in + starts.shape[1]
    moved, at = np.empty((n, k_out, channels), np.float32), np.empty((n, k_out), np.int64)
    phases, frequencies = np.empty((n, k_out)), np.empty((n, k_out))
    for i in range(n):
        edge, k = first[i], 0  # the next edge, and the breakpoint at or after the present sample
        for f in range(k_out):
            while k and edge <= last[i] and cell * edge <= breakpoints[i, k - 1]:
                edge += 1
            between = 0 < k < k_in and edge <= last[i] and cell * edge < breakpoints[i, k]
            after = min(k, k_in - 1)  # beyond the last one, which is repeated
            at[i, f] = cell * edge if between else breakpoints[i, after]
            number = min(max(at[i, f] // cell, first[i]), last[i])
            frequencies[i, f] = cycles[i, number - first[i]]
            phases[i, f] = starts[i, number - first[i]] + (at[i, f] - cell * number) * frequencies[i, f]
            if between:
                before = breakpoints[i, k - 1]
                share = np.float32((at[i, f] - before) / (breakpoints[i, k] - before))
                for c in range(channels):
                    low = amplitudes[i, k - 1, c]
                    moved[i, f, c] = low + share * (amplitudes[i, k, c] - low)
                edge += 1
            else:
                moved[i, f] = amplitudes[i, after]
                k += 1
    return moved, at, phases, frequencies


@nb.njit(**_options)
def _partials_gradient(
    gradient: Any, segment: Any, d_low: Any, d_high: Any, phase: float, cycles: float, ratios: Any
) -> None:
    """Add the gradients of `_add_partials` by the amplitudes to `d_low` and `d_high`."""
    start, first, last, length = segment
    heard = np.flatnonzero(cycles * ratios < NYQUIST)
    ratio = ratios[heard]
    sine, cosine = _sine_cosine(phase + first * cycles, ratio)
    dsine, dcosine = _sine_cosine(cycles, ratio)
    flat, tilted = np.zeros(len(ratio), np.float32), np.zeros(len(ratio), np.float32)
    for j in range(first, last):
        g = gradient[start + j]
        t = g * (np.float32(j) / np.float32(length))
        for h in range(len(ratio)):
            s, c = sine[h], cosine[h]
            flat[h] += g * s
            tilted[h] += t * s
            sine[h] = s * dcosine[h] + c * dsine[h]
            cosine[h] = c * dcosine[h] - s * dsine[h]
    for h in range(len(ratio)):
        d_low[heard[h]] += flat[h] - tilted[h]
        d_high[heard[h]] += tilted[h]


@nb.njit(**_options)
def _noise_gradient(gradient: Any, segment: Any, d_low: Any, d_high: Any, position: int, tables: Any) -> None:
    """As `_partials_gradient`, of `_add_noise`."""
    start, first, last, length = segment
    flat, tilted = np.zeros(len(d_low), np.float32), np.zeros(len(d_low), np.float32)
    while first < last:
        at = (position + first) % tables.shape[1]
        n = min(last - first, tables.shape[1] - at)
        for j in range(n):
            g = gradient[start + first + j]
            t = g * (np.float32(first + j) / np.float32(length))
            for b in range(len(flat)):
                flat[b] += g * tables[b, at + j]
                tilted[b] += t * tables[b, at + j]
        first += n
    for b in range(len(flat)):
        d_low[b] += flat[b] - tilted[b]
        d_high[b] += tilted[b]


@nb.njit(parallel=True, **_options)
def voices_gradient(gradient: Any, d_tones: Any, d_noises: Any, voices: Any) -> None:
    """Add the gradients of `add_voices` by tones and noises to d_tones [N, K, H] and d_noises [N, K, B].

    `gradient` is float32 [N, L], that of a loss by each voice's samples. Inaudible partials have a gradient too: else
    they could never come back.
    """
    onset, breakpoints, phases, cycles, ratios, tables, positions = voices
    for i in nb.prange(len(gradient)):
        for k in range(breakpoints.shape[1] - 1):
            start, length = onset[i] + breakpoints[i, k], breakpoints[i, k + 1] - breakpoints[i, k]
            segment = (start, max(0, -start), min(length, gradient.shape[1] - start), length)
            if segment[1] < segment[2]:
                low, high = d_tones[i, k], d_tones[i, k + 1]
                _partials_gradient(gradient[i], segment, low, high, phases[i, k], cycles[i, k], ratios[i])
                low, high = d_noises[i, k], d_noises[i, k + 1]
                _noise_gradient(gradient[i], segment, low, high, positions[i] + start, tables)


FINEST_S, GROWTH, COARSEST_S = 0.002, 0.12, 0.04  # between breakpoints, which get rarer as a note goes on


class Breakpoints(NamedTuple):
    """Where the envelopes of N voices are computed: K breakpoints each, the last one repeated where a voice has fewer.

    At a release the held envelope is cut between two breakpoints: `share` is how far the cut is from the first to the
    second, whose time `time_s` has; elsewhere it is 1.
    """

    at: np.ndarray  # int64 [N, K], samples after the onset
    time_s: np.ndarray  # float32 [N, K], since the onset
    release_s: np.ndarray  # float32 [N, K], since the release, negative while held
    share: np.ndarray  # float32 [N, K]


@functools.lru_cache(maxsize=64)
def grid(sample_rate_hz: int, longest: int) -> np.ndarray:
    """Breakpoints in samples after an onset or a release, int64, up to the first one beyond `longest` samples."""
    times_s = [0.0]
    while GROWTH * times_s[-1] < COARSEST_S:
        times_s.append(times_s[-1] + max(GROWTH * times_s[-1], FINEST_S))
    count = max(2, math.ceil(((longest + 1) / sample_rate_hz - times_s[-1]) / COARSEST_S) + 2)
    even_s = times_s.pop() + COARSEST_S * np.arange(count)
    return np.round(np.concatenate([times_s, even_s]) * sample_rate_hz).astype(np.int64)


def find_breakpoints(
    onset: np.ndarray, release: np.ndarray, end_s: np.ndarray, n_samples: int, sample_rate_hz: int
) -> Breakpoints:
    """Breakpoints of the notes [N], at least one, that a block of samples needs.

    Args:
        onset, release: int64 [N], in samples of the block.
        end_s: [N], time after its release at which a note has ended.
    """
    longest = int(max(n_samples - onset.min(), 1))
    points = grid(sample_rate_hz, 1 << longest.bit_length())  # of few lengths, which are kept
    ends = np.round(end_s * sample_rate_hz).astype(np.int64)
    return Breakpoints(*_breakpoints_of(points, onset, release, ends, n_samples, np.float32(1 / sample_rate_hz)))


@nb.njit(cache=CACHE, nogil=True)
def _breakpoints_of(points: Any, onset: Any, release: Any, ends: Any, n_samples: int, period_s: Any) -> Any:
    """As `find_breakpoints`, by loops: array expressions would take longer than a block of live playing leaves."""
    n = len(onset)
    # Numbers of the first breakpoints, in the grid, while held and after the release, and how many there are.
    first_held, first_gone, n_held, n_all = np.empty((4, n), np.int64)
    for i in range(n):
        begin, stop, held = max(0, -onset[i]), n_samples - onset[i], release[i] - onset[i]  # samples after the onset
        low = np.searchsorted(points, min(begin, held), side="right") - 1
        high = np.searchsorted(points, min(held, stop))
        first_held[i] = low - (low == high and low > 0)
        n_held[i] = 0 if begin - held >= points[1] else high - first_held[i] + 1
        first_gone[i] = max(np.searchsorted(points, begin - held, side="right") - 1, 1)
        last_gone = max(np.searchsorted(points, min(stop - held, ends[i])), first_gone[i])
        n_all[i] = n_held[i] + (last_gone - first_gone[i] + 1 if stop > held else 0)
    shape = n, n_all.max()
    at, time_s = np.empty(shape, np.int64), np.empty(shape, np.float32)
    release_s, share = np.empty(shape, np.float32), np.ones(shape, np.float32)
    for i in range(n):
        held = release[i] - onset[i]
        for k in range(shape[1]):
            number = min(k, n_all[i] - 1)
            if number < n_held[i]:
                point = points[first_held[i] + number]
                at[i, k], time_s[i, k], release_s[i, k] = min(point, held), np.float32(point) * period_s, -period_s
                if point > held:
                    before = points[first_held[i] + number - 1]
                    share[i, k] = (held - before) / (point - before)
            else:
                gone = min(points[first_gone[i] + number - n_held[i]], ends[i])
                at[i, k] = held + gone
                time_s[i, k], release_s[i, k] = np.float32(held + gone) * period_s, np.float32(gone) * period_s
    return at, time_s, release_s, share


BANDS_HZ = (40.0, 18_000.0)  # centres of the lowest and the highest band
TABLE_SAMPLES = 1 << 17


@functools.lru_cache(maxsize=4)
def noise_tables(n_bands: int, sample_rate_hz: int) -> np.ndarray:
    """Periodic noise of each band, float32 [B, 131072], of unit RMS; bands above half the rate are silent.

    Bands overlap as triangles of power on a logarithmic scale of frequency.
    """
    hz = np.fft.rfftfreq(TABLE_SAMPLES, 1 / sample_rate_hz)
    centres = np.linspace(math.log(BANDS_HZ[0]), math.log(BANDS_HZ[1]), n_bands)
    place = (np.log(np.maximum(hz, 1e-3)) - centres[0]) / (centres[1] - centres[0])
    rng = np.random.default_rng(0)
    tables = np.zeros((n_bands, TABLE_SAMPLES), np.float32)
    for band in np.flatnonzero(np.exp(centres) <= 0.48 * sample_rate_hz):
        where = np.flatnonzero(np.abs(place - band) < 1)
        spectrum = np.zeros(len(hz), np.complex64)
        spectrum[where] = np.sqrt(1 - np.abs(place[where] - band)) * np.exp(2j * np.pi * rng.random(len(where)))
        x = np.fft.irfft(spectrum, TABLE_SAMPLES)
        tables[band] = x / np.sqrt(np.mean(x * x))
    return np.asfortranarray(tables)  # a sample's bands lie side by side
