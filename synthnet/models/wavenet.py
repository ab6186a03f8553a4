"""WaveNet (van den Oord et al. 2016), the paper's first baseline: the score conditions every layer.

Audio enters as a scalar in [-1, 1] (the companded value 2 class / 255 - 1) through a causal convolution. Each layer
adds a dilated convolution of y_l = V0 * y to its dilated convolution of the audio; one 1x1 gives both residual and
skip.
"""

from __future__ import annotations

import torch

from synthnet.models.config import ModelConfig
from synthnet.models.inputs import EveryLayerScore, ScalarAudio
from synthnet.models.network import Network


def build(config: ModelConfig) -> Network:
    """See the module."""
    return Network(
        config,
        audio=ScalarAudio(config),
        score=EveryLayerScore(config),
        separable=False,
        skip="shared",
        activation=torch.relu,
    )
