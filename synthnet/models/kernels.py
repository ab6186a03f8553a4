"""Compiled strips of time of the layers and of the head: forward, and backward with the parameters' gradients.

Streams are time-major, [N, C], so that the channels are contiguous and vectorise. Each kernel goes through rows first
to stop of one piece, a block of samples that fits a core's cache at a time. `synthnet.models.fused` hands out the
strips; `synthnet.models.layers` is the reference.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthnet.kernels.fastmath import COMPILE, exp, sigmoid, tanh

Floats = NDArray[np.float32]

BLOCK = 256  # samples that a strip is computed in: 64 KiB a buffer at 64 channels
ZERO, ONE = np.float32(0.0), np.float32(1.0)
SELU_SCALE = np.float32(1.0507009873554805)
SELU_SCALE_ALPHA = np.float32(1.0507009873554805 * 1.6732632423543772)


@njit(forceinline=True, **COMPILE)
def gates_of(
    x: Floats, taps: Floats, offset: Floats, width: int, dilation: int, t: int, c: int
) -> tuple[np.float32, np.float32]:
    """Filter and gate of channel c at row t, before tanh and sigmoid."""
    filter_, gate = offset[0, c], offset[1, c]
    for tap in range(width):
        past = x[t - (width - 1 - tap) * dilation, c]
        filter_ += taps[tap, 0, c] * past
        gate += taps[tap, 1, c] * past
    return filter_, gate


@functools.cache
def depthwise_kernels(width: int) -> SimpleNamespace:
    """The strips of a depthwise layer with F taps, a constant for the compiler, which unrolls the loops over them.

    Arrays: streams and their gradients [N, C], taps [F, 2, C] and offset [2, C] of filter and gate (style included),
    weight [C_out, C_in] and bias [C] of the 1x1, d_gates [N + reach, 2, C] with zeros at its end.
    """
    # They close over a number alone: with a compiled function among their variables numba would not cache them.

    @njit(**COMPILE)
    def forward(
        x: Floats, y: Floats, taps: Floats, offset: Floats, weight: Floats, bias: Floats,
        dilation: int, first: int, stop: int,
    ) -> None:  # fmt: skip
        """Rows first to stop of a layer's output y from its input x."""
        channels = x.shape[1]
        hidden = np.empty((BLOCK, channels), np.float32)
        change = np.empty((BLOCK, channels), np.float32)
        for start in range(first, stop, BLOCK):
            rows = min(BLOCK, stop - start)
            for row in range(rows):
                for c in range(channels):
                    filter_, gate = gates_of(x, taps, offset, width, dilation, start + row, c)
                    hidden[row, c] = tanh(filter_) * sigmoid(gate)
            np.dot(hidden[:rows], weight.T, change[:rows])
            for row in range(rows):
                for c in range(channels):
                    y[start + row, c] = x[start + row, c] + change[row, c] + bias[c]

    @njit(**COMPILE)
    def through_taps(d_stream: Floats, d_gates: Floats, taps: Floats, dilation: int, first: int, stop: int) -> None:
        """Add to rows first to stop of d_stream what comes back from the gates that looked at them."""
        for t in range(first, stop):
            for c in range(d_stream.shape[1]):
                total = d_stream[t, c]
                for tap in range(width):
                    later = t + (width - 1 - tap) * dilation
                    total += taps[tap, 0, c] * d_gates[later, 0, c] + taps[tap, 1, c] * d_gates[later, 1, c]
                d_stream[t, c] = total

    @njit(**COMPILE)
    def backward(
        x: Floats, taps: Floats, offset: Floats, weight: Floats, dilation: int, first: int, stop: int,
        d_stream: Floats, d_gates: Floats,
        d_taps: Floats, d_offset: Floats, d_weight: Floats, d_bias: Floats,
    ) -> None:  # fmt: skip
        """Rows first to stop of d_gates, and their share of the parameters' gradients, from d_stream of the output.

        Tanh and sigmoid are computed again: to store and load them would take longer.
        """
        channels = x.shape[1]
        hidden = np.empty((BLOCK, channels), np.float32)
        slopes = np.empty((BLOCK, 2, channels), np.float32)  # of hidden by filter and gate
        d_hidden = np.empty((BLOCK, channels), np.float32)
        d_weight_block = np.empty((channels, channels), np.float32)
        for start in range(first, stop, BLOCK):
            rows = min(BLOCK, stop - start)
            for row in range(rows):
                for c in range(channels):
                    filter_, gate = gates_of(x, taps, offset, width, dilation, start + row, c)
                    filtered, opening = tanh(filter_), sigmoid(gate)
                    hidden[row, c] = filtered * opening
                    slopes[row, 0, c] = opening * (ONE - filtered * filtered)
                    slopes[row, 1, c] = filtered * opening * (ONE - opening)
            d_change = d_stream[start : start + rows]
            np.dot(d_change, weight, d_hidden[:rows])
            np.dot(d_change.T, hidden[:rows], d_weight_block)
            d_weight += d_weight_block
            for row in range(rows):
                t = start + row
                for c in range(channels):
                    d_filter = d_hidden[row, c] * slopes[row, 0, c]
                    d_gate = d_hidden[row, c] * slopes[row, 1, c]
                    d_gates[t, 0, c] = d_filter
                    d_gates[t, 1, c] = d_gate
                    d_offset[0, c] += d_filter
                    d_offset[1, c] += d_gate
                    d_bias[c] += d_stream[t, c]
                    for tap in range(width):
                        past = x[t - (width - 1 - tap) * dilation, c]
                        d_taps[tap, 0, c] += d_filter * past
                        d_taps[tap, 1, c] += d_gate * past

    return SimpleNamespace(forward=forward, through_taps=through_taps, backward=backward)


