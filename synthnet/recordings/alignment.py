"""A score laid over its recording: where each of its notes begins and ends in the sound.

First the whole piece, by dynamic time warping of the spectrum of a semitone a band (Ewert, Müller and Grosche, "High
resolution audio synchronization using chroma onset features", ICASSP 2009); then each note.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numba as nb
import numpy as np
import soxr

from synthnet.files import InputError
from synthnet.kernels import CACHE
from synthnet.recordings.averaging import EARLIER_S, average_onsets
from synthnet.recordings.notes import fall_end_s
from synthnet.score.notes import Note
from synthnet.score.roll import RESTRIKE_GAP_S

RATE_HZ, LOWEST_KEY, N_BANDS = 16_000, 28, 88  # of the spectra: one band a key
PERIODS, NARROWEST_S, WIDEST_S = 17, 0.04, 0.256  # of their windows
HOP_S, COARSE, BAND_S = 0.02, 8, 1.0  # frames; frames in a coarse one; how far the fine path may leave the coarse one
COMPRESSION, FLOOR = 20.0, 0.1
HARMONICS, DYING_S, RINGING = 10, 0.6, 0.3
ONSET_S, ONSET_WEIGHT, ONSET_FLOOR = 0.06, 0.5, 0.3
STRUCK_S, SHORTEST_S, LEGATO_S, LATE_END_S = 0.025, 0.03, 0.03, 1.0
LEAST_ALIKE, LEAST_SHARE = 0.3, 0.4  # correlation; share of the median note's, as Fisher's z
LINES = 500  # tried, each through two notes
UNWRITTEN_HOP_S, UNWRITTEN_DB, UNWRITTEN_S, ECHO_S = 0.1, 30.0, 0.5, 1.0
SLOWEST, FASTEST, TEMPO_S, TOGETHER_S, LOST_IN_A_ROW = 0.4, 2.5, 0.5, 0.05, 3
SOUNDING_DB = 40.0  # below the loud frames: what is softer, is silent

_options: dict[str, Any] = {"cache": CACHE, "nogil": True}


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
    labels: str = "score",
    anchors: Sequence[tuple[float, float]] = (),
    progress: Callable[[str], None] = lambda line: None,
) -> Aligned:
    """Find the notes of a score in its recording, float32 samples [n].

    Args:
        labels: "score", played at any tempo; "performed", times of the performance but for a lag and a clock's drift;
            "exact", times and velocities are right, so nothing is moved.
        anchors: pairs of seconds in a score and seconds in the recording that belong together.

    Raises:
        InputError: no path goes through the anchors.
    """
    notes = tuple(sorted(notes, key=lambda note: (note.start_s, note.pitch)))
    pitch = np.array([note.pitch for note in notes])
    label_s = np.array([note.start_s for note in notes])
    x = soxr.resample(samples, sample_rate_hz, RATE_HZ, "VHQ").astype(np.float32)
    progress("tuning")
    cents = tuning_cents(x)
    offset_s = drift = 0.0
    start_s = label_s
    if labels != "exact":
        progress("laying the score over the sound")
        start_s, end_s = place(notes, x, cents, anchors)
    if labels == "performed":
        start_s = _line(label_s, start_s, pitch)[0]
    progress("finding each onset")
    averaged = average_onsets(x, RATE_HZ, pitch + cents / 100, start_s)
    if labels != "score":
        line_s, offset_s, drift = _line(label_s, averaged.start_s + EARLIER_S, pitch)
        if labels == "performed":
            end_s = line_s + np.array([note.end_s - note.start_s for note in notes]) * (1 + drift)
        else:
            offset_s, drift = float(np.median(averaged.start_s + EARLIER_S - label_s)), 0.0
    start_s = label_s if labels == "exact" else np.clip(averaged.start_s, 0, len(samples) / sample_rate_hz - SHORTEST_S)
    struck = bool(np.median(averaged.rise_s) < STRUCK_S)
    found = _found(averaged.correlation, pitch, label_s, start_s)
    left_out = _left_out(found, label_s, start_s)
    if labels == "exact":
        everything = tuple(sorted((*left_out, *_unwritten(notes, x))))
        return Aligned(notes, found, averaged.correlation, everything, cents, offset_s, 0.0, struck)
    progress("finding each end")
    ends_s = [_end_s(i, notes, start_s, end_s, x, cents) for i in range(len(notes))]
    moved = [replace(n, start_s=float(a), end_s=float(b)) for n, a, b in zip(notes, start_s, ends_s, strict=True)]
    order = sorted(range(len(moved)), key=lambda i: (moved[i].start_s, moved[i].pitch))
    return Aligned(
        tuple(moved[i] for i in order),
        found[order],
        averaged.correlation[order],
        tuple(sorted((*left_out, *_unwritten(moved, x)))),
        cents,
        offset_s,
        1e6 * drift,
        struck,
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


def _left_out(found: np.ndarray, label_s: np.ndarray, start_s: np.ndarray) -> tuple[tuple[float, float, str], ...]:
    """Spans of three and more notes in a row that were not found, from the onset before to the one after."""
    edges = np.flatnonzero(np.diff(np.r_[True, found, True].astype(int)))
    spans = []
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - first >= LOST_IN_A_ROW:
            begin_s = start_s[first - 1] if first else max(0.0, start_s[first:stop].min())
            end_s = start_s[stop] if stop < len(found) else start_s[first:stop].max() + LATE_END_S
            if end_s > begin_s:
                spans.append((float(begin_s), float(end_s), f"{stop - first} notes not found"))
    return tuple(spans)


def _unwritten(notes: Sequence[Note], x: np.ndarray) -> list[tuple[float, float, str]]:
    """Spans of half a second and more of sound, within 30 dB of the piece, while the score and its echo are silent."""
    hop = round(UNWRITTEN_HOP_S * RATE_HZ)
    level = np.sqrt((x[: len(x) // hop * hop].reshape(-1, hop) ** 2).mean(axis=1))
    loud = level > 10 ** (-UNWRITTEN_DB / 20) * np.sqrt(np.mean(x**2))
    for note in notes:
        loud[int(note.start_s / UNWRITTEN_HOP_S) : int((note.end_s + ECHO_S) / UNWRITTEN_HOP_S) + 1] = False
    edges = np.flatnonzero(np.diff(np.r_[False, loud, False].astype(int)))
    spans = zip(edges[::2] * UNWRITTEN_HOP_S, edges[1::2] * UNWRITTEN_HOP_S, strict=True)
    return [(float(a), float(b), "sound where the score is silent") for a, b in spans if b - a >= UNWRITTEN_S - 1e-9]


def _line(label_s: np.ndarray, found_s: np.ndarray, pitch: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Times on the line through found ones, its offset and its drift, by least median of squares (Rousseeuw 1984).

    Each key has a lag of its own, which is taken off before the drift is found.
    """
    rng, best = np.random.default_rng(0), (np.inf, 0.0)
    away = found_s - label_s
    for _ in range(LINES):
        i, j = rng.choice(len(label_s), 2)
        if abs(label_s[i] - label_s[j]) > 0.3 * np.ptp(label_s):
            drift = (away[i] - away[j]) / (label_s[i] - label_s[j])
            rest = away - drift * label_s
            best = min(best, (float(np.median(np.abs(rest - np.median(rest)))), float(drift)))
    drift = best[1] if np.isfinite(best[0]) else 0.0
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
    """When note i ends, see `align`."""
    note, first_s = notes[i], start_s[i] + SHORTEST_S
    again = [start_s[j] for j in range(i + 1, len(notes)) if notes[j].pitch == note.pitch and start_s[j] > first_s][:1]
    latest_s = min([end_s[i] + LATE_END_S, len(x) / RATE_HZ, *(at - RESTRIKE_GAP_S for at in again)])
    following = [start_s[j] for j in range(len(notes)) if abs(notes[j].start_s - note.end_s) < LEGATO_S]
    after = [at for at in following if first_s < at < latest_s]
    if after:
        return float(max(first_s, np.median(after)))
    return float(max(first_s, min(latest_s, fall_end_s(x, RATE_HZ, note.pitch + cents / 100, start_s[i], latest_s))))


