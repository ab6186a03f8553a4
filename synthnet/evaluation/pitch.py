"""Right pitch: the share of notes whose strongest fundamental is within a quarter tone of the score.

Each note longer than 80 ms is analysed from 30 ms after its onset to its release. Its constant-Q magnitudes have three
bins a semitone. The salience of a fundamental is the sum of the roots of its partials' magnitudes, each divided by its
order (after Klapuri 2006); what was found is weakened before the next is looked for. A note an octave off is wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthnet.corpus.corpus import Piece
from synthnet.evaluation.level import SILENCE_DB
from synthnet.score.general_midi import HARMONICS
from synthnet.score.roll import RollEvents, to_samples

SHORTEST_NOTE_S = 0.08
ATTACK_S = 0.03  # left out: a hammer or a lip has no pitch yet
QUARTER_TONE = 0.5  # in MIDI keys
LOWEST_KEY, KEYS = 21, 88  # of the fundamentals
LOWEST_HZ, OCTAVES = 27.5, 8  # of the bins, from A0 to 7040 Hz
BINS = 36  # an octave: the bin nearest to a fundamental is within 50 cents of its key
Q = 34.0  # of a quarter tone: 1 / (2^(1/24) - 1)
WEAKENED_TO = 0.1  # 0 would take the shared partials from the other notes


@dataclass(frozen=True)
class NotePitches:
    """The notes that are long enough to be judged, [M] each, in the order of the score.

    `found` is the MIDI pitch of the strongest fundamental, between bins by a parabola; in a chord, of the strongest
    ones that nearest to the score; nan in silence.
    """

    start_s: np.ndarray
    expected: np.ndarray  # MIDI pitch of the score
    found: np.ndarray
    right: np.ndarray  # bool, found within a quarter tone of expected

    @property
    def share(self) -> float:
        """Share of right notes, 0 to 1; nan if no note is long enough."""
        return float(self.right.mean()) if len(self.right) else float("nan")


def note_pitches(samples: np.ndarray, events: RollEvents, partials: Sequence[float] = HARMONICS) -> NotePitches:
    """Whether the right pitch dominates in each note of more than 80 ms that ends within `samples` [n].

    As many fundamentals are looked for as notes sound in that time on average (rounded); one of them must be right.

    Args:
        partials: frequencies of the instrument's partials, relative to the fundamental.
    """
    rate = events.sample_rate_hz
    judged = (events.release - events.onset > SHORTEST_NOTE_S * rate) & (events.onset >= 0)
    judged &= events.release <= len(samples)
    found = np.full(int(judged.sum()), np.nan)
    for number, index in enumerate(np.flatnonzero(judged)):
        start, stop = events.onset[index] + to_samples(ATTACK_S, rate), events.release[index]
        shared = np.minimum(events.release, stop) - np.maximum(events.onset, start)
        n_sounding = max(1, round(shared.clip(0).sum() / (stop - start)))
        pitches = _fundamentals(_magnitudes(samples[start:stop], rate), n_sounding, partials)
        if len(pitches):
            found[number] = pitches[np.abs(pitches - events.pitch[index]).argmin()]
    expected = events.pitch[judged]
    return NotePitches(events.onset[judged] / rate, expected, found, np.abs(found - expected) <= QUARTER_TONE)


def kept_onsets(piece: Piece, start_s: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Which notes, by their onsets [N] in seconds, begin where a piece leaves nothing out: bool [N]."""
    onsets = to_samples(start_s, sample_rate_hz).tolist()
    return np.array([not piece.leaves_out(at, at + 1) for at in onsets], bool)


def _fundamentals(magnitudes: np.ndarray, n: int, partials: Sequence[float]) -> np.ndarray:
    """MIDI pitches of the n strongest fundamentals, strongest first; none in silence."""
    if magnitudes.max() < 10 ** (SILENCE_DB / 20):
        return np.zeros(0)
    magnitudes = magnitudes.copy()
    n_candidates = BINS * (KEYS - 1) // 12 + 1
    shifts = np.round(BINS * np.log2(partials)).astype(int)
    semitone = BINS // 12
    pitches = []
    for _ in range(n):
        salience = np.zeros(n_candidates)
        for order, shift in enumerate(shifts, start=1):
            covered = np.sqrt(magnitudes[shift : shift + n_candidates] / order)
            salience[: len(covered)] += covered
        best = int(salience.argmax())
        pitches.append(LOWEST_KEY + (best + _vertex(salience[max(0, best - 1) : best + 2])) * 12 / BINS)
        for centre in best + shifts:
            magnitudes[max(0, centre - semitone) : centre + semitone + 1] *= WEAKENED_TO
    return np.array(pitches)


def _vertex(peak: np.ndarray) -> float:
    """Where a parabola through a maximum and its two neighbours is highest, -0.5 to 0.5; 0 if it has only one."""
    curved = len(peak) == 3 and 2 * peak[1] > peak[0] + peak[2]
    return float((peak[2] - peak[0]) / (2 * (2 * peak[1] - peak[0] - peak[2]))) if curved else 0.0


def _magnitudes(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Root mean square magnitudes of samples [n] over time, [288], 36 an octave from A0; a sine gives its amplitude."""
    # Kernels are at most as long as the samples, on a ladder of four steps an octave so that few kinds are made.
    longest = int(2 ** (np.floor(4 * np.log2(len(samples))) / 4))
    octaves = []
    for octave in range(OCTAVES):
        length = min(longest, int(np.ceil(Q * sample_rate_hz / (LOWEST_HZ * 2**octave))))
        hop = length // 2
        first = (len(samples) - length) % hop // 2
        frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float32), length)[first::hop]
        real, imaginary = np.split(((frames @ _kernels(octave, length, sample_rate_hz).T) ** 2).mean(axis=0), 2)
        octaves.append(np.sqrt(real + imaginary))
    return np.concatenate(octaves)


@functools.lru_cache(maxsize=64)
def _kernels(octave: int, longest: int, sample_rate_hz: int) -> np.ndarray:
    """Cosines, then sines under Hann windows, float32 [72, longest]; bins from half the rate on are 0."""
    frequency_hz = LOWEST_HZ * 2 ** (octave + np.arange(BINS)[:, None] / BINS)
    length = np.minimum(Q * sample_rate_hz / frequency_hz, longest)
    time = np.arange(longest) - (longest - 1) / 2
    window = np.where(np.abs(time) < length / 2, 1 + np.cos(2 * np.pi * time / length), 0.0)
    window *= 2 * (frequency_hz < sample_rate_hz / 2) / window.sum(axis=1, keepdims=True)
    angle = 2 * np.pi * frequency_hz / sample_rate_hz * time
    return np.concatenate([window * np.cos(angle), window * np.sin(angle)]).astype(np.float32)