@njit(forceinline=True, **COMPILE)
def look_back(x: Floats, width: int, dilation: int, start: int, rows: int, window: Floats) -> None:
    """What rows `start` on of a layer's convolution see of its input x [N, C], into window [rows, F C]."""
    channels = x.shape[1]
    for tap in range(width):
        first = start - (width - 1 - tap) * dilation
        for row in range(rows):
            for c in range(channels):
                window[row, tap * channels + c] = x[first + row, c]


@njit(forceinline=True, **COMPILE)
def in_one_run(run_at: NDArray[np.int64], first: int, stop: int) -> bool:
    """Whether the score does not change from row first to before stop: runs are numbered in the order of time."""
    return run_at[first] == run_at[stop - 1]


@njit(**COMPILE)
def full_forward(
    x: Floats, y: Floats, gates: Floats, skips: Floats,
    taps: Floats, offset: Floats, products: Floats, run_at: NDArray[np.int64],
    weight: Floats, bias: Floats, skip_weight: Floats, dilation: int, first: int, stop: int,
) -> None:  # fmt: skip
    """Rows first to stop of the output y [N, C] of a layer with a full convolution, from its input x [N, C].

    Filter and gate after tanh and sigmoid are left in gates [N, 2C], for `full_backward`. taps [F C, 2C], offset [2C];
    products [F, U, 2C] are what the score of each of U runs adds through each tap, and run_at [N] says which run a row
    is in (U = 0: the score adds nothing). weight [C_out, C_in] and bias [C] of the 1x1; skip_weight [C_out, C_in], or
    without rows: its products are added to skips [N, C], its bias is not.
    """
    channels, width = x.shape[1], products.shape[0]
    window = np.empty((BLOCK, width * channels), np.float32)
    hidden = np.empty((BLOCK, channels), np.float32)
    change = np.empty((BLOCK, channels), np.float32)
    constant = np.empty(2 * channels, np.float32)
    for start in range(first, stop, BLOCK):
        rows = min(BLOCK, stop - start)
        look_back(x, width, dilation, start, rows, window)
        opened = gates[start : start + rows]
        np.dot(window[:rows], taps, opened)
        constant[:] = offset
        if products.shape[1] > 0 and in_one_run(run_at, start - (width - 1) * dilation, start + rows):
            for tap in range(width):
                constant += products[tap, run_at[start]]
        elif products.shape[1] > 0:
            for tap in range(width):
                before = start - (width - 1 - tap) * dilation
                for row in range(rows):
                    line = products[tap, run_at[before + row]]
                    for c in range(2 * channels):
                        opened[row, c] += line[c]
        for row in range(rows):
            for c in range(channels):
                opened[row, c] = tanh(opened[row, c] + constant[c])
                opened[row, channels + c] = sigmoid(opened[row, channels + c] + constant[channels + c])
                hidden[row, c] = opened[row, c] * opened[row, channels + c]
        np.dot(hidden[:rows], weight.T, change[:rows])
        for row in range(rows):
            for c in range(channels):
                y[start + row, c] = x[start + row, c] + change[row, c] + bias[c]
        if skip_weight.shape[0] > 0:
            np.dot(hidden[:rows], skip_weight.T, change[:rows])
            for row in range(rows):
                for c in range(channels):
                    skips[start + row, c] += change[row, c]


