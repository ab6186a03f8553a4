"""The cached step of the paper's networks, and the draw of a class, as machine-code loops over arrays.

Each loop runs over one axis, on few arrays, so that LLVM vectorises it. The functions are inlined: handing over these
tuples takes longer than a layer's arithmetic. `synthnet.generation.engine` is the reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from synthnet.kernels.fastmath import exp, sigmoid, tanh
from synthnet.kernels.tiles import LOOP, add_product

SELU_SCALE, SELU_ALPHA = np.float32(1.0507009873554805), np.float32(1.6732632423543772)
ZERO, ONE = np.float32(0), np.float32(1)
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10


class Weights(NamedTuple):
    """A network's weights; L layers, F taps, C channels padded to P, H head channels padded to Q.

    Attributes:
        channels, head_channels, filter_width: C, H and F.
        tables: [taps, 256, P], what each of the last inputs adds to the first layer's input.
        squashes_entry: whether tanh is taken of that sum; the score's part is added after it.
        dilations, first_slots: [L], each layer's dilation, and the start of its ring among the slots of all rings.
        taps: [L, F, 2P] depthwise weights, oldest input first; empty for full convolutions.
        convolutions: [L x F, panels of C x 2P]; empty for depthwise ones.
        residuals, residual_biases: [L, panels of C x P] and [L, P].
        own_skips, shared_skips: whether a second 1x1, or the residual's, gives the skips; else there are none.
        skips, skip_bias: [L, panels of C x P], and all layers' biases together, [P]; zeros without own skips.
        hidden, hidden_bias, logits, logits_bias: [1, panels of C x Q], [Q], [1, panels of H x 256], [256].
        is_selu: the head's activation, else ReLU.
        levels, boundaries: [256] the classes' amplitudes, and [255] the amplitudes between them.
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
    own_skips: bool
    shared_skips: bool
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
    """The past of b streams, and the scratch arrays of a step.

    Attributes:
        classes: int64 [F, b], the last inputs, oldest first.
        rings: [all slots x b, P], the layers' past inputs, ring after ring.
        ages: int64 [L], the oldest slot of each ring.
        stream, gates, hidden, skips, head, logits: [b, P], [b, 2P], [b, P], [b, P], [b, Q], [b, 256].
        weight_of: float64 [256].
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


@njit(**LOOP)
def draw_samples(weights, state, entry, gates, uniforms, temperature, feeds_mean, classes, means):  # type: ignore
    """Write the next inputs [b, T], drawn or those of the means, and the distributions' means [b, T].

    Args:
        entry, gates: [T or 1, b, P] and [T or 1, L, b, 2P], the conditioning, convolutions' biases included.
        uniforms: float64 [b, T] in [0, 1).
        feeds_mean: bool [b].
    """
    for t in range(uniforms.shape[1]):
        compute_logits(weights, state, entry, min(t, entry.shape[0] - 1), gates, min(t, gates.shape[0] - 1))
        for row in range(uniforms.shape[0]):
            chosen, means[row, t] = draw_class(
                state.logits, row, uniforms[row, t], temperature, weights.levels, state.weight_of
            )
            if feeds_mean[row]:
                chosen = np.searchsorted(weights.boundaries, means[row, t], side="right")
            classes[row, t] = chosen
            for tap in range(weights.filter_width - 1):
                state.classes[tap, row] = state.classes[tap + 1, row]
            state.classes[-1, row] = chosen


@njit(forceinline=True, **LOOP)
def compute_logits(weights, state, entry, entry_at, conditioning, gates_at):  # type: ignore
    """Logits of the next sample into `state.logits`; the layers' inputs into the rings."""
    stream, skips = state.stream, state.skips
    rows, width = stream.shape
    enter(weights, state, entry, entry_at)
    for row in range(rows):
        for c in range(width):
            # Shared skips are all that is added to the stream: its end less its beginning.
            skips[row, c] = -stream[row, c] if weights.shared_skips else weights.skip_bias[c]
    for layer in range(len(weights.dilations)):
        apply_layer(weights, state, layer, conditioning, gates_at)
    if not weights.own_skips:
        for row in range(rows):
            for c in range(width):
                skips[row, c] += stream[row, c]
    activate(skips, weights.is_selu)
    multiply(state.head, skips, weights.hidden, weights.hidden_bias, weights.channels)
    activate(state.head, weights.is_selu)
    multiply(state.logits, state.head, weights.logits, weights.logits_bias, weights.head_channels)


