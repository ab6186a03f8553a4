"""From piano-roll events to blocks of audio: several streams advance together through one engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
BLOCK_VALUES = 2**28  # conditioning of all layers and streams that fits the memory


@dataclass(frozen=True)
class Stream:
    """One voice to generate.

    Args:
        events: the score, at the network's sample rate; time 0 is the first sample generated.
        seed: of the random numbers that pick its samples.
        instruments: [S] weight of each instrument embedding, for a network of several instruments.
        mean: whether the output is the mean of each sample's distribution, instead of a sample drawn from it. The means
            are also fed back: neither learned dither nor the network's uncertainty returns as noise, and only the
            silence before the first sample is random.
    """

    events: RollEvents
    seed: tuple[int, ...]
    instruments: np.ndarray | None = None
    mean: bool = False


def make_engine(network: Network, name: str) -> Engine:
    """The engine of that name: torch or compiled; auto is compiled on a CPU in float32, else torch.

    Raises:
        InputError: an unknown name, or the compiled engine for a network that is not on a CPU.
    """
    weight = next(network.parameters())
    if name == "auto":
        name = "compiled" if weight.device.type == "cpu" and weight.dtype == torch.float32 else "torch"
    engines = {"torch": TorchEngine, "compiled": CompiledEngine}
    if name not in engines:
        raise InputError(f"unknown engine {name!r}; known: auto, {', '.join(engines)}")
    if name == "compiled" and weight.device.type != "cpu":
        raise InputError("the compiled engine runs on the processor: --device cpu")
    return engines[name](network)


class Generator:
    """Advances B streams block by block from silence; the score may change between blocks.

    The past before the first sample is dithered silence, as before the pieces that the network was trained on: a
    constant never occurs in training. Memory does not grow with time.

    Args:
        temperature: divides the logits: below 1 more certain, above 1 wilder.
        engine: see `make_engine`.
    """

    def __init__(
        self, network: Network, streams: Sequence[Stream], *, temperature: float = 1.0, engine: str = "auto"
    ) -> None:
        self.network, self.temperature, self.position = network, temperature, 0
        self.engine = make_engine(network, engine)
        self.feeds_mean = np.array([stream.mean for stream in streams])
        self.generators = [np.random.default_rng(stream.seed) for stream in streams]
        weights = [stream.instruments for stream in streams if stream.instruments is not None]
        device = device_of(network)
        self.instruments = torch.from_numpy(np.stack(weights)).float().to(device) if weights else None
        field = network.config.receptive_field
        dithered = network.config.dither
        silence = [dither(field, generator) if dithered else np.zeros(field) for generator in self.generators]
        roll = rolls_of(network, [stream.events for stream in streams], -field, 0)
        classes = torch.from_numpy(encode_mu_law(np.stack(silence))).long().to(device)
        self.engine.prime(classes, roll, self.instruments)

    def advance(self, events: Sequence[RollEvents], n_samples: int) -> np.ndarray:
        """The next samples of each stream, float32 [B, n_samples] in [-1, 1], given its score.

        Frame t of a roll acts from sample t + 1 on.
        """
        start, stop = self.position, self.position + n_samples
        roll = rolls_of(self.network, events, start - 1 - self.network.score.context, stop - 1)
        with torch.no_grad():
            conditioning = self.network.condition(roll, self.instruments, [n_samples] * (1 + len(self.network.stack)))
        uniforms = np.stack([generator.random(n_samples) for generator in self.generators])
        classes, means = self.engine.advance(conditioning, uniforms, self.temperature, self.feeds_mean)
        self.position = stop
        return np.where(self.feeds_mean[:, None], means, decode_mu_law(classes))


def generate(
    network: Network,
    streams: Sequence[Stream],
    n_samples: int,
    *,
    temperature: float = 1.0,
    engine: str = "auto",
    progress: Callable[[int], object] = lambda n: None,
) -> Iterator[np.ndarray]:
    """Blocks of audio, float32 [B, T] in [-1, 1], T up to 4000, n_samples in all; see `Generator`.

    Args:
        progress: called with the samples of each stream finished since the last call.
    """
    generator = Generator(network, streams, temperature=temperature, engine=engine)
    events = [stream.events for stream in streams]
    values = 2 * network.config.channels * len(network.stack) * len(streams)  # of conditioning, a sample
    length = min(BLOCK_SAMPLES, max(256, BLOCK_VALUES // values))
    for start in range(0, n_samples, length):
        block = generator.advance(events, min(length, n_samples - start))
        progress(block.shape[1])
        yield block


def rolls_of(network: Network, events: Sequence[RollEvents], start: int, stop: int) -> Tensor:
    """Rolls [B, 128, N] of the samples start to stop, as the network takes them."""
    rolls = [rasterise(score, start, stop, network.config.velocity) for score in events]
    return torch.from_numpy(np.stack(rolls)).to(device_of(network))
