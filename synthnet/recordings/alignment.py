"""A score laid over its recording: where each of its notes begins and ends in the sound.

First the whole piece, by dynamic time warping of the spectrum of a semitone a band (Ewert, Müller and Grosche, "High
resolution audio synchronization using chroma onset features", ICASSP 2009); then each note.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numba as nb
import numpy as np
import soxr
from scipy.stats import theilslopes

from synthnet.files import InputError
from synthnet.kernels import CACHE
from synthnet.recordings.averaging import EARLIER_S, average_onsets
from synthnet.recordings.notes import fall_end_s
from synthnet.recordings.pairs import EXACT, PERFORMED, SCORE
from synthnet.recordings.sound import runs
from synthnet.score.notes import Note, in_order
from synthnet.score.roll import RESTRIKE_GAP_S

RATE_HZ, LOWEST_KEY, N_BANDS = 16_000, 28, 88  # of the spectra: one band a key
PERIODS, NARROWEST_S, WIDEST_S = 17, 0.04, 0.256  # of their windows
HOP_S, COARSE, BAND_S = 0.02, 8, 1.0  # frames; frames in a coarse one; how far the fine path may leave the coarse one
COMPRESSION, FLOOR = 20.0, 0.1
HARMONICS, DYING_S, RINGING = 10, 0.6, 0.3
ONSET_S, ONSET_WEIGHT, ONSET_FLOOR = 0.06, 0.5, 0.3
STRUCK_S, SHORTEST_S, LEGATO_S, LATE_END_S = 0.025, 0.03, 0.03, 1.0
LEAST_ALIKE, LEAST_SHARE = 0.3, 0.4  # correlation; share of the median note's, as Fisher's z
MOST_SLOPED = 2_000  # notes that a median slope is taken of
UNWRITTEN_HOP_S, UNWRITTEN_DB, UNWRITTEN_S, ECHO_S = 0.1, 30.0, 0.5, 1.0
SLOWEST, FASTEST, TEMPO_S, TOGETHER_S, LOST_IN_A_ROW = 0.4, 2.5, 0.5, 0.05, 3
SOUNDING_DB = 40.0  # below the loud frames: what is softer, is silent


@dataclass(frozen=True)
class Aligned:
    """What `align` found: n notes, those of the score, sorted by onset, then key.

    Attributes:
        notes: seconds in the recording, with the velocities given.
        found: bool [n], whether the note was found in the sound.
        confidence: float [n], -1 to 1: correlation of its onset with its neighbours'.
        left_out: spans in seconds that must not be trained on, and why.
        tuning_cents: of the whole piece, from A4 = 440 Hz.
        offset_s, drift_ppm: how much later than its label the sound is at the start, and by how many millionths of the
            time more it becomes later; 0 for scores.
        struck: whether tones rise at once, as those of a piano or a guitar do.
    """

    notes: tuple[Note, ...]
    found: np.ndarray
    confidence: np.ndarray
    left_out: tuple[tuple[float, float, str], ...]
    tuning_cents: float
    offset_s: float
    drift_ppm: float
    struck: bool


def align(
    notes: Sequence[Note],
    samples: np.ndarray,
    sample_rate_hz: int,
    labels: str = SCORE,
    anchors: Sequence[tuple[float, float]] = (),
) -> Aligned:
    """Find the notes of a score in its recording, float32 samples [n].

    Args:
        labels: "score", played at any tempo; "performed", times of the performance but for a lag and a clock's drift;
            "exact", times and velocities are right, so nothing is moved.
        anchors: pairs of seconds in a score and seconds in the recording that belong together.

    Raises:
        InputError: no path goes through the anchors.
    """
    notes = in_order(notes)
    pitch = np.array([note.pitch for note in notes])
    start_s = label_s = np.array([note.start_s for note in notes])
    x = soxr.resample(samples, sample_rate_hz, RATE_HZ, "VHQ").astype(np.float32)
    cents = tuning_cents(x)
    if labels != EXACT:
        start_s, end_s = place(notes, x, cents, anchors)
    if labels == PERFORMED:
        start_s = _line(label_s, start_s, pitch)[0]
    averaged = average_onsets(x, RATE_HZ, pitch + cents / 100, start_s)
    late_s = averaged.start_s + EARLIER_S
    offset_s = drift = 0.0
    start_s = np.clip(averaged.start_s, 0, len(samples) / sample_rate_hz - SHORTEST_S)
    if labels == PERFORMED:
        line_s, offset_s, drift = _line(label_s, late_s, pitch)
        end_s = line_s + np.array([note.end_s - note.start_s for note in notes]) * (1 + drift)
    elif labels == EXACT:
        start_s, offset_s = label_s, float(np.median(late_s - label_s))
    found = _found(averaged.correlation, pitch, label_s, start_s)
    left_out = _left_out(found, label_s, start_s)
    if labels != EXACT:
        ends_s = [_end_s(i, notes, start_s, end_s, x, cents) for i in range(len(notes))]
        notes = tuple(
            replace(n, start_s=float(a), end_s=float(b)) for n, a, b in zip(notes, start_s, ends_s, strict=True)
        )
    order = np.lexsort((pitch, start_s))
    return Aligned(
        tuple(notes[i] for i in order),
        found[order],
        averaged.correlation[order],
        tuple(sorted((*left_out, *_unwritten(notes, x)))),
        cents,
        offset_s,
        1e6 * drift,
        bool(np.median(averaged.rise_s) < STRUCK_S),
    )


def _found(correlation: np.ndarray, pitch: np.ndarray, label_s: np.ndarray, start_s: np.ndarray) -> np.ndarray:
    """Whether each note's onset is one of its key, bool [N].

    Not found: notes that are little like others, against the median note; where the tempo about them is less than 0.4
    or more than 2.5 times the piece's; and the less alike of two notes of one key at the same time.
    """
    usual = np.arctanh(np.clip(np.median(correlation), 0, 0.99))
    found = correlation >= max(LEAST_ALIKE, np.tanh(LEAST_SHARE * usual))
    tempo = _tempo(label_s, start_s)
    found &= (tempo >= SLOWEST) & (tempo <= FASTEST)
    order = np.lexsort((start_s, pitch))
    for i, j in itertools.pairwise(order):
        if pitch[i] == pitch[j] and start_s[j] - start_s[i] < TOGETHER_S <= abs(label_s[j] - label_s[i]):
            found[i if correlation[i] < correlation[j] else j] = False
    return found


def _tempo(label_s: np.ndarray, start_s: np.ndarray) -> np.ndarray:
    """How fast the score goes by about each of its notes, [N], against the whole piece; in a window of a second."""
    labels, first = np.unique(label_s, return_index=True)
    times = start_s[first]
    after, before = np.minimum(label_s + TEMPO_S, labels[-1]), np.maximum(label_s - TEMPO_S, labels[0])
    played = np.maximum(np.interp(after, labels, times) - np.interp(before, labels, times), 1e-3)
    return (after - before) / played / max(np.ptp(labels) / max(np.ptp(times), 1e-3), 1e-9)


def _left_out(found: np.ndarray, label_s: np.ndarray, start_s: np.ndarray) -> list[tuple[float, float, str]]:
    """Spans of three and more notes in a row that were not found, from the onset before to the one after."""
    spans = []
    for first, stop in runs(~found).tolist():
        begin_s = start_s[first - 1] if first else max(0.0, start_s[first:stop].min())
        end_s = start_s[stop] if stop < len(found) else start_s[first:stop].max() + LATE_END_S
        if stop - first >= LOST_IN_A_ROW and end_s > begin_s:
            spans.append((float(begin_s), float(end_s), f"{stop - first} notes not found"))
    return spans


def _unwritten(notes: Sequence[Note], x: np.ndarray) -> list[tuple[float, float, str]]:
    """Spans of half a second and more of sound, within 30 dB of the piece, while the score and its echo are silent."""
    hop = round(UNWRITTEN_HOP_S * RATE_HZ)
    level = np.sqrt((x[: len(x) // hop * hop].reshape(-1, hop) ** 2).mean(axis=1))
    loud = level > 10 ** (-UNWRITTEN_DB / 20) * np.sqrt(np.mean(x**2))
    for note in notes:
        loud[int(note.start_s / UNWRITTEN_HOP_S) : int((note.end_s + ECHO_S) / UNWRITTEN_HOP_S) + 1] = False
    spans = (runs(loud) * UNWRITTEN_HOP_S).tolist()
    return [(a, b, "sound where the score is silent") for a, b in spans if b - a >= UNWRITTEN_S - 1e-9]


def _line(label_s: np.ndarray, found_s: np.ndarray, pitch: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Times on the line through found ones, its offset and its drift: least squares of the times that are near it.

    It begins with the median slope (Theil and Sen). Each key has a lag of its own, which is taken off.
    """
    away = found_s - label_s
    some = slice(None, None, 1 + len(label_s) // MOST_SLOPED)
    drift = float(theilslopes(away[some], label_s[some]).slope) if np.ptp(label_s[some]) else 0.0
    keys = [pitch == key for key in np.unique(pitch)]
    for _ in range(10):
        rest, time_s = away - drift * label_s, label_s.astype(float)
        for of_key in keys:
            rest[of_key] -= np.median(rest[of_key])
        near = np.abs(rest) <= 3 * 1.4826 * np.median(np.abs(rest)) + 1e-5
        for of_key in keys:
            if (mine := of_key & near).any():
                rest[mine] -= rest[mine].mean()
                time_s[mine] -= time_s[mine].mean()
        drift += float((rest * time_s)[near].sum() / max((time_s[near] ** 2).sum(), 1e-9))
    offset = float(np.median(away - drift * label_s))
    return label_s + offset + drift * label_s, offset, drift


def _end_s(i: int, notes: Sequence[Note], start_s: np.ndarray, end_s: np.ndarray, x: np.ndarray, cents: float) -> float:
    """When note i ends: where the next one of a written legato begins, or where it is let go."""
    note, first_s = notes[i], start_s[i] + SHORTEST_S
    again = (at for at, later in zip(start_s[i + 1 :], notes[i + 1 :], strict=True) if later.pitch == note.pitch)
    latest_s = min([end_s[i] + LATE_END_S, len(x) / RATE_HZ, *(at - RESTRIKE_GAP_S for at in again if at > first_s)])
    after = [
        at
        for at, other in zip(start_s, notes, strict=True)
        if abs(other.start_s - note.end_s) < LEGATO_S and first_s < at < latest_s
    ]
    if after:
        return float(max(first_s, np.median(after)))
    return float(max(first_s, min(latest_s, fall_end_s(x, RATE_HZ, note.pitch + cents / 100, start_s[i], latest_s))))


@nb.njit(cache=CACHE, nogil=True)
def warp(cost, low, high):  # type: ignore[no-untyped-def]
    """Find the cheapest path through a band of a cost matrix, from its first to its last cell.

    Steps are (1, 1), (1, 0) and (0, 1), weighted 1.5, 1 and 1.

    Args:
        cost: float [cells], row after row.
        low, high: int64 [rows]; row i of the band goes from column low[i] to before high[i]. Neither ever falls.

    Returns:
        Its cost, and the first and the last column in each row, int64 [rows]. The cost is infinite if there is no path.
    """
    rows = len(low)
    before, total = np.full(high[-1], np.inf), np.full(high[-1], np.inf)
    came = np.zeros(len(cost), np.uint8)
    at = 0
    for i in range(rows):
        for j in range(low[i], high[i]):
            c, best, step = cost[at], np.inf, 0
            if at == 0:
                best = c
            if i and low[i - 1] < j <= high[i - 1]:
                best = before[j - 1] + 1.5 * c
            if i and low[i - 1] <= j < high[i - 1] and before[j] + c < best:
                best, step = before[j] + c, 1
            if j > low[i] and total[j - 1] + c < best:
                best, step = total[j - 1] + c, 2
            total[j], came[at] = best, step
            at += 1
        before, total = total, before
    first, last = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    least = before[high[-1] - 1]
    if not np.isfinite(least):
        return least, first, last
    i, j, at = rows - 1, high[-1] - 1, len(cost) - 1
    last[i] = j
    while at:
        step = came[at]
        if step == 2:
            j, at = j - 1, at - 1
            continue
        first[i] = j
        at -= j - low[i]
        i, j = i - 1, j - (step == 0)
        at -= high[i] - j
        last[i] = j
    first[0] = low[0]
    return least, first, last


def place(
    notes: Sequence[Note], samples: np.ndarray, cents: float, anchors: Sequence[tuple[float, float]] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """When each note begins and ends in samples at 16 kHz, seconds [N] each: to a frame of 20 ms, as the path goes.

    Raises:
        InputError: no path goes through the anchors.
    """
    magnitudes = spectra(samples, cents)
    loud = magnitudes.max(axis=1)
    sounding = np.flatnonzero(loud > 10 ** (-SOUNDING_DB / 20) * np.percentile(loud, 95))
    pitch, times_s = np.array([n.pitch for n in notes]), np.array([(n.start_s, n.end_s) for n in notes])
    begin_s = times_s.min()
    scale = (sounding[-1] - sounding[0] + 1) * HOP_S / (times_s.max() - begin_s)  # to the mean tempo of the recording
    times_s = (times_s - begin_s) * scale
    points = np.array([((at_s - begin_s) * scale, audio_s) for at_s, audio_s in anchors]).reshape(-1, 2)
    n, coarse_s = len(magnitudes) // COARSE, HOP_S * COARSE
    coarse, score = (
        magnitudes[: n * COARSE].reshape(n, COARSE, -1).mean(axis=1),
        score_features(pitch, times_s, coarse_s),
    )
    low, high = np.zeros(len(score), int), np.full(len(score), n)
    first, last = _path(score, sound_features(coarse, coarse_s), low, high, points / coarse_s, slack=1)
    score, margin = score_features(pitch, times_s, HOP_S), round(BAND_S / HOP_S)
    row = np.clip((np.arange(len(score)) - 1) // COARSE + 1, 1, len(first) - 2)
    low = np.maximum(first[row] * COARSE - margin, 0)
    high = np.minimum((last[row] + 1) * COARSE + margin, len(magnitudes))
    first, _ = _path(score, sound_features(magnitudes, HOP_S), low, high, points / HOP_S, slack=0)
    start_s, end_s = np.interp(1 + times_s.T / HOP_S, np.arange(len(first)), first * HOP_S)
    return start_s, end_s


def _path(
    score: np.ndarray, sound: np.ndarray, low: np.ndarray, high: np.ndarray, points: np.ndarray, slack: int
) -> tuple[np.ndarray, np.ndarray]:
    """First and last frame of the sound for each of the score's, within a band and `slack` frames of points.

    Features [frames, 2, bands] are spectrum and onsets. A silent frame of the score costs as much as is heard.
    """
    for row, column in np.rint(points).astype(int):
        row, column = np.clip(row + 1, 1, len(low) - 2), np.clip(column, 0, high[-1] - 1)
        high[: row + 1] = np.minimum(high[: row + 1], column + 1 + slack)
        low[row:] = np.maximum(low[row:], column - slack)
    np.maximum(high, low + 1, out=high)
    heard, cost = np.linalg.norm(sound[:, 0], axis=1), []
    for (spectrum, onsets), a, b in zip(score, low, high, strict=True):
        unlike = 1 - sound[a:b, 0] @ spectrum if spectrum.any() else heard[a:b]
        cost.append(unlike + ONSET_WEIGHT * np.linalg.norm(sound[a:b, 1] - onsets, axis=1))
    least, first, last = warp(np.concatenate(cost), low, high)
    if not np.isfinite(least):
        raise InputError("no way through the recording passes all anchors")
    return first, last


def tuning_cents(samples: np.ndarray) -> float:
    """How far a piece at 16 kHz is tuned from A4 = 440 Hz, -50 to 50 cents, from its spectra's peaks."""
    width = 1 << 14
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, width // 2), width)[:: width // 2]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(width), axis=1)).astype(np.float32) + np.float32(1e-9)
    low, high = (round(hz * width / RATE_HZ) for hz in (100, 2000))
    part = spectrum[:, low:high]
    a, b, c = np.log(part[:, :-2]), np.log(part[:, 1:-1]), np.log(part[:, 2:])
    peak = (b > a) & (b > c) & (part[:, 1:-1] > 0.05 * spectrum.max(axis=1, keepdims=True))
    shift = (0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9))[peak]
    hz = (low + 1 + np.nonzero(peak)[1] + shift) * RATE_HZ / width
    circle = np.exp(2j * np.pi * 12 * np.log2(hz / 440)) * np.sqrt(part[:, 1:-1][peak])
    return float(np.angle(circle.sum()) / (2 * np.pi) * 100)


def spectra(samples: np.ndarray, cents: float) -> np.ndarray:
    """Magnitudes of 88 keys from 28 on, every 20 ms of samples at 16 kHz, float32 [frames, 88]."""
    hz = 440 * 2 ** ((LOWEST_KEY + np.arange(N_BANDS) - 69 + cents / 100) / 12)
    longest, hop = round(WIDEST_S * RATE_HZ), round(HOP_S * RATE_HZ)
    kernels = np.zeros((longest, N_BANDS), np.complex64)
    for band, f in enumerate(hz):
        width = round(min(max(PERIODS / f, NARROWEST_S), WIDEST_S) * RATE_HZ)
        window, at = np.hanning(width), (longest - width) // 2
        kernels[at : at + width, band] = window / window.sum() * np.exp(-2j * np.pi * f / RATE_HZ * np.arange(width))
    padded = np.pad(samples, (longest // 2, longest))
    frames = np.lib.stride_tricks.sliding_window_view(padded, longest)[: len(samples) : hop]
    parts = [
        np.hypot(part @ kernels.real, part @ kernels.imag) for part in np.array_split(frames, len(frames) // 500 + 1)
    ]
    return np.concatenate(parts)


def sound_features(magnitudes: np.ndarray, hop_s: float) -> np.ndarray:
    """Of each frame its spectrum and its onsets, float32 [frames, 2, bands], each of length 1 or, where soft, below."""
    level = np.log1p(COMPRESSION * magnitudes / np.percentile(magnitudes.max(axis=1), 95))
    return _features(level, np.maximum(np.diff(level, axis=0, prepend=level[:1]), 0), hop_s)


def score_features(pitch: np.ndarray, times_s: np.ndarray, hop_s: float) -> np.ndarray:
    """The same of notes [N], starts and ends [N, 2] in seconds from 0, between two silent frames."""
    level, rise = np.zeros((2, 3 + round(times_s.max() / hop_s), N_BANDS))
    orders = np.arange(1, HARMONICS + 1)
    weight = 0.8 ** (orders - 1)
    for key, (start, stop) in zip(pitch, 1 + np.rint(times_s / hop_s).astype(int), strict=True):
        bands = np.rint(key - LOWEST_KEY + 12 * np.log2(orders)).astype(int)
        inside = (bands >= 0) & (bands < N_BANDS)
        held = slice(start, max(start + 1, stop))
        dying = np.maximum(np.exp(-np.arange(held.stop - start) * hop_s / DYING_S), RINGING)[:, None] * weight[inside]
        level[held, bands[inside]] = np.maximum(level[held, bands[inside]], dying)
        rise[start, bands[inside]] = np.maximum(rise[start, bands[inside]], weight[inside])
    return _features(level, rise, hop_s)


def _features(level: np.ndarray, rise: np.ndarray, hop_s: float) -> np.ndarray:
    """Levels, and rises that die away, [frames, bands] each, with their lengths made 1 unless they are soft."""
    for before, now in itertools.pairwise(rise):
        np.maximum(now, np.exp(-hop_s / ONSET_S) * before, out=now)
    parts = []
    for part, floor in ((level, FLOOR), (rise, ONSET_FLOOR)):
        length = np.linalg.norm(part, axis=1, keepdims=True)
        parts.append(part / np.maximum(length, floor * np.percentile(length, 95) + 1e-9))
    return np.stack(parts, axis=1).astype(np.float32)
