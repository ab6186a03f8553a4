"""SynthNet (Schimbinschi, Walder, Erfani, Bailey; IJCAI 2019): the score steers the first layer alone.

Audio enters as tanh(embedding); the score as v = tanh(Vh tanh(V0 * y)), added once. Layers are depthwise separable: a
dilated depthwise convolution to filter and gate, then the pointwise half, which is the residual 1x1. No skip
connections, no conditioning inside the layers, SELU head. v also predicts the next roll frame (auxiliary loss).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthnet.models.config import CLASSES, KEYS, ModelConfig
from synthnet.models.layers import CausalConv, DepthwiseGates, along_runs, distinct_windows
from synthnet.models.network import Conditioning, Network


class SynthNet(Network):
    """See the module."""

    def __init__(self, config: ModelConfig) -> None:
        channels, width = config.channels, config.filter_width
        super().__init__(
            config,
            convolution=lambda dilation: DepthwiseGates(channels, width, dilation),
            activation=functional.selu,
            skip="none",
        )
        self.embedding = nn.Embedding(CLASSES, channels)
        self.score_convolution = CausalConv(KEYS, channels, width)  # V0
        self.score_hidden = nn.Linear(channels, channels)  # Vh
        self.score_output = nn.Linear(channels, KEYS)  # Vout

    def entry_tables(self) -> tuple[Tensor, bool]:
        return torch.tanh(self.embedding.weight)[None], False  # tanh of 256 rows, not of as many as samples

    def score_vectors(self, windows: Tensor) -> Tensor:
        """v of F roll frames each: [U, 128, F] -> [U, C]."""
        hidden = torch.tanh(self.score_convolution(windows.to(self.score_hidden.weight.dtype))[:, :, 0])
        return torch.tanh(self.score_hidden(hidden))

    @property
    def score_context(self) -> int:
        return self.config.filter_width - 1

    def score_terms(self, roll: Tensor, samples: Sequence[int]) -> Conditioning:
        # The roll is constant between events, so v is computed once for each distinct window of it.
        width = self.config.filter_width
        windows, lengths = distinct_windows(roll[:, :, -(samples[0] + width - 1) :], width)
        entry = along_runs(self.score_vectors(windows), lengths, roll.shape[0])
        return Conditioning(entry, [None] * len(self.layers))

    def auxiliary_loss(self, roll: Tensor, n_predicted: int) -> Tensor:
        """Binary cross-entropy of the next roll frame given v, summed over the 128 keys, mean over samples."""
        width = self.config.filter_width
        windows, lengths = distinct_windows(roll[:, :, -(n_predicted + width) :], width + 1)
        logits = self.score_output(self.score_vectors(windows[:, :, :-1])).float()
        target = windows[:, :, -1].float()
        each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=1)  # [U]
        return (each * lengths).sum() / lengths.sum()
