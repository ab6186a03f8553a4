"""How close a sound is to its reference, and how close a likelihood can get: pure functions of arrays.

RMSE-CQT (Schimbinschi et al. 2019): the root mean square difference, in dB, of two constant-Q spectrograms.
The paper leaves the details open; here they are nnAudio's CQT1992v2 magnitudes (Brown and Puckette 1992; Cheuk
et al. 2020, as it comes: Hann kernels, reflected edges), 84 bins, 12 to the octave from C1, a frame every 32 ms,
one figure for each second. Each second is cut out, transformed and scaled by itself: 0 dB is the reference's
maximum within that second, and both spectrograms stop at -80 dB. On music, librosa's CQT gives
the same figures within 0.2 dB or so.

Right pitch: whether, of all fundamentals of a piano's keyboard, the strongest one in a note lies within a quarter tone
of the score. A pattern of partials is laid over a constant-Q spectrum, as Brown (1992, "Musical fundamental frequency
tracking using a pattern recognition method") does, and what it covers is added up: a harmonic-sum salience (Klapuri
2006; Salamon and Gomez 2012). Of a chord the strongest fundamental is taken, its partials are turned down, and so on,
as in Klapuri's iterative cancellation, until there are as many as notes in the score. Deviations: kernels are never
longer than the note, magnitudes are compressed by a square root instead of whitened, and the weights are 1 / sqrt(h).
Of the teacher's own Prelude it finds 99.5% of the guitar's notes right and at least 99.8% of the other instruments'; of
random chords of two to four notes, octaves among them, 81 to 92%. A fundamental that is 20 dB weaker than the rest is
found; one that is missing altogether only in a spectrum that falls slowly.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import entr, stdtrit

from synthnet.audio import dithered_class_probabilities
from synthnet.files import InputError
from synthnet.instruments import HARMONICS
from synthnet.roll import RollEvents, to_samples

BINS = 84
BINS_PER_OCTAVE = 12
LOWEST_HZ = 32.703  # C1, MIDI pitch 24
HOP_S = 0.032
FLOOR_DB = -80.0
LOWEST_RATE_HZ = 8_000  # the highest bin, B7, is at 3951 Hz

SHORTEST_NOTE_S = 0.08  # of those whose pitch is judged
ATTACK_S = 0.03  # at the beginning of a note, left out: a hammer or a lip has no pitch yet
QUARTER_TONE = 0.5  # in MIDI keys

BURST_WINDOW_S = 0.05  # three periods of the lowest note: shorter windows beat with the waveform
BURST_SPAN_S = 0.5  # after the first onset
SOUNDING_DB = -30.0  # relative to the piece's level: below it the reference counts as silent
COLLAPSE_DB = -20.0  # relative to the reference

_SILENCE_DB = -90.0  # below one step of 16 bits

_FINE_BINS = 36  # to the octave: the nearest bin to a fundamental is within 50 cents of a key or belongs to the next
_FINE_Q = 34.0  # of a quarter tone: 1 / (2^(1/24) - 1)
_FINE_LOWEST_HZ, _FINE_OCTAVES = 27.5, 8  # from A0, MIDI pitch 21, to 7040 Hz
_LOWEST_KEY, _KEYS = 21, 88
_CANCELLED_TO = 0.1  # partials of what was found already; all the way down would take shared partials from the others


@functools.lru_cache(maxsize=4)
def _transform(sample_rate_hz: int) -> Any:
    if sample_rate_hz < LOWEST_RATE_HZ:
        raise InputError(f"a constant-Q transform up to B7 needs at least {LOWEST_RATE_HZ} Hz, not {sample_rate_hz}")
    from nnAudio.features.cqt import CQT1992v2  # brings torch, which nothing else in this module needs

    return CQT1992v2(
        sr=sample_rate_hz,
        hop_length=round(HOP_S * sample_rate_hz),
        fmin=LOWEST_HZ,
        n_bins=BINS,
        bins_per_octave=BINS_PER_OCTAVE,
        verbose=False,
    )


def cqt_magnitudes(x: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Constant-Q magnitudes (float32 [84, 1 + n // hop]) of samples [n], frame k centred at 32 ms * k.

    A full-scale sine on a bin gives sqrt(its kernel's length in samples) / 2. What is shorter than half the
    longest kernel (0.51 s at 16 kHz) can't be reflected and is extended by silence. Raises InputError below 8 kHz.
    """
    import torch

    transform = _transform(sample_rate_hz)
    extended = np.zeros(max(len(x), transform.kernel_width // 2 + 1), np.float32)
    extended[: len(x)] = x
    with torch.no_grad():
        magnitudes = transform(torch.from_numpy(extended)[None])[0].numpy()  # [84, frames]
    return magnitudes[:, : 1 + len(x) // transform.hop_length]


def cqt_decibels(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Both signals' constant-Q spectrograms (float64 [84, frames]) in dB, 0 dB at the reference's maximum.

    Both stop at -80 dB; `test` may exceed 0 dB. A reference without sound (below -90 dB of a full-scale C1) has
    no maximum to measure from: then 0 dB is that full-scale C1, so that silence against silence is 0 dB apart
    and a faint hiss costs little.
    """
    reference, test = cqt_magnitudes(reference, sample_rate_hz), cqt_magnitudes(test, sample_rate_hz)
    full_scale = float(_transform(sample_rate_hz).lenghts[0]) ** 0.5 / 2  # nnAudio's own spelling
    level = float(reference.max())
    if level < full_scale * 10 ** (_SILENCE_DB / 20):
        level = full_scale
    lowest = 10 ** (FLOOR_DB / 20)
    return (
        20 * np.log10(np.maximum(reference.astype(np.float64) / level, lowest)),
        20 * np.log10(np.maximum(test.astype(np.float64) / level, lowest)),
    )


def rmse_cqt_db(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """RMSE-CQT in dB (float64 [W]) of samples [n] against reference samples [n], one figure a whole second.

    A shorter remainder is left out, unless it is all there is: then silence makes it a second. Raises InputError
    when the lengths differ, when there is nothing, or below 8 kHz.
    """
    if len(reference) != len(test) or not len(reference):
        raise InputError(f"RMSE-CQT needs two signals of one length, not {len(reference)} and {len(test)}")
    if len(reference) < sample_rate_hz:
        fill = (0, sample_rate_hz - len(reference))
        reference, test = np.pad(reference, fill), np.pad(test, fill)
    figures = []
    for start in range(0, len(reference) - sample_rate_hz + 1, sample_rate_hz):
        second = slice(start, start + sample_rate_hz)
        reference_db, test_db = cqt_decibels(reference[second], test[second], sample_rate_hz)
        figures.append(np.sqrt(np.mean((reference_db - test_db) ** 2)))
    return np.array(figures)


def mean_and_ci95(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and half the width of its 95% confidence interval (Student's t); nan width for a single value.

    Raises ValueError for no values.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        raise ValueError("no values to average")
    if len(values) == 1:
        return float(values[0]), float("nan")
    standard_error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(stdtrit(len(values) - 1, 0.975) * standard_error)


def dither_floor_nats(clean: np.ndarray) -> float:
    """Mean entropy in nats of the dithered mu-law class given the clean samples [n] (full scale +-1).

    No model of the dithered signal can have a lower mean negative log likelihood. Raises ValueError for no
    samples.
    """
    if not len(clean):
        raise ValueError("no samples to average over")
    levels, counts = np.unique(clean, return_counts=True)  # 16-bit audio repeats its 65,536 levels
    total = 0.0
    for start in range(0, len(levels), 8192):  # [8192, 256] float64 is 16 MiB
        block = slice(start, start + 8192)
        total += counts[block] @ entr(dithered_class_probabilities(levels[block])).sum(axis=1)
    return total / len(clean)


# ---------------------------------------------------------------------------------------------- right pitch


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


# -------------------------------------------------------------------------------------------- level over time


def level_difference_db(reference: np.ndarray, test: np.ndarray) -> float:
    """How much louder test [n] is than reference [n], in dB of root mean squares, each at least -90 dBFS."""
    return float(_decibels(test) - _decibels(reference))


def _decibels(samples: np.ndarray) -> Any:
    """Level of samples [..., n] in dBFS, [...]; at least -90."""
    power = np.mean(np.square(samples, dtype=np.float64), axis=-1) if samples.shape[-1] else np.zeros(())
    return 10 * np.log10(np.maximum(power, 10 ** (_SILENCE_DB / 10)))


def start_burst_db(reference: np.ndarray, test: np.ndarray, first_onset: int, sample_rate_hz: int) -> float:
    """How much louder than the reference the test gets at its start, in dB, in the worst window of 50 ms.

    From the beginning to half a second after the first onset (a sample), in windows that overlap by half. The reference
    is taken as the loudest of a window and its two neighbours, so that an attack a little early is no burst, and as at
    least 30 dB below the level of the whole of it, so that a faint hiss before the first note is none either.
    Raises InputError for less than 50 ms.
    """
    length = int(to_samples(BURST_WINDOW_S, sample_rate_hz))
    if min(len(reference), len(test)) < length:
        raise InputError(f"a start needs at least {BURST_WINDOW_S * 1000:g} ms")
    stop = max(length, first_onset + int(to_samples(BURST_SPAN_S, sample_rate_hz)))
    theirs, mine = (
        _decibels(np.lib.stride_tricks.sliding_window_view(samples[:stop], length)[:: length // 2])
        for samples in (reference, test)
    )
    padded = np.pad(theirs, 1, mode="edge")
    nearby = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return float(np.max(mine - np.maximum(nearby, _decibels(reference) + SOUNDING_DB)))


def collapsed_seconds(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The whole seconds (int64) in which the reference [n] sounds and the test [n] is more than 20 dB below it.

    The reference sounds where it is not more than 30 dB below its level over all samples.
    """
    n = len(reference) // sample_rate_hz
    theirs, mine = (
        _decibels(samples[: n * sample_rate_hz].reshape(n, sample_rate_hz)) for samples in (reference, test)
    )
    sounds = (theirs > _SILENCE_DB) & (theirs >= _decibels(reference) + SOUNDING_DB)
    return np.flatnonzero(sounds & (mine < theirs + COLLAPSE_DB))
