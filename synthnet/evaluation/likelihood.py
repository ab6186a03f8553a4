"""How well validation slices are predicted: cross-entropy and score gain."""

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
    """How well validation slices are predicted.

    Attributes:
        nll: cross-entropy given the right score, in nats a sample.
        score_gain: how much worse it is given another passage's score; near 0 for a network that ignores it.
    """

    nll: float
    score_gain: float


@torch.no_grad()
def fit(
    network: Network,
    corpora: Sequence[Corpus],
    n_slices: int = 16,
    n_predicted: int = 4_000,
    style: np.ndarray | None = None,
) -> Fit:
    """Teacher-forced fit of the validation pieces, on slices that are the same for every network.

    Args:
        style: [S] for all slices; default: the network's instruments are those of the corpora, in their order.
    """
    dataset = SliceDataset(
        corpora,
        "valid",
        n_predicted=n_predicted,
        n_context=network.config.receptive_field - 1,
        seed=VALIDATION_SEED,
        cold_start_share=0.0,
        dithered=network.config.dither,
        velocity=network.config.velocity,
    )
    slices = [default_collate([dataset[number]]) for number in range(n_slices)]
    right, wrong = [], []
    for number, batch in enumerate(slices):
        other = slices[(number + 1) % n_slices]
        right.append(nll_of(network, batch, style))
        wrong.append(nll_of(network, {**batch, "roll": other["roll"]}, style))
    nll = float(np.mean(right))
    return Fit(nll, float(np.mean(wrong)) - nll)


def nll_of(network: Network, batch: dict[str, Tensor], style: np.ndarray | None) -> float:
    """`Fit.nll` of one batch."""
    device = device_of(network)
    batch = {name: value.to(device) for name, value in batch.items()}
    weights = None
    if style is not None:
        weights = torch.from_numpy(style).float().to(device).expand(len(batch["x"]), -1)
    elif network.config.styles:
        weights = functional.one_hot(batch["style"], network.config.styles).float()
    logits = network(batch["x"], batch["roll"], weights)
    return functional.cross_entropy(logits.float(), batch["target_x"]).item()


def split_floor_nats(corpora: Sequence[Corpus], split: str, dithered: bool = True) -> float:
    """The dither floor of a split: no network's likelihood can be below it; 0 without dither."""
    if not dithered:
        return 0.0
    samples = [corpus.read_samples(piece) for corpus in corpora for piece in corpus.split(split)]
    return dither_floor_nats(np.concatenate(samples).astype(np.float32) / FULL_SCALE)
