"""Multi-resolution log-spectral distance of the whole band."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch

from synthnet.files import InputError

FFT_SIZES = (2048, 1024, 512)  # auraloss's own

SPECTRAL_FLOOR_DB = -80.0

BLOCK_S = 10  # of the log-spectral distance, which would need gigabytes for a whole piece


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
