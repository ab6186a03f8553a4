"""Deep Voice (Arik et al. 2017), the paper's second baseline: WaveNet with one-hot audio and a skip 1x1 of its own."""

from __future__ import annotations

import torch

from synthnet.models.config import ModelConfig
from synthnet.models.inputs import EveryLayerScore, OneHotAudio
from synthnet.models.network import Network


def build(config: ModelConfig) -> Network:
    """See the module."""
    return Network(
        config,
        audio=OneHotAudio(config),
        score=EveryLayerScore(config),
        separable=False,
        skip="own",
        activation=torch.relu,
    )
