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
from synthnet.models.layers import CausalConv, Conditioning, along_runs, distinct_windows


class AudioInput(nn.Module, abc.ABC):
    """From the last F classes to the first layer's input."""

    @abc.abstractmethod
    def tables(self) -> tuple[Tensor, bool]:
        """What each class at each of the last inputs adds to the first layer's input.

        Returns:
            Tables [taps, 256, C], taps at most F, oldest input first; and whether tanh is taken of their sum.
        """


class ScalarAudio(AudioInput):
    """WaveNet: the companded value 2 class / 255 - 1 through a causal convolution 1 -> C, no activation."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.convolution = CausalConv(1, config.channels, config.filter_width)

    def tables(self) -> tuple[Tensor, bool]:
        weight = self.convolution.weight.permute(2, 1, 0)  # [F, 1, C]
        values = torch.arange(CLASSES, device=weight.device, dtype=weight.dtype) * (2 / (CLASSES - 1)) - 1
        tables = values[:, None] * weight
        return torch.cat([tables[:-1], tables[-1:] + self.convolution.bias]), False


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
    """From the piano roll to what it contributes to the layers."""

    context: int  # roll frames before the samples asked for that `terms` looks at, when it is asked for generation

    @abc.abstractmethod
    def terms(self, roll: Tensor, samples: Sequence[int]) -> Conditioning:
        """The score's contributions, each for the last samples of the roll.

        Args:
            roll: [B, K, N], with enough of the past before the samples asked for.
            samples: how many at the entry, then at each layer's output.
        """

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
        self.n_layers = len(config.layer_dilations)
        self.convolution = CausalConv(KEYS, channels, self.width)  # V0
        self.hidden = nn.Linear(channels, channels)  # Vh
        self.next_frame = nn.Linear(channels, KEYS) if midi_loss else None  # Vout

    def vectors(self, windows: Tensor) -> Tensor:
        """v of F roll frames each: [U, K, F] -> [U, C]."""
        hidden = torch.tanh(self.convolution(windows.to(self.hidden.weight.dtype))[:, :, 0])
        return torch.tanh(self.hidden(hidden))

    def terms(self, roll: Tensor, samples: Sequence[int]) -> Conditioning:
        windows, lengths = distinct_windows(roll[:, :, -(samples[0] + self.width - 1) :], self.width)
        entry = along_runs(self.vectors(windows), lengths, roll.shape[0])
        return Conditioning(entry, [None] * self.n_layers)

    def auxiliary_loss(self, roll: Tensor, n_predicted: int) -> Tensor | None:
        """Binary cross-entropy of the next roll frame given v, summed over the 128 keys, mean over samples."""
        if self.next_frame is None:
            return None
        windows, lengths = distinct_windows(roll[:, :, -(n_predicted + self.width) :], self.width + 1)
        logits = self.next_frame(self.vectors(windows[:, :, :-1])).float()
        target = windows[:, :, -1].float()
        each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=1)  # [U]
        return (each * lengths).sum() / lengths.sum()


class EveryLayerScore(ScoreInput):
    """WaveNet and Deep Voice: a dilated convolution V of y_l = V0 * y, C -> 2C, added to the gates of each layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, self.width = config.channels, config.filter_width
        self.dilations = config.layer_dilations
        self.reaches = [(self.width - 1) * dilation for dilation in self.dilations]
        self.context = self.width - 1 + max(self.reaches)
        self.convolution = CausalConv(KEYS, channels, self.width)  # V0
        self.gates = nn.ModuleList(  # V of each layer
            CausalConv(channels, 2 * channels, self.width, dilation) for dilation in self.dilations
        )

    def terms(self, roll: Tensor, samples: Sequence[int]) -> Conditioning:
        # y_l is constant between events too: the products with V are computed once for each run of it and looked up
        # for every sample, which costs additions only.
        needed = max(n + reach for n, reach in zip(samples[1:], self.reaches, strict=True))
        windows, lengths = distinct_windows(roll[:, :, -(needed + self.width - 1) :], self.width)
        runs = self.convolution(windows.to(self.convolution.weight.dtype))[:, :, 0]  # y_l, [U, C]
        run_at = torch.repeat_interleave(lengths).unflatten(0, (len(roll), needed))  # [B, needed]
        gates: list[Tensor | None] = []
        for n, dilation, convolution in zip(samples[1:], self.dilations, self.gates, strict=True):
            weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
            total = functional.embedding(run_at[:, needed - n :], functional.linear(runs, weight[:, :, -1], bias))
            for back in range(1, self.width):
                first = needed - n - back * dilation
                products = functional.linear(runs, weight[:, :, -1 - back])  # [U, 2C]
                total = total + functional.embedding(run_at[:, first : first + n], products)  # [B, n, 2C]
            gates.append(total.transpose(1, 2))
        return Conditioning(None, gates)
