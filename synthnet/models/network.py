"""What all models share: a stack of gated layers over the past audio, conditioned on the score.

Teacher forcing: the input at step t is sample t-1 and roll frame t-1; the output is the distribution of sample t.
A model chooses how audio enters, how the score enters, and what a layer and the head look like. The full pass,
the priming of a cache and the cached step are here, so that nothing outside asks which model it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthnet.models import fused
from synthnet.models.config import CLASSES, ModelConfig
from synthnet.models.inputs import AudioInput, ScoreInput
from synthnet.models.layers import CausalConv, Conditioning, DepthwiseGates, GatedLayer, Head
from synthnet.models.model import Losses, Model


@dataclass
class Cache:
    """What a cached step needs of the past: constant in the length of the piece.

    Attributes:
        classes: the last F - 1 input classes, oldest first, each [B].
        rings: per layer [reach, B, C], its past inputs; the input of step t lies at t modulo reach.
        time: steps taken.
    """

    classes: list[Tensor]
    rings: list[Tensor]
    time: int = 0


class Network(Model):
    """[B, N] classes and a [B, 128, N] roll to logits [B, 256, N - receptive field + 1].

    Args:
        audio, score: how the past audio and the score enter.
        separable: depthwise convolutions in the layers, else full ones.
        skip, activation: see `GatedLayer` and `Head`.
    """

    error_name = "nll"
    compiled = True  # use `fused` where it applies; False: the reference everywhere

    def __init__(
        self,
        config: ModelConfig,
        *,
        audio: AudioInput,
        score: ScoreInput,
        separable: bool,
        skip: str,
        activation: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        channels, width = config.channels, config.filter_width
        self.config, self.audio, self.score = config, audio, score
        self.layers = nn.ModuleList(
            GatedLayer(
                DepthwiseGates(channels, width, dilation)
                if separable
                else CausalConv(channels, 2 * channels, width, dilation),
                config,
                dilation,
                skip,
            )
            for dilation in config.layer_dilations
        )
        self.head = Head(channels, config.head_channels, CLASSES, activation)

    @property
    def stack(self) -> list[GatedLayer]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, GatedLayer)]

    @property
    def runs_compiled(self) -> bool:
        """Whether the layers take the compiled path, as the network is now (device, type of the parameters)."""
        return self.compiled and fused.takes_layers(self.stack, next(self.parameters()))

    def training_threads(self) -> AbstractContextManager[None]:
        """See `Model.training_threads`: the compiled layers share out the threads themselves."""
        return fused.threads_to_tasks() if self.runs_compiled else nullcontext()

    def condition(self, roll: Tensor, style: Tensor | None, samples: Sequence[int]) -> Conditioning:
        """Contributions of roll [B, 128, N] and style [B, S], for their last samples.

        Args:
            samples: how many at the entry, then at each layer's output.
        """
        needed = max(n + layer.reach for n, layer in zip(samples[1:], self.stack, strict=True))
        scores = self.score.run_gates(roll, needed)
        gates = self.style_gates(style)
        if scores is not None:
            for number, (n, layer) in enumerate(zip(samples[1:], self.stack, strict=True)):
                spread, constant = scores.spread(number, layer.dilation, n), gates[number]
                gates[number] = spread if constant is None else spread + constant
        return Conditioning(self.score.entry(roll, samples[0]), gates)

    def style_gates(self, style: Tensor | None) -> list[Tensor | None]:
        """What a style [B, S] adds to the gates of each layer, [B, 2C, 1]."""
        gates: list[Tensor | None] = []
        for layer in self.stack:
            if layer.style is not None and style is None:
                raise ValueError("this network needs a style")
            gates.append(None if layer.style is None else layer.style(style)[:, :, None])
        return gates

    def audio_entry(self, past: Sequence[Tensor]) -> Tensor:
        """Audio before the first layer, from F tensors of classes, oldest first: [B, T] -> [B, C, T], [B] -> [B, C]."""
        return self.audio.entry(past).movedim(-1, 1)

    def enter(self, x: Tensor, entry: Tensor | None) -> Tensor:
        """Classes [B, N] to the first layer's input [B, C, N - F + 1]."""
        width = self.config.filter_width
        length = x.shape[1] - width + 1
        audio = self.audio_entry([x.narrow(1, tap, length) for tap in range(width)])
        return audio if entry is None else audio + entry

    def forward(self, x: Tensor, roll: Tensor, style: Tensor | None = None) -> Tensor:
        """Logits of the samples that follow the first receptive field - 1 inputs.

        Args:
            x: [B, N] past classes 0..255, N at least the receptive field.
            roll: [B, 128, N] as `synthnet.score.roll.rasterise` makes it, at the same times as x.
            style: [B, S] weights of the styles, for a network with several instruments.

        Returns:
            [B, 256, T], T = N - receptive field + 1: logits of the sample after each of the last T inputs.
        """
        return self.head(self.run_layers(x, roll, style))

    def run_layers(self, x: Tensor, roll: Tensor, style: Tensor | None) -> Tensor:
        """The head's input [B, C, T], from what `forward` takes."""
        n_predicted = x.shape[1] - self.config.receptive_field + 1
        lengths = self.stack_lengths(n_predicted)
        if self.runs_compiled:
            stream = self.enter(x, self.score.entry(roll, lengths[0]))
            scores = self.score.run_gates(roll, lengths[0])
            return fused.run_layers(self.stack, stream, self.style_gates(style), scores)
        terms = self.condition(roll, style, lengths)
        stream = self.enter(x, terms.entry)
        skips: Tensor | None = None
        for layer, gate in zip(self.stack, terms.gates, strict=True):
            stream, skip = layer(stream, gate)
            if skip is not None:
                skip = skip[:, :, -n_predicted:]
                skips = skip if skips is None else skips + skip
        return stream if skips is None else skips

    def audio_loss(self, stream: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy in nats of classes [B, T], from the head's input [B, C, T]."""
        if self.compiled and fused.takes_head(self.head, stream):
            return fused.head_loss(self.head, stream, target)
        return functional.cross_entropy(self.head(stream).float(), target)

    def stack_lengths(self, n_predicted: int) -> list[int]:
        """Samples at the first layer's input and at each layer's output, for T predicted samples."""
        lengths = [n_predicted]
        for layer in reversed(self.stack):
            lengths.insert(0, lengths[0] + layer.reach)
        return lengths

    def prime(self, x: Tensor, roll: Tensor, style: Tensor | None = None) -> Cache:
        """The cache after a history, computed in one parallel pass.

        Args:
            x: [B, receptive field - 1] classes before the next step's input; the others likewise.

        Returns:
            The cache with which the next `step`, given the next input, is as good as the full pass.
        """
        if x.shape[1] != self.config.receptive_field - 1:
            raise ValueError(f"priming takes {self.config.receptive_field - 1} samples, not {x.shape[1]}")
        lengths = self.stack_lengths(0)
        terms = self.condition(roll, style, lengths)
        stream = self.enter(x, terms.entry)
        rings = []
        for number, layer in enumerate(self.stack):
            rings.append(stream[:, :, -layer.reach :].permute(2, 0, 1).contiguous())
            if lengths[number + 1]:
                stream = layer(stream, terms.gates[number])[0]
        width = self.config.filter_width
        return Cache([x[:, -tap] for tap in range(width - 1, 0, -1)], rings)

    def step(self, x: Tensor, entry: Tensor | None, gates: Sequence[Tensor | None], cache: Cache) -> Tensor:
        """Logits [B, 256] of the next sample; advances the cache.

        Args:
            x: [B], class of the sample just before.
            entry, gates: the contributions at this sample, [B, C] and per layer [B, 2C] (`condition`).
        """
        window = [*cache.classes, x]
        stream = self.audio_entry(window)
        if entry is not None:
            stream = stream + entry
        skips: Tensor | None = None
        for layer, gate, ring in zip(self.stack, gates, cache.rings, strict=True):
            # Of the ring's slots the one to be overwritten holds the oldest input that the convolution needs.
            slots = [(cache.time + age) % layer.reach for age in range(0, layer.reach, layer.dilation)]
            past = [ring[slot] for slot in slots]
            present = stream
            stream, skip = layer.step(present, past, gate)
            ring[slots[0]] = present
            if skip is not None:
                skips = skip if skips is None else skips + skip
        cache.classes = window[1:]
        cache.time += 1
        return self.head.step(stream if skips is None else skips)

    def loss(self, batch: Mapping[str, Tensor]) -> Losses:
        """Cross-entropy of the audio, and with the MIDI loss, if the model has one: nats a sample.

        Args:
            batch: x [B, N], roll [B, 128, N], target_x [B, T], target_roll [B, 128, T], style [B] (number of the
                instrument), as `synthnet.corpus.slices` makes them.
        """
        style = functional.one_hot(batch["style"], self.config.styles).float() if self.config.styles else None
        nll = self.audio_loss(self.run_layers(batch["x"], batch["roll"], style), batch["target_x"])
        frames = torch.cat([batch["roll"], batch["target_roll"][:, :, -1:]], dim=2)
        midi = self.score.auxiliary_loss(frames, batch["target_x"].shape[1])
        return Losses(nll if midi is None else nll + midi, nll)
