"""Deep Voice (Arik et al. 2017), the paper's second baseline: WaveNet with one-hot audio and a skip 1x1 of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from synthnet.models.config import CLASSES, ModelConfig
from synthnet.models.layers import CausalConv
from synthnet.models.wavenet import WaveNet


class DeepVoice(WaveNet):
    """See the module."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, skip="own")

    def make_audio_convolution(self, config: ModelConfig) -> CausalConv:
        return CausalConv(CLASSES, config.channels, config.filter_width)

    def entry_tables(self) -> tuple[Tensor, bool]:
        # A convolution of one-hot vectors only picks columns: F look-ups instead of 256 F products a channel.
        tables = self.audio_convolution.weight.permute(2, 1, 0)  # [F, 256, C]
        return torch.cat([tables[:-1], tables[-1:] + self.audio_convolution.bias]), True
