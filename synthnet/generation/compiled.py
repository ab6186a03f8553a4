"""The compiled engine: the cached step of the paper's networks as one loop in machine code, on a CPU in float32.

It computes what `TorchEngine` does from the same inputs: the same uniform numbers pick the same classes, except where
rounding tips a near-tie. The streams are shared out over threads. A thread takes its streams through all samples, so
that nothing waits within a sample.

Channels are contiguous and padded with zeros to the vector length, matrices lie in packed panels
(`synthnet.kernels.tiles`). Each layer's past inputs are a ring whose oldest slot is overwritten at each step: memory is
constant.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from synthnet.kernels.step import State, Weights, draw_samples
from synthnet.kernels.tiles import aligned_zeros, panels, widened
from synthnet.models.autoregressive import Conditioning, Network
from synthnet.models.config import CLASSES, MODELS

CHUNK_SAMPLES = 128  # the conditioning is laid out for this many samples at a time


class CompiledEngine:
    """`Engine` in compiled loops, for a network on a CPU in float32.

    Args:
        threads: at most; None for one a core that this process may use.
    """

    def __init__(self, network: Network, threads: int | None = None) -> None:
        self.network = network
        self.threads = threads or available_cores()
        self.weights = pack_weights(network)
        self.gate_biases = torch.stack([layer.convolution.bias.detach().view(1, 2, -1) for layer in network.stack])

    @torch.no_grad()
    def prime(self, x: Tensor, roll: Tensor, instruments: Tensor | None) -> None:
        """See `Engine.prime`. The streams are primed one after the other, which bounds the memory."""
        n_streams = len(x)
        shares = np.array_split(np.arange(n_streams), min(self.threads, n_streams))
        self.shares = [slice(int(share[0]), int(share[-1]) + 1) for share in shares]
        self.states = [empty_state(self.weights, len(share)) for share in shares]
        for share, state in zip(shares, self.states, strict=True):
            for number, stream in enumerate(share):
                one = slice(stream, stream + 1)
                embedded = None if instruments is None else instruments[one]
                cache = self.network.prime(x[one, :-1], roll[one, :, :-1], embedded)
                state.classes[:, number] = [*cache.classes[0], x[stream, -1]]
                ring = torch.cat(cache.rings)[:, 0].numpy()  # [all slots, C]
                state.rings[number :: len(share), : ring.shape[1]] = ring

    def advance(
        self, conditioning: Conditioning, uniforms: np.ndarray, temperature: float, feeds_mean: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine.advance`."""
        classes, means = np.empty(uniforms.shape, np.uint8), np.empty(uniforms.shape, np.float32)

        def run(state: State, streams: slice) -> None:
            for start in range(0, uniforms.shape[1], CHUNK_SAMPLES):
                part = streams, slice(start, min(start + CHUNK_SAMPLES, uniforms.shape[1]))
                entry, gates = self.laid_out(conditioning, *part)
                settings = uniforms[part], float(temperature), feeds_mean[streams]
                draw_samples(self.weights, state, entry, gates, *settings, classes[part], means[part])

        with ThreadPoolExecutor(len(self.states)) as pool:
            list(pool.map(run, self.states, self.shares))
        return classes, means

    @torch.no_grad()
    def laid_out(self, conditioning: Conditioning, streams: slice, samples: slice) -> tuple[np.ndarray, np.ndarray]:
        """The entry [t, b, P] and the gates, biases included, [t, L, b, 2P]; t = 1 where constant."""
        channels, width = self.network.config.channels, self.weights.tables.shape[2]
        n_streams, n_samples = streams.stop - streams.start, samples.stop - samples.start
        entry = np.zeros((1 if conditioning.entry is None else n_samples, n_streams, width), np.float32)
        if conditioning.entry is not None:
            entry[:, :, :channels] = conditioning.entry[streams, :, samples].permute(2, 0, 1).numpy()
        varies = any(gate is not None and gate.shape[2] > 1 for gate in conditioning.gates)
        gates = np.zeros((n_samples if varies else 1, len(conditioning.gates), n_streams, 2, width), np.float32)
        inner = torch.from_numpy(gates)[..., :channels]
        inner[:] = self.gate_biases
        for layer, gate in enumerate(conditioning.gates):
            if gate is not None:
                chosen = gate[streams] if gate.shape[2] == 1 else gate[streams, :, samples]
                inner[:, layer] += chosen.permute(2, 0, 1).unflatten(2, (2, channels))
        return entry, gates.reshape(*gates.shape[:3], 2 * width)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def empty_state(weights: Weights, n_streams: int) -> State:
    """The state of b streams without a past."""
    width, n_slots = weights.tables.shape[2], (weights.filter_width - 1) * int(weights.dilations.sum())
    return State(
        classes=np.zeros((weights.filter_width, n_streams), np.int64),
        rings=aligned_zeros((n_slots * n_streams, width)),
        ages=np.zeros(len(weights.dilations), np.int64),
        stream=aligned_zeros((n_streams, width)),
        gates=aligned_zeros((n_streams, 2 * width)),
        hidden=aligned_zeros((n_streams, width)),
        skips=aligned_zeros((n_streams, width)),
        head=aligned_zeros((n_streams, len(weights.hidden_bias))),
        logits=aligned_zeros((n_streams, CLASSES)),
        cumulated=np.zeros(CLASSES),
    )


@torch.no_grad()
def pack_weights(network: Network) -> Weights:
    """Copy a network's weights into the layout of the loops."""
    config, layers, head = network.config, network.stack, network.head
    variant, tables = MODELS[config.model], widened(network.audio.tables().numpy())
    taps, convolutions = np.zeros((0, 1, 1), np.float32), np.zeros((0, 0), np.float32)
    if variant.separable:
        weights = torch.stack([layer.convolution.weight for layer in layers]).permute(0, 3, 1, 2)  # [L, F, 2, C]
        taps = widened(weights.numpy()).reshape(len(layers), config.filter_width, -1)
    else:
        convolutions = packed([layer.convolution for layer in layers], halves=2)
    own = [layer.skip for layer in layers if layer.skip is not None]
    residuals = [layer.residual for layer in layers]
    dilations = np.array(config.layer_dilations)
    return Weights(
        filter_width=config.filter_width,
        tables=tables,
        squashes_entry=variant.audio == "one-hot",
        dilations=dilations,
        first_slots=(config.filter_width - 1) * (np.cumsum(dilations) - dilations),
        taps=taps,
        convolutions=convolutions,
        residuals=packed(residuals),
        residual_biases=widened(np.stack([convolution.bias.numpy() for convolution in residuals])),
        skips=packed(own),
        skip_bias=widened(sum((skip.bias.numpy() for skip in own), np.zeros(config.channels, np.float32))),
        shared_skips=variant.skip == "shared",
        hidden=packed([head.hidden]),
        hidden_bias=widened(head.hidden.bias.numpy()),
        logits=packed([head.logits]),
        logits_bias=widened(head.logits.bias.numpy()),
        is_selu=variant.activation == "selu",
    )


def packed(convolutions: Sequence[nn.Module], halves: int = 1) -> np.ndarray:
    """Convolutions' taps in panels, [convolutions x F, size of one], oldest input first; output halves padded apart."""
    matrices = []
    for convolution in convolutions:
        for matrix in convolution.get_parameter("weight").numpy().transpose(2, 1, 0):  # [C_in, C_out] of each tap
            wide = widened(matrix.reshape(len(matrix), halves, -1))
            matrices.append(panels(wide.reshape(len(matrix), -1)).reshape(1, -1))
    return widened(np.concatenate(matrices)) if matrices else np.zeros((0, 0), np.float32)
