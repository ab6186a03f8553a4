"""From piano-roll events to blocks of audio: several streams advance together through one engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from synthnet.audio.mulaw import decode_mu_law, dither, encode_mu_law
from synthnet.files import InputError
from synthnet.generation.compiled import CompiledEngine
from synthnet.generation.engine import Engine, TorchEngine, device_of
from synthnet.models import Network
from synthnet.score.roll import RollEvents, rasterise

BLOCK_SAMPLES = 4_000
ENGINES = ("auto", "torch", "compiled")


@dataclass(frozen=True)
class Stream:
    """One voice to generate.

    Args:
        events: the score, at the network's sample rate; time 0 is the first sample generated.
        seed: of the random numbers that pick its samples.
        style: [S] weights of the styles, for a network with several instruments.
        expectation: whether it is the means of the distributions, instead of samples drawn from them. The means are
            fed back as input too: neither the dither that it has learned nor its own doubt comes back as noise, and the
            output depends on no random number but the silence before it.
    """

    events: RollEvents
    seed: tuple[int, ...]
    style: np.ndarray | None = None
    expectation: bool = False


def make_engine(network: Network, name: str) -> Engine:
    """The engine of that name; "auto" is the compiled one on CPU in float32, else torch.

    Raises:
        InputError: an unknown name.
    """
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}; known: {', '.join(ENGINES)}")
    if name == "auto":
        weight = next(network.parameters())
        name = "compiled" if weight.device.type == "cpu" and weight.dtype == torch.float32 else "torch"
    return CompiledEngine(network) if name == "compiled" else TorchEngine(network)


class Generator:
    """Advances B streams block by block from silence; the score may change between blocks.

    The past before the first sample is dithered silence, as before the pieces that the network learned from (design:
    the class of 0.0; a constant is never seen in training, dither is). Memory does not grow with time.

    Args:
        temperature: divides the logits: below 1 more certain, above 1 wilder.
        engine: "auto", "torch" or "compiled".
    """

    def __init__(
        self, network: Network, streams: Sequence[Stream], *, temperature: float = 1.0, engine: str = "auto"
    ) -> None:
        self.network, self.temperature = network, temperature
        self.engine = make_engine(network, engine)
        self.feeds_mean = np.array([stream.expectation for stream in streams])
        self.generators = [np.random.default_rng(stream.seed) for stream in streams]
        styles = [stream.style for stream in streams if stream.style is not None]
        self.style = torch.from_numpy(np.stack(styles)).float().to(device_of(network)) if styles else None
        self.position = 0
        field = network.config.receptive_field
        noise = [
            dither(field, generator) if network.config.dither else np.zeros(field) for generator in self.generators
        ]
        silence = np.stack([encode_mu_law(samples) for samples in noise])
        roll = rolls_of(network, [stream.events for stream in streams], -field, 0)
        self.engine.prime(torch.from_numpy(silence).long().to(device_of(network)), roll, self.style)

    def advance(self, events: Sequence[RollEvents], n_samples: int) -> np.ndarray:
        """The next samples of each stream, float32 [B, n_samples] in [-1, 1], given its score.

        Frame t of a roll acts from sample t + 1 on.
        """
        start, stop = self.position, self.position + n_samples
        begin = start - 1 - self.network.score.context
        roll = rolls_of(self.network, events, begin, stop - 1)
        with torch.no_grad():
            terms = self.network.condition(roll, self.style, [n_samples] * (1 + len(self.network.stack)))
        uniforms = np.stack([generator.random(n_samples) for generator in self.generators])
        classes, means = self.engine.advance(terms, uniforms, self.temperature, self.feeds_mean)
        self.position = stop
        return np.where(self.feeds_mean[:, None], means, decode_mu_law(classes))


def block_samples(network: Network) -> int:
    """Samples in a block: fewer where the score's contributions to every layer would fill the memory."""
    per_sample = 2 * network.config.channels * len(network.stack)
    return BLOCK_SAMPLES if per_sample <= 8192 else max(256, BLOCK_SAMPLES * 8192 // per_sample)


def generate(
    network: Network, streams: Sequence[Stream], n_samples: int, *, temperature: float = 1.0, engine: str = "auto"
) -> Iterator[np.ndarray]:
    """Blocks of audio, float32 [B, T] in [-1, 1], T up to 4000, that add up to n_samples; see `Generator`."""
    generator = Generator(network, streams, temperature=temperature, engine=engine)
    events = [stream.events for stream in streams]
    length = block_samples(network)
    for start in range(0, n_samples, length):
        yield generator.advance(events, min(length, n_samples - start))


def rolls_of(network: Network, events: Sequence[RollEvents], start: int, stop: int) -> Tensor:
    """Rolls [B, 128, N] of the samples start to stop, as the network takes them."""
    rolls = [rasterise(score, start, stop, network.config.velocity) for score in events]
    return torch.from_numpy(np.stack(rolls)).to(device_of(network))
