"""The parts all networks are made of: causal convolutions, gated residual layers, the output head.

Every convolution here is *valid*: it takes T + context samples and returns T, so that nothing is ever computed
from padding. Tensors are [B, C, T]: batch, channels, samples. Each part also has a `step`, which computes one
sample from the present input and the past inputs that it is handed: the generation engines are built from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthnet.models.config import ModelConfig


@dataclass
class Conditioning:
    """What the score and the style contribute; None where they contribute nothing.

    Attributes:
        entry: [B, C, T], added to the audio before the first layer.
        gates: per layer [B, 2C, T], or [B, 2C, 1] where constant; added to the layer's filter and gate.
    """

    entry: Tensor | None
    gates: list[Tensor | None]


@dataclass
class RunGates:
    """What the score adds to the gates of every layer, by the runs in which it is constant.

    Attributes:
        products: [L, F, U, 2C], what run u adds through each tap of a layer's filter, oldest first.
        run_at: int64 [B, N], the run that each sample is in.
    """

    products: Tensor
    run_at: Tensor

    def spread(self, layer: int, dilation: int, n_samples: int) -> Tensor:
        """The addend of a layer to its last samples, [B, 2C, n_samples]."""
        products, last = self.products[layer], self.run_at.shape[1]
        total: Tensor | None = None
        for back in range(len(products)):
            stop = last - back * dilation
            part = functional.embedding(self.run_at[:, stop - n_samples : stop], products[-1 - back])  # [B, n, 2C]
            total = part if total is None else total + part
        assert total is not None
        return total.transpose(1, 2)


class CausalConv(nn.Conv1d):
    """Dilated causal convolution, [B, C_in, T + (F - 1) d] -> [B, C_out, T], with bias."""

    def __init__(self, inputs: int, outputs: int, width: int, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, width, dilation=dilation)

    bias: nn.Parameter

    def step(self, present: Tensor, past: Sequence[Tensor]) -> Tensor:
        """One output [B, C_out] from the present input and the past ones, oldest first (F - 1 of [B, C_in])."""
        window = torch.stack([*past, present], dim=2)  # [B, C_in, F]
        return functional.linear(window.flatten(1), self.weight.flatten(1), self.bias)


class DepthwiseGates(nn.Module):
    """Dilated depthwise causal convolution to filter and gate, [B, C, T + (F - 1) d] -> [B, 2C, T], with bias.

    Each channel has its own F taps for the filter (first C outputs) and F for the gate (last C). The taps are
    applied as shifted products, which beats a grouped convolution on CPU.
    """

    def __init__(self, channels: int, width: int, dilation: int) -> None:
        super().__init__()
        self.width, self.dilation = width, dilation
        self.weight = nn.Parameter(torch.empty(2, channels, width))
        self.bias = nn.Parameter(torch.empty(2, channels))
        bound = 1 / math.sqrt(width)  # what torch gives a grouped convolution with one channel a group
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[2] - (self.width - 1) * self.dilation
        halves = []
        for weight, bias in zip(self.weight, self.bias, strict=True):  # [C, F], [C]
            total = bias[:, None]
            for tap in range(self.width):
                total = torch.addcmul(total, x.narrow(2, tap * self.dilation, length), weight[:, tap, None])
            halves.append(total)
        return torch.cat(halves, dim=1)

    def step(self, present: Tensor, past: Sequence[Tensor]) -> Tensor:
        """One output [B, 2C] from the present input and the past ones, oldest first (F - 1 of [B, C])."""
        total = self.bias + present[:, None] * self.weight[:, :, -1]  # [B, 2, C]
        for tap, x in enumerate(past):
            total = torch.addcmul(total, x[:, None], self.weight[:, :, tap])
        return total.flatten(1)


def gated(gates: Tensor) -> Tensor:
    """tanh(first half of the channels) * sigmoid(second half), [B, 2C, ...] -> [B, C, ...] (paper, Eq. 2)."""
    filters, openings = gates.chunk(2, dim=1)
    return torch.tanh(filters) * torch.sigmoid(openings)


def pointwise(inputs: int, outputs: int) -> nn.Conv1d:
    """1x1 convolution with bias."""
    return nn.Conv1d(inputs, outputs, 1)


def pointwise_step(convolution: nn.Conv1d, x: Tensor) -> Tensor:
    """A 1x1 convolution of one sample, [B, C_in] -> [B, C_out]."""
    return functional.linear(x, convolution.weight[:, :, 0], convolution.bias)


class GatedLayer(nn.Module):
    """Dilated convolution, gate, 1x1 to the residual; the skip as the model wants it.

    Args:
        convolution: C -> 2C, `CausalConv` or `DepthwiseGates`.
        skip: "none" (SynthNet), "shared" (WaveNet: the residual's 1x1 gives the skip too) or "own" (Deep Voice: a
            second 1x1).
    """

    def __init__(self, convolution: CausalConv | DepthwiseGates, config: ModelConfig, dilation: int, skip: str) -> None:
        super().__init__()
        self.dilation = dilation
        self.reach = (config.filter_width - 1) * dilation  # past samples that the convolution looks at
        self.convolution = convolution
        self.style = nn.Linear(config.styles, 2 * config.channels, bias=False) if config.styles else None
        self.residual = pointwise(config.channels, config.channels)
        self.skip = pointwise(config.channels, config.channels) if skip == "own" else None
        self.skip_is_shared = skip == "shared"

    def forward(self, x: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, C, T + reach] and an addend [B, 2C, T or 1] to the gates -> residual and skip, [B, C, T] each."""
        gates = self.convolution(x)
        hidden = gated(gates if gate is None else gates + gate)
        change = self.residual(hidden)
        skip = change if self.skip_is_shared else None if self.skip is None else self.skip(hidden)
        return x[:, :, self.reach :] + change, skip

    def step(self, x: Tensor, past: Sequence[Tensor], gate: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """`forward` of one sample: x [B, C], the convolution's past inputs, oldest first -> [B, C] each."""
        gates = self.convolution.step(x, past)
        hidden = gated(gates if gate is None else gates + gate)
        change = pointwise_step(self.residual, hidden)
        skip = change if self.skip_is_shared else None if self.skip is None else pointwise_step(self.skip, hidden)
        return x + change, skip


class Head(nn.Module):
    """Activation, 1x1 C -> head, activation, 1x1 head -> classes: [B, C, T] -> logits [B, classes, T]."""

    def __init__(self, channels: int, hidden: int, classes: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.hidden = pointwise(channels, hidden)
        self.logits = pointwise(hidden, classes)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.activation(self.hidden(self.activation(x))))

    def step(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of one sample, [B, C]."""
        return pointwise_step(self.logits, self.activation(pointwise_step(self.hidden, self.activation(x))))


def distinct_windows(frames: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The runs of equal windows in a piecewise constant sequence: a piano roll changes only at events.

    Args:
        frames: [B, K, T + width - 1].
        width: frames in a window.

    Returns:
        windows: [U, K, width], the first window of each run, piece after piece of the batch.
        lengths: [U] samples in each run; they sum to B * T.
    """
    batch, _, n_frames = frames.shape
    n_windows = n_frames - width + 1
    changed = (frames[:, :, 1:] != frames[:, :, :-1]).any(dim=1)  # [B, T + width - 2]
    starts = torch.ones(batch, n_windows, dtype=torch.bool, device=frames.device)
    if n_windows > 1:
        # A window differs from the one before it if any of its frames differs from the frame before that.
        starts[:, 1:] = functional.max_pool1d(changed.float()[:, None], width, 1)[:, 0] > 0
    piece, position = starts.nonzero(as_tuple=True)
    windows = torch.stack([frames[piece, :, position + tap] for tap in range(width)], dim=2)
    flat = starts.flatten().nonzero()[:, 0]
    end = torch.tensor([starts.numel()], device=frames.device)
    return windows, torch.diff(flat, append=end)


def along_runs(values: Tensor, lengths: Tensor, batch: int) -> Tensor:
    """Spread one value a run over the run's samples: [U, C], [U] -> [B, C, T]."""
    n_samples = int(lengths.sum())
    spread = torch.repeat_interleave(values, lengths, dim=0, output_size=n_samples)  # [B * T, C]
    return spread.unflatten(0, (batch, n_samples // batch)).transpose(1, 2)
