"""The separable gated layers of SynthNet on a GPU: Triton kernels for taps and gate, cuBLAS for the residual.

A layer's forward pass is one kernel and one product into which the residual is added; its backward pass is two kernels
and two products. Activations go through memory in half precision, and sums are float32. No kernel adds atomically, so
that equal inputs give equal bits. The slow twin is `products.stack_reference`.

Importing this needs Triton. With TRITON_INTERPRET=1 set before that, the kernels run on a CPU, slowly, for tests.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from synthnet.kernels.products import Layer, product32

# Samples and channels of a tile, and its warps. `benchmarks/gpu.py` times others.
TILES = {"gate": (4, 512, 4), "gate_gradient": (32, 64, 4), "input_gradient": (4, 512, 4), "step": (1, 512, 4)}


@triton.jit
def convolved(
    x, taps, bias, t, c, inside, dilation,
    C: tl.constexpr, F: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Filter and gate of a tile, before tanh and sigmoid: depthwise convolutions of x."""
    filters = tl.zeros((BT, BC), tl.float32) + tl.load(bias + c, mask=c < C, other=0.0)
    openings = tl.zeros((BT, BC), tl.float32) + tl.load(bias + C + c, mask=c < C, other=0.0)
    for k in tl.static_range(F):
        value = tl.load(x + (t + k * dilation) * C + c, mask=inside, other=0.0).to(tl.float32)
        filters += value * tl.load(taps + 2 * k * C + c, mask=c < C, other=0.0)
        openings += value * tl.load(taps + (2 * k + 1) * C + c, mask=c < C, other=0.0)
    return filters, openings


