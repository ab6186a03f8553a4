"""The paper's networks, top to bottom: SynthNet, WaveNet, Deep Voice, and the steps between (`config.MODELS`).

- SynthNet (Schimbinschi, Walder, Erfani, Bailey; IJCAI 2019). Audio enters as tanh(embedding); the score as
  v = tanh(Vh tanh(V0 * y)), added once, before the first layer. Layers are depthwise separable, without skips. v also
  predicts the next roll frame (MIDI loss).
- WaveNet (van den Oord et al. 2016), the paper's first baseline. Audio enters as a scalar through a causal convolution.
  Each layer adds a dilated convolution of y_l = V0 * y to its own. One 1x1 gives both residual and skip.
- Deep Voice (Arik et al. 2017), the second baseline: WaveNet with one-hot audio and a separate 1x1 for the skip.

Teacher forcing: the input at step t is sample t - 1 and roll frame t - 1; the output is the distribution of sample t.
The full pass trains and primes; the cached steps of `synthnet.generation` generate. Audio only takes 256 values, so
that its convolutions are looked up in tables. The score is constant between events, so that products with it are
computed once an event. Tensors are [B, C, T]; F is the filter width.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthnet.models.config import CLASSES, KEYS, MODELS, ModelConfig
from synthnet.models.layers import CausalConv, GatedLayer, Head, distinct_windows, look_up
from synthnet.models.model import Losses, Model

SMALLEST_COMPILED = 32  # channels: smaller networks train for less time than the compiler takes


class Conditioning(NamedTuple):
    """Contributions of the score and of the instrument embedding to T samples; None where there is none.

    Attributes:
        entry: [B, C, T], added to the audio before the first layer.
        gates: per layer [B, 2C, T], or [B, 2C, 1] where constant; added to the layer's filter and gate.
    """

    entry: Tensor | None
    gates: list[Tensor | None]


class Cache(NamedTuple):
    """The past as a cached step needs it: constant in the length of the piece.

    Attributes:
        classes: [B, F - 1], the last input classes, oldest first.
        rings: per layer [reach, B, C], its last inputs, oldest first.
    """

    classes: Tensor
    rings: list[Tensor]


class AudioInput(nn.Module):
    """Classes [B, N] to the first layer's input [B, C, N - F + 1].

    Args:
        kind: "scalar": the companded value 2 class / 255 - 1 through a causal convolution. "one-hot": tanh of a causal
            convolution of one-hot vectors. "embedding": tanh of an embedding of the last class.
    """

    def __init__(self, config: ModelConfig, kind: str) -> None:
        super().__init__()
        self.kind, self.width = kind, config.filter_width
        if kind == "embedding":
            self.embedding = nn.Embedding(CLASSES, config.channels)
        else:
            self.convolution = CausalConv(1 if kind == "scalar" else CLASSES, config.channels, self.width)

    def tables(self) -> Tensor:
        """What each class adds at each of the last inputs, [taps, 256, C], oldest first; one-hot: before the tanh."""
        if self.kind == "embedding":
            return torch.tanh(self.embedding.weight)[None]
        tables = self.convolution.weight.permute(2, 1, 0)  # [F, 1 or 256, C]
        if self.kind == "scalar":
            tables = torch.linspace(-1, 1, CLASSES, dtype=tables.dtype, device=tables.device)[:, None] * tables
        return torch.cat([tables[:-1], tables[-1:] + self.convolution.bias])

    def forward(self, x: Tensor) -> Tensor:
        total = look_up(x, self.tables(), x.shape[1] - self.width + 1)
        return torch.tanh(total) if self.kind == "one-hot" else total


class FirstLayerScore(nn.Module):
    """SynthNet's score path: v = tanh(Vh tanh(V0 * y)), added before the first layer.

    Args:
        midi_loss: whether v also predicts the next roll frame (Vout).

    Attributes:
        context: roll frames that generation needs before the samples asked for.
    """

    def __init__(self, config: ModelConfig, midi_loss: bool) -> None:
        super().__init__()
        channels, self.width, self.n_layers = config.channels, config.filter_width, config.layers
        self.context = self.width - 1
        self.convolution = CausalConv(KEYS, channels, self.width)  # V0
        self.hidden = nn.Linear(channels, channels)  # Vh
        self.next_frame = nn.Linear(channels, KEYS) if midi_loss else None  # Vout

    def vectors(self, windows: Tensor) -> Tensor:
        """v of F roll frames each: [U, K, F] -> [U, C]."""
        hidden = torch.tanh(self.convolution(windows.to(self.hidden.weight.dtype))[:, :, 0])
        return torch.tanh(self.hidden(hidden))

    def forward(self, roll: Tensor, samples: Sequence[int]) -> Conditioning:
        windows, runs = distinct_windows(roll[:, :, -(samples[0] + self.width - 1) :], self.width)
        return Conditioning(look_up(runs, self.vectors(windows)[None], samples[0]), [None] * self.n_layers)

    def midi_loss(self, roll: Tensor, n_predicted: int) -> Tensor | None:
        """Cross-entropy of the next roll frame given v, in nats: sum over the keys, mean over samples; None without.

        The target is whether a key is down, whatever its velocity.

        Args:
            roll: [B, 128, N + 1], the input frames and the one after them.
            n_predicted: how many of the last frames are predicted.
        """
        if self.next_frame is None:
            return None
        windows, runs = distinct_windows(roll[:, :, -(n_predicted + self.width) :], self.width + 1)
        logits = self.next_frame(self.vectors(windows[:, :, :-1])).float()
        target = (windows[:, :, -1] > 0).float()
        each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=1)  # [U]
        return each[runs].mean()


class EveryLayerScore(nn.Module):
    """WaveNet's and Deep Voice's score path: a dilated convolution V of y_l = V0 * y to the gates of each layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, self.width, self.dilations = config.channels, config.filter_width, config.layer_dilations
        self.context = (self.width - 1) * (1 + max(self.dilations))
        self.convolution = CausalConv(KEYS, channels, self.width)  # V0
        self.gates = nn.ModuleList(CausalConv(channels, 2 * channels, self.width) for _ in self.dilations)  # V

    def forward(self, roll: Tensor, samples: Sequence[int]) -> Conditioning:
        needed = max(n + (self.width - 1) * dilation for n, dilation in zip(samples[1:], self.dilations, strict=True))
        windows, runs = distinct_windows(roll[:, :, -(needed + self.width - 1) :], self.width)
        vectors = self.convolution(windows.to(self.convolution.weight.dtype))[:, :, 0]  # y_l of each run, [U, C]
        gates: list[Tensor | None] = []
        for n, dilation, convolution in zip(samples[1:], self.dilations, self.gates, strict=True):
            tables = torch.einsum("gcf,uc->fug", convolution.get_parameter("weight"), vectors)  # [F, U, 2C]
            tables[-1] += convolution.get_parameter("bias")
            gates.append(look_up(runs, tables, n, dilation))
        return Conditioning(None, gates)

    def midi_loss(self, roll: Tensor, n_predicted: int) -> None:
        """There is none."""