@njit(forceinline=True, **LOOP)
def enter(weights, state, entry, entry_at):  # type: ignore
    """The first layer's input: the last classes' rows of the tables, and the score's part."""
    stream, tables = state.stream, weights.tables
    rows, width = stream.shape
    first = weights.filter_width - tables.shape[0]
    for row in range(rows):
        for tap in range(tables.shape[0]):
            one = state.classes[first + tap, row]
            for c in range(width):
                stream[row, c] = tables[tap, one, c] if tap == 0 else stream[row, c] + tables[tap, one, c]
        if weights.squashes_entry:
            for c in range(width):
                stream[row, c] = tanh(stream[row, c])
        for c in range(width):
            stream[row, c] += entry[entry_at, row, c]


@njit(forceinline=True, **LOOP)
def apply_layer(weights, state, layer, conditioning, gates_at):  # type: ignore
    """One gated layer: from `state.stream` and the layer's ring to `state.stream`, and to `state.skips`."""
    stream, rings, gates, hidden = state.stream, state.rings, state.gates, state.hidden
    rows, width = stream.shape
    dilation, n_past = weights.dilations[layer], weights.filter_width - 1
    reach, oldest, first_slot = n_past * dilation, state.ages[layer], weights.first_slots[layer]

    for row in range(rows):
        for c in range(2 * width):
            gates[row, c] = conditioning[gates_at, layer, row, c]
    for tap in range(n_past):
        slot = oldest + tap * dilation
        add_tap(weights, gates, layer, tap, rings, (first_slot + (slot - reach if slot >= reach else slot)) * rows)
    add_tap(weights, gates, layer, n_past, stream, 0)
    for row in range(rows):
        for c in range(width):
            rings[(first_slot + oldest) * rows + row, c] = stream[row, c]
    state.ages[layer] = 0 if oldest + 1 == reach else oldest + 1

    for row in range(rows):
        for c in range(width):
            hidden[row, c] = tanh(gates[row, c]) * sigmoid(gates[row, width + c])
            stream[row, c] += weights.residual_biases[layer, c]
    add_product(stream, hidden, 0, weights.residuals, layer, weights.channels)
    if weights.own_skips:
        add_product(state.skips, hidden, 0, weights.skips, layer, weights.channels)


@njit(forceinline=True, **LOOP)
def add_tap(weights, gates, layer, tap, x, first_row):  # type: ignore
    """Add to a layer's gates [b, 2P] what one input of its convolution gives: b rows of x, [., P]."""
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
def multiply(out, x, matrix, bias, depth):  # type: ignore
    """out[row] = bias + x[row, :depth] @ matrix, for all rows."""
    for row in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[row, c] = bias[c]
    add_product(out, x, 0, matrix, 0, depth)


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
    for number in range(256):
        highest = max(highest, logits[row, number])
    for number in range(256):
        weight_of[number] = exp_of_negative((np.float64(logits[row, number]) - highest) / temperature)
    total, mean = 0.0, 0.0
    for block in range(0, 256, 16):
        part, weighted = 0.0, 0.0
        for number in range(block, block + 16):
            part += weight_of[number]
            weighted += weight_of[number] * levels[number]
        total += part
        mean += weighted
    wanted, below, chosen = uniform * total, 0.0, 255  # rounding can leave the sum just below the total
    for number in range(256):
        below += weight_of[number]
        if below > wanted:
            chosen = number
            break
    return chosen, np.float32(mean / total)