@nb.njit(**_options)
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


@nb.njit(**_options)
def _costs(score, sound, silent, low, high):  # type: ignore[no-untyped-def]
    """Distances of the frames of a band, float32 [cells], see `warp`.

    Features [frames, 2, bands] are spectrum and onsets. A `silent` frame of the score costs as much as is heard.
    """
    rows, bands = len(score), score.shape[2]
    cost = np.zeros((high - low).sum(), np.float32)
    at = 0
    for i in range(rows):
        for j in range(low[i], high[i]):
            alike, heard, apart = np.float32(0), np.float32(0), np.float32(0)
            for b in range(bands):
                alike += score[i, 0, b] * sound[j, 0, b]
                heard += sound[j, 0, b] * sound[j, 0, b]
                apart += (score[i, 1, b] - sound[j, 1, b]) ** 2
            cost[at] = (np.sqrt(heard) if silent[i] else 1 - alike) + ONSET_WEIGHT * np.sqrt(apart)
            at += 1
    return cost


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
    begin_s = min(note.start_s for note in notes)
    scale = (sounding[-1] - sounding[0] + 1) * HOP_S / (max(note.end_s for note in notes) - begin_s)
    score = [
        Note(n.pitch, n.velocity, (n.start_s - begin_s) * scale, (n.end_s - begin_s) * scale) for n in notes
    ]  # at the mean tempo of the recording
    points = np.array([((at_s - begin_s) * scale, audio_s) for at_s, audio_s in anchors]).reshape(-1, 2)
    n = len(magnitudes) // COARSE
    coarse = magnitudes[: n * COARSE].reshape(n, COARSE, -1).mean(axis=1)
    rows = len(score_features(score, HOP_S * COARSE))
    first, last = _path(score, coarse, HOP_S * COARSE, np.zeros(rows, int), np.full(rows, n), points, slack=1)
    rows, margin = len(score_features(score, HOP_S)), round(BAND_S / HOP_S)
    row = np.clip((np.arange(rows) - 1) // COARSE + 1, 1, len(first) - 2)
    low = np.maximum(first[row] * COARSE - margin, 0)
    high = np.minimum((last[row] + 1) * COARSE + margin, len(magnitudes))
    first, _ = _path(score, magnitudes, HOP_S, low, high, points, slack=0)
    at = 1 + np.array([(note.start_s, note.end_s) for note in score]).T / HOP_S
    start_s, end_s = np.interp(at, np.arange(len(first)), first * HOP_S)
    return start_s, end_s


def _path(
    score: Sequence[Note],
    magnitudes: np.ndarray,
    hop_s: float,
    low: np.ndarray,
    high: np.ndarray,
    points: np.ndarray,
    slack: int,
) -> tuple[np.ndarray, np.ndarray]:
    """First and last frame of the sound for each of the score's, within a band and through points in seconds."""
    written, sound = score_features(score, hop_s), sound_features(magnitudes, hop_s)
    _through(low, high, np.rint(points / hop_s).astype(int), slack)
    least, first, last = warp(_costs(written, sound, ~written[:, 0].any(axis=1), low, high), low, high)
    if not np.isfinite(least):
        raise InputError("no way through the recording passes all anchors")
    return first, last


def _through(low: np.ndarray, high: np.ndarray, points: np.ndarray, slack: int) -> None:
    """Narrow a band so that every path goes within `slack` of each point (frame of the score, frame of the sound)."""
    for row, column in points:
        row, column = np.clip(row + 1, 1, len(low) - 2), np.clip(column, 0, high[-1] - 1)
        high[: row + 1] = np.minimum(high[: row + 1], column + 1 + slack)
        low[row:] = np.maximum(low[row:], column - slack)
    np.maximum(high, low + 1, out=high)


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
    rise = np.maximum(np.diff(level, axis=0, prepend=level[:1]), 0)
    return np.stack([_normalised(level, FLOOR), _normalised(_dying(rise, hop_s), ONSET_FLOOR)], axis=1)


def _normalised(features: np.ndarray, floor: float) -> np.ndarray:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(length, floor * np.percentile(length, 95) + 1e-9)).astype(np.float32)


