"""Muon, an optimiser for matrices: momentum whose singular values are all made about 1 before it is followed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95

NEWTON_SCHULZ_STEPS = 5

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's quintic: steep at 0, singular values end within 0.7 to 1.2

ADAMS_RMS = 0.2  # what an entry of Adam's steps is in the mean, so that one learning rate serves both


def orthogonalised(matrices: Tensor) -> Tensor:
    """Each of [N, rows, columns] with its singular vectors kept and its singular values brought near to 1."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide / (wide.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide is matrices else x.mT


class Muon(torch.optim.Optimizer):
    """Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/, with Nesterov momentum, decoupled weight decay.

    Parameters are matrices [rows, columns], or [rows, columns, F] of a convolution, in which each tap is a matrix by
    itself. A step has the size of one of Adam's (Moonshot AI 2025, `ADAMS_RMS`). Unlike torch's, equal shapes are
    worked on together, in single precision: on a CPU that is several times as fast.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # it evaluates no closure
        """Follow the gradients; parameters without one stay as they are."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
                ahead = parameter.grad.lerp(state["momentum"], MOMENTUM)
                rows, columns = parameter.shape[:2]
                weights, changes = parameter.view(rows, columns, -1), ahead.view(rows, columns, -1)
                alike[parameter.shape[:2]] += zip(weights.unbind(2), changes.unbind(2), strict=True)
            for shape, pairs in alike.items():
                changes = orthogonalised(torch.stack([change for _, change in pairs]))
                for (weight, _), change in zip(pairs, changes, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(change, alpha=-group["lr"] * ADAMS_RMS * max(shape) ** 0.5)
