"""WaveNet (van den Oord et al. 2016), the paper's first baseline: the score steers every layer.

Audio enters as a scalar in [-1, 1] (the companded value 2 class / 255 - 1) through a causal convolution. Each layer
adds a dilated convolution of y_l = V0 * y to its dilated convolution of the audio; one 1x1 gives both residual and
skip.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthnet.models.config import CLASSES, KEYS, ModelConfig
from synthnet.models.layers import CausalConv, distinct_windows
from synthnet.models.network import Conditioning, Network


class WaveNet(Network):
    """See the module. `DeepVoice` differs in how audio enters and in its skips."""

    def __init__(self, config: ModelConfig, skip: str = "shared") -> None:
        channels, width = config.channels, config.filter_width
        super().__init__(
            config,
            convolution=lambda dilation: CausalConv(channels, 2 * channels, width, dilation),
            activation=torch.relu,
            skip=skip,
        )
        self.audio_convolution = self.make_audio_convolution(config)
        self.score_convolution = CausalConv(KEYS, channels, width)  # V0
        self.score_gates = nn.ModuleList(  # V of each layer
            CausalConv(channels, 2 * channels, width, dilation) for dilation in config.layer_dilations
        )

    def make_audio_convolution(self, config: ModelConfig) -> CausalConv:
        """The convolution through which audio enters."""
        return CausalConv(1, config.channels, config.filter_width)

    def entry_tables(self) -> tuple[Tensor, bool]:
        weight = self.audio_convolution.weight.permute(2, 1, 0)  # [F, 1, C]
        values = torch.arange(CLASSES, device=weight.device, dtype=weight.dtype) * (2 / (CLASSES - 1)) - 1
        tables = values[:, None] * weight
        return torch.cat([tables[:-1], tables[-1:] + self.audio_convolution.bias]), False

    @property
    def score_context(self) -> int:
        return self.config.filter_width - 1 + max(layer.reach for layer in self.stack)

    def score_terms(self, roll: Tensor, samples: Sequence[int]) -> Conditioning:
        # The roll is constant between events, and so is y_l: the products with V are computed once for each run of it
        # and looked up for every sample, which costs additions only.
        width = self.config.filter_width
        needed = max(n + layer.reach for n, layer in zip(samples[1:], self.stack, strict=True))
        windows, lengths = distinct_windows(roll[:, :, -(needed + width - 1) :], width)
        runs = self.score_convolution(windows.to(self.score_convolution.weight.dtype))[:, :, 0]  # y_l, [U, C]
        run_at = torch.repeat_interleave(lengths).unflatten(0, (len(roll), needed))  # [B, needed]
        gates: list[Tensor | None] = []
        for n, layer, convolution in zip(samples[1:], self.stack, self.score_gates, strict=True):
            weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
            total = functional.embedding(run_at[:, needed - n :], functional.linear(runs, weight[:, :, -1], bias))
            for back in range(1, width):
                first = needed - n - back * layer.dilation
                products = functional.linear(runs, weight[:, :, -1 - back])  # [U, 2C]
                total = total + functional.embedding(run_at[:, first : first + n], products)  # [B, n, 2C]
            gates.append(total.transpose(1, 2))
        return Conditioning(None, gates)
