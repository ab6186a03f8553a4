"""The loss of the paper's networks as a GPU computes it fast: one slice, time-major [T, C], in half precision.

It is the loss of `autoregressive.Network`, its slow twin, with the same weights. Three things make it fast. All shapes
are known before, so that a step can be a CUDA graph. The score comes as the number of a run at each input and as the
roll window of each run, so that products with the score are computed once a run. Lookups in tables and convolutions are
products of matrices; their gradients are products, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from synthnet.kernels.products import Layer, gated, product, stack_reference
from synthnet.models.autoregressive import AudioInput, EveryLayerScore, FirstLayerScore, Network
from synthnet.models.config import CLASSES
from synthnet.models.layers import CausalConv, DepthwiseGates, GatedLayer
from synthnet.models.model import Losses


class Slice(NamedTuple):
    """A training slice of N inputs and U runs of equal roll windows, as `synthnet.corpus.resident` draws it.

    Attributes:
        classes: int64 [N + 1]: of the inputs, and the one after them.
        runs: int64 [N], the run at each input: rising, from 0.
        windows: float32 [U, 128, F + 1], the roll at the last F inputs and after them: 0, or velocity / 127, or 1.
        instrument: int64 [], its number.
    """

    classes: Tensor
    runs: Tensor
    windows: Tensor
    instrument: Tensor


class Parts(NamedTuple):
    """The parts that have a slow and a fast version; the defaults are the slow ones."""

    stack: Callable[[Tensor, Sequence[int], Sequence[Layer]], Tensor] = stack_reference
    gated: Callable[[Tensor], Tensor] = gated


def slice_loss(network: Network, piece: Slice, dtype: torch.dtype, parts: Parts | None = None) -> Losses:
    """`network.loss` of one slice; activations are of this type, the losses float32."""
    parts, score, head = parts or Parts(), network.score, network.head
    n_predicted = len(piece.runs) - network.config.receptive_field + 1
    runs = one_hot(piece.runs, len(piece.windows), dtype)
    x, midi = enter(network.audio, piece.classes[:-1], dtype), None
    if isinstance(score, FirstLayerScore):
        vectors = score.vectors(piece.windows[:, :, :-1])
        x = product(runs[-len(x) :], vectors, x)
        midi = midi_loss(score, vectors, piece.windows[:, :, -1], runs[-n_predicted:])
    if isinstance(network.stack[0].convolution, DepthwiseGates):
        x = separable_layers(network, x, piece, parts)
    else:
        x = dense_layers(network, x, piece, runs, parts)
    for convolution in (head.hidden, head.logits):
        x = pointwise(head.activation(x), convolution)
    nll = functional.cross_entropy(x.float(), piece.classes[-n_predicted:])
    return Losses(nll if midi is None else nll + midi, nll)


def one_hot(numbers: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Numbers [N] as rows [N, size]."""
    return (numbers[:, None] == torch.arange(size, device=numbers.device)).to(dtype)


def pointwise(x: Tensor, convolution: CausalConv) -> Tensor:
    """A 1x1 convolution, [T, A] -> [T, B]."""
    return product(x, convolution.weight[:, :, 0].t(), convolution.bias)


def convolved(x: Tensor, taps: Tensor, dilation: int, length: int, addend: Tensor) -> Tensor:
    """The last outputs of a causal convolution: [N, A] by taps [F, A, B], oldest input first, -> [length, B].

    Args:
        addend: float32 [B], or [length, B] of the type of x.
    """
    first = len(x) - length - (len(taps) - 1) * dilation
    for tap, weight in enumerate(taps):
        begin = first + tap * dilation
        addend = product(x[begin : begin + length], weight, addend)
    return addend


def enter(audio: AudioInput, classes: Tensor, dtype: torch.dtype) -> Tensor:
    """`AudioInput`: classes [N] -> [N - F + 1, C], as products with one-hot vectors."""
    tables = audio.tables()
    nothing = torch.zeros(tables.shape[2], device=tables.device)
    total = convolved(one_hot(classes, CLASSES, dtype), tables, 1, len(classes) - audio.width + 1, nothing)
    return torch.tanh(total) if audio.kind == "one-hot" else total


def midi_loss(score: FirstLayerScore, vectors: Tensor, target: Tensor, runs: Tensor) -> Tensor | None:
    """`FirstLayerScore.midi_loss` given v [U, C], the next frame [U, 128] of each run, and one-hot runs [T, U]."""
    if score.next_frame is None:
        return None
    logits = score.next_frame(vectors)
    each = functional.binary_cross_entropy_with_logits(logits, (target > 0).float(), reduction="none").sum(dim=1)
    return (each * runs.sum(0, dtype=torch.float32)).sum() / len(runs)


def bias_of(layer: GatedLayer, piece: Slice) -> Tensor:
    """A layer's bias of filter and gate and its instrument embedding, [2C]."""
    bias = layer.convolution.bias.flatten()
    return bias if layer.style is None else bias + layer.style.weight.index_select(1, piece.instrument.view(1))[:, 0]


def separable_layers(network: Network, x: Tensor, piece: Slice, parts: Parts) -> Tensor:
    """SynthNet's stack, [N - F + 1, C] -> [T, C].

    Biases of the residuals are constant in time. They are left out of the stream, added to the biases of the later
    layers, through whose taps they would go, and to the end.
    """
    layers, missing = [], torch.zeros(x.shape[1], device=x.device)
    for layer in network.stack:
        taps = layer.convolution.weight  # [2, C, F]
        bias = bias_of(layer, piece).view(2, -1) + taps.sum(2) * missing
        layers.append((taps.permute(2, 0, 1), bias, layer.residual.weight[:, :, 0]))
        missing = missing + layer.residual.bias
    return parts.stack(x, network.config.layer_dilations, layers) + missing.to(x.dtype)


def dense_layers(network: Network, x: Tensor, piece: Slice, runs: Tensor, parts: Parts) -> Tensor:
    """The stack of WaveNet and Deep Voice: [N - F + 1, C] -> the sum of skips, or the last residual, [T, C].

    `runs` [N, U] are one-hot.
    """
    score, skips = network.score, None
    n_predicted = len(x) - sum(layer.reach for layer in network.stack)
    if isinstance(score, EveryLayerScore):
        vectors = score.convolution(piece.windows[:, :, :-1])[:, :, 0]  # y_l of each run, [U, C]
    for number, layer in enumerate(network.stack):
        length = len(x) - layer.reach
        gates = convolved(x, layer.convolution.weight.permute(2, 1, 0), layer.dilation, length, bias_of(layer, piece))
        if isinstance(score, EveryLayerScore):
            weight, bias = (score.gates[number].get_parameter(name) for name in ("weight", "bias"))
            taps = vectors @ weight.permute(2, 1, 0)  # [F, U, 2C]
            gates = convolved(runs, taps, layer.dilation, length, gates + bias.to(x.dtype))
        hidden = parts.gated(gates)
        change = pointwise(hidden, layer.residual)
        skip = change[-n_predicted:] if layer.skip is None else pointwise(hidden[-n_predicted:], layer.skip)
        if layer.skip is not None or layer.skip_is_shared:
            skips = skip if skips is None else skips + skip
        x = x[-length:] + change
    return x if skips is None else skips
