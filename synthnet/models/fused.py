"""The stack of depthwise gated layers as compiled strips of time: the fast path of SynthNet on a CPU.

In eager PyTorch a small network spends its time in passes over memory between tiny operations. Here a task computes
one layer over one strip of time: taps, tanh, sigmoid, their product, the 1x1 and the residual, block after block of
samples that fit a core's cache. Streams are time-major, [N, C], so that the channels are contiguous and vectorise.

There are no barriers between layers. The tasks are taken in order by the threads, and a task waits only for its own
neighbourhood in the layer before, so that a thread held up by other programs does not hold up the others. The strips
do not depend on the number of threads, nor do the sums over them: results are the same to the bit on any number.

Compiling takes about ten seconds the first time for each filter width; numba keeps the result on disk.
`synthnet.models.layers` is the reference.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg  # noqa: F401  numba's np.dot calls scipy's BLAS: loaded before `blas` looks for it
import torch
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.nn import functional

from synthnet.fastmath import COMPILE, exp, sigmoid, tanh
from synthnet.models.layers import DepthwiseGates, GatedLayer, Head

Floats = NDArray[np.float32]

STRIP = 1024  # samples in a task
BLOCK = 128  # samples that a task handles at a time: 32 KiB a buffer at 64 channels
ZERO, ONE = np.float32(0.0), np.float32(1.0)
SELU_SCALE = np.float32(1.0507009873554805)
SELU_SCALE_ALPHA = np.float32(1.0507009873554805 * 1.6732632423543772)


class Strip(NamedTuple):
    """Rows `first` to `stop` of a piece of the batch."""

    number: int
    piece: int
    first: int
    stop: int


def strips_of(batch: int, length: int) -> list[Strip]:
    """All strips of [batch, length], piece after piece."""
    places = itertools.product(range(batch), range(0, length, STRIP))
    return [Strip(number, piece, first, min(first + STRIP, length)) for number, (piece, first) in enumerate(places)]


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
def layer_kernels(width: int) -> SimpleNamespace:
    """The compiled strips of a layer with F taps, a constant for the compiler, which unrolls the loops over them.

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
def selu(x: np.float32) -> tuple[Any, Any]:
    """SELU of a number and its slope."""
    negative = SELU_SCALE_ALPHA * exp(x)  # in range for positive x too, where it is not used
    return (SELU_SCALE * x, SELU_SCALE) if x > ZERO else (negative - SELU_SCALE_ALPHA, negative)


@njit(**COMPILE)
def head_strip(
    x: Floats, target: NDArray[np.int64], weight_1: Floats, bias_1: Floats, weight_2: Floats, bias_2: Floats,
    scale: np.float32, first: int, stop: int,
    d_x: Floats, d_weight_1: Floats, d_bias_1: Floats, d_weight_2: Floats, d_bias_2: Floats,
) -> float:  # fmt: skip
    """Rows first to stop of the head's cross-entropy: their sum in nats, and scale times its gradients.

    x [T, C], target [T], weight_1 [H, C], weight_2 [K, H]. The loss is a number, so the gradients are known up to a
    factor as soon as the logits are, which are never stored.
    """
    channels, hidden, classes = x.shape[1], bias_1.shape[0], bias_2.shape[0]
    entered = np.empty((BLOCK, channels), np.float32)  # selu(x)
    entered_slope = np.empty((BLOCK, channels), np.float32)
    inner = np.empty((BLOCK, hidden), np.float32)  # the hidden layer, after its activation
    inner_slope = np.empty((BLOCK, hidden), np.float32)
    logits = np.empty((BLOCK, classes), np.float32)
    d_weight_1_block = np.empty_like(weight_1)
    d_weight_2_block = np.empty_like(weight_2)
    nats = 0.0
    for start in range(first, stop, BLOCK):
        rows = min(BLOCK, stop - start)
        for row in range(rows):
            for c in range(channels):
                entered[row, c], entered_slope[row, c] = selu(x[start + row, c])
        np.dot(entered[:rows], weight_1.T, inner[:rows])
        for row in range(rows):
            for h in range(hidden):
                inner[row, h], inner_slope[row, h] = selu(inner[row, h] + bias_1[h])
        np.dot(inner[:rows], weight_2.T, logits[:rows])
        for row in range(rows):
            line, right = logits[row], target[start + row]
            for k in range(classes):
                line[k] += bias_2[k]
            shift, wanted = highest(line), line[right]
            total = exp_and_sum(line, shift)
            nats += np.log(np.float64(total)) + np.float64(shift) - np.float64(wanted)
            factor = scale / total
            for k in range(classes):
                line[k] *= factor  # from here on the gradient of the logits
            line[right] -= scale
            for k in range(classes):
                d_bias_2[k] += line[k]
        np.dot(logits[:rows].T, inner[:rows], d_weight_2_block)
        d_weight_2 += d_weight_2_block
        np.dot(logits[:rows], weight_2, inner[:rows])
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
    return nats


@functools.cache
def blas() -> ThreadpoolController:
    """The BLAS libraries, which must not start threads inside ours."""
    return ThreadpoolController()


