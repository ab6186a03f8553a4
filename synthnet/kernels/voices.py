"""Voices as sums of partials and noise bands: numba kernels and their gradient.

A *voice* is a note that sounds. Its envelopes have breakpoints, at samples counted from its onset. Between two of them
amplitudes move in a straight line and the frequency is constant. Every segment starts from a phase given in closed
form, so that a sample is the same wherever a block begins:

    y(j) = sum over partials h of a_h(j) sin(2 pi (phase + j cycles) ratio_h)
         + sum over bands b of g_b(j) noise_b(position + j)

j counts from the segment's first sample; phases are in cycles of the fundamental, `cycles` in cycles a sample. Noise
comes from tables of periodic band-limited noise, read at the sample's own position, so that it depends on nothing else.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numba as nb
import numpy as np

INAUDIBLE = 1e-5  # -100 dB of full scale: partials and bands below it, at both ends of a segment, are not computed
ANEW = 512  # samples
NYQUIST = 0.49  # cycles a sample: partials above it are left out

_options: dict[str, Any] = {"fastmath": {"contract", "reassoc", "arcp", "nsz"}, "cache": True, "nogil": True}
_TURN = 2.0 * math.pi


@nb.njit(**_options)
def _sine_cosine(phase: float, ratio: float) -> Any:
    """sin and cos of a partial's phase; `phase` is the fundamental's, in cycles."""
    turns = phase * ratio
    angle = (turns - math.floor(turns)) * _TURN
    return math.sin(angle), math.cos(angle)


@nb.njit(**_options)
def _add_partials(
    out: Any, start: int, first: int, last: int, length: int, low: Any, high: Any, phase: float, cycles: float,
    ratio: Any, scratch: Any,
) -> None:  # fmt: skip
    """Add samples `first` to `last` of a segment to out[start + first : start + last]."""
    sine, cosine, dsine, dcosine, amplitude, slope, base, heard = scratch
    n = 0
    for h in range(len(ratio)):
        if cycles * ratio[h] >= NYQUIST or (low[h] < INAUDIBLE and high[h] < INAUDIBLE):
            continue
        sine[n], cosine[n] = _sine_cosine(phase, ratio[h])
        dsine[n], dcosine[n] = _sine_cosine(cycles, ratio[h])
        base[n], slope[n], heard[n] = low[h], (high[h] - low[h]) / length, ratio[h]
        n += 1
    # Every 512 samples the recurrence starts anew from the phase, or its rounding would be heard.
    for begin in range(first - first % ANEW, last, ANEW):
        for i in range(n):
            if begin:
                sine[i], cosine[i] = _sine_cosine(phase + begin * cycles, heard[i])
            amplitude[i] = base[i] + slope[i] * begin
        for j in range(begin, min(begin + ANEW, last)):
            total = np.float32(0.0)
            for i in range(n):
                s, c = sine[i], cosine[i]
                total += amplitude[i] * s
                amplitude[i] += slope[i]
                sine[i] = s * dcosine[i] + c * dsine[i]
                cosine[i] = c * dcosine[i] - s * dsine[i]
            if j >= first:
                out[start + j] += total


@nb.njit(**_options)
def _add_noise(
    out: Any, start: int, first: int, last: int, length: int, low: Any, high: Any, position: int, tables: Any
) -> None:
    """As `_add_partials`; `position` is that of the segment's first sample in the tables."""
    period = tables.shape[1]
    for b in range(tables.shape[0]):
        if low[b] < INAUDIBLE and high[b] < INAUDIBLE:
            continue
        step = (high[b] - low[b]) / np.float32(length)
        done, at = first, (position + first) % period
        while done < last:
            n = min(last - done, period - at)
            for j in range(n):
                out[start + done + j] += (low[b] + step * np.float32(done + j)) * tables[b, at + j]
            done += n
            at = 0


