"""The loss of the paper's networks as a GPU computes it fast: one slice, time-major [T, C], in half precision.

It is the loss of `autoregressive.Network`, its slow twin, with the same weights. Three things make it fast. All shapes
are known before, so that a step can be a CUDA graph. The score comes as the number of a run at each input and as the
roll window of each run, so that products with the score are computed once a run. Lookups in tables and convolutions are
products of matrices; their gradients are products, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from synthnet.kernels.products import Layer, gated, product, stack_reference
from synthnet.models.autoregressive import AudioInput, EveryLayerScore, FirstLayerScore, Network
from synthnet.models.config import CLASSES
from synthnet.models.layers import DepthwiseGates, GatedLayer
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
    parts = parts or Parts()
    score, width = network.score, network.config.filter_width
    n_predicted = len(piece.runs) - network.config.receptive_field + 1
    runs = one_hot(piece.runs, len(piece.windows), dtype)
    x, midi = enter(network.audio, piece.classes[:-1], dtype), None
    seen = piece.windows[:, :, :width]
    if isinstance(score, FirstLayerScore):
        vectors = score.vectors(seen)
        x = product(runs[width - 1 :], vectors, x)
        midi = midi_loss(score, vectors, piece, n_predicted)
    if isinstance(network.stack[0].convolution, DepthwiseGates):
        x = separable_layers(network, x, piece.instrument, parts)
    else:
        every = score if isinstance(score, EveryLayerScore) else None
        x = dense_layers(network, x, piece.instrument, runs, every, seen, n_predicted, parts)
    activation, head = network.head.activation, network.head
    for convolution in (head.hidden, head.logits):
        x = product(activation(x), convolution.weight[:, :, 0].t(), convolution.bias)
    nll = functional.cross_entropy(x.float(), piece.classes[-n_predicted:])
    return Losses(nll if midi is None else nll + midi, nll)


def one_hot(numbers: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Numbers [N] as rows [N, size]."""
    return (numbers[:, None] == torch.arange(size, device=numbers.device)).to(dtype)


def enter(audio: AudioInput, classes: Tensor, dtype: torch.dtype) -> Tensor:
    """`AudioInput`: classes [N] -> [N - F + 1, C], as products with one-hot vectors."""
    tables, length = audio.tables(), len(classes) - audio.width + 1
    hot = one_hot(classes, CLASSES, dtype)
    first, total = audio.width - len(tables), None
    for tap, table in enumerate(tables, first):
        total = product(hot[tap : tap + length], table, total)
    assert total is not None
    return torch.tanh(total) if audio.kind == "one-hot" else total


def midi_loss(score: FirstLayerScore, vectors: Tensor, piece: Slice, n_predicted: int) -> Tensor | None:
    """`FirstLayerScore.midi_loss` given v of each run [U, C]."""
    if score.next_frame is None:
        return None
    target = (piece.windows[:, :, -1] > 0).float()
    each = functional.binary_cross_entropy_with_logits(score.next_frame(vectors), target, reduction="none").sum(dim=1)
    borders = torch.arange(len(vectors) + 1, device=vectors.device)
    counts = torch.searchsorted(piece.runs[-n_predicted:].contiguous(), borders).diff()  # predicted samples of a run
    return (each * counts).sum() / n_predicted


def bias_of(layer: GatedLayer, instrument: Tensor) -> Tensor:
    """A layer's bias of filter and gate and its instrument embedding, [2C]."""
    bias = layer.convolution.bias.flatten()
    return bias if layer.style is None else bias + layer.style.weight.index_select(1, instrument.view(1))[:, 0]


def separable_layers(network: Network, x: Tensor, instrument: Tensor, parts: Parts) -> Tensor:
    """SynthNet's stack, [N - F + 1, C] -> [T, C].

    Biases of the residuals are constant in time. They are left out of the stream, added to the biases of the later
    layers, through whose taps they would go, and to the end.
    """
    layers, missing = [], torch.zeros(x.shape[1], device=x.device)
    for layer in network.stack:
        taps = layer.convolution.weight  # [2, C, F]
        bias = bias_of(layer, instrument).view(2, -1) + taps.sum(2) * missing
        layers.append((taps.permute(2, 0, 1), bias, layer.residual.weight[:, :, 0]))
        missing = missing + layer.residual.bias
    return parts.stack(x, network.config.layer_dilations, layers) + missing.to(x.dtype)


def dense_layers(
    network: Network,
    x: Tensor,
    instrument: Tensor,
    runs: Tensor,
    score: EveryLayerScore | None,
    seen: Tensor,
    n_predicted: int,
    parts: Parts,
) -> Tensor:
    """The stack of WaveNet and Deep Voice: [N - F + 1, C] -> the sum of skips, or the last residual, [T, C].

    Args:
        runs: [N, U] one-hot.
        score: None where the score enters before the first layer.
        seen: [U, 128, F], the roll windows.
    """
    vectors = None if score is None else score.convolution(seen)[:, :, 0]  # y_l of each run, [U, C]
    skips = None
    for number, (layer, (n_inputs, n)) in enumerate(
        zip(network.stack, pairwise(network.stack_lengths(n_predicted)), strict=True)
    ):
        convolution, gates = layer.convolution, bias_of(layer, instrument)
        for tap, weight in enumerate(convolution.weight.unbind(2)):
            first = n_inputs - layer.reach - n + tap * layer.dilation
            gates = product(x[first : first + n], weight.t(), gates)
        if score is not None and vectors is not None:
            for tap, weight in enumerate(score.gates[number].get_parameter("weight").unbind(2)):
                first = len(runs) - layer.reach - n + tap * layer.dilation
                gates = product(runs[first : first + n], vectors @ weight.t(), gates)
            gates = gates + score.gates[number].get_parameter("bias").to(x.dtype)
        hidden = parts.gated(gates)
        change = product(hidden, layer.residual.weight[:, :, 0].t(), layer.residual.bias)
        skip = change[-n_predicted:]
        if layer.skip is not None:
            skip = product(hidden[-n_predicted:], layer.skip.weight[:, :, 0].t(), layer.skip.bias)
        if layer.skip is not None or layer.skip_is_shared:
            skips = skip if skips is None else skips + skip
        x = x[-n:] + change
    return x if skips is None else skips