@njit(**COMPILE)
def full_through_taps(
    d_stream: Floats, d_gates: Floats, taps: Floats, width: int, dilation: int, first: int, stop: int
) -> None:
    """Add to rows first to stop of d_stream what comes back from the gates, d_gates [N + reach, 2C], that saw them."""
    channels = d_stream.shape[1]
    back = np.empty((BLOCK, channels), np.float32)
    for start in range(first, stop, BLOCK):
        rows = min(BLOCK, stop - start)
        for tap in range(width):
            later = start + (width - 1 - tap) * dilation
            np.dot(d_gates[later : later + rows], taps[tap * channels : (tap + 1) * channels].T, back[:rows])
            for row in range(rows):
                for c in range(channels):
                    d_stream[start + row, c] += back[row, c]


@njit(**COMPILE)
def full_backward(
    x: Floats, gates: Floats, run_at: NDArray[np.int64],
    weight: Floats, skip_weight: Floats, dilation: int, first: int, stop: int,
    d_stream: Floats, d_skips: Floats, d_gates: Floats,
    d_taps: Floats, d_offset: Floats, d_products: Floats, d_weight: Floats, d_bias: Floats, d_skip_weight: Floats,
) -> None:  # fmt: skip
    """Rows first to stop of d_gates, and their share of the parameters' gradients, from d_stream and d_skips.

    x and gates as `full_forward` had and left them.
    """
    channels, width = x.shape[1], d_products.shape[0]
    window = np.empty((BLOCK, width * channels), np.float32)
    hidden = np.empty((BLOCK, channels), np.float32)
    d_hidden = np.empty((BLOCK, channels), np.float32)
    through_skip = np.empty((BLOCK, channels), np.float32)
    d_weight_block = np.empty((channels, channels), np.float32)
    d_taps_block = np.empty((width * channels, 2 * channels), np.float32)
    d_constant = np.empty(2 * channels, np.float32)
    for start in range(first, stop, BLOCK):
        rows = min(BLOCK, stop - start)
        opened = gates[start : start + rows]
        for row in range(rows):
            for c in range(channels):
                hidden[row, c] = opened[row, c] * opened[row, channels + c]
        d_change = d_stream[start : start + rows]
        np.dot(d_change, weight, d_hidden[:rows])
        np.dot(d_change.T, hidden[:rows], d_weight_block)
        d_weight += d_weight_block
        if skip_weight.shape[0] > 0:
            d_skip = d_skips[start : start + rows]
            np.dot(d_skip, skip_weight, through_skip[:rows])
            np.dot(d_skip.T, hidden[:rows], d_weight_block)
            d_skip_weight += d_weight_block
            for row in range(rows):
                for c in range(channels):
                    d_hidden[row, c] += through_skip[row, c]
        for row in range(rows):
            for c in range(channels):
                filtered, opening = opened[row, c], opened[row, channels + c]
                d_gates[start + row, c] = d_hidden[row, c] * opening * (ONE - filtered * filtered)
                d_gates[start + row, channels + c] = d_hidden[row, c] * filtered * opening * (ONE - opening)
                d_bias[c] += d_change[row, c]
        look_back(x, width, dilation, start, rows, window)
        d_rows = d_gates[start : start + rows]
        np.dot(window[:rows].T, d_rows, d_taps_block)
        d_taps += d_taps_block
        d_constant[:] = ZERO
        for row in range(rows):
            for c in range(2 * channels):
                d_constant[c] += d_rows[row, c]
        d_offset += d_constant
        if d_products.shape[1] > 0 and in_one_run(run_at, start - (width - 1) * dilation, start + rows):
            for tap in range(width):
                d_products[tap, run_at[start]] += d_constant
        elif d_products.shape[1] > 0:
            for tap in range(width):
                before = start - (width - 1 - tap) * dilation
                for row in range(rows):
                    line = d_products[tap, run_at[before + row]]
                    for c in range(2 * channels):
                        line[c] += d_rows[row, c]


@njit(**{**COMPILE, "fastmath": {"contract", "nsz", "nnan", "reassoc"}}, forceinline=True)
def highest(values: Floats) -> Any:
    """The greatest of the numbers [N]; any, if one is NaN."""
    best = values[0]
    for value in values:
        best = max(best, value)
    return best


@njit(**{**COMPILE, "fastmath": {"contract", "nsz", "reassoc"}}, forceinline=True)
def exp_and_sum(values: Floats, shift: np.float32) -> Any:
    """Replace the numbers [N] by exp(number - shift), and sum them."""
    total = ZERO
    for c in range(values.shape[0]):
        values[c] = exp(values[c] - shift)
        total += values[c]
    return total


