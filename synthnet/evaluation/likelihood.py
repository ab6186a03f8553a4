"""Likelihood: how well a network predicts validation slices, and whether it heeds the score.

The cross-entropy of the next sample is in nats, given the true past and the score. It cannot be below the entropy of
the dither (`split_floor_nats`). The score gain is how much worse it gets with the score of another passage; it is near
0 for a network that ignores the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import default_collate

from synthnet.audio.mulaw import dither_floor_nats
from synthnet.corpus.corpus import FULL_SCALE, Corpus
from synthnet.corpus.slices import SliceDataset
from synthnet.generation.engine import device_of
from synthnet.models import Network

VALIDATION_SEED = 20_190_810


@dataclass(frozen=True)
class Fit:
    """Cross-entropy given the right score, and its rise given a wrong one, in nats a sample."""

    nll: float
    score_gain: float


@torch.no_grad()
def fit(
    network: Network,
    corpora: Sequence[Corpus],
    n_slices: int = 16,
    n_predicted: int = 4_000,
    instruments: np.ndarray | None = None,
) -> Fit:
    """Fit on slices of the validation pieces, the same ones for every network.

    Args:
        instruments: [S] weights of the network's instruments for all slices. Default: one-hot, in the order of the
            corpora.
    """
    config = network.config
    dataset = SliceDataset(
        corpora,
        "valid",
        n_predicted=n_predicted,
        n_context=config.receptive_field - 1,
        seed=VALIDATION_SEED,
        cold_start_share=0.0,
        dithered=config.dither,
        velocity=config.velocity,
    )
    slices = [default_collate([dataset[number]]) for number in range(n_slices)]
    nll = []  # given the right and a wrong score
    for batch, other in zip(slices, [*slices[1:], slices[0]], strict=True):
        nll.append([_nll(network, batch | {"roll": roll}, instruments) for roll in (batch["roll"], other["roll"])])
    right, wrong = np.mean(nll, axis=0).tolist()
    return Fit(right, wrong - right)


def _nll(network: Network, batch: dict[str, Tensor], instruments: np.ndarray | None) -> float:
    device = device_of(network)
    batch = {name: value.to(device) for name, value in batch.items()}
    weights = None
    if instruments is not None:
        weights = torch.from_numpy(instruments).float().to(device).expand(len(batch["x"]), -1)
    elif network.config.styles:
        weights = functional.one_hot(batch["style"], network.config.styles).float()
    return network.audio_loss(network.run_layers(batch["x"], batch["roll"], weights), batch["target_x"]).item()


def split_floor_nats(corpora: Sequence[Corpus], split: str, dithered: bool = True) -> float:
    """The dither floor of a split in nats a sample, below which no likelihood can be; 0 without dither."""
    if not dithered:
        return 0.0
    samples = [corpus.read_samples(piece) for corpus in corpora for piece in corpus.split(split)]
    return dither_floor_nats(np.concatenate(samples).astype(np.float32) / FULL_SCALE)