@triton.jit(do_not_specialize=["n", "dilation"])
def gate(x, taps, bias, hidden, n, dilation, C: tl.constexpr, F: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr):
    """hidden [n, C] = tanh(filter) * sigmoid(gate), both depthwise convolutions of x [n + (F - 1) dilation, C]."""
    t = tl.program_id(0) * BT + tl.arange(0, BT)[:, None]
    c = tl.program_id(1) * BC + tl.arange(0, BC)[None, :]
    inside = (t < n) & (c < C)
    filters, openings = convolved(x, taps, bias, t, c, inside, dilation, C, F, BT, BC)
    result = (2 * tl.sigmoid(2 * filters) - 1) * tl.sigmoid(openings)
    tl.store(hidden + t * C + c, result.to(hidden.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["n", "dilation"])
def gate_gradient(
    x, d_hidden, taps, bias, d_gates, sums, n, dilation,
    C: tl.constexpr, F: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """d_gates [n, 2C], and for each tile of time the gradients of taps and bias: sums [tiles, 2F + 2, C]."""
    tile = tl.program_id(0)
    t = tile * BT + tl.arange(0, BT)[:, None]
    c = tl.program_id(1) * BC + tl.arange(0, BC)[None, :]
    inside = (t < n) & (c < C)
    filters, openings = convolved(x, taps, bias, t, c, inside, dilation, C, F, BT, BC)
    change = tl.load(d_hidden + t * C + c, mask=inside, other=0.0).to(tl.float32)
    level = 2 * tl.sigmoid(2 * filters) - 1
    opening = tl.sigmoid(openings)
    d_filters = change * opening * (1 - level * level)
    d_openings = change * level * opening * (1 - opening)
    place = d_gates + t * (2 * C) + c
    tl.store(place, d_filters.to(d_gates.dtype.element_ty), mask=inside)
    tl.store(place + C, d_openings.to(d_gates.dtype.element_ty), mask=inside)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    row = sums + tile * (2 * F + 2) * C + channel
    for k in tl.static_range(F):
        value = tl.load(x + (t + k * dilation) * C + c, mask=inside, other=0.0).to(tl.float32)  # from the cache
        tl.store(row + 2 * k * C, tl.sum(d_filters * value, 0), mask=channel < C)
        tl.store(row + (2 * k + 1) * C, tl.sum(d_openings * value, 0), mask=channel < C)
    tl.store(row + 2 * F * C, tl.sum(d_filters, 0), mask=channel < C)
    tl.store(row + (2 * F + 1) * C, tl.sum(d_openings, 0), mask=channel < C)


@triton.jit(do_not_specialize=["n", "n_inputs", "dilation"])
def input_gradient(
    d_output, d_gates, taps, d_x, n, n_inputs, dilation,
    C: tl.constexpr, F: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """d_x [n_inputs, C]: the residual's gradient d_output [n, C], and that of the taps."""
    t = tl.program_id(0) * BT + tl.arange(0, BT)[:, None]
    c = tl.program_id(1) * BC + tl.arange(0, BC)[None, :]
    inside = (t < n_inputs) & (c < C)
    shifted = t - (F - 1) * dilation
    total = tl.load(d_output + shifted * C + c, mask=inside & (shifted >= 0), other=0.0).to(tl.float32)
    for k in tl.static_range(F):
        output = t - k * dilation
        there = inside & (output >= 0) & (output < n)
        place = d_gates + output * (2 * C) + c
        weight = tl.load(taps + 2 * k * C + c, mask=c < C, other=0.0)
        total += tl.load(place, mask=there, other=0.0).to(tl.float32) * weight
        weight = tl.load(taps + (2 * k + 1) * C + c, mask=c < C, other=0.0)
        total += tl.load(place + C, mask=there, other=0.0).to(tl.float32) * weight
    tl.store(d_x + t * C + c, total.to(d_x.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["n"])
def step(
    x, change, gates, taps, stream, hidden, n,
    C: tl.constexpr, F: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """stream [n, C] = x + change, and hidden [n, C], whose gates are `gates` [n, 2C] and stream times taps [2, C]."""
    t = tl.program_id(0) * BT + tl.arange(0, BT)[:, None]
    c = tl.program_id(1) * BC + tl.arange(0, BC)[None, :]
    inside = (t < n) & (c < C)
    value = tl.load(x + t * C + c, mask=inside, other=0.0) + tl.load(change + t * C + c, mask=inside, other=0.0)
    tl.store(stream + t * C + c, value, mask=inside)
    place = gates + t * (2 * C) + c
    filters = tl.load(place, mask=inside, other=0.0) + value * tl.load(taps + c, mask=c < C, other=0.0)
    openings = tl.load(place + C, mask=inside, other=0.0) + value * tl.load(taps + C + c, mask=c < C, other=0.0)
    tl.store(hidden + t * C + c, (2 * tl.sigmoid(2 * filters) - 1) * tl.sigmoid(openings), mask=inside)


def launch(kernel: Any, rows: int, *arguments: Any, channels: int, width: int) -> None:
    """Run a kernel in tiles over rows and channels."""
    samples, most, warps = TILES[kernel.__name__]
    block = min(most, triton.next_power_of_2(channels))
    grid = (triton.cdiv(rows, samples), triton.cdiv(channels, block))
    kernel[grid](*arguments, channels, width, samples, block, num_warps=warps)


class Stack(torch.autograd.Function):
    """See `stack`; the layers follow one another in `flat`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dilations: Sequence[int], *flat: Tensor) -> Tensor:
        kept, channels = [], x.shape[1]
        for dilation, taps, bias, residual in zip(dilations, flat[::3], flat[1::3], flat[2::3], strict=True):
            width = len(taps)
            n = len(x) - (width - 1) * dilation
            hidden = x.new_empty(n, channels)
            launch(gate, n, x, taps, bias, hidden, n, dilation, channels=channels, width=width)
            kept += [x, hidden, taps, bias, residual]
            x = torch.addmm(x[len(x) - n :], hidden, residual.to(x.dtype).t())
        ctx.dilations = dilations
        ctx.save_for_backward(*kept)
        return x

    @staticmethod
    def backward(ctx: Any, *changes: Tensor) -> tuple[Any, ...]:
        change, channels = changes[0].contiguous(), changes[0].shape[1]
        saved = ctx.saved_tensors
        layers = list(zip(ctx.dilations, *(saved[place::5] for place in range(5)), strict=True))
        gradients: list[Tensor] = []  # from the last layer to the first
        for dilation, x, hidden, taps, bias, residual in reversed(layers):
            n, width = len(hidden), len(taps)
            of_residual = product32(change.t(), hidden)
            d_hidden = change @ residual.to(x.dtype)
            d_gates = x.new_empty(n, 2 * channels)
            tiles = triton.cdiv(n, TILES["gate_gradient"][0])
            sums = torch.empty(tiles, 2 * width + 2, channels, device=x.device)
            sizes = {"channels": channels, "width": width}
            launch(gate_gradient, n, x, d_hidden, taps, bias, d_gates, sums, n, dilation, **sizes)
            of_taps, of_bias = sums.sum(0).view(-1, 2, channels).split([width, 1])
            d_x = torch.empty_like(x)
            launch(input_gradient, len(x), change, d_gates, taps, d_x, n, len(x), dilation, **sizes)
            gradients = [of_taps, of_bias[0], of_residual, *gradients]
            change = d_x
        return (change, None, *gradients)


def stack(x: Tensor, dilations: Sequence[int], layers: Sequence[Layer]) -> Tensor:
    """Separable gated layers: [N, C] -> [T, C], as `products.stack_reference`."""
    contiguous = (tensor.contiguous() for layer in layers for tensor in layer)
    found: Tensor = Stack.apply(x.contiguous(), tuple(dilations), *contiguous)
    return found


def step_layer(x: Tensor, change: Tensor, gates: Tensor, taps: Tensor, stream: Tensor) -> Tensor:
    """A layer's step in generation, see `step`: the hidden units [B, C]; `stream` is written. All are contiguous."""
    hidden, (streams, channels) = torch.empty_like(stream), stream.shape
    launch(step, streams, x, change, gates, taps, stream, hidden, streams, channels=channels, width=0)
    return hidden
