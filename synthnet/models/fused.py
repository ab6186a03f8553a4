"""The stack of gated layers, and the head, as compiled strips of time: the fast path of training on a CPU.

In eager PyTorch a small network spends its time in passes over memory between tiny operations. Here a task computes
one layer over one strip of time (`synthnet.models.kernels`): taps, tanh, sigmoid, their product, the 1x1, the residual
and the skip, block after block of samples that fit a core's cache.

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
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg  # noqa: F401  numba's np.dot calls scipy's BLAS: loaded before `blas` looks for it
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.nn import functional

from synthnet.models.kernels import (
    depthwise_kernels,
    full_backward,
    full_forward,
    full_through_taps,
    head_backward,
    head_forward,
)
from synthnet.models.layers import DepthwiseGates, GatedLayer, Head, RunGates

STRIP = 1024  # samples in a task


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
    """The layers in a row, [B, N, C] -> [B, T, C], N - T the sum of the reaches: the stream, or the sum of own skips.

    Parameters of all layers, L of them: weights [L, C_out, C_in] and biases [L, C] of the 1x1; and

    - depthwise layers: taps [L, F, 2, C], offsets [L, B, 2, C]; the other arguments are empty;
    - full convolutions: taps [L, F C, 2C], offsets [L, B, 2C]; products [L, F, U, 2C] and run_at [B, N] (`RunGates`, U
      may be 0); skip_weights [L, C_out, C_in], or [L, 0, C_in] for layers without skips of their own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        taps: Tensor,
        offsets: Tensor,
        weights: Tensor,
        biases: Tensor,
        products: Tensor,
        skip_weights: Tensor,
        run_at: Tensor,
        dilations: tuple[int, ...],
    ) -> Tensor:
        tensors = (taps, offsets, weights, biases, products, skip_weights, run_at)
        p, o, w, b, scores, sw, runs = (value.detach().contiguous().numpy() for value in tensors)
        batch, length, _ = x.shape
        n_layers, own_skips = len(dilations), skip_weights.shape[1] > 0
        # Each layer's output, a row the same time in all of them. One array a layer: malloc gives such sizes back to
        # the next training step, where the pages of one large array would be mapped and cleared anew.
        outputs = [np.empty(x.shape, np.float32) for _ in range(n_layers if any(ctx.needs_input_grad) else 2)]
        streams = [x.detach().contiguous().numpy(), *(outputs[layer % len(outputs)] for layer in range(n_layers))]
        shape = (batch, 0, 0) if is_depthwise(p) else (batch, length, p.shape[2])
        gates = [np.empty(shape, np.float32) for _ in range(len(outputs))]  # kept where there is a backward pass
        skips = np.zeros(x.shape if own_skips else (batch, 0, 0), np.float32)
        width = filter_width(taps, products)
        reaches = [(width - 1) * dilation for dilation in dilations]
        starts = np.cumsum([0, *reaches]).tolist()  # the first row that exists of each stream
        kernel = depthwise_kernels(width).forward

        def compute(layer: int, strip: Strip) -> None:
            _, piece, first, stop = strip
            x, y, rows = streams[layer][piece], streams[layer + 1][piece], (max(first, starts[layer + 1]), stop)
            if is_depthwise(p):
                kernel(x, y, p[layer], o[layer, piece], w[layer], b[layer], dilations[layer], *rows)
            else:
                full_forward(
                    x, y, gates[layer % len(gates)][piece], skips[piece],
                    p[layer], o[layer, piece], scores[layer], runs[piece],
                    w[layer], b[layer], sw[layer], dilations[layer], *rows,
                )  # fmt: skip

        strips = strips_of(batch, length)
        reach = -(-max(reaches) // STRIP)
        run_tasks(n_layers, strips, reach, compute)
        ctx.save_for_backward(*tensors)
        ctx.streams, ctx.gates, ctx.starts = streams, gates, starts
        ctx.dilations, ctx.strips, ctx.reach = dilations, strips, reach
        return torch.from_numpy((skips if own_skips else streams[-1])[:, starts[-1] :])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_output: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        p, o, w, b, scores, sw, runs = (value.detach().contiguous().numpy() for value in tensors)
        streams, dilations, starts, strips = ctx.streams, ctx.dilations, ctx.starts, ctx.strips
        batch, length, channels = streams[0].shape
        n_layers, own_skips = len(dilations), sw.shape[1] > 0
        width = filter_width(p, scores)
        d_stream = np.zeros((batch, length, channels), np.float32)
        d_skips = np.zeros((batch, length, channels) if own_skips else (batch, 0, 0), np.float32)
        (d_skips if own_skips else d_stream)[:, starts[-1] :] = d_output.numpy()
        # Of two layers in turn. Zero where nothing is written: past the end, and before a layer's first output.
        d_gates = np.zeros((2, batch, length + (width - 1) * max(dilations), *o.shape[2:]), np.float32)
        # Each strip's share by itself, so that the sums do not depend on who came first.
        shapes = (p.shape[1:], o.shape[2:], w.shape[1:], b.shape[1:], scores.shape[1:], sw.shape[1:])
        shares = [np.zeros((n_layers, len(strips), *shape), np.float32) for shape in shapes]
        d_taps, d_offsets, d_weights, d_biases, d_products, d_skip_weights = shares
        kernels = depthwise_kernels(width)

        def compute(layers_done: int, strip: Strip) -> None:
            number, piece, first, stop = strip
            above = n_layers - layers_done  # the gradient of its input is completed first
            if above < n_layers:
                back, rows = d_gates[above % 2, piece], (max(first, starts[above]), stop)
                if is_depthwise(p):
                    kernels.through_taps(d_stream[piece], back, p[above], dilations[above], *rows)
                else:
                    full_through_taps(d_stream[piece], back, p[above], width, dilations[above], *rows)
            if above == 0:
                return
            layer, rows = above - 1, (max(first, starts[above]), stop)
            x, into = streams[layer][piece], d_gates[layer % 2, piece]
            if is_depthwise(p):
                kernels.backward(
                    x, p[layer], o[layer, piece], w[layer], dilations[layer], *rows, d_stream[piece], into,
                    d_taps[layer, number], d_offsets[layer, number], d_weights[layer, number], d_biases[layer, number],
                )  # fmt: skip
            else:
                full_backward(
                    x, ctx.gates[layer][piece], runs[piece], w[layer], sw[layer],
                    dilations[layer], *rows, d_stream[piece], d_skips[piece], into,
                    d_taps[layer, number], d_offsets[layer, number], d_products[layer, number],
                    d_weights[layer, number], d_biases[layer, number], d_skip_weights[layer, number],
                )  # fmt: skip

        run_tasks(n_layers + 1, strips[::-1], ctx.reach, compute)
        sums = [torch.from_numpy(share.sum(axis=1)) for share in shares]
        sums[1] = torch.from_numpy(d_offsets.reshape(n_layers, batch, -1, *o.shape[2:]).sum(axis=2))
        return torch.from_numpy(d_stream), *sums, None, None


def is_depthwise(taps: Any) -> bool:
    """Whether these are the taps of depthwise layers, [L, F, 2, C]."""
    return taps.ndim == 4


def filter_width(taps: Any, products: Any) -> int:
    """F."""
    return taps.shape[1] if is_depthwise(taps) else products.shape[1]


class HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of a head, from its input [B, T, C], targets [B, T], activation, weights and biases."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Tensor, is_selu: bool, *parameters: Tensor) -> Tensor:
        batch, length, _ = x.shape
        inputs, targets = (tensor.detach().contiguous().numpy() for tensor in (x, target))
        weights = [parameter.detach().contiguous().numpy() for parameter in parameters]
        strips = strips_of(batch, length)
        nats = np.zeros(len(strips))
        probabilities = np.empty((batch, length, parameters[-1].shape[0]), np.float32)

        def compute(_: int, strip: Strip) -> None:
            number, piece, first, stop = strip
            nats[number] = head_forward(
                inputs[piece], targets[piece], *weights, is_selu, first, stop, probabilities[piece]
            )

        run_tasks(1, strips, 0, compute)
        ctx.arrays = inputs, targets, weights, is_selu, probabilities
        return torch.tensor(nats.sum() / (batch * length), dtype=torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        inputs, targets, weights, is_selu, probabilities = ctx.arrays
        batch, length, _ = inputs.shape
        strips = strips_of(batch, length)
        d_x = np.empty_like(inputs)
        shares = [np.zeros((len(strips), *weight.shape), np.float32) for weight in weights]
        d_nats = np.float32(float(d_loss) / (batch * length))

        def compute(_: int, strip: Strip) -> None:
            number, piece, first, stop = strip
            head_backward(
                inputs[piece], targets[piece], *weights, is_selu, first, stop,
                probabilities[piece], d_nats, d_x[piece], *(share[number] for share in shares),
            )  # fmt: skip

        run_tasks(1, strips, 0, compute)
        d_parameters = [torch.from_numpy(share.sum(axis=0)) for share in shares]
        return torch.from_numpy(d_x), None, None, *d_parameters


def on_cpu(stream: Tensor) -> bool:
    """Whether a tensor is what the kernels take: float32 on the CPU, outside autocast."""
    return stream.dtype is torch.float32 and stream.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def takes_layers(layers: Sequence[GatedLayer], stream: Tensor) -> bool:
    """Whether `run_layers` applies; depthwise layers have no skips in any of the models, and take no score."""
    depthwise = [isinstance(layer.convolution, DepthwiseGates) for layer in layers]
    skips = [layer.skip_is_shared or layer.skip is not None for layer in layers]
    return on_cpu(stream) and (not any(depthwise) or (all(depthwise) and not any(skips)))


def takes_head(head: Head, stream: Tensor) -> bool:
    """Whether `head_loss` applies."""
    return on_cpu(stream) and head.activation in (functional.selu, torch.relu)


def run_layers(
    layers: Sequence[GatedLayer], stream: Tensor, constants: Sequence[Tensor | None], scores: RunGates | None
) -> Tensor:
    """The head's input [B, C, T], as `Network.run_layers` has it from `GatedLayer.forward`.

    Args:
        stream: [B, C, N], the first layer's input.
        constants: per layer an addend [B, 2C, 1] to its gates, from the style.
        scores: what the score adds to the gates of layers with full convolutions.

    Raises:
        ValueError: fewer samples than the layers look at, or a score for depthwise layers.
    """
    batch, channels, length = stream.shape
    if length < sum(layer.reach for layer in layers):
        raise ValueError(f"{length} samples are fewer than the layers look at")
    width = 1 + layers[0].reach // layers[0].dilation
    depthwise = isinstance(layers[0].convolution, DepthwiseGates)
    if depthwise and scores is not None:
        raise ValueError("depthwise layers take no score")
    offsets = []
    for layer, constant in zip(layers, constants, strict=True):
        bias = layer.convolution.bias
        offset = bias.expand(batch, *bias.shape)
        offsets.append(offset if constant is None else offset + constant.reshape(offset.shape))
    if depthwise:
        taps = [layer.convolution.weight.permute(2, 0, 1) for layer in layers]  # [F, 2, C]
    else:
        taps = [layer.convolution.weight.permute(2, 1, 0).flatten(0, 1) for layer in layers]  # [F C, 2C]
    own_skips = [layer.skip for layer in layers if layer.skip is not None]
    products = stream.new_zeros(len(layers), width, 0, 2 * channels) if scores is None else scores.products
    run_at = stream.new_zeros(batch, length, dtype=torch.int64) if scores is None else scores.run_at[:, -length:]
    output = Stack.apply(
        stream.transpose(1, 2),
        torch.stack(taps),
        torch.stack(offsets),
        torch.stack([layer.residual.weight[:, :, 0] for layer in layers]),
        torch.stack([layer.residual.get_parameter("bias") for layer in layers]),
        products,
        torch.stack([skip.weight[:, :, 0] for skip in own_skips])
        if own_skips
        else stream.new_zeros(len(layers), 0, channels),
        run_at,
        tuple(layer.dilation for layer in layers),
    ).transpose(1, 2)
    if own_skips:
        return output + torch.stack([skip.get_parameter("bias") for skip in own_skips]).sum(dim=0)[:, None]
    # Shared skips are all that is added to the stream: its end less its beginning.
    return output - stream[:, :, -output.shape[2] :] if layers[0].skip_is_shared else output


def head_loss(head: Head, stream: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy in nats of the head's logits.

    Args:
        stream: the head's input, [B, C, T].
        target: classes [B, T].

    Raises:
        ValueError: a class that the head does not have, or not one for each sample.
    """
    # Compiled code does not check its indices.
    if target.shape != (stream.shape[0], stream.shape[2]):
        raise ValueError(f"classes {list(target.shape)} for a stream {list(stream.shape)}")
    if not 0 <= int(target.min()) <= int(target.max()) < head.logits.out_channels:
        raise ValueError(f"classes run from 0 to {head.logits.out_channels - 1}")
    weights = (head.hidden.weight[:, :, 0], head.hidden.bias, head.logits.weight[:, :, 0], head.logits.bias)
    return HeadLoss.apply(stream.transpose(1, 2), target, head.activation is functional.selu, *weights)
