"""The reference engine of the paper's networks: one cached step at a time in plain torch.

An engine advances B streams together. It sees arrays only: the score comes in as a `Conditioning`, the randomness as
uniform numbers, so that two engines given the same inputs must make the same samples.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from synthnet.audio.mulaw import CLASS_BOUNDARIES, decode_mu_law
from synthnet.models.autoregressive import Conditioning, Network
from synthnet.models.config import CLASSES

SMALLEST_SHARED = 4096  # channels of all streams: handing a smaller step to several threads takes longer than the step


class Engine(Protocol):
    """The interface of generation to an engine."""

    def prime(self, x: Tensor, roll: Tensor, instruments: Tensor | None) -> None:
        """Take in a history of receptive field samples: x [B, RF] classes; the last one is the first step's input."""
        ...

    def advance(
        self, conditioning: Conditioning, uniforms: np.ndarray, temperature: float, feeds_mean: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Generate T samples of each stream.

        Args:
            conditioning: the score's contributions to these T samples.
            uniforms: float64 [B, T] in [0, 1): each picks a class from the cumulated distribution.
            temperature: divides the logits, positive.
            feeds_mean: bool [B], the streams whose next input is the class of the mean, not the class drawn.

        Returns:
            The next inputs, classes uint8 [B, T], and the means of the decoded distributions, float32 [B, T] in
            [-1, 1].
        """
        ...


class TorchEngine:
    """`Engine` in plain torch, on any device."""

    def __init__(self, network: Network) -> None:
        self.network, device = network, device_of(network)
        self.levels = torch.from_numpy(decode_mu_law(np.arange(CLASSES)).astype(np.float32)).to(device)
        self.boundaries = torch.from_numpy(CLASS_BOUNDARIES).to(device)

    @torch.no_grad()
    def prime(self, x: Tensor, roll: Tensor, instruments: Tensor | None) -> None:
        self.cache = self.network.prime(x[:, :-1], roll[:, :, :-1], instruments)
        self.present = x[:, -1]

    @torch.no_grad()
    def advance(
        self, conditioning: Conditioning, uniforms: np.ndarray, temperature: float, feeds_mean: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        draws, of_mean = (torch.from_numpy(x).to(self.present.device) for x in (uniforms, feeds_mean))
        classes, means = [], []
        threads = torch.get_num_threads()
        if self.network.config.channels * len(draws) < SMALLEST_SHARED:
            torch.set_num_threads(1)
        try:
            for t in range(draws.shape[1]):
                logits = self.network.step(self.present, conditioning.at(t), self.cache)
                probabilities = torch.softmax(logits.double() / temperature, dim=1)
                picked = torch.searchsorted(probabilities.cumsum(1), draws[:, t, None].contiguous(), right=True)[:, 0]
                picked.clamp_(max=CLASSES - 1)  # rounding can leave the sum just below 1
                means.append(probabilities.float() @ self.levels)
                nearest = torch.bucketize(means[-1].double(), self.boundaries, right=True)
                self.present = torch.where(of_mean, nearest, picked)
                classes.append(self.present)
        finally:
            torch.set_num_threads(threads)
        return torch.stack(classes, 1).cpu().numpy().astype(np.uint8), torch.stack(means, 1).cpu().numpy()


def device_of(network: Network) -> torch.device:
    """The device of a network's weights."""
    return next(network.parameters()).device
