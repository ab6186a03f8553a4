"""What the trainer, the checkpoints and the evaluation know of a model, whatever its kind."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

SMALLEST_SIDE = 8


def matrices_of(network: nn.Module) -> list[nn.Parameter]:
    """The weights that Muon is for: those of linear maps and full convolutions between vectors of at least 8 values.

    Not the tables that audio enters by (their columns are looked up, one at a time), depthwise taps, and biases.
    """
    return [
        parameter
        for name, parameter in network.named_parameters()
        if parameter.ndim >= 2 and min(parameter.shape[:2]) >= SMALLEST_SIDE and not name.startswith("audio.")
    ]


class Config(Protocol):
    """A frozen dataclass that says how a model is built; its class also has `from_dict`, which raises InputError."""

    kind: ClassVar[str]  # of model: a key of `synthnet.models.KINDS`

    @property
    def model(self) -> str:
        """Name of the architecture, for a person."""
        ...

    @property
    def styles(self) -> int:
        """Instruments told apart by a one-hot style, 0 for a single one."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        ...

    def facts(self, sample_rate_hz: int) -> dict[str, Any]:
        """What follows from it, as plain values, for `synthnet info`."""
        ...


class Losses(NamedTuple):
    """What a training step gives: scalars.

    Attributes:
        total: what is minimised.
        audio: the part of it that judges the audio, shown during training and named `Model.error_name`.
    """

    total: Tensor
    audio: Tensor


class Model(nn.Module, abc.ABC):
    """A network that can be trained."""

    error_name: ClassVar[str]  # of `Losses.audio` in metrics.jsonl: "nll" gives train_nll and valid_nll

    @abc.abstractmethod
    def loss(self, batch: Mapping[str, Tensor]) -> Losses:
        """The losses of a batch as the model's own dataset makes it."""

    def matrices(self) -> list[nn.Parameter]:
        """The weights that Muon is for."""
        return matrices_of(self)

    def training_threads(self) -> AbstractContextManager[None]:
        """Within it training steps run: a model that uses the processor's threads in its own way arranges them."""
        return nullcontext()
