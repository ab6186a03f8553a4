"""RMSE-CQT: the distance of two constant-Q spectrograms."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import soxr
import torch
from scipy.special import stdtrit

from synthnet.evaluation.level import _SILENCE_DB
from synthnet.files import InputError

BINS = 84

BINS_PER_OCTAVE = 12

LOWEST_HZ = 32.703  # C1, MIDI pitch 24

HOP_S = 0.032

FLOOR_DB = -80.0

LOWEST_RATE_HZ = 8_000  # the highest bin, B7, is at 3951 Hz


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


CQT_RATE_HZ = 16_000

FLOORS_DB = (-80.0, -50.0)


def rmse_cqt_at_floors(
    reference: np.ndarray, test: np.ndarray, sample_rate_hz: int, floors_db: Sequence[float] = FLOORS_DB
) -> np.ndarray:
    """RMSE-CQT in dB (float64 [F, W]) at each floor, of samples [n] against reference samples [n], for W whole seconds.

    As `rmse_cqt_db`, from one transform for all floors; each floor is -80 to below 0 dB, relative to
    the reference's maximum in the second.

    Raises:
        InputError: the lengths differ, there is nothing, or the rate is below 8 kHz.
        ValueError: a floor outside its range.
    """
    if len(reference) != len(test) or not len(reference):
        raise InputError(f"RMSE-CQT needs two signals of one length, not {len(reference)} and {len(test)}")
    if not all(FLOOR_DB <= floor < 0.0 for floor in floors_db):
        raise ValueError(f"floors of {list(floors_db)} dB: must be {FLOOR_DB:g} to below 0")
    rate = min(sample_rate_hz, CQT_RATE_HZ)
    if rate < sample_rate_hz:
        reference, test = (soxr.resample(samples, sample_rate_hz, rate) for samples in (reference, test))
    if len(reference) < rate:
        fill = (0, rate - len(reference))
        reference, test = np.pad(reference, fill), np.pad(test, fill)
    figures = []
    for start in range(0, len(reference) - rate + 1, rate):
        second = slice(start, start + rate)
        pair = cqt_decibels(reference[second], test[second], rate)
        clipped = [[np.maximum(decibels, floor) for decibels in pair] for floor in floors_db]
        figures.append([np.sqrt(np.mean((theirs - mine) ** 2)) for theirs, mine in clipped])
    return np.array(figures).T
