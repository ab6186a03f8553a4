"""The reference engine: one cached step at a time in plain torch, for every model.

An engine advances B streams together. It sees arrays only: what the score contributes comes in as a `Conditioning`,
the randomness as uniform numbers, so that two engines given the same inputs must make the same samples.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from synthnet.audio.mulaw import CLASS_BOUNDARIES, decode_mu_law
from synthnet.models import Conditioning, Network
from synthnet.models.config import CLASSES


class Engine(Protocol):
    """What generation needs of an engine."""

    def prime(self, x: Tensor, roll: Tensor, style: Tensor | None) -> None:
        """Take in a history of receptive field samples: x [B, RF] classes; the last one is the first step's input."""
        ...

    def advance(
        self, terms: Conditioning, uniforms: np.ndarray, temperature: float, feeds_mean: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Generate T samples of each stream.

        Args:
            terms: the score's contributions to these T samples.
            uniforms: float64 [B, T] in [0, 1): each picks a class from the cumulated distribution.
            temperature: divides the logits, positive.
            feeds_mean: bool [B], the streams whose next input is the class of the mean, not the class drawn.

        Returns:
            the next inputs, classes uint8 [B, T], and the means of the decoded distributions, float32 [B, T] in
            [-1, 1].
        """
        ...


class TorchEngine:
    """`Engine` in plain torch."""

    def __init__(self, network: Network) -> None:
        self.network = network
        device = device_of(network)
        self.levels = torch.from_numpy(decode_mu_law(np.arange(CLASSES)).astype(np.float32)).to(device)
        self.boundaries = torch.from_numpy(CLASS_BOUNDARIES).to(device)

    @torch.no_grad()
    def prime(self, x: Tensor, roll: Tensor, style: Tensor | None) -> None:
        self.cache = self.network.prime(x[:, :-1], roll[:, :, :-1], style)
        self.present = x[:, -1]

    @torch.no_grad()
    def advance(
        self, terms: Conditioning, uniforms: np.ndarray, temperature: float, feeds_mean: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        draws = torch.from_numpy(uniforms).to(self.present.device)
        of_mean = torch.from_numpy(feeds_mean).to(self.present.device)
        classes, means = [], []
        with one_thread_if_small(self.network, len(draws)):
            for t in range(draws.shape[1]):
                logits = self.step(terms, t)
                probabilities = torch.softmax(logits.double() / temperature, dim=1)
                picked = torch.searchsorted(probabilities.cumsum(1), draws[:, t, None].contiguous(), right=True)[:, 0]
                picked.clamp_(max=CLASSES - 1)  # rounding can leave the sum just below 1
                means.append(probabilities.float() @ self.levels)
                nearest = torch.bucketize(means[-1].double(), self.boundaries, right=True)
                self.present = torch.where(of_mean, nearest, picked)
                classes.append(self.present)
        return torch.stack(classes, 1).cpu().numpy().astype(np.uint8), torch.stack(means, 1).cpu().numpy()

    @torch.no_grad()
    def teacher_forced(self, terms: Conditioning, x: Tensor) -> Tensor:
        """Logits [B, 256, T] where the samples x [B, T] are given instead of drawn."""
        logits = []
        with one_thread_if_small(self.network, len(x)):
            for t in range(x.shape[1]):
                logits.append(self.step(terms, t))
                self.present = x[:, t]
        return torch.stack(logits, 2)

    def step(self, terms: Conditioning, t: int) -> Tensor:
        """Logits [B, 256] of the sample that follows the present one."""
        entry = None if terms.entry is None else terms.entry[:, :, t]
        gates = [None if gate is None else gate[:, :, min(t, gate.shape[2] - 1)] for gate in terms.gates]
        return self.network.step(self.present, entry, gates, self.cache)


def device_of(network: Network) -> torch.device:
    """Where a network's weights lie."""
    return next(network.parameters()).device


@contextlib.contextmanager
def one_thread_if_small(network: Network, n_streams: int) -> Iterator[None]:
    """Steps too small to share: handing them to several threads takes longer than the arithmetic."""
    threads = torch.get_num_threads()
    if network.config.channels * n_streams < 4096:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
