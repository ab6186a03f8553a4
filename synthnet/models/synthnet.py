"""SynthNet (Schimbinschi, Walder, Erfani, Bailey; IJCAI 2019): the score conditions the first layer alone.

Audio enters as tanh(embedding); the score as v = tanh(Vh tanh(V0 * y)), added once. Layers are depthwise separable: a
dilated depthwise convolution to filter and gate, then the pointwise half, which is the residual 1x1. No skip
connections, no conditioning inside the layers, SELU head. v also predicts the next roll frame (auxiliary loss).
"""

from __future__ import annotations

from torch.nn import functional

from synthnet.models.config import ModelConfig
from synthnet.models.inputs import EmbeddedAudio, FirstLayerScore
from synthnet.models.network import Network


def build(config: ModelConfig) -> Network:
    """See the module."""
    return Network(
        config,
        audio=EmbeddedAudio(config),
        score=FirstLayerScore(config, midi_loss=True),
        separable=True,
        skip="none",
        activation=functional.selu,
    )
