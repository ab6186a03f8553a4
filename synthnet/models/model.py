"""The interface between a model of any kind and its trainer."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

SMALLEST_SIDE = 8  # of a matrix that Muon trains


class Losses(NamedTuple):
    """Scalars of a training step.

    Attributes:
        total: the loss that is minimised.
        audio: its part that judges the audio; `Model.error_name` names it.
    """

    total: Tensor
    audio: Tensor


class Model(nn.Module, abc.ABC):
    """A network that can be trained."""

    error_name: ClassVar[str]  # of `Losses.audio` in metrics.jsonl: "nll" gives train_nll and valid_nll

    @abc.abstractmethod
    def loss(self, batch: Mapping[str, Tensor]) -> Losses:
        """The losses of a batch of the model's own dataset."""

    def matrices(self) -> list[nn.Parameter]:
        """The weights for Muon: those of linear maps and full convolutions between vectors of at least 8 values.

        The tables of the audio, whose columns are looked up one at a time, depthwise taps and biases stay out.
        """
        return [
            parameter
            for name, parameter in self.named_parameters()
            if parameter.ndim >= 2 and min(parameter.shape[:2]) >= SMALLEST_SIDE and not name.startswith("audio.")
        ]

    def compile_loss(self) -> None:
        """Compile the slow part of `loss`, if that pays; the trainer calls it once, before the first step."""
