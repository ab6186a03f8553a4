"""RMSE-CQT: root mean square difference of two constant-Q spectrograms, in dB. The measure of the SynthNet paper.

For each whole second it compares 84 semitones from C1, in frames 32 ms apart, in dB relative to the maximum of the
reference in that second. Both spectrograms stop at a floor: at -80 dB, as in the paper, or at -50 dB, where faint noise
between the notes weighs less. Equal sounds have 0 dB, noise has 25 dB and more. Higher rates are resampled to 16 kHz.
The transform is nnAudio's (Cheuk et al. 2020), in the scale of librosa.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import soxr
import torch
from scipy.special import stdtrit

from synthnet.evaluation.level import SILENCE_DB
from synthnet.files import InputError

BINS, BINS_PER_OCTAVE = 84, 12
LOWEST_HZ = 32.703  # C1, MIDI pitch 24
HOP_S = 0.032
FLOORS_DB = (-80.0, -50.0)
LOWEST_RATE_HZ = 8_000  # the highest bin, B7, is at 3951 Hz
HIGHEST_RATE_HZ = 16_000


def rmse_cqt_at_floors(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """RMSE-CQT in dB of samples [n] against reference samples [n]: float64 [2, W], floors -80 and -50 dB, W seconds.

    A remainder of less than a second is left out; if there is nothing else, silence makes it a second. In a second in
    which the reference is silent, 0 dB is its maximum over all seconds: what the test plays there counts.

    Raises:
        InputError: the lengths differ, there is nothing, or the rate is below 8 kHz.
    """
    if len(reference) != len(test) or not len(reference):
        raise InputError(f"RMSE-CQT needs two signals of one length, not {len(reference)} and {len(test)}")
    reference, test, rate = _at_most_16_khz(reference, test, sample_rate_hz)
    fill = (0, max(0, rate - len(reference)))
    n = max(1, len(reference) // rate)
    seconds = (np.pad(samples, fill)[: n * rate].reshape(n, rate) for samples in (reference, test))
    spectra = [[cqt_magnitudes(second, rate) for second in pair] for pair in zip(*seconds, strict=True)]
    loudest = max(float(theirs.max()) for theirs, _ in spectra)
    figures = []
    for pair in spectra:
        theirs, mine = _decibels(pair[0], pair[1], rate, loudest)
        figures.append([np.sqrt(np.mean((theirs.clip(low) - mine.clip(low)) ** 2)) for low in FLOORS_DB])
    return np.array(figures).T


def cqt_decibels(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Both signals' constant-Q spectrograms (float64 [84, frames]) in dB, at least -80, 0 at the reference's maximum.

    For a reference without sound (below -90 dB of a full-scale C1), 0 dB is that full-scale C1, so that silence against
    silence is 0 dB apart and a faint hiss costs little.
    """
    reference, test, rate = _at_most_16_khz(reference, test, sample_rate_hz)
    return _decibels(cqt_magnitudes(reference, rate), cqt_magnitudes(test, rate), rate)


def _at_most_16_khz(reference: np.ndarray, test: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray, int]:
    if rate <= HIGHEST_RATE_HZ:
        return reference, test, rate
    theirs, mine = (soxr.resample(samples, rate, HIGHEST_RATE_HZ) for samples in (reference, test))
    return theirs, mine, HIGHEST_RATE_HZ


def _decibels(
    reference: np.ndarray, test: np.ndarray, sample_rate_hz: int, fallback: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes in dB; 0 dB is the reference's maximum, else `fallback`, else full scale: the first above silence."""
    full_scale = float(_transform(sample_rate_hz).lenghts[0]) ** 0.5 / 2  # nnAudio's spelling
    silence = full_scale * 10 ** (SILENCE_DB / 20)
    top = next((top for top in (float(reference.max()), fallback) if top >= silence), full_scale)
    pair = (spectrum.astype(np.float64) / top for spectrum in (reference, test))
    theirs, mine = (20 * np.log10(np.maximum(spectrum, 10 ** (FLOORS_DB[0] / 20))) for spectrum in pair)
    return theirs, mine


def cqt_magnitudes(x: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Constant-Q magnitudes (float32 [84, 1 + n // hop]) of samples [n], frame k centred at 32 ms * k.

    A full-scale sine on a bin gives sqrt(length of its kernel in samples) / 2. Samples shorter than half the longest
    kernel (0.51 s at 16 kHz) cannot be reflected and are extended by silence.

    Raises:
        InputError: the rate is below 8 kHz.
    """
    transform = _transform(sample_rate_hz)
    extended = np.zeros(max(len(x), transform.kernel_width // 2 + 1), np.float32)
    extended[: len(x)] = x
    with torch.no_grad():
        magnitudes = transform(torch.from_numpy(extended)[None])[0].numpy()
    return magnitudes[:, : 1 + len(x) // transform.hop_length]


@functools.lru_cache(maxsize=4)
def _transform(sample_rate_hz: int) -> Any:
    if sample_rate_hz < LOWEST_RATE_HZ:
        raise InputError(f"a constant-Q transform up to B7 needs at least {LOWEST_RATE_HZ} Hz, not {sample_rate_hz}")
    from nnAudio.features.cqt import CQT1992v2  # slow to import

    hop = round(HOP_S * sample_rate_hz)
    return CQT1992v2(sample_rate_hz, hop, LOWEST_HZ, n_bins=BINS, bins_per_octave=BINS_PER_OCTAVE, verbose=False)


def mean_and_ci95(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and half its 95% confidence interval (Student's t), nan for a single value; ValueError for none."""
    values = np.asarray(values, np.float64)
    if not len(values):
        raise ValueError("no values to average")
    if len(values) == 1:
        return float(values[0]), math.nan
    standard_error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(stdtrit(len(values) - 1, 0.975) * standard_error)


def with_ci95(mean: float, half_width: float) -> str:
    """A mean with its interval as text, such as "7.21 ± 0.30"; without it where it is nan."""
    return f"{mean:.2f}" + ("" if math.isnan(half_width) else f" ± {half_width:.2f}")