@njit(forceinline=True, **COMPILE)
def activate(x: np.float32, is_selu: bool) -> tuple[Any, Any]:
    """SELU, or else ReLU, of a number, and its slope."""
    if not is_selu:
        return (x, ONE) if x > ZERO else (ZERO, ZERO)
    negative = SELU_SCALE_ALPHA * exp(x)  # in range for positive x too, where it is not used
    return (SELU_SCALE * x, SELU_SCALE) if x > ZERO else (negative - SELU_SCALE_ALPHA, negative)


@njit(**COMPILE)
def head_forward(
    x: Floats, target: NDArray[np.int64],
    weight_1: Floats, bias_1: Floats, weight_2: Floats, bias_2: Floats, is_selu: bool, first: int, stop: int,
    probabilities: Floats,
) -> float:  # fmt: skip
    """Rows first to stop of the head: probabilities [T, K] of the classes; nats summed.

    x [T, C], target [T], weight_1 [H, C], weight_2 [K, H].
    """
    channels, hidden, classes = x.shape[1], bias_1.shape[0], bias_2.shape[0]
    entered = np.empty((BLOCK, channels), np.float32)  # x after its activation
    inner = np.empty((BLOCK, hidden), np.float32)  # the hidden layer, after its activation
    nats = 0.0
    for start in range(first, stop, BLOCK):
        rows = min(BLOCK, stop - start)
        for row in range(rows):
            for c in range(channels):
                entered[row, c] = activate(x[start + row, c], is_selu)[0]
        np.dot(entered[:rows], weight_1.T, inner[:rows])
        for row in range(rows):
            for h in range(hidden):
                inner[row, h] = activate(inner[row, h] + bias_1[h], is_selu)[0]
        np.dot(inner[:rows], weight_2.T, probabilities[start : start + rows])
        for row in range(rows):
            line = probabilities[start + row]
            for k in range(classes):
                line[k] += bias_2[k]
            shift, wanted = highest(line), line[target[start + row]]
            total = exp_and_sum(line, shift)
            nats += np.log(np.float64(total)) + np.float64(shift) - np.float64(wanted)
            factor = ONE / total
            for k in range(classes):
                line[k] *= factor
    return nats


@njit(**COMPILE)
def head_backward(
    x: Floats, target: NDArray[np.int64],
    weight_1: Floats, bias_1: Floats, weight_2: Floats, bias_2: Floats, is_selu: bool, first: int, stop: int,
    probabilities: Floats, d_nats: np.float32,
    d_x: Floats, d_weight_1: Floats, d_bias_1: Floats, d_weight_2: Floats, d_bias_2: Floats,
) -> None:  # fmt: skip
    """Rows first to stop of the gradients, from that of each sample's nats, a number.

    As `head_forward` had and left its arrays; activations are computed again.
    """
    channels, hidden, classes = x.shape[1], bias_1.shape[0], bias_2.shape[0]
    entered = np.empty((BLOCK, channels), np.float32)
    entered_slope = np.empty((BLOCK, channels), np.float32)
    inner = np.empty((BLOCK, hidden), np.float32)
    inner_slope = np.empty((BLOCK, hidden), np.float32)
    d_logits = np.empty((BLOCK, classes), np.float32)
    d_weight_1_block = np.empty_like(weight_1)
    d_weight_2_block = np.empty_like(weight_2)
    for start in range(first, stop, BLOCK):
        rows = min(BLOCK, stop - start)
        for row in range(rows):
            for c in range(channels):
                entered[row, c], entered_slope[row, c] = activate(x[start + row, c], is_selu)
        np.dot(entered[:rows], weight_1.T, inner[:rows])
        for row in range(rows):
            for h in range(hidden):
                inner[row, h], inner_slope[row, h] = activate(inner[row, h] + bias_1[h], is_selu)
        for row in range(rows):
            line = probabilities[start + row]
            for k in range(classes):
                d_logits[row, k] = line[k] * d_nats
            d_logits[row, target[start + row]] -= d_nats
            for k in range(classes):
                d_bias_2[k] += d_logits[row, k]
        np.dot(d_logits[:rows].T, inner[:rows], d_weight_2_block)
        d_weight_2 += d_weight_2_block
        np.dot(d_logits[:rows], weight_2, inner[:rows])
        for row in range(rows):
            for h in range(hidden):
                inner[row, h] *= inner_slope[row, h]
                d_bias_1[h] += inner[row, h]
        np.dot(inner[:rows].T, entered[:rows], d_weight_1_block)
        d_weight_1 += d_weight_1_block
        d_rows = d_x[start : start + rows]
        np.dot(inner[:rows], weight_1, d_rows)
        for row in range(rows):
            for c in range(channels):
                d_rows[row, c] *= entered_slope[row, c]
