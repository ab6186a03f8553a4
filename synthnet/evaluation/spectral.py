"""Multi-resolution log-spectral distance in dB: mean absolute difference of log magnitudes over the whole band.

It is auraloss's (Steinmetz and Reiss 2020), the mean for Hann windows of 2048, 1024 and 512 samples and hops of a
quarter. Both spectra stop 80 dB below the maximum of the reference. The band ends at half the sample rate, so that
only figures of one rate compare.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch

from synthnet.files import InputError

FFT_SIZES = (2048, 1024, 512)
FLOOR = 1e-4  # -80 dB
BLOCK_S = 10  # a whole piece at once would need gigabytes


def log_spectral_distance_db(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> float:
    """Log-spectral distance in dB of samples [n] from reference samples [n], averaged over blocks of 10 s.

    In a block of silence, the floor is 80 dB below a sine of full scale.

    Raises:
        InputError: the lengths differ, or are less than the longest window.
    """
    if len(reference) != len(test) or len(reference) < max(FFT_SIZES):
        raise InputError(f"a spectral distance needs two signals of one length, at least {max(FFT_SIZES)} samples")
    total, weight = 0.0, 0
    block_samples = BLOCK_S * sample_rate_hz
    for start in range(0, len(reference) - max(FFT_SIZES) + 1, block_samples):
        block = slice(start, start + block_samples)
        pair = [torch.from_numpy(np.ascontiguousarray(x[block], np.float32))[None, None] for x in (reference, test)]
        length = pair[0].shape[-1]
        total += length * sum(_distance_nats(size, *pair) for size in FFT_SIZES) / len(FFT_SIZES)
        weight += length
    return 20 / math.log(10) * total / weight


@torch.no_grad()
def _distance_nats(size: int, reference: torch.Tensor, test: torch.Tensor) -> float:
    """Distance of float32 [1, 1, n] for one window length."""
    loss = _stft_loss(size)
    loss.eps = 0.0
    top = float(loss.stft(reference[0])[0].max())
    full_scale = size / 4  # a sine under a Hann window
    loss.eps = (FLOOR * (top if top > FLOOR * full_scale else full_scale)) ** 2  # auraloss: the least power
    return float(loss(test, reference))


@functools.cache
def _stft_loss(size: int) -> Any:
    from auraloss.freq import STFTLoss  # slow to import

    return STFTLoss(size, size // 4, size, w_sc=0.0, w_log_mag=1.0, w_lin_mag=0.0)
