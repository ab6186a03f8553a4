"""The cached step of the paper's networks, and the draw of a class, as machine-code loops over arrays.

Each loop runs over one axis, on few arrays, so that LLVM vectorises it. The functions are inlined: handing over these
tuples takes longer than a layer's arithmetic. `synthnet.generation.engine` is the reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from synthnet.audio.mulaw import CLASS_BOUNDARIES, decode_mu_law
from synthnet.kernels.fastmath import exp, sigmoid, tanh
from synthnet.kernels.tiles import LOOP, add_product

SELU_SCALE, SELU_ALPHA = np.float32(1.0507009873554805), np.float32(1.6732632423543772)
ZERO, ONE = np.float32(0), np.float32(1)
LEVELS = decode_mu_law(np.arange(256)).astype(np.float32)  # amplitudes of the classes


class Weights(NamedTuple):
    """A network's weights; L layers, F taps, channels padded to P, the head's to Q.

    Attributes:
        filter_width: F.
        tables: [taps, 256, P], what each of the last inputs adds to the first layer's input.
        squashes_entry: whether tanh is taken of that sum; the score's part is added after it.
        dilations, first_slots: [L], each layer's dilation, and the start of its ring among the slots of all rings.
        taps: [L, F, 2P] depthwise weights, oldest input first; empty for full convolutions.
        convolutions: [L x F, panels of P x 2P]; empty for depthwise ones.
        residuals, residual_biases: [L, panels of P x P] and [L, P].
        skips, skip_bias: [L, panels of P x P], a second 1x1 for the skips, and all layers' biases together, [P]; empty
            and zeros where there is none.
        shared_skips: whether the residual's 1x1 gives the skips too.
        hidden, hidden_bias, logits, logits_bias: [1, panels of P x Q], [Q], [1, panels of Q x 256], [256].
        is_selu: the head's activation, else ReLU.
    """

    filter_width: int
    tables: np.ndarray
    squashes_entry: bool
    dilations: np.ndarray
    first_slots: np.ndarray
    taps: np.ndarray
    convolutions: np.ndarray
    residuals: np.ndarray
    residual_biases: np.ndarray
    skips: np.ndarray
    skip_bias: np.ndarray
    shared_skips: bool
    hidden: np.ndarray
    hidden_bias: np.ndarray
    logits: np.ndarray
    logits_bias: np.ndarray
    is_selu: bool


class State(NamedTuple):
    """The past of b streams, and the scratch arrays of a step.

    Attributes:
        classes: int64 [F, b], the last inputs, oldest first.
        rings: [all slots x b, P], the layers' past inputs, ring after ring.
        ages: int64 [L], the oldest slot of each ring.
        stream, gates, hidden, skips, head, logits: [b, P], [b, 2P], [b, P], [b, P], [b, Q], [b, 256].
        cumulated: float64 [256].
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
    cumulated: np.ndarray


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
                state.logits, row, uniforms[row, t], temperature, LEVELS, state.cumulated
            )
            if feeds_mean[row]:
                chosen = np.searchsorted(CLASS_BOUNDARIES, means[row, t], side="right")
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
    if not weights.skips.size:
        for row in range(rows):
            for c in range(width):
                skips[row, c] += stream[row, c]
    activate(skips, weights.is_selu)
    multiply(state.head, skips, weights.hidden, weights.hidden_bias)
    activate(state.head, weights.is_selu)
    multiply(state.logits, state.head, weights.logits, weights.logits_bias)


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
    add_product(stream, hidden, 0, weights.residuals, layer)
    if weights.skips.size:
        add_product(state.skips, hidden, 0, weights.skips, layer)


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
        add_product(gates, x, first_row, weights.convolutions, layer * weights.filter_width + tap)


@njit(forceinline=True, **LOOP)
def multiply(out, x, matrix, bias):  # type: ignore
    """out[row] = bias + x[row] @ matrix, for all rows."""
    for row in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[row, c] = bias[c]
    add_product(out, x, 0, matrix, 0)


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
def draw_class(logits, row, uniform, temperature, levels, cumulated):  # type: ignore
    """The first class whose cumulated probability exceeds a uniform number, and the mean of the amplitudes."""
    highest = logits[row, 0]
    for number in range(256):
        highest = max(highest, logits[row, number])
    for number in range(256):
        cumulated[number] = exp(np.float32((logits[row, number] - highest) / temperature))
    total, mean = 0.0, 0.0
    for number in range(256):
        total += cumulated[number]
        mean += cumulated[number] * levels[number]
        cumulated[number] = total
    chosen = np.searchsorted(cumulated, uniform * total, side="right")
    return min(chosen, 255), np.float32(mean / total)  # rounding can leave the number at the total
