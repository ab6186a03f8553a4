"""Parts of the paper's networks: causal convolutions, gated residual layers, the output head, runs of equal frames.

Tensors are [B, C, T]: batch, channels, samples. Every convolution is *valid*: it takes T + reach samples and returns T,
so that nothing is computed from padding.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthnet.models.config import CLASSES, ModelConfig

ACTIVATIONS = {"relu": torch.relu, "selu": functional.selu}


class CausalConv(nn.Conv1d):
    """Dilated causal convolution with bias, [B, C_in, T + (F - 1) d] -> [B, C_out, T]."""

    bias: nn.Parameter

    def __init__(self, inputs: int, outputs: int, width: int = 1) -> None:
        super().__init__(inputs, outputs, width)

    def forward(self, x: Tensor, dilation: int = 1) -> Tensor:
        if dilation == 1 and x.shape[2] == self.weight.shape[2]:  # one output, at which torch's convolution is slow
            return functional.linear(x.flatten(1), self.weight.flatten(1), self.bias)[:, :, None]
        return functional.conv1d(x, self.weight, self.bias, dilation=dilation)


class DepthwiseGates(nn.Module):
    """Dilated depthwise causal convolution to filter and gate, [B, C, T + (F - 1) d] -> [B, 2C, T], with bias.

    Each channel has F taps for the filter (first C outputs) and F for the gate (last C). Shifted products are faster on
    a CPU than torch's grouped convolution.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, channels, width))
        self.bias = nn.Parameter(torch.empty(2, channels))
        bound = 1 / math.sqrt(width)  # torch's, for a grouped convolution with one channel a group
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, dilation: int) -> Tensor:
        width = self.weight.shape[2]
        length = x.shape[2] - (width - 1) * dilation
        halves = []  # apart: compiled, both at once take half as long again
        for weight, bias in zip(self.weight, self.bias, strict=True):  # [C, F], [C]
            total = bias[:, None]
            for tap in range(width):
                total = torch.addcmul(total, x.narrow(2, tap * dilation, length), weight[:, tap, None])
            halves.append(total)
        return torch.cat(halves, dim=1)


class GatedLayer(nn.Module):
    """Dilated convolution, gate (paper, Eq. 2), 1x1 to the residual, and the skip as the variant wants it.

    Args:
        separable: `DepthwiseGates`, else `CausalConv`.
        skip: "none", "shared" (the residual's 1x1 gives the skip too) or "own" (a second 1x1).
    """

    def __init__(self, config: ModelConfig, dilation: int, separable: bool, skip: str) -> None:
        super().__init__()
        channels, width = config.channels, config.filter_width
        self.dilation = dilation
        self.reach = (width - 1) * dilation  # past samples that the convolution looks at
        self.convolution = DepthwiseGates(channels, width) if separable else CausalConv(channels, 2 * channels, width)
        self.style = nn.Linear(config.styles, 2 * channels, bias=False) if config.styles else None
        self.residual = CausalConv(channels, channels)
        self.skip = CausalConv(channels, channels) if skip == "own" else None
        self.skip_is_shared = skip == "shared"

    def forward(self, x: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, C, T + reach] and an addend [B, 2C, T or 1] to the gates -> residual and skip, [B, C, T] each."""
        gates = self.convolution(x, self.dilation)
        filters, openings = (gates if gate is None else gates + gate).chunk(2, dim=1)
        hidden = torch.tanh(filters) * torch.sigmoid(openings)
        change = self.residual(hidden)
        skip = change if self.skip_is_shared else None if self.skip is None else self.skip(hidden)
        return x[:, :, -change.shape[2] :] + change, skip


class Head(nn.Module):
    """Activation, 1x1, activation, 1x1: [B, C, T] -> logits [B, 256, T]."""

    def __init__(self, config: ModelConfig, activation: str) -> None:
        super().__init__()
        self.hidden = CausalConv(config.channels, config.head_channels)
        self.logits = CausalConv(config.head_channels, CLASSES)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.activation(self.hidden(self.activation(x))))


def distinct_windows(frames: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The runs of equal windows in a piecewise constant sequence: a piano roll changes only at events.

    Args:
        frames: [B, K, T + width - 1].
        width: frames in a window.

    Returns:
        windows: [U, K, width], the window of each run, piece after piece of the batch.
        runs: int64 [B, T], the number of the run at each sample.
    """
    changed = functional.pad((frames[:, :, 1:] != frames[:, :, :-1]).any(dim=1), (1, 0), value=True)
    starts = changed.unfold(1, width, 1).any(dim=2)  # a window differs from the one before if a frame in it does
    piece, position = starts.nonzero(as_tuple=True)
    runs = starts.flatten().cumsum(0) - 1
    return frames.unfold(2, width, 1)[piece, :, position], runs.view_as(starts)


def look_up(numbers: Tensor, tables: Tensor, length: int, dilation: int = 1) -> Tensor:
    """The last outputs of a causal convolution of one-hot vectors, which is a sum of the taps' rows at their places.

    Args:
        numbers: int64 [B, N], which of U values each input has.
        tables: [F, U, C], the taps, oldest input first.

    Returns:
        [B, C, length].
    """
    first = numbers.shape[1] - length - (len(tables) - 1) * dilation
    rows = (
        functional.embedding(numbers.narrow(1, first + tap * dilation, length), table)
        for tap, table in enumerate(tables)
    )
    return functools.reduce(torch.add, rows).transpose(1, 2)