class Network(Model):
    """[B, N] classes and a [B, 128, N] roll to logits [B, 256, N - receptive field + 1]."""

    error_name = "nll"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        variant = MODELS[config.model]
        self.config = config
        self.audio = AudioInput(config, variant.audio)
        self.score: FirstLayerScore | EveryLayerScore = (
            EveryLayerScore(config)
            if variant.score == "every-layer"
            else FirstLayerScore(config, midi_loss=variant.score == "midi-loss")
        )
        self.stack = [
            GatedLayer(config, dilation, variant.separable, variant.skip) for dilation in config.layer_dilations
        ]
        self.layers = nn.ModuleList(self.stack)
        self.head = Head(config, variant.activation)

    def stack_lengths(self, n_predicted: int) -> list[int]:
        """Samples at the first layer's input and at each layer's output, for T predicted samples."""
        lengths = itertools.accumulate((layer.reach for layer in reversed(self.stack)), initial=n_predicted)
        return list(lengths)[::-1]

    def condition(self, roll: Tensor, instruments: Tensor | None, samples: Sequence[int]) -> Conditioning:
        """Contributions of roll [B, 128, N] and instrument weights [B, S] to the last samples.

        Args:
            samples: how many before the first layer, then at each layer's output.
        """
        conditioning = self.score(roll, samples)
        for number, layer in enumerate(self.stack):
            if layer.style is not None:
                embedded, gate = layer.style(instruments)[:, :, None], conditioning.gates[number]
                conditioning.gates[number] = embedded if gate is None else gate + embedded
        return conditioning

    def enter(self, x: Tensor, entry: Tensor | None) -> Tensor:
        """Classes [B, N] to the first layer's input [B, C, N - F + 1]."""
        audio = self.audio(x)
        return audio if entry is None else audio + entry

    def run_stack(self, stream: Tensor, gates: Sequence[Tensor | None]) -> Tensor:
        """Logits [B, 256, T] from the first layer's input [B, C, N]."""
        n_predicted = stream.shape[2] - sum(layer.reach for layer in self.stack)
        skips: Tensor | None = None
        for layer, gate in zip(self.stack, gates, strict=True):
            stream, skip = layer(stream, gate)
            if skip is not None:
                skips = skip[:, :, -n_predicted:] if skips is None else skips + skip[:, :, -n_predicted:]
        return self.head(stream if skips is None else skips)

    def forward(self, x: Tensor, roll: Tensor, instruments: Tensor | None = None) -> Tensor:
        """Logits [B, 256, T] of the sample after each of the last T inputs, T = N - receptive field + 1.

        Args:
            x: [B, N] past classes 0 to 255, N at least the receptive field.
            roll: [B, 128, N] as `synthnet.score.roll.rasterise` makes it, at the same times as x.
            instruments: [B, S] weights of the instrument embeddings, for a network of several instruments.
        """
        lengths = self.stack_lengths(x.shape[1] - self.config.receptive_field + 1)
        conditioning = self.condition(roll, instruments, lengths)
        return self.run_stack(self.enter(x, conditioning.entry), conditioning.gates)

    def prime(self, x: Tensor, roll: Tensor, instruments: Tensor | None = None) -> Cache:
        """The cache after a history, with which an engine goes on, in one full pass.

        Args:
            x: [B, receptive field - 1], the classes before the next step's input; roll likewise.
        """
        lengths = self.stack_lengths(0)
        conditioning = self.condition(roll, instruments, lengths)
        stream, rings = self.enter(x, conditioning.entry), []
        for layer, gate, n_outputs in zip(self.stack, conditioning.gates, lengths[1:], strict=True):
            rings.append(stream[:, :, -layer.reach :].permute(2, 0, 1).contiguous())
            if n_outputs:
                stream, _ = layer(stream, gate)
        return Cache(x[:, 1 - self.config.filter_width :], rings)

    def nll(self, stream: Tensor, gates: Sequence[Tensor | None], target: Tensor) -> Tensor:
        """Mean cross-entropy in nats of classes [B, T], from the first layer's input."""
        return functional.cross_entropy(self.run_stack(stream, gates).float(), target)

    def loss(self, batch: Mapping[str, Tensor]) -> Losses:
        """Cross-entropy of the audio, and with the MIDI loss where the model has one: nats a sample.

        Args:
            batch: x [B, N], roll [B, 128, N], target_x [B, T], target_roll [B, 128, T], style [B] (number of the
                instrument), as `synthnet.corpus.slices` makes them.
        """
        instruments = functional.one_hot(batch["style"], self.config.styles).float() if self.config.styles else None
        n_predicted = batch["target_x"].shape[1]
        conditioning = self.condition(batch["roll"], instruments, self.stack_lengths(n_predicted))
        nll = self.nll(self.enter(batch["x"], conditioning.entry), conditioning.gates, batch["target_x"])
        midi = self.score.midi_loss(torch.cat([batch["roll"], batch["target_roll"][:, :, -1:]], dim=2), n_predicted)
        return Losses(nll if midi is None else nll + midi, nll)

    def compile_loss(self) -> None:
        """On a CPU, compile layers, head and cross-entropy; one line to stderr says so, or why not.

        What comes before them stays eager: its shapes depend on the score.
        """
        if self.head.logits.bias.device.type != "cpu" or self.config.channels < SMALLEST_COMPILED:
            return
        try:
            torch.compile(torch.sin)(torch.zeros(8))
        except RuntimeError:
            print("Training takes about twice as long here: torch.compile needs a C++ compiler.", file=sys.stderr)
            return
        print("Compiling the network: up to two minutes the first time, then seconds.", file=sys.stderr)
        torch.compiler.reset()  # torch stops compiling when a process has had several networks
        self.nll = torch.compile(self.nll, dynamic=False)  # type: ignore[method-assign]
