"""Triton's kernels of SynthNet's layers, in Triton's interpreter, against the same layers in plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from synthnet.kernels.products import product, stack_reference

fused = pytest.importorskip("synthnet.kernels.fused", reason="Triton is not installed")


def distance(found: Tensor, right: Tensor) -> float:
    """Relative to the right one."""
    return float((found.detach() - right.detach()).norm() / right.detach().norm())


@pytest.mark.parametrize(
    ("width", "dilations", "dtype", "within"),
    [
        (3, (1, 4, 2), torch.float32, 1e-5),
        (2, (1, 8), torch.float32, 1e-5),
        (3, (1, 2), torch.float16, 0.02),
        (2, (1,), torch.bfloat16, 0.05),
    ],
)
def test_layers_and_their_gradients(
    width: int, dilations: tuple[int, ...], dtype: torch.dtype, within: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "TILES", dict.fromkeys(fused.TILES, (64, 16, 1)))  # fewer tiles than on a GPU
    torch.manual_seed(0)
    channels = 20  # neither a power of 2 nor a tile
    x = torch.randn(90, channels)
    layers = [
        (torch.randn(width, 2, channels) * 0.5, torch.randn(2, channels) * 0.3, torch.randn(channels, channels) * 0.2)
        for _ in dilations
    ]
    results = []
    for function, kind in ((fused.stack, dtype), (stack_reference, torch.float32)):
        leaves = [x.to(kind).requires_grad_(), *(part.clone().requires_grad_() for layer in layers for part in layer)]
        triples = [tuple(leaves[start : start + 3]) for start in range(1, len(leaves), 3)]
        y = function(leaves[0], dilations, triples)
        (y.float() * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        results.append([y, *(leaf.grad for leaf in leaves)])
    assert len(results[0][0]) == 90 - (width - 1) * sum(dilations)
    for found, right in zip(*results, strict=True):
        assert distance(found.float(), right) < within


def test_a_product_keeps_the_gradients_of_its_weights_in_single_precision() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(50, 6), torch.randn(6, 4).requires_grad_(), torch.randn(4).requires_grad_()
    tiny = 2.0**-30  # far below half precision
    (product(x.half(), weight, bias) * torch.tensor(2.0**-14, dtype=torch.float16)).sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    right = x.half().float().sum(0)[:, None].expand(6, 4) * 2.0**-14
    torch.testing.assert_close(weight.grad, right, rtol=1e-4, atol=tiny)
    assert bias.grad is not None
    torch.testing.assert_close(bias.grad, torch.full((4,), 50 * 2.0**-14))
