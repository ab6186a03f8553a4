"""From Deep Voice to SynthNet, one change at a time: which of them buys what.

Each network has the changes of all before it. The sixth change, the MIDI loss, makes SynthNet.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from synthnet.models.config import ModelConfig
from synthnet.models.inputs import EmbeddedAudio, EveryLayerScore, FirstLayerScore
from synthnet.models.network import Network

STEPS = (
    "ablation-1-embedding",  # audio enters as tanh(embedding), not as a convolution of one-hot vectors
    "ablation-2-first-layer",  # the score conditions the first layer alone, not every layer
    "ablation-3-no-skips",  # the head takes the last layer, not the sum of skips
    "ablation-4-separable",  # depthwise convolutions; the residual 1x1 is their pointwise half
    "ablation-5-selu",  # SELU in the head, not ReLU
)


def build(config: ModelConfig) -> Network:
    """The network of `config.model`, one of STEPS."""
    changes = 1 + STEPS.index(config.model)
    return Network(
        config,
        audio=EmbeddedAudio(config),
        score=FirstLayerScore(config, midi_loss=False) if changes >= 2 else EveryLayerScore(config),
        separable=changes >= 4,
        skip="none" if changes >= 3 else "own",
        activation=functional.selu if changes >= 5 else torch.relu,
    )