task_threads: int | None = None  # None: as many as torch has


@contextlib.contextmanager
def threads_to_tasks() -> Iterator[None]:
    """Within it torch's threads belong to the tasks here, and torch's own operations, what is left of them, have one.

    For training steps: the threads of torch wait for each other, and for their next operation, by spinning, which on a
    busy machine makes a step several times as long.
    """
    global task_threads
    before, threads = task_threads, torch.get_num_threads()
    task_threads = before or threads
    torch.set_num_threads(1)
    try:
        yield
    finally:
        task_threads = before
        torch.set_num_threads(threads)


def run_tasks(layers: int, strips: Sequence[Strip], reach: int, compute: Callable[[int, Strip], None]) -> None:
    """Run every layer over every strip, on several threads; the caller's thread is one of them.

    Args:
        strips: in the order in which they are taken.
        reach: a task waits for this many strips on either side of its own in the layer before.
        compute: one layer over one strip, without the interpreter's lock.
    """
    tickets = itertools.count()
    done = [[threading.Event() for _ in strips] for _ in range(layers)]

    def work() -> None:
        try:
            for ticket in tickets:
                layer, number = divmod(ticket, len(strips))
                if layer >= layers:
                    return
                if layer:
                    for event in done[layer - 1][max(0, number - reach) : number + reach + 1]:
                        event.wait()
                compute(layer, strips[number])
                done[layer][number].set()
        except BaseException:
            for event in itertools.chain.from_iterable(done):
                event.set()  # nobody shall wait for what never comes
            raise

    helpers = min(task_threads or torch.get_num_threads(), len(strips)) - 1
    with blas().limit(limits=1, user_api="blas"):
        if helpers < 1:
            return work()
        with ThreadPoolExecutor(helpers) as pool:
            futures = [pool.submit(work) for _ in range(helpers)]
            work()
            for future in futures:
                future.result()


