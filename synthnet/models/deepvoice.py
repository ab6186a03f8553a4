"""Deep Voice (Arik et al. 2017), the paper's second baseline: WaveNet with one-hot audio and a skip 1x1 of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from synthnet.models.config import CLASSES, ModelConfig
from synthnet.models.layers import CausalConv
from synthnet.models.wavenet import WaveNet


class DeepVoice(WaveNet):
    """See the module."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, skip="own")

    def make_audio_convolution(self, config: ModelConfig) -> CausalConv:
        return CausalConv(CLASSES, config.channels, config.filter_width)

    def audio_entry(self, past: Sequence[Tensor]) -> Tensor:
        # A convolution of one-hot vectors only picks columns: F look-ups instead of 256 F products a channel.
        convolution = self.audio_convolution
        total = functional.embedding(past[0], convolution.weight[:, :, 0].t()) + convolution.bias
        for tap in range(1, len(past)):
            total = total + functional.embedding(past[tap], convolution.weight[:, :, tap].t())
        return torch.tanh(total).movedim(-1, 1)
