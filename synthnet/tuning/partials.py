"""Each partial by itself: its frequency and phase, on which the notes of a key agree, and its level over time.

All from the same windows of the training notes, cut out once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from synthnet.corpus import FULL_SCALE, Corpus
from synthnet.roll import FUNDAMENTALS_HZ, HIGHEST_PARTIAL, KNOTS_S, N_KEYS, SILENT_LEVEL, RollEvents, roll_events

WINDOW_S, HOP_S = 0.064, 0.032
TOGETHER_S = 0.05  # between the onsets of keys that are struck together
AGREEING_S = 1.5  # from the onset on, over which the notes of a key are to agree
AGREE_CENTS, STEP_HZ = 12.0, 0.05  # searched on either side, and how finely
UNAMBIGUOUS = 0.4  # turns from one window to the next; with half a turn more, up is down
FAINT = 10**-2.5  # share of the strongest partial in its window: fainter ones are not asked
# A window counts for the nearest of KNOTS_S, by the ratio of times; one after the last of these edges for none.
EDGES_S = np.concatenate([[0.0], np.sqrt(KNOTS_S[1:] * KNOTS_S[:-1]), [KNOTS_S[-1] ** 2 / KNOTS_S[-2]]])


class Recording(NamedTuple):
    """A training piece: samples float32 [n], full scale 1, and what is played in it."""

    samples: np.ndarray
    events: RollEvents


def training_recordings(corpus: Corpus) -> list[Recording]:
    """All of a corpus, read once."""
    return [
        Recording(
            corpus.read_samples(piece).astype(np.float32) / FULL_SCALE,
            roll_events(corpus.read_notes(piece), corpus.sample_rate_hz),
        )
        for piece in corpus.split("train")
    ]


class NoteWindows(NamedTuple):
    """Windows within the notes of a key.

    Attributes:
        times_s: [W] seconds from the onset to the window's beginning.
        samples: float32 [W, L], under a Hann window.
        note: int64 [W], which note of the key it is of.
        alone: bool [W], whether no other key was struck together with the note.
    """

    times_s: np.ndarray
    samples: np.ndarray
    note: np.ndarray
    alone: np.ndarray

    def where(self, chosen: np.ndarray) -> NoteWindows:
        """Those windows for which `chosen` [W] is true."""
        return NoteWindows(*(values[chosen] for values in self))

    def knots(self) -> np.ndarray:
        """Of KNOTS_S the one that each window counts for: int64 [W]."""
        knots: np.ndarray = np.searchsorted(EDGES_S, self.times_s + WINDOW_S / 2, side="right") - 1
        return knots


def nearest_keys(keys: Iterable[int]) -> np.ndarray:
    """Of these keys the nearest to each of 0 to 127, of two the lower: int64 [128]."""
    known = np.array(sorted(keys), dtype=np.int64)
    nearest: np.ndarray = known[np.abs(known[:, None] - np.arange(N_KEYS)).argmin(axis=0)]
    return nearest


def note_windows(recordings: Sequence[Recording], rate: int) -> dict[int, NoteWindows]:
    """Windows of the training notes while their keys are down, by key."""
    length, hop = round(WINDOW_S * rate), round(HOP_S * rate)
    window = np.hanning(length)
    cut: dict[int, list[NoteWindows]] = {}
    for samples, events in recordings:
        for key, onset, release in zip(events.pitch, events.onset, events.release, strict=True):
            last = min(release, onset + int(EDGES_S[-1] * rate), len(samples)) - length
            starts = np.arange(onset, last + 1, hop)
            if len(starts):
                of_key = cut.setdefault(int(key), [])
                together = np.abs(events.onset - onset) <= TOGETHER_S * rate
                alone = bool((events.pitch[together] == key).all())
                parts = (samples[starts[:, None] + np.arange(length)] * window).astype(np.float32)
                of_each = (np.full(len(starts), len(of_key)), np.full(len(starts), alone))
                of_key.append(NoteWindows((starts - onset) / rate, parts, *of_each))
    return {
        key: NoteWindows(*(np.concatenate(parts) for parts in zip(*cut.pop(key), strict=True))) for key in list(cut)
    }


def agreed(
    heard: NoteWindows,
    guess_hz: np.ndarray,
    sample_rate_hz: int,
    width_cents: float = AGREE_CENTS,
) -> tuple[np.ndarray, np.ndarray]:
    """Frequency in Hz and phase at the onset in turns (0: a sine) that windows agree on, for each guess [H].

    The sum of the windows' phases, turned back to the onset, is longest where they agree.
    """
    hz, turns = guess_hz.copy(), np.zeros_like(guess_hz)
    if not len(guess_hz) or not len(heard.times_s):
        return hz, turns
    spectra = amplitudes(heard.samples, guess_hz, sample_rate_hz)  # [W, H]
    magnitudes = np.abs(spectra)
    asked = magnitudes > FAINT * magnitudes.max(axis=1, keepdims=True)
    # Loud windows count more, but not as much as they are louder.
    votes = np.where(asked, spectra * np.maximum(magnitudes, 1e-9) ** -0.5, 0.0)
    votes *= np.exp(-2j * np.pi * guess_hz * heard.times_s[:, None])
    # All notes' windows are as far from their onsets: their votes are added before the search.
    begun_s, moment = np.unique(heard.times_s, return_inverse=True)
    votes_then = np.zeros((len(begun_s), len(guess_hz)), dtype=np.complex128)
    np.add.at(votes_then, moment, votes)
    centres_s = begun_s + WINDOW_S / 2
    for partial in np.flatnonzero(asked.any(axis=0)):
        width_hz = min(guess_hz[partial] * (2 ** (width_cents / 1200) - 1), UNAMBIGUOUS / HOP_S)
        offsets_hz = np.linspace(-width_hz, width_hz, 2 * int(np.ceil(width_hz / STEP_HZ)) + 1)
        sums = votes_then[:, partial] @ np.exp(-2j * np.pi * offsets_hz * centres_s[:, None])
        best = int(np.argmax(np.abs(sums)))
        hz[partial] += offsets_hz[best]
        turns[partial] = np.angle(sums[best]) / (2 * np.pi) + 0.25  # of a sine, which is a cosine a quarter late
    return hz, turns


def measure_levels(heard: Mapping[int, NoteWindows], ratios: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Natural logarithms of the partials' amplitudes [128, H, J] at KNOTS_S: of windows about that time, the median.

    After the longest note of a key its partials go on as those of the nearest key that is heard for longer, or else as
    they were last; keys that are never heard have the levels of the nearest.
    """
    levels = np.full((*ratios.shape, len(KNOTS_S)), np.nan)
    for key, of_key in heard.items():
        hz = ratios[key] * FUNDAMENTALS_HZ[key]
        nats = np.log(np.abs(amplitudes(of_key.samples, hz, sample_rate_hz)) + 1e-6)
        nats[:, hz > HIGHEST_PARTIAL * sample_rate_hz] = SILENT_LEVEL
        knots = of_key.knots()
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
            if len(longer):
                other = levels[longer[np.argmin(np.abs(longer - key))]]
                rise = other[:, knot] - other[:, knot - 1]
            elif knot > 1:
                lately = (levels[key, :, knot - 1] - levels[key, :, knot - 2]) / (KNOTS_S[knot - 1] - KNOTS_S[knot - 2])
                rise = lately * (KNOTS_S[knot] - KNOTS_S[knot - 1])
            else:
                rise = np.zeros(levels.shape[1])
            levels[key, :, knot] = np.maximum(levels[key, :, knot - 1] + np.minimum(rise, 0.0), SILENT_LEVEL)
    if not len(keys):
        return np.full_like(levels, SILENT_LEVEL)
    return levels[nearest_keys(heard)]


def amplitudes(windows: np.ndarray, hz: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Complex amplitudes [W, H] of these frequencies in windows [W, L], a sine's absolute value being its own."""
    length = windows.shape[1]
    turns = np.arange(length)[:, None] * (hz / sample_rate_hz)
    found: np.ndarray = windows @ np.exp(-2j * np.pi * turns) * (2 / np.hanning(length).sum())
    return found
