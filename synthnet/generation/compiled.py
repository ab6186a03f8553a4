"""The compiled engine: the cached step of every model as one machine-code loop (numba), on CPU in float32.

It computes what `reference.TorchEngine` does, from the same inputs: the same uniform numbers pick the same classes,
except where rounding tips a near-tie. The streams are shared out over threads, each of which takes its streams through
all samples by itself: nothing waits for anything within a sample.

Layout: channels are contiguous and padded with zeros to the vector length (P of them for C channels); matrices lie in
packed panels (`tiles`); each layer's past inputs are a ring of [reach, b, P] for the b streams of a thread, whose
oldest slot is overwritten at each step, so that there is no division in the loop and memory is constant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional

from synthnet.audio.mulaw import CLASS_BOUNDARIES, decode_mu_law
from synthnet.kernels.fastmath import exp, sigmoid, tanh
from synthnet.kernels.tiles import LOOP, add_product, aligned_zeros, padded, panels
from synthnet.models import Conditioning, Network
from synthnet.models.config import CLASSES
from synthnet.models.layers import DepthwiseGates

CHUNK_SAMPLES = 128  # the score's contributions are laid out for so many samples at a time
SELU_SCALE, SELU_ALPHA = np.float32(1.0507009873554805), np.float32(1.6732632423543772)
ZERO, ONE = np.float32(0), np.float32(1)
NO_SKIP, SHARED_SKIP, OWN_SKIP = 0, 1, 2


class Weights(NamedTuple):
    """A network's weights as the loops want them; L layers, F taps, C channels padded to P, H head channels to Q.

    Attributes:
        channels, head_channels, filter_width: C, H and F.
        tables: [taps, 256, P], what each of the last inputs adds to the first layer's input.
        squashes_entry: whether tanh is taken of that sum (the score's part is added after it).
        dilations, first_slots: [L], each layer's dilation, and where its ring starts among the slots of all rings.
        taps: [L, F, 2P] depthwise weights, oldest input first; empty for full convolutions.
        convolutions: [L x F, panels of C x 2P]; empty for depthwise ones.
        residuals, residual_biases: [L, panels of C x P] and [L, P].
        skip: NO_SKIP, SHARED_SKIP (the residual's 1x1 gives the skip too) or OWN_SKIP.
        skips, skip_bias: [L, panels of C x P], and all layers' biases together, [P]; zeros without skips of their own.
        hidden, hidden_bias, logits, logits_bias: [1, panels of C x Q], [Q], [1, panels of H x 256], [256].
        is_selu: the head's activation, else ReLU.
        levels: [256] the classes' amplitudes.
    """

    channels: int
    head_channels: int
    filter_width: int
    tables: np.ndarray
    squashes_entry: bool
    dilations: np.ndarray
    first_slots: np.ndarray
    taps: np.ndarray
    convolutions: np.ndarray
    residuals: np.ndarray
    residual_biases: np.ndarray
    skip: int
    skips: np.ndarray
    skip_bias: np.ndarray
    hidden: np.ndarray
    hidden_bias: np.ndarray
    logits: np.ndarray
    logits_bias: np.ndarray
    is_selu: bool
    levels: np.ndarray
    boundaries: np.ndarray


class State(NamedTuple):
    """What b streams remember, and the scratch arrays of a step.

    Attributes:
        classes: int64 [F, b], the last inputs, oldest first.
        rings: [all slots x b, P], the layers' past inputs, ring after ring.
        ages: int64 [L], the oldest slot of each ring.
        stream, gates, hidden, skips, head, logits: [b, P], [b, 2P], [b, P], [b, P], [b, Q], [b, 256].
    """

    classes: np.ndarray
    rings: np.ndarray
    ages: np.ndarray
    stream: np.ndarray
    gates: np.ndarray
    hidden: np.ndarray
    skips: np.ndarray
    head: np.ndarray
    logits: np.ndarray
    weight_of: np.ndarray


class CompiledEngine:
    """`Engine` in compiled loops, for a network on CPU in float32.

    Args:
        threads: at most so many; None for one a core that this process may use.
    """

    def __init__(self, network: Network, threads: int | None = None) -> None:
        self.network = network
        self.threads = threads or available_cores()
        self.weights = pack_weights(network)
        self.gate_biases = torch.stack(
            [layer.convolution.bias.detach().flatten() for layer in network.stack]
        )  # [L, 2C]

    @torch.no_grad()
    def prime(self, x: Tensor, roll: Tensor, style: Tensor | None) -> None:
        """See `Engine.prime`. The streams are primed one after the other, which bounds the memory it takes."""
        n_streams = len(x)
        shares = np.array_split(np.arange(n_streams), min(self.threads, n_streams))
        self.shares = [slice(int(share[0]), int(share[-1]) + 1) for share in shares]
        self.states = [empty_state(self.network, self.weights, len(share)) for share in shares]
        for share, state in zip(self.shares, self.states, strict=True):
            n_together = share.stop - share.start
            for number in range(n_together):
                one = slice(share.start + number, share.start + number + 1)
                cache = self.network.prime(x[one, :-1], roll[one, :, :-1], None if style is None else style[one])
                state.classes[:, number] = [int(past) for past in [*cache.classes, x[one, -1]]]
                for first, ring in zip(self.weights.first_slots, cache.rings, strict=True):  # [reach, 1, C]
                    rows = slice(first * n_together + number, (first + len(ring)) * n_together, n_together)
                    state.rings[rows, : self.weights.channels] = ring[:, 0].numpy()

    def advance(
        self, terms: Conditioning, uniforms: np.ndarray, temperature: float, feeds_mean: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine.advance`."""
        classes = np.empty(uniforms.shape, np.uint8)
        means = np.empty(uniforms.shape, np.float32)

        def draw(state: State, streams: slice, samples: slice, entry: np.ndarray, gates: np.ndarray) -> None:
            chosen, expected = classes[streams, samples], means[streams, samples]
            draws, of_mean = uniforms[streams, samples], feeds_mean[streams]
            draw_samples(self.weights, state, entry, gates, draws, float(temperature), of_mean, chosen, expected)

        self.each_chunk(terms, uniforms.shape[1], draw)
        return classes, means

    def teacher_forced(self, terms: Conditioning, x: Tensor) -> Tensor:
        """Logits [B, 256, T] where the samples x [B, T] are given instead of drawn."""
        given = x.numpy()
        logits = np.empty((x.shape[0], CLASSES, x.shape[1]), np.float32)

        def force(state: State, streams: slice, samples: slice, entry: np.ndarray, gates: np.ndarray) -> None:
            force_samples(self.weights, state, entry, gates, given[streams, samples], logits[streams, :, samples])

        self.each_chunk(terms, x.shape[1], force)
        return torch.from_numpy(logits)

    def each_chunk(self, terms: Conditioning, n_samples: int, run: Callable[..., None]) -> None:
        """Take every thread's streams through the samples, a chunk of them at a time."""

        def run_share(state: State, streams: slice) -> None:
            for start in range(0, n_samples, CHUNK_SAMPLES):
                samples = slice(start, min(start + CHUNK_SAMPLES, n_samples))
                run(state, streams, samples, *self.contributions(terms, streams, samples))

        with ThreadPoolExecutor(len(self.states)) as pool:
            list(pool.map(run_share, self.states, self.shares))

    @torch.no_grad()
    def contributions(self, terms: Conditioning, streams: slice, samples: slice) -> tuple[np.ndarray, np.ndarray]:
        """Addends to the entry [t, b, P] and to the gates, biases included, [t, L, b, 2P]; t = 1 where constant."""
        channels, width = self.weights.channels, self.weights.tables.shape[2]
        n_streams, n_samples = streams.stop - streams.start, samples.stop - samples.start
        entry = np.zeros((1 if terms.entry is None else n_samples, n_streams, width), np.float32)
        if terms.entry is not None:
            torch.from_numpy(entry)[:, :, :channels] = terms.entry[streams, :, samples].permute(2, 0, 1)
        varies = any(gate is not None and gate.shape[2] > 1 for gate in terms.gates)
        gates = np.zeros((n_samples if varies else 1, len(terms.gates), n_streams, 2, width), np.float32)
        inner = torch.from_numpy(gates)[..., :channels]
        inner[:] = self.gate_biases.view(len(terms.gates), 1, 2, channels)
        for layer, gate in enumerate(terms.gates):
            if gate is not None:
                chosen = gate[streams] if gate.shape[2] == 1 else gate[streams, :, samples]
                inner[:, layer] += chosen.permute(2, 0, 1).unflatten(2, (2, channels))
        return entry, gates.reshape(*gates.shape[:3], 2 * width)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def empty_state(network: Network, weights: Weights, n_streams: int) -> State:
    """The state of b streams without a past."""
    width = weights.tables.shape[2]
    n_slots = sum(layer.reach for layer in network.stack)
    return State(
        classes=np.zeros((network.config.filter_width, n_streams), np.int64),
        rings=aligned_zeros((n_slots * n_streams, width)),
        ages=np.zeros(len(network.stack), np.int64),
        stream=aligned_zeros((n_streams, width)),
        gates=aligned_zeros((n_streams, 2 * width)),
        hidden=aligned_zeros((n_streams, width)),
        skips=aligned_zeros((n_streams, width)),
        head=aligned_zeros((n_streams, len(weights.hidden_bias))),
        logits=aligned_zeros((n_streams, CLASSES)),
        weight_of=np.zeros(CLASSES),
    )


@torch.no_grad()
def pack_weights(network: Network) -> Weights:
    """Copy a network's weights into the layout of the loops."""
    channels, layers, head = network.config.channels, network.stack, network.head
    tables, squashes_entry = network.audio.tables()
    width = padded(channels)
    taps, convolutions = np.zeros((0, 1, 1), np.float32), np.zeros((0, 0), np.float32)
    if isinstance(layers[0].convolution, DepthwiseGates):
        weights = torch.stack([layer.convolution.weight for layer in layers])  # [L, 2, C, F]
        taps = widened(weights.permute(0, 3, 1, 2), width).reshape(len(layers), -1, 2 * width)
    else:
        convolutions = packed([matrix for layer in layers for matrix in tap_matrices(layer.convolution.weight, width)])
    reaches = [layer.reach for layer in layers]
    own = [layer.skip for layer in layers if layer.skip is not None]
    return Weights(
        channels=channels,
        head_channels=network.config.head_channels,
        filter_width=network.config.filter_width,
        tables=widened(tables, width),
        squashes_entry=squashes_entry,
        dilations=np.array([layer.dilation for layer in layers]),
        first_slots=np.cumsum([0, *reaches[:-1]]),
        taps=taps,
        convolutions=convolutions,
        residuals=pointwise_panels([layer.residual for layer in layers]),
        residual_biases=widened(torch.stack([bias_of(layer.residual) for layer in layers]), width),
        skip=SHARED_SKIP if layers[0].skip_is_shared else OWN_SKIP if own else NO_SKIP,
        skips=pointwise_panels(own),
        skip_bias=widened(torch.stack([bias_of(skip) for skip in own]).sum(0) if own else torch.zeros(width), width),
        hidden=pointwise_panels([head.hidden]),
        hidden_bias=widened(bias_of(head.hidden), padded(network.config.head_channels)),
        logits=pointwise_panels([head.logits]),
        logits_bias=widened(bias_of(head.logits), CLASSES),
        is_selu=head.activation is functional.selu,
        levels=decode_mu_law(np.arange(CLASSES)).astype(np.float32),
        boundaries=CLASS_BOUNDARIES,
    )


def tap_matrices(weight: Tensor, width: int) -> list[Tensor]:
    """A full convolution's weight [2C, C, F] as a matrix [C, 2P] for each tap, oldest input first."""
    halves = weight.detach().permute(2, 1, 0).unflatten(2, (2, -1))  # [F, C, 2, C]
    return list(functional.pad(halves, (0, width - halves.shape[3])).flatten(2))


def widened(values: Tensor, width: int) -> np.ndarray:
    """A copy whose last axis is filled up with zeros to a width."""
    wide = aligned_zeros((*values.shape[:-1], width))
    wide[..., : values.shape[-1]] = values.detach().numpy()
    return wide


def packed(matrices: Sequence[Tensor]) -> np.ndarray:
    """`panels` of matrices [inputs, outputs]: [matrices, size of one]."""
    result = aligned_zeros((len(matrices), padded(matrices[0].shape[1]) * matrices[0].shape[0] if matrices else 0))
    for number, matrix in enumerate(matrices):
        result[number] = panels(matrix.detach().numpy()).reshape(-1)
    return result


def pointwise_panels(convolutions: Sequence[nn.Conv1d]) -> np.ndarray:
    """`packed` weights of 1x1 convolutions."""
    return packed([convolution.weight[:, :, 0].t() for convolution in convolutions])


def bias_of(convolution: nn.Conv1d) -> Tensor:
    """The bias, which every convolution here has."""
    assert convolution.bias is not None
    return convolution.bias


# The loops. Each runs over one axis, on few arrays, so that LLVM vectorises it; the functions are inlined, since
# handing over these tuples takes longer than a layer's arithmetic.


@njit(**LOOP)
def draw_samples(weights, state, entry, gates, uniforms, temperature, feeds_mean, classes, means):  # type: ignore
    """The next inputs [b, T] into `classes`, drawn or those of the means, and the distributions' means into `means`."""
    for t in range(uniforms.shape[1]):
        step(weights, state, entry, min(t, entry.shape[0] - 1), gates, min(t, gates.shape[0] - 1))
        for row in range(uniforms.shape[0]):
            chosen, means[row, t] = draw_class(
                state.logits, row, uniforms[row, t], temperature, weights.levels, state.weight_of
            )
            if feeds_mean[row]:
                chosen = np.searchsorted(weights.boundaries, means[row, t], side="right")
            classes[row, t] = chosen
            push_class(state.classes, row, chosen)


@njit(**LOOP)
def force_samples(weights, state, entry, gates, given, logits):  # type: ignore
    """Logits [b, 256, T] of the next samples, which are given [b, T]."""
    for t in range(given.shape[1]):
        step(weights, state, entry, min(t, entry.shape[0] - 1), gates, min(t, gates.shape[0] - 1))
        for row in range(given.shape[0]):
            for number in range(CLASSES):
                logits[row, number, t] = state.logits[row, number]
            push_class(state.classes, row, given[row, t])


@njit(forceinline=True, **LOOP)
def push_class(classes, row, newest):  # type: ignore
    """Append a class to a stream's last inputs."""
    for tap in range(classes.shape[0] - 1):
        classes[tap, row] = classes[tap + 1, row]
    classes[-1, row] = newest


@njit(forceinline=True, **LOOP)
def step(weights, state, entry, entry_at, gate_terms, gates_at):  # type: ignore
    """Logits of the next sample into `state.logits`; the inputs into the rings."""
    rows, width = state.stream.shape
    enter(weights, state, entry, entry_at)
    for row in range(rows):
        for c in range(width):
            # Shared skips are all that is added to the stream: its end less its beginning.
            state.skips[row, c] = -state.stream[row, c] if weights.skip == SHARED_SKIP else weights.skip_bias[c]
    for layer in range(len(weights.dilations)):
        apply_layer(weights, state, layer, gate_terms, gates_at)
    if weights.skip != OWN_SKIP:
        for row in range(rows):
            for c in range(width):
                state.skips[row, c] += state.stream[row, c]
    activate(state.skips, weights.is_selu)
    spread_row(weights.hidden_bias, state.head)
    add_product(state.head, state.skips, 0, weights.hidden, 0, weights.channels)
    activate(state.head, weights.is_selu)
    spread_row(weights.logits_bias, state.logits)
    add_product(state.logits, state.head, 0, weights.logits, 0, weights.head_channels)


@njit(forceinline=True, **LOOP)
def enter(weights, state, entry, entry_at):  # type: ignore
    """The first layer's input: the last classes' rows of the tables, and the score's part."""
    stream, tables = state.stream, weights.tables
    rows, width = stream.shape
    n_taps = tables.shape[0]
    for row in range(rows):
        for tap in range(n_taps):
            one = state.classes[weights.filter_width - n_taps + tap, row]
            for c in range(width):
                stream[row, c] = tables[tap, one, c] if tap == 0 else stream[row, c] + tables[tap, one, c]
        if weights.squashes_entry:
            for c in range(width):
                stream[row, c] = tanh(stream[row, c])
        for c in range(width):
            stream[row, c] += entry[entry_at, row, c]


@njit(forceinline=True, **LOOP)
def apply_layer(weights, state, layer, gate_terms, gates_at):  # type: ignore
    """One gated layer: from `state.stream` and the layer's ring to `state.stream`, and to `state.skips`."""
    stream, rings, gates, hidden = state.stream, state.rings, state.gates, state.hidden
    rows, width = stream.shape
    dilation, n_past = weights.dilations[layer], weights.filter_width - 1
    reach = n_past * dilation
    oldest = state.ages[layer]
    oldest_at = (weights.first_slots[layer] + oldest) * rows

    for row in range(rows):
        for c in range(2 * width):
            gates[row, c] = gate_terms[gates_at, layer, row, c]
    for tap in range(n_past):
        slot = oldest + tap * dilation
        past_at = (weights.first_slots[layer] + (slot - reach if slot >= reach else slot)) * rows
        add_tap(weights, gates, layer, tap, rings, past_at)
    add_tap(weights, gates, layer, n_past, stream, 0)
    for row in range(rows):
        for c in range(width):
            rings[oldest_at + row, c] = stream[row, c]
    state.ages[layer] = 0 if oldest + 1 == reach else oldest + 1

    for row in range(rows):
        for c in range(width):
            hidden[row, c] = tanh(gates[row, c]) * sigmoid(gates[row, width + c])
    for row in range(rows):
        for c in range(width):
            stream[row, c] += weights.residual_biases[layer, c]
    add_product(stream, hidden, 0, weights.residuals, layer, weights.channels)
    if weights.skip == OWN_SKIP:
        add_product(state.skips, hidden, 0, weights.skips, layer, weights.channels)


@njit(forceinline=True, **LOOP)
def add_tap(weights, gates, layer, tap, x, first_row):  # type: ignore
    """What one input [b, P] of a layer's convolution, which begins at a row of x, adds to its gates [b, 2P]."""
    rows, width = gates.shape[0], x.shape[1]
    if weights.taps.size:
        for row in range(rows):
            for c in range(width):
                gates[row, c] += weights.taps[layer, tap, c] * x[first_row + row, c]
            for c in range(width):
                gates[row, width + c] += weights.taps[layer, tap, width + c] * x[first_row + row, c]
    else:
        matrix = layer * weights.filter_width + tap
        add_product(gates, x, first_row, weights.convolutions, matrix, weights.channels)


@njit(forceinline=True, **LOOP)
def spread_row(values, x):  # type: ignore
    """The same numbers into every row."""
    for row in range(x.shape[0]):
        for c in range(x.shape[1]):
            x[row, c] = values[c]


@njit(forceinline=True, **LOOP)
def activate(x, is_selu):  # type: ignore
    """SELU or ReLU of all numbers, in place."""
    for row in range(x.shape[0]):
        if is_selu:
            for c in range(x.shape[1]):
                value = x[row, c]
                negative = SELU_ALPHA * (exp(value) - ONE)
                x[row, c] = SELU_SCALE * (value if value > ZERO else negative)
        else:
            for c in range(x.shape[1]):
                x[row, c] = max(x[row, c], ZERO)


LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10


@njit(forceinline=True, **LOOP)
def exp_of_negative(x):  # type: ignore
    """e^x of a float64 number up to 0, to 1e-13 relative (below -700: e^-700). math.exp does not vectorise."""
    bounded = -700.0 if x < -700.0 else x
    power = np.floor(bounded * LOG2_E + 0.5)
    rest = bounded - power * LN2_HIGH - power * LN2_LOW  # |rest| <= ln(2) / 2
    tail = 1 / 39916800 + rest * (1 / 479001600)
    tail = 1 / 40320 + rest * (1 / 362880 + rest * (1 / 3628800 + rest * tail))
    tail = 1 / 120 + rest * (1 / 720 + rest * (1 / 5040 + rest * tail))
    value = 1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest * (1 / 24 + rest * tail))))
    return value * np.int64((np.int64(power) + 1023) << 52).view(np.float64)


@njit(forceinline=True, **LOOP)
def draw_class(logits, row, uniform, temperature, levels, weight_of):  # type: ignore
    """The first class whose cumulated probability exceeds a uniform number, and the mean of the amplitudes.

    Sums are taken of 16 classes at a time, as 16 chains that run side by side.
    """
    highest = logits[row, 0]
    for number in range(CLASSES):
        highest = max(highest, logits[row, number])
    for number in range(CLASSES):
        weight_of[number] = exp_of_negative((np.float64(logits[row, number]) - highest) / temperature)
    total, mean = 0.0, 0.0
    for block in range(0, CLASSES, 16):
        part, weighted = 0.0, 0.0
        for number in range(block, block + 16):
            part += weight_of[number]
            weighted += weight_of[number] * levels[number]
        total += part
        mean += weighted
    wanted, below, chosen = uniform * total, 0.0, CLASSES - 1  # rounding can leave the sum just below the total
    for number in range(CLASSES):
        below += weight_of[number]
        if below > wanted:
            chosen = number
            break
    return chosen, np.float32(mean / total)
