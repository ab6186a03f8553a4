"""What is done to the past samples of a training slice, so that the score is worth listening to.

Without it a network learns to go on with what it hears: the score adds little, and what it plays itself, a little off,
is worse than anything it has learned from.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from synthnet.audio import CLASSES, decode_mu_law, encode_mu_law

LEAST_NOISE = 0.002  # standard deviation; full scale is 1, the dither's is 0.0037
STEEPEST_NOISE = 1.2  # a little more than brown


def corrupt(x: Tensor, most: float, seed: int, first_slice: int) -> Tensor:
    """Replace a share of each row's samples, drawn from 0 to `most`, by random classes; [B, N] classes."""
    rows = []
    for number, row in enumerate(x):
        generator = torch.Generator().manual_seed((seed << 32) + first_slice + number)
        share = most * torch.rand((), generator=generator)
        noise = torch.randint(0, CLASSES, row.shape, generator=generator)
        rows.append(torch.where(torch.rand(row.shape, generator=generator) < share, noise, row))
    return torch.stack(rows)


def add_noise(x: Tensor, most: float, seed: int, first_slice: int) -> Tensor:
    """Add coloured Gaussian noise to each row of classes [B, N].

    Its standard deviation is log-uniform between `LEAST_NOISE` and `most`; its amplitude falls as frequency^-b, b
    uniform on 0 (white) to `STEEPEST_NOISE`. What a network plays a little wrong is mostly low: it must not go on
    with a rumble only because there is one.
    """
    rows = []
    for number, row in enumerate(decode_mu_law(x.numpy())):
        rng = np.random.default_rng((seed, first_slice + number))
        level = LEAST_NOISE * (max(most, LEAST_NOISE) / LEAST_NOISE) ** rng.random()
        frequency = np.fft.rfftfreq(len(row))
        frequency[0] = frequency[1]
        colour = frequency ** -rng.uniform(0, STEEPEST_NOISE)
        noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(row))) * colour, len(row))
        rows.append(encode_mu_law(row + level / noise.std() * noise))
    return torch.from_numpy(np.stack(rows).astype(np.int64))
