"""Time-major building blocks of training on a GPU: products with float32 weights, and the slow twin of `fused.stack`.

Activations are [T, C] in half precision (or float32), weights and their gradients are float32. A convolution over time
is a product a tap, each of a window of rows, so that nothing is copied or transposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Layer = tuple[Tensor, Tensor, Tensor]  # of a separable stack, float32: taps [F, 2, C], bias [2, C], residual [C, C]

HAS_OUT_DTYPE = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 8)


def product32(a: Tensor, b: Tensor) -> Tensor:
    """The float32 product of two matrices of any one type: half precision would lose small gradients."""
    if HAS_OUT_DTYPE and a.is_cuda and a.dtype != torch.float32:
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a.float(), b.float())


class Product(torch.autograd.Function):
    """x [T, A] times a float32 weight [A, B], plus an addend: float32 [B], or [T, B] of the type of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, addend: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.is_bias = addend.ndim == 1
        return torch.addmm(addend.to(x.dtype), x, weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *changes: Tensor) -> tuple[Tensor | None, ...]:
        (change,), (x, weight) = changes, ctx.saved_tensors
        back = change @ weight.to(x.dtype).t() if ctx.needs_input_grad[0] else None
        return back, product32(x.t(), change), change.sum(0, dtype=torch.float32) if ctx.is_bias else change


def product(x: Tensor, weight: Tensor, addend: Tensor) -> Tensor:
    """See `Product`."""
    found: Tensor = Product.apply(x, weight, addend)
    return found


def gated(gates: Tensor) -> Tensor:
    """tanh(filter) * sigmoid(gate) of [T, 2C] -> [T, C]."""
    filters, openings = gates.chunk(2, dim=1)
    return torch.tanh(filters) * torch.sigmoid(openings)


def stack_reference(x: Tensor, dilations: Sequence[int], layers: Sequence[Layer]) -> Tensor:
    """Separable gated layers in plain torch: [N, C] -> [T, C], T = N - (F - 1) * sum of the dilations.

    A layer is x + residual(gated(depthwise taps)), without the residual's bias.
    """
    for dilation, (taps, bias, residual) in zip(dilations, layers, strict=True):
        n = len(x) - (len(taps) - 1) * dilation
        gates = bias
        for number, tap in enumerate(taps):
            gates = gates + x[number * dilation : number * dilation + n, None].float() * tap
        x = product(gated(gates.flatten(1)).to(x.dtype), residual.t(), x[-n:])
    return x
