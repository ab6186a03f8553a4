"""From piano-roll events to blocks of audio: several streams advance together through one engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from synthnet.audio import decode_mu_law, dither, encode_mu_law
from synthnet.generation.reference import TorchEngine, device_of
from synthnet.models import Network
from synthnet.roll import RollEvents, oscillators, rasterise

BLOCK_SAMPLES = 4_000


@dataclass(frozen=True)
class Stream:
    """One voice to generate.

    Args:
        events: the score, at the network's sample rate; time 0 is the first sample generated.
        seed: of the random numbers that pick its samples.
        style: [S] weights of the styles, for a network with several instruments.
    """

    events: RollEvents
    seed: int
    style: np.ndarray | None = None


@dataclass(frozen=True)
class Block:
    """Generated audio, float32 [B, T] in [-1, 1].

    Attributes:
        sample: as drawn and fed back, with the dither noise that the network has learned.
        expectation: the means of the decoded distributions: the dither noise stays out of them.
    """

    sample: np.ndarray
    expectation: np.ndarray


def generate(
    network: Network,
    streams: Sequence[Stream],
    n_samples: int,
    *,
    temperature: float = 1.0,
) -> Iterator[Block]:
    """Blocks of audio, up to 4000 samples each, that add up to n_samples.

    The past before the first sample is dithered silence, as before the pieces that the network learned from
    (design: the class of 0.0; a constant is never seen in training, dither is). Memory does not grow with n_samples.

    Args:
        temperature: divides the logits: below 1 more certain, above 1 wilder.
    """
    engine = TorchEngine(network)
    field = network.config.receptive_field
    generators = [np.random.default_rng([stream.seed, 0]) for stream in streams]
    device = device_of(network)
    styles = [stream.style for stream in streams if stream.style is not None]
    style = torch.from_numpy(np.stack(styles)).float().to(device) if styles else None
    silence = np.stack([encode_mu_law(dither(field, generator)) for generator in generators])
    roll, tones = score_inputs(network, streams, -field, 0)
    engine.prime(torch.from_numpy(silence).long().to(device), roll, style, tones)
    for start in range(0, n_samples, BLOCK_SAMPLES):
        length = min(BLOCK_SAMPLES, n_samples - start)
        # The sample at t is made from the score up to t - 1.
        roll, tones = score_inputs(network, streams, start - field, start - 1 + length)
        with torch.no_grad():
            terms = network.condition(roll, style, tones, [length] * (1 + len(network.stack)))
        uniforms = np.stack([generator.random(length) for generator in generators])
        classes, means = engine.advance(terms, uniforms, temperature)
        yield Block(decode_mu_law(classes), means)


def score_inputs(network: Network, streams: Sequence[Stream], start: int, stop: int) -> tuple[Tensor, Tensor | None]:
    """Rolls [B, 128, N] and, for a network that has them, oscillators [B, 2H, N] of the samples start to stop."""
    device = device_of(network)
    roll = torch.from_numpy(np.stack([rasterise(stream.events, start, stop) for stream in streams])).to(device)
    harmonics = network.config.harmonics
    if not harmonics:
        return roll, None
    tones = np.stack([oscillators(stream.events, start, stop, harmonics) for stream in streams])
    return roll, torch.from_numpy(tones).to(device)