def _dying(rise: np.ndarray, hop_s: float) -> np.ndarray:
    kept, out = np.exp(-hop_s / ONSET_S), rise.copy()
    for i in range(1, len(out)):
        np.maximum(out[i], kept * out[i - 1], out=out[i])
    return out


def score_features(notes: Sequence[Note], hop_s: float) -> np.ndarray:
    """The same of a score that begins at 0, between two silent frames, float32 [frames, 2, bands]."""
    frames = 1 + max(round(note.end_s / hop_s) for note in notes)
    level, rise = np.zeros((2, frames + 2, N_BANDS))
    orders = np.arange(1, HARMONICS + 1)
    weight = 0.8 ** (orders - 1)
    for note in notes:
        bands = np.rint(note.pitch - LOWEST_KEY + 12 * np.log2(orders)).astype(int)
        inside = (bands >= 0) & (bands < N_BANDS)
        start = 1 + round(note.start_s / hop_s)
        stop = max(start + 1, 1 + round(note.end_s / hop_s))
        dying = np.maximum(np.exp(-np.arange(stop - start) * hop_s / DYING_S), RINGING)[:, None] * weight[inside]
        level[start:stop, bands[inside]] = np.maximum(level[start:stop, bands[inside]], dying)
        rise[start, bands[inside]] = np.maximum(rise[start, bands[inside]], weight[inside])
    return np.stack([_normalised(level, FLOOR), _normalised(_dying(rise, hop_s), ONSET_FLOOR)], axis=1)
