"""How audio and score enter a network: each model takes one kind of either.

Audio enters as tables: a convolution of scalars or of one-hot vectors only ever sees 256 values, so that what each
class adds to the first layer's input is looked up. The score is a piano roll, constant between events: products with
it are computed once an event and spread over its samples. Tensors are [B, C, T]; F is the filter width, K = 128 keys.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthnet.models.config import CLASSES, KEYS, ModelConfig
from synthnet.models.layers import CausalConv, RunGates, along_runs, distinct_windows


class AudioInput(nn.Module, abc.ABC):
    """From the last F classes to the first layer's input."""

    @abc.abstractmethod
    def tables(self) -> tuple[Tensor, bool]:
        """What each class at each of the last inputs adds to the first layer's input.

        Returns:
            Tables [taps, 256, C], taps at most F, oldest input first; and whether tanh is taken of their sum.
        """

    def entry(self, past: Sequence[Tensor]) -> Tensor:
        """The first layer's input [..., C] from F tensors [...] of classes, oldest first."""
        tables, squashed = self.tables()
        total = functional.embedding(past[-len(tables)], tables[0])
        for table, classes in zip(tables[1:], past[len(past) - len(tables) + 1 :], strict=True):
            total = total + functional.embedding(classes, table)
        return torch.tanh(total) if squashed else total


class ScalarAudio(AudioInput):
    """WaveNet: the companded value 2 class / 255 - 1 through a causal convolution 1 -> C, no activation."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.convolution = CausalConv(1, config.channels, config.filter_width)

    def tables(self) -> tuple[Tensor, bool]:
        weight = self.convolution.weight.permute(2, 1, 0)  # [F, 1, C]
        tables = companded(torch.arange(CLASSES, device=weight.device), weight.dtype)[:, None] * weight
        return torch.cat([tables[:-1], tables[-1:] + self.convolution.bias]), False

    def entry(self, past: Sequence[Tensor]) -> Tensor:
        # A product of small matrices: its gradient takes a tenth of the time of that of tables.
        weight = self.convolution.weight[:, 0]  # [C, F]
        return functional.linear(
            companded(torch.stack(list(past), dim=-1), weight.dtype), weight, self.convolution.bias
        )


def companded(classes: Tensor, dtype: torch.dtype) -> Tensor:
    """Classes 0 to 255 on -1 to 1, as mu-law has compressed them."""
    return classes.to(dtype) * (2 / (CLASSES - 1)) - 1


class OneHotAudio(AudioInput):
    """Deep Voice: tanh of a causal convolution 256 -> C of one-hot vectors, which only picks columns."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.convolution = CausalConv(CLASSES, config.channels, config.filter_width)

    def tables(self) -> tuple[Tensor, bool]:
        tables = self.convolution.weight.permute(2, 1, 0)  # [F, 256, C]
        return torch.cat([tables[:-1], tables[-1:] + self.convolution.bias]), True


class EmbeddedAudio(AudioInput):
    """SynthNet: tanh of an embedding of the last class."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, config.channels)

    def tables(self) -> tuple[Tensor, bool]:
        return torch.tanh(self.embedding.weight)[None], False  # tanh of 256 rows, not of as many as samples


class ScoreInput(nn.Module, abc.ABC):
    """From the piano roll to what it contributes to the first layer's input, or to the gates of every layer."""

    context: int  # roll frames before the samples asked for that are looked at, when they are asked for generation

    def entry(self, roll: Tensor, n_samples: int) -> Tensor | None:
        """What is added before the first layer to the last samples of roll [B, K, N]: [B, C, n_samples], or nothing."""
        return None

    def run_gates(self, roll: Tensor, n_samples: int) -> RunGates | None:
        """What is added to the layers' gates, for the last samples of roll [B, K, N], or nothing."""
        return None

    def auxiliary_loss(self, roll: Tensor, n_predicted: int) -> Tensor | None:
        """A loss of the score path by itself, in nats a sample; None where there is none.

        Args:
            roll: [B, K, N + 1], the input frames and the one after them.
            n_predicted: how many of the last frames are predicted.
        """
        return None


class FirstLayerScore(ScoreInput):
    """SynthNet: v = tanh(Vh tanh(V0 * y)), added once, before the first layer.

    Args:
        midi_loss: whether v also predicts the next roll frame (Vout), which is the auxiliary loss.
    """

    def __init__(self, config: ModelConfig, *, midi_loss: bool) -> None:
        super().__init__()
        channels, self.width = config.channels, config.filter_width
        self.context = self.width - 1
        self.convolution = CausalConv(KEYS, channels, self.width)  # V0
        self.hidden = nn.Linear(channels, channels)  # Vh
        self.next_frame = nn.Linear(channels, KEYS) if midi_loss else None  # Vout

    def vectors(self, windows: Tensor) -> Tensor:
        """v of F roll frames each: [U, K, F] -> [U, C]."""
        hidden = torch.tanh(self.convolution(windows.to(self.hidden.weight.dtype))[:, :, 0])
        return torch.tanh(self.hidden(hidden))

    def entry(self, roll: Tensor, n_samples: int) -> Tensor:
        windows, lengths = distinct_windows(roll[:, :, -(n_samples + self.width - 1) :], self.width)
        return along_runs(self.vectors(windows), lengths, roll.shape[0])

    def auxiliary_loss(self, roll: Tensor, n_predicted: int) -> Tensor | None:
        """Binary cross-entropy of the next roll frame given v, summed over the 128 keys, mean over samples.

        The target is whether a key is down, whatever its velocity.
        """
        if self.next_frame is None:
            return None
        windows, lengths = distinct_windows(roll[:, :, -(n_predicted + self.width) :], self.width + 1)
        logits = self.next_frame(self.vectors(windows[:, :, :-1])).float()
        target = (windows[:, :, -1] > 0).float()
        each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=1)  # [U]
        return (each * lengths).sum() / lengths.sum()


class EveryLayerScore(ScoreInput):
    """WaveNet and Deep Voice: a dilated convolution V of y_l = V0 * y, C -> 2C, added to the gates of each layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, self.width = config.channels, config.filter_width
        self.context = self.width - 1 + (self.width - 1) * max(config.layer_dilations)
        self.convolution = CausalConv(KEYS, channels, self.width)  # V0
        self.gates = nn.ModuleList(  # V of each layer
            CausalConv(channels, 2 * channels, self.width, dilation) for dilation in config.layer_dilations
        )

    def run_gates(self, roll: Tensor, n_samples: int) -> RunGates:
        # y_l is constant between events too: the products with V are computed once for each run of it.
        windows, lengths = distinct_windows(roll[:, :, -(n_samples + self.width - 1) :], self.width)
        runs = self.convolution(windows.to(self.convolution.weight.dtype))[:, :, 0]  # y_l, [U, C]
        products = torch.stack(
            [torch.einsum("gcf,uc->fug", gate.get_parameter("weight"), runs) for gate in self.gates]
        )  # [L, F, U, 2C]
        biases = torch.stack([gate.get_parameter("bias") for gate in self.gates])  # [L, 2C]
        last_tap = products[:, -1:] + biases[:, None, None]  # the bias counts once
        run_at = torch.repeat_interleave(lengths).unflatten(0, (len(roll), n_samples))
        return RunGates(torch.cat([products[:, :-1], last_tap], dim=1), run_at)
