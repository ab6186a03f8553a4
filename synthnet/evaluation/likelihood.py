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
from torch.utils.data import default_collate

from synthnet.audio.mulaw import dither_floor_nats
from synthnet.corpus.corpus import Corpus
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
    instrument: int | None = None,
) -> Fit:
    """Fit on slices of the validation pieces, the same ones for every network.

    Args:
        instrument: number of the network's instrument for all slices. Default: that of each slice's corpus.
    """
    config, device = network.config, device_of(network)
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
    slices = []
    for number in range(n_slices):
        batch = {name: value.to(device) for name, value in default_collate([dataset[number]]).items()}
        slices.append(batch if instrument is None else batch | {"style": torch.full_like(batch["style"], instrument)})
    nll = []  # given the right and a wrong score
    for batch, other in zip(slices, [*slices[1:], slices[0]], strict=True):
        nll.append([network.loss(batch | {"roll": roll}).audio.item() for roll in (batch["roll"], other["roll"])])
    right, wrong = np.mean(nll, axis=0).tolist()
    return Fit(right, wrong - right)


def split_floor_nats(corpora: Sequence[Corpus], split: str, dithered: bool = True) -> float:
    """The dither floor of a split in nats a sample, below which no likelihood can be; 0 without dither."""
    if not dithered:
        return 0.0
    pieces = [(piece, corpus.read_audio(piece)) for corpus in corpora for piece in corpus.split(split)]
    samples = [samples[start:stop] for piece, samples in pieces for start, stop in piece.kept]
    return dither_floor_nats(np.concatenate(samples))