@nb.njit(parallel=True, **_options)
def add_voices(
    out: Any, tones: Any, noises: Any, onset: Any, breakpoints: Any, phases: Any, cycles: Any, ratios: Any, tables: Any,
    positions: Any,
) -> None:  # fmt: skip
    """Add each voice to its row of `out`.

    Args:
        out: float32 [N, L], a block of samples for each voice.
        tones, noises: float32 [N, K, H] and [N, K, B], amplitudes of partials and bands at the breakpoints.
        onset: int64 [N], the voice's onset in samples of the block; negative before the block.
        breakpoints: int64 [N, K], samples after the onset, never falling; equal ones bound no segment.
        phases, cycles: float64 [N, K], of the segment that begins at each breakpoint.
        ratios: float64 [N, H], frequencies of the partials relative to the fundamental.
        tables: float32 [B, P], periodic noise.
        positions: int64 [N], where in the tables the block's sample 0 is read.
    """
    n_voices, n_samples = out.shape
    for i in nb.prange(n_voices):
        shape = tones.shape[2]
        scratch = (
            np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32),
            np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32),
            np.empty(shape, np.float32), np.empty(shape, np.float64),
        )  # fmt: skip
        for k in range(tones.shape[1] - 1):
            start, length = onset[i] + breakpoints[i, k], breakpoints[i, k + 1] - breakpoints[i, k]
            first, last = max(0, -start), min(length, n_samples - start)
            if first >= last:
                continue
            _add_partials(
                out[i], start, first, last, length, tones[i, k], tones[i, k + 1], phases[i, k], cycles[i, k], ratios[i],
                scratch,
            )  # fmt: skip
            _add_noise(out[i], start, first, last, length, noises[i, k], noises[i, k + 1], positions[i] + start, tables)


@nb.njit(parallel=True, **_options)
def voices_gradient(
    gradient: Any, d_tones: Any, d_noises: Any, onset: Any, breakpoints: Any, phases: Any, cycles: Any, ratios: Any,
    tables: Any, positions: Any,
) -> None:  # fmt: skip
    """Add the gradients of `add_voices` by tones and noises to d_tones [N, K, H] and d_noises [N, K, B].

    `gradient` is float32 [N, L], that of a loss by each voice's samples. Inaudible partials count, too: else they could
    never come back.
    """
    n_voices, n_samples = gradient.shape
    n_partials, period = d_tones.shape[2], tables.shape[1]
    for i in nb.prange(n_voices):
        sine, cosine = np.empty(n_partials, np.float32), np.empty(n_partials, np.float32)
        dsine, dcosine = np.empty(n_partials, np.float32), np.empty(n_partials, np.float32)
        flat, tilted = np.empty(n_partials, np.float32), np.empty(n_partials, np.float32)
        for k in range(d_tones.shape[1] - 1):
            start, length = onset[i] + breakpoints[i, k], breakpoints[i, k + 1] - breakpoints[i, k]
            first, last = max(0, -start), min(length, n_samples - start)
            if first >= last:
                continue
            n = 0
            while n < n_partials and cycles[i, k] * ratios[i, n] < NYQUIST:
                sine[n], cosine[n] = _sine_cosine(phases[i, k], ratios[i, n])
                dsine[n], dcosine[n] = _sine_cosine(cycles[i, k], ratios[i, n])
                flat[n], tilted[n] = 0.0, 0.0
                n += 1
            for j in range(last):
                g = gradient[i, start + j] if j >= first else np.float32(0.0)
                t = g * (np.float32(j) / np.float32(length))
                for h in range(n):
                    s, c = sine[h], cosine[h]
                    flat[h] += g * s
                    tilted[h] += t * s
                    sine[h] = s * dcosine[h] + c * dsine[h]
                    cosine[h] = c * dcosine[h] - s * dsine[h]
            for h in range(n):
                d_tones[i, k, h] += flat[h] - tilted[h]
                d_tones[i, k + 1, h] += tilted[h]
            done, at = first, (positions[i] + start + first) % period
            while done < last:
                m = min(last - done, period - at)
                for b in range(tables.shape[0]):
                    whole, upper = np.float32(0.0), np.float32(0.0)
                    for j in range(m):
                        q = gradient[i, start + done + j] * tables[b, at + j]
                        whole += q
                        upper += q * np.float32(done + j)
                    upper /= np.float32(length)
                    d_noises[i, k, b] += whole - upper
                    d_noises[i, k + 1, b] += upper
                done += m
                at = 0


# ------------------------------------------------------------------------------------------------- breakpoints

FINEST_S, GROWTH, COARSEST_S = 0.002, 0.12, 0.04  # between breakpoints, which get rarer as a note goes on