class Stack(torch.autograd.Function):
    """The layers in a row, [B, N, C] -> [B, N - sum of the reaches, C].

    Parameters are those of `layer_kernels` for all layers: taps [L, F, 2, C], offsets [L, B, 2, C],
    weights [L, C_out, C_in], biases [L, C].
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, taps: Tensor, offsets: Tensor, weights: Tensor, biases: Tensor, dilations: tuple[int, ...]
    ) -> Tensor:
        n_layers, width = taps.shape[:2]
        batch, length, _ = x.shape
        p, o, w, b = (value.detach().numpy() for value in (taps, offsets, weights, biases))
        # Each layer's output, a row the same time in all of them. One array a layer: malloc gives such sizes back to
        # the next training step, where the pages of one large array would be mapped and cleared anew.
        outputs = [np.empty(x.shape, np.float32) for _ in range(n_layers if any(ctx.needs_input_grad) else 2)]
        streams = [x.detach().contiguous().numpy(), *(outputs[layer % len(outputs)] for layer in range(n_layers))]
        reaches = [(width - 1) * dilation for dilation in dilations]
        starts = np.cumsum([0, *reaches]).tolist()  # the first row that exists of each stream
        kernel = layer_kernels(width).forward

        def compute(layer: int, strip: Strip) -> None:
            _, piece, first, stop = strip
            kernel(
                streams[layer][piece], streams[layer + 1][piece], p[layer], o[layer, piece], w[layer], b[layer],
                dilations[layer], max(first, starts[layer + 1]), stop,
            )  # fmt: skip

        strips = strips_of(batch, length)
        reach = -(-max(reaches) // STRIP)
        run_tasks(n_layers, strips, reach, compute)
        ctx.save_for_backward(taps, offsets, weights)
        ctx.streams, ctx.dilations, ctx.starts, ctx.strips, ctx.reach = streams, dilations, starts, strips, reach
        return torch.from_numpy(streams[-1][:, starts[-1] :])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_output: Tensor) -> tuple[Tensor | None, ...]:
        p, o, w = (value.detach().numpy() for value in ctx.saved_tensors)
        streams, dilations, starts, strips = ctx.streams, ctx.dilations, ctx.starts, ctx.strips
        n_layers, width = p.shape[:2]
        batch, length, channels = streams[0].shape
        d_stream = np.zeros((batch, length, channels), np.float32)
        d_stream[:, starts[-1] :] = d_output.numpy()
        # Of two layers in turn. Zero where nothing is written: past the end, and before a layer's first output.
        d_gates = np.zeros((2, batch, length + (width - 1) * max(dilations), 2, channels), np.float32)
        # Each strip's share by itself, so that the sums do not depend on who came first.
        d_taps, d_offsets, d_weights, d_biases = (
            np.zeros((n_layers, len(strips), *shape), np.float32)
            for shape in ((width, 2, channels), (2, channels), (channels, channels), (channels,))
        )
        kernels = layer_kernels(width)

        def compute(layers_done: int, strip: Strip) -> None:
            number, piece, first, stop = strip
            above = n_layers - layers_done  # the gradient of its input is completed first
            if above < n_layers:
                kernels.through_taps(
                    d_stream[piece], d_gates[above % 2, piece], p[above], dilations[above],
                    max(first, starts[above]), stop,
                )  # fmt: skip
            if above > 0:
                layer = above - 1
                kernels.backward(
                    streams[layer][piece], p[layer], o[layer, piece], w[layer], dilations[layer],
                    max(first, starts[above]), stop,
                    d_stream[piece], d_gates[layer % 2, piece],
                    d_taps[layer, number], d_offsets[layer, number], d_weights[layer, number], d_biases[layer, number],
                )  # fmt: skip

        run_tasks(n_layers + 1, strips[::-1], ctx.reach, compute)
        d_offsets = d_offsets.reshape(n_layers, batch, -1, 2, channels).sum(axis=2)
        sums = (d_taps.sum(axis=1), d_offsets, d_weights.sum(axis=1), d_biases.sum(axis=1))
        return torch.from_numpy(d_stream), *(torch.from_numpy(each) for each in sums), None


class HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of a SELU head: its input [B, T, C], targets [B, T], then weight and bias of both its maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Tensor, *parameters: Tensor) -> Tensor:
        batch, length, _ = x.shape
        inputs, targets = x.detach().contiguous().numpy(), target.contiguous().numpy()
        weights = [parameter.detach().contiguous().numpy() for parameter in parameters]
        strips = strips_of(batch, length)
        nats = np.zeros(len(strips))
        d_x = np.empty(x.shape, np.float32)
        shares = [np.zeros((len(strips), *weight.shape), np.float32) for weight in weights]
        scale = np.float32(1 / (batch * length))

        def compute(_: int, strip: Strip) -> None:
            number, piece, first, stop = strip
            nats[number] = head_strip(
                inputs[piece], targets[piece], *weights, scale, first, stop,
                d_x[piece], *(share[number] for share in shares),
            )  # fmt: skip

        run_tasks(1, strips, 0, compute)
        ctx.gradients = [torch.from_numpy(each) for each in (d_x, *(share.sum(axis=0) for share in shares))]
        return torch.tensor(nats.sum() / (batch * length), dtype=torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        d_x, *d_parameters = (gradient * d_loss for gradient in ctx.gradients)
        return d_x, None, *d_parameters


def on_cpu(stream: Tensor) -> bool:
    """Whether a tensor is what the kernels take: float32 on the CPU, outside autocast."""
    return stream.dtype is torch.float32 and stream.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def takes_layers(layers: Sequence[GatedLayer], stream: Tensor, gates: Sequence[Tensor | None]) -> bool:
    """Whether `run_layers` applies: depthwise layers without skips, and addends to the gates constant in time."""
    return (
        on_cpu(stream)
        and all(isinstance(layer.convolution, DepthwiseGates) for layer in layers)
        and not any(layer.skip_is_shared or layer.skip is not None for layer in layers)
        and all(gate is None or gate.shape[2] == 1 for gate in gates)
    )


def takes_head(head: Head, stream: Tensor) -> bool:
    """Whether `head_loss` applies."""
    return on_cpu(stream) and head.activation is functional.selu


def run_layers(layers: Sequence[GatedLayer], stream: Tensor, gates: Sequence[Tensor | None]) -> Tensor:
    """The layers in a row, as `GatedLayer.forward`: [B, C, N] and per layer an addend [B, 2C, 1] -> [B, C, T].

    Raises:
        ValueError: fewer samples than the layers look at.
    """
    if stream.shape[2] < sum(layer.reach for layer in layers):
        raise ValueError(f"{stream.shape[2]} samples are fewer than the layers look at")
    offsets = []
    for layer, gate in zip(layers, gates, strict=True):
        bias = layer.convolution.bias
        offsets.append(bias.expand(stream.shape[0], -1, -1) if gate is None else bias + gate.reshape(-1, *bias.shape))
    output = Stack.apply(
        stream.transpose(1, 2),
        torch.stack([layer.convolution.weight.permute(2, 0, 1) for layer in layers]),
        torch.stack(offsets),
        torch.stack([layer.residual.weight[:, :, 0] for layer in layers]),
        torch.stack([layer.residual.get_parameter("bias") for layer in layers]),
        tuple(layer.dilation for layer in layers),
    )
    return output.transpose(1, 2)


def head_loss(head: Head, stream: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy in nats of the head's logits, given its input [B, C, T] and classes [B, T].

    Raises:
        ValueError: a class that the head does not have, or not one for each sample.
    """
    # Compiled code does not check its indices.
    if target.shape != (stream.shape[0], stream.shape[2]):
        raise ValueError(f"classes {list(target.shape)} for a stream {list(stream.shape)}")
    if not 0 <= int(target.min()) <= int(target.max()) < head.logits.out_channels:
        raise ValueError(f"classes run from 0 to {head.logits.out_channels - 1}")
    weights = (head.hidden.weight[:, :, 0], head.hidden.bias, head.logits.weight[:, :, 0], head.logits.bias)
    return HeadLoss.apply(stream.transpose(1, 2), target, *weights)
