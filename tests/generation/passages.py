"""Streams of a network after a past, on which engines are compared with the full pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from synthnet.models import Network, build_model, preset_config
from synthnet.models.autoregressive import Conditioning

VARIANTS = [{}, {"filter_width": 3, "styles": 3, "velocity": True, "channels": 12, "dilations": 3, "blocks": 2}]


class Passage(NamedTuple):
    """B streams of a network: a past of a receptive field, and the conditioning of T samples after it."""

    network: Network
    x: Tensor
    roll: Tensor  # [B, 128, field + T]
    instruments: Tensor | None
    conditioning: Conditioning

    @property
    def past(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The arguments of `Engine.prime`."""
        return self.x, self.roll[:, :, : self.network.config.receptive_field], self.instruments

    def stream(self, number: int) -> Passage:
        """One of the streams alone."""
        one = slice(number, number + 1)
        parts = (None if part is None else part[one] for part in (self.x, self.roll, self.instruments))
        return Passage(self.network, *parts, cut(self.conditioning, one, slice(None)))

    def full_logits(self, classes: np.ndarray) -> Tensor:
        """Logits [B, 256, T] of the full pass, where the samples after the past are these [B, T]."""
        x = torch.cat([self.x, torch.from_numpy(classes[:, :-1]).long()], dim=1)
        return self.network(x, self.roll[:, :, : x.shape[1]], self.instruments)


def cut(conditioning: Conditioning, streams: slice, samples: slice) -> Conditioning:
    """The contributions to some streams and samples; constant ones stay so."""

    def part(term: Tensor | None) -> Tensor | None:
        if term is None:
            return None
        return term[streams] if term.shape[2] == 1 else term[streams, :, samples]

    return Conditioning(part(conditioning.entry), [part(gate) for gate in conditioning.gates])


def passage(
    model: str,
    preset: str,
    n_streams: int,
    n_samples: int,
    sharpness: float = 10.0,
    double: bool = False,
    **changes: Any,
) -> Passage:
    """Streams with random pasts; the roll changes every 50 samples."""
    torch.manual_seed(0)
    config = preset_config(model, preset, **changes)
    network = build_model(config).eval().requires_grad_(False)
    network.head.logits.weight.mul_(sharpness)  # logits as far apart as a trained network's
    field, generator = config.receptive_field, torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (n_streams, field), generator=generator)
    held = torch.rand(n_streams, 128, (field + n_samples) // 50 + 1, generator=generator) < 0.03
    roll = held.repeat_interleave(50, dim=2)[:, :, : field + n_samples].to(torch.uint8)
    if config.velocity:
        roll = roll * (torch.randint(1, 128, (n_streams, 128, 1), generator=generator) / 127)
    instruments = torch.rand(n_streams, config.styles, generator=generator) if config.styles else None
    if double:
        network, instruments = network.double(), None if instruments is None else instruments.double()
    return Passage(network, x, roll, instruments, condition(network, roll, instruments, n_samples))


def condition(network: Network, roll: Tensor, instruments: Tensor | None, n_samples: int) -> Conditioning:
    """The score's contributions to the last samples of a roll, but for its last frame, which acts later."""
    return network.condition(roll[:, :, :-1], instruments, [n_samples] * (1 + len(network.stack)))
