"""evaluation.pitch."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthnet.evaluation.level import _SILENCE_DB
from synthnet.score.general_midi import HARMONICS
from synthnet.score.roll import RollEvents, to_samples

SHORTEST_NOTE_S = 0.08  # of those whose pitch is judged

ATTACK_S = 0.03  # at the beginning of a note, left out: a hammer or a lip has no pitch yet

QUARTER_TONE = 0.5  # in MIDI keys


_FINE_BINS = 36  # to the octave: the nearest bin to a fundamental is within 50 cents of a key or belongs to the next

_FINE_Q = 34.0  # of a quarter tone: 1 / (2^(1/24) - 1)

_FINE_LOWEST_HZ, _FINE_OCTAVES = 27.5, 8  # from A0, MIDI pitch 21, to 7040 Hz

_LOWEST_KEY, _KEYS = 21, 88

_CANCELLED_TO = 0.1  # partials of what was found already; all the way down would take shared partials from the others


@dataclass(frozen=True)
class NotePitches:
    """The notes that are long enough to be judged, in the order of the score.

    Attributes:
        start_s: [M] onsets.
        expected: [M] MIDI pitch of the score.
        found: [M] MIDI pitch of the strongest fundamental, to a third of a semitone (of a chord: of its strongest ones
            the nearest to the score); nan where there is silence.
        right: [M] bool, found within a quarter tone of expected.
    """

    start_s: np.ndarray
    expected: np.ndarray
    found: np.ndarray
    right: np.ndarray

    @property
    def share(self) -> float:
        """Share of right notes, 0 to 1; nan if no note is long enough."""
        return float(self.right.mean()) if len(self.right) else float("nan")


def note_pitches(samples: np.ndarray, events: RollEvents, partials: Sequence[float] = HARMONICS) -> NotePitches:
    """Whether the right pitch dominates in each note of more than 80 ms that `samples` [n] hold to its end.

    A note is listened to from 30 ms after its onset to its release. As many fundamentals are looked for as notes sound
    in that time on average (rounded), and one of them must be within a quarter tone of the note: where one note sounds
    at a time, the strongest one. A note an octave off is wrong.

    Args:
        partials: the frequencies of an instrument's partials, relative to the fundamental.
    """
    rate = events.sample_rate_hz
    skip = to_samples(ATTACK_S, rate)
    judged = (events.release - events.onset > SHORTEST_NOTE_S * rate) & (events.onset >= 0)
    judged &= events.release <= len(samples)
    found = np.full(int(judged.sum()), np.nan)
    for number, index in enumerate(np.flatnonzero(judged)):
        pitch, start, stop = events.pitch[index], events.onset[index] + skip, events.release[index]
        shared = np.minimum(events.release, stop) - np.maximum(events.onset, start)
        n_sounding = max(1, round(shared.clip(0).sum() / (stop - start)))
        pitches = _fundamentals(_fine_magnitudes(samples[start:stop], rate), n_sounding, partials)
        if len(pitches):
            found[number] = pitches[np.abs(pitches - pitch).argmin()]
    expected = events.pitch[judged]
    return NotePitches(events.onset[judged] / rate, expected, found, np.abs(found - expected) <= QUARTER_TONE)


def _fundamentals(magnitudes: np.ndarray, n: int, partials: Sequence[float]) -> np.ndarray:
    """MIDI pitches of the n strongest fundamentals, strongest first; none in silence."""
    if magnitudes.max() < 10 ** (_SILENCE_DB / 20):
        return np.zeros(0)
    magnitudes = magnitudes.copy()
    n_candidates = _FINE_BINS * (_KEYS - 1) // 12 + 1
    shifts = np.round(_FINE_BINS * np.log2(np.asarray(partials, np.float64))).astype(int)
    semitone = _FINE_BINS // 12
    pitches = []
    for _ in range(n):
        salience = np.zeros(n_candidates)
        for order, shift in enumerate(shifts, start=1):
            covered = np.sqrt(magnitudes[shift : shift + n_candidates] / order)
            salience[: len(covered)] += covered
        best = int(salience.argmax())
        pitches.append(_LOWEST_KEY + best * 12 / _FINE_BINS)
        for centre in best + shifts:
            magnitudes[max(0, centre - semitone) : centre + semitone + 1] *= _CANCELLED_TO
    return np.array(pitches)


def _fine_magnitudes(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Root mean square magnitudes of samples [n] over time, [288], 36 an octave from A0; a sine gives its amplitude.

    An octave at a time: its kernels share the hop, half of the longest one.
    """
    # Kernels are at most as long as the samples, on a ladder of four steps to the octave so that few kinds are made.
    longest = int(2 ** (np.floor(4 * np.log2(len(samples))) / 4))
    octaves = []
    for octave in range(_FINE_OCTAVES):
        length = min(longest, int(np.ceil(_FINE_Q * sample_rate_hz / (_FINE_LOWEST_HZ * 2**octave))))
        kernels = _fine_kernels(octave, length, sample_rate_hz)
        first, hop = (len(samples) - length) % (length // 2) // 2, length // 2
        frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float32), length)[first::hop]
        real, imaginary = np.split(((frames @ kernels.T) ** 2).mean(axis=0), 2)
        octaves.append(np.sqrt(real + imaginary))
    return np.concatenate(octaves)


@functools.lru_cache(maxsize=64)
def _fine_kernels(octave: int, longest: int, sample_rate_hz: int) -> np.ndarray:
    """Cosines, then sines under Hann windows, float32 [72, longest]; bins from half the rate on are 0."""
    frequency_hz = _FINE_LOWEST_HZ * 2 ** (octave + np.arange(_FINE_BINS)[:, None] / _FINE_BINS)
    length = np.minimum(_FINE_Q * sample_rate_hz / frequency_hz, longest)
    time = np.arange(longest) - (longest - 1) / 2
    window = np.where(np.abs(time) < length / 2, 1 + np.cos(2 * np.pi * time / length), 0.0)
    window *= 2 * (frequency_hz < sample_rate_hz / 2) / window.sum(axis=1, keepdims=True)
    angle = 2 * np.pi * frequency_hz / sample_rate_hz * time
    return np.concatenate([window * np.cos(angle), window * np.sin(angle)]).astype(np.float32)