class Breakpoints(NamedTuple):
    """Where the envelopes of N voices are computed, K for each; the last one is repeated where a voice has fewer.

    At a release the held envelope is cut: `share` is how far the cut is from the breakpoint before it to the held one
    after it, whose time `time_s` has; elsewhere it is 1.
    """

    at: np.ndarray  # int64 [N, K], samples after the onset
    time_s: np.ndarray  # float32 [N, K], since the onset
    release_s: np.ndarray  # float32 [N, K], since the release, negative while held
    share: np.ndarray  # float32 [N, K]


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
    """Breakpoints of the notes [N] that a block of samples needs.

    Args:
        onset, release: int64 [N], in samples of the block.
        end_s: [N], time after its release at which a note has ended.
    """
    points = grid(sample_rate_hz, int(max(n_samples - onset.min(), 1)))
    ends = np.round(end_s * sample_rate_hz).astype(np.int64)
    none = np.zeros((len(onset), 0), np.int64)  # no room: the breakpoints are only counted
    count = max(1, _place(onset, release, ends, n_samples, points, none, none, none, none.astype(np.float32)))
    at, source = np.zeros((len(onset), count), np.int64), np.zeros((len(onset), count), np.int64)
    after, share = np.full((len(onset), count), -1, np.int64), np.ones((len(onset), count), np.float32)
    _place(onset, release, ends, n_samples, points, at, source, after, share)
    seconds = np.float32(1 / sample_rate_hz)
    return Breakpoints(at, source.astype(np.float32) * seconds, after.astype(np.float32) * seconds, share)


@nb.njit(cache=True, nogil=True)
def _place(
    onset: Any, release: Any, ends: Any, n_samples: int, points: Any, at: Any, source: Any, after: Any, share: Any
) -> int:
    """Fill in the breakpoints of each note as far as there is room; the largest number that a note needs."""
    most = 0
    for i in range(len(onset)):
        begin, stop, held = max(0, -onset[i]), n_samples - onset[i], release[i] - onset[i]
        n = 0
        first_release = 0
        if begin > held:
            first_release = np.searchsorted(points, begin - held, side="right") - 1
        if first_release == 0:
            low = np.searchsorted(points, min(begin, held), side="right") - 1
            high = np.searchsorted(points, min(held, stop), side="left")
            if low == high and low > 0:
                low -= 1
            for k in range(low, high + 1):
                if n < at.shape[1]:
                    at[i, n], source[i, n] = min(points[k], held), points[k]
                    if points[k] > held:
                        share[i, n] = (held - points[k - 1]) / (points[k] - points[k - 1])
                n += 1
        if stop > held:
            j = max(first_release, 1)
            while True:
                gone = min(points[j], ends[i])
                if n < at.shape[1]:
                    at[i, n], source[i, n], after[i, n] = held + gone, held + gone, gone
                n += 1
                if gone >= min(stop - held, ends[i]):
                    break
                j += 1
        most = max(most, n)
        for k in range(n, at.shape[1]):
            at[i, k], source[i, k], after[i, k], share[i, k] = at[i, n - 1], source[i, n - 1], after[i, n - 1], 1.0
    return most


# ------------------------------------------------------------------------------------------------------- noise

BANDS_HZ = (40.0, 18_000.0)  # centres of the lowest and the highest band
TABLE_SAMPLES = 1 << 17


@functools.lru_cache(maxsize=4)
def noise_tables(n_bands: int, sample_rate_hz: int, seed: int = 0) -> np.ndarray:
    """Periodic noise of each band, float32 [B, 131072], of unit RMS; bands above half the rate are silent.

    Bands overlap as triangles of power on a logarithmic scale of frequency.
    """
    hz = np.fft.rfftfreq(TABLE_SAMPLES, 1 / sample_rate_hz)
    centres = np.linspace(math.log(BANDS_HZ[0]), math.log(BANDS_HZ[1]), n_bands)
    place = (np.log(np.maximum(hz, 1e-3)) - centres[0]) / (centres[1] - centres[0])
    rng = np.random.default_rng(seed)
    tables = np.zeros((n_bands, TABLE_SAMPLES), np.float32)
    for band in range(n_bands):
        if np.exp(centres[band]) > 0.48 * sample_rate_hz:
            continue
        where = np.flatnonzero(np.abs(place - band) < 1)
        spectrum = np.zeros(len(hz), np.complex64)
        spectrum[where] = np.sqrt(1 - np.abs(place[where] - band)) * np.exp(2j * np.pi * rng.random(len(where)))
        x = np.fft.irfft(spectrum, TABLE_SAMPLES)
        tables[band] = x / np.sqrt(np.mean(x * x))
    return tables
