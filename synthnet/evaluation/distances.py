"""Distances between a sound and its reference: RMSE-CQT at several floors, and spectra of the whole band.

RMSE-CQT is that of `synthnet.metrics`. Its floor of -80 dB gives noise under the notes the weight of the notes, so a
second figure with the floor at -50 dB stands beside it. Above 16 kHz both signals are first resampled to 16 kHz (soxr,
its high quality), so that figures of all rates are comparable.

The log-spectral distance is the log-magnitude term of the multi-resolution STFT loss (Yamamoto, Song and Kim 2020), as
auraloss 0.4 computes it (Steinmetz and Reiss 2020): the mean of |ln |X| - ln |Y|| over bins, frames and window lengths,
here times 20 / ln 10, which makes decibels. It sees the band up to half the sample rate: compare figures of one rate.
Deviations from auraloss's defaults: windows as long as the transforms, hops of a quarter of them, and a floor. Without
a floor the distance is that of noises that nobody hears.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import soxr
import torch

from synthnet.files import InputError
from synthnet.metrics import FLOOR_DB, cqt_decibels, level_difference_db

CQT_RATE_HZ = 16_000
FLOORS_DB = (-80.0, -50.0)
FFT_SIZES = (2048, 1024, 512)  # auraloss's own
SPECTRAL_FLOOR_DB = -80.0
BLOCK_S = 10  # of the log-spectral distance, which would need gigabytes for a whole piece


@dataclass(frozen=True)
class Distances:
    """How far a sound is from its reference, in dB.

    Attributes:
        rmse_cqt_db, rmse_cqt_50_db: RMSE-CQT with the floor at -80 and at -50 dB, mean over whole seconds.
        log_spectral_db: multi-resolution log-spectral distance.
        level_db: how much louder than the reference, of root mean squares.
    """

    rmse_cqt_db: float
    rmse_cqt_50_db: float
    log_spectral_db: float
    level_db: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def distances(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> Distances:
    """All distances of samples [n] from reference samples [n]; raises as `rmse_cqt_at_floors`."""
    at_80, at_50 = rmse_cqt_at_floors(reference, test, sample_rate_hz).mean(axis=1).tolist()
    spectral = log_spectral_distance_db(reference, test, sample_rate_hz)
    return Distances(at_80, at_50, spectral, level_difference_db(reference, test))


def mean_distances(each: Sequence[Distances]) -> Distances:
    """The mean of each figure over some pieces."""
    rows = np.array([list(one.as_dict().values()) for one in each])
    return Distances(*rows.mean(axis=0).tolist())


def rmse_cqt_at_floors(
    reference: np.ndarray, test: np.ndarray, sample_rate_hz: int, floors_db: Sequence[float] = FLOORS_DB
) -> np.ndarray:
    """RMSE-CQT in dB (float64 [F, W]) at each floor, of samples [n] against reference samples [n], for W whole seconds.

    As `synthnet.metrics.rmse_cqt_db`, from one transform for all floors; each floor is -80 to below 0 dB, relative to
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


def log_spectral_distance_db(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> float:
    """Multi-resolution log-spectral distance in dB of samples [n] from reference samples [n]; see the module.

    Taken over blocks of 10 s and averaged. In each block, and for each window length, both spectra stop 80 dB below the
    reference's maximum; where the reference is silent, 80 dB below a sine of full scale.

    Raises:
        InputError: the lengths differ, or there is less than one of the longest windows.
    """
    if len(reference) != len(test) or len(reference) < max(FFT_SIZES):
        raise InputError(f"a spectral distance needs two signals of one length, at least {max(FFT_SIZES)} samples")
    starts = range(0, max(1, len(reference) - max(FFT_SIZES) + 1), BLOCK_S * sample_rate_hz)
    total, weight = 0.0, 0
    for start in starts:
        block = slice(start, start + BLOCK_S * sample_rate_hz)
        pair = [torch.from_numpy(np.ascontiguousarray(x[block], np.float32))[None, None] for x in (reference, test)]
        length = pair[0].shape[-1]
        total += length * sum(_log_magnitude_loss(size, *pair) for size in FFT_SIZES) / len(FFT_SIZES)
        weight += length
    return 20 / math.log(10) * total / weight


@torch.no_grad()
def _log_magnitude_loss(size: int, reference: torch.Tensor, test: torch.Tensor) -> float:
    """The term of one transform size for float32 [1, 1, n], in nats."""
    loss = _stft_loss(size)
    loss.eps = 0.0
    top = float(loss.stft(reference[0])[0].max())
    silent = 10 ** (SPECTRAL_FLOOR_DB / 20)
    top = top if top > silent * size / 4 else size / 4  # of a sine of full scale under a Hann window
    loss.eps = (top * silent) ** 2  # auraloss: the least power
    return float(loss(test, reference))


@functools.cache
def _stft_loss(size: int) -> Any:
    from auraloss.freq import STFTLoss  # slow to import

    return STFTLoss(size, size // 4, size, w_sc=0.0, w_log_mag=1.0, w_lin_mag=0.0)


def fitted_level(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The test [n] with one gain, so that its root mean square is the reference's; silence stays as it is."""
    power = float(np.mean(np.square(test, dtype=np.float64)))
    if power == 0.0:
        return test
    return test * np.float32(math.sqrt(float(np.mean(np.square(reference, dtype=np.float64))) / power))
