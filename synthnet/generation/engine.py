"""The torch engine of the paper's networks: the reference on a CPU, and the fast one on a GPU.

An engine advances B streams together, one cached step at a time. It sees arrays only: the score comes in as a
`Conditioning`, the randomness as uniform numbers, so that two engines given the same inputs must make the same samples.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from synthnet.audio.mulaw import CLASS_BOUNDARIES, decode_mu_law
from synthnet.files import InputError
from synthnet.models.autoregressive import Conditioning, Network
from synthnet.models.config import CLASSES, MODELS

SMALLEST_SHARED = 4096  # channels of all streams: handing a smaller step to several threads takes longer than the step
ROOM = 128  # samples whose conditioning is laid out at a time


class Engine(Protocol):
    """The interface of generation to an engine."""

    def prime(self, x: Tensor, roll: Tensor, instruments: Tensor | None) -> None:
        """Take in a history of receptive field samples: x [B, RF] classes; the last one is the first step's input."""
        ...

    def advance(
        self, conditioning: Conditioning, uniforms: np.ndarray, temperature: float, feeds_mean: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Generate T samples of each stream.

        Args:
            conditioning: the score's contributions to these T samples.
            uniforms: float64 [B, T] in [0, 1): each picks a class from the cumulated distribution.
            temperature: divides the logits, positive.
            feeds_mean: bool [B], the streams whose next input is the class of the mean, not the class drawn.

        Returns:
            The next inputs, classes uint8 [B, T], and the means of the decoded distributions, float32 [B, T] in
            [-1, 1].
        """
        ...


class TorchEngine:
    """`Engine` in torch, on any device; on CUDA a step of all streams is one CUDA graph.

    A step has the same shapes and buffers each time, and reads nothing back: all that changes from step to step, also
    where in the rings and in the conditioning it is, lies on the device. The taps on the past are taken for all layers
    together; then a layer adds its present input, and its residual. The biases of the residuals are left out of the
    stream and of the rings, and moved into those of the next layers and of the head.

    Attributes:
        taps: oldest input first, depthwise [F, L, 1, 2, C] or full [F, L, C, 2C].
        biases: of the residuals below each layer and the head, added up, [L + 1, C].
        rings: [slots of all layers, B, C], the layers' past inputs; the input of step t lies at t modulo its reach.
        inputs: [B, F] last classes, oldest first.
        streams: [L + 1, B, C], the present inputs of the layers and of the head.
    """

    @torch.no_grad()
    def __init__(self, network: Network) -> None:
        config, layers, device = network.config, network.stack, device_of(network)
        self.network, self.device, self.variant = network, device, MODELS[config.model]
        dilations = torch.tensor(config.layer_dilations, device=device)[:, None]
        self.reaches = (config.filter_width - 1) * dilations  # [L, 1]
        self.first_slots = self.reaches.cumsum(0) - self.reaches
        self.ages = dilations * torch.arange(config.filter_width - 1, device=device)  # [L, F - 1]
        self.tables = network.audio.tables().flatten(0, 1)
        self.table_starts = torch.arange(0, len(self.tables), CLASSES, device=device)
        weights = torch.stack([layer.convolution.weight for layer in layers])
        self.taps = weights.permute(3, 0, 1, 2)[:, :, None] if self.variant.separable else weights.permute(3, 0, 2, 1)
        self.taps = self.taps.contiguous()
        self.residuals = torch.stack([layer.residual.weight[:, :, 0].T for layer in layers]).contiguous()
        biases = torch.stack([layer.residual.bias for layer in layers])
        self.biases = torch.cat([torch.zeros_like(biases[:1]), biases.cumsum(0)])
        self.gate_biases = torch.stack([layer.convolution.bias.flatten() for layer in layers])[:, None]  # [L, 1, 2C]
        for taps in self.taps:
            self.gate_biases = self.add_input(self.gate_biases, self.biases[:-1, None], taps)
        skips = [layer.skip for layer in layers if layer.skip is not None]
        if skips:
            self.skips = torch.stack([skip.weight[:, :, 0].T for skip in skips]).contiguous()
            self.skip_bias = torch.stack([skip.bias for skip in skips]).sum(0)
        fused = fused_layer(device) if self.variant.separable else None
        self.pass_layer = fused or self.eager_layer
        self.levels = torch.from_numpy(decode_mu_law(np.arange(CLASSES)).astype(np.float32)).to(device)
        self.boundaries = torch.from_numpy(CLASS_BOUNDARIES).to(device)

    @torch.no_grad()
    def prime(self, x: Tensor, roll: Tensor, instruments: Tensor | None) -> None:
        """See `Engine.prime`. The streams are primed one after the other, which bounds the memory."""
        n_streams, (n_layers, channels) = len(x), self.residuals.shape[:2]
        everywhere = self.variant.score == "every-layer"

        def zeros(*shape: int, dtype: torch.dtype = self.residuals.dtype) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        self.rings = zeros(int(self.reaches.sum()), n_streams, channels)
        self.streams = zeros(n_layers + 1, n_streams, channels)
        self.inputs = zeros(n_streams, len(self.taps), dtype=torch.long)
        self.entry = zeros(ROOM, 1 if everywhere else n_streams, channels)
        self.gates = zeros(ROOM if everywhere else 1, n_layers, n_streams, 2 * channels)
        self.uniforms = zeros(ROOM, n_streams, dtype=torch.float64)
        self.temperature = torch.ones_like(self.uniforms[0, 0])
        self.feeds_mean = zeros(n_streams, dtype=torch.bool)
        self.classes, self.means = zeros(ROOM, n_streams, dtype=torch.long), zeros(ROOM, n_streams, dtype=torch.float32)
        self.place, self.clock = zeros(1, dtype=torch.long), zeros(1, dtype=torch.long)
        self.take_step = captured(self.step) if self.device.type == "cuda" else self.step
        self.clock.zero_()
        for number in range(n_streams):
            one = slice(number, number + 1)
            cache = self.network.prime(
                x[one, :-1], roll[one, :, :-1], None if instruments is None else instruments[one]
            )
            past = [ring[:, 0] - bias for ring, bias in zip(cache.rings, self.biases[:-1], strict=True)]
            self.rings[:, number] = torch.cat(past)
            self.inputs[number] = torch.cat([cache.classes[0], x[number, -1:]])

    @torch.no_grad()
    def advance(
        self, conditioning: Conditioning, uniforms: np.ndarray, temperature: float, feeds_mean: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine.advance`."""
        self.temperature.fill_(temperature)
        self.feeds_mean.copy_(torch.from_numpy(feeds_mean))
        classes, means = np.empty(uniforms.shape, np.uint8), np.empty(uniforms.shape, np.float32)
        threads = torch.get_num_threads()
        if self.streams[0].numel() < SMALLEST_SHARED:
            torch.set_num_threads(1)
        try:
            for start in range(0, uniforms.shape[1], ROOM):
                part = slice(start, min(start + ROOM, uniforms.shape[1]))
                length = part.stop - start
                self.lay_out(conditioning, part)
                self.uniforms[:length].copy_(torch.from_numpy(uniforms[:, part].T))
                self.place.zero_()
                for _ in range(length):
                    self.take_step()
                classes[:, part], means[:, part] = (made[:length].T.cpu() for made in (self.classes, self.means))
        finally:
            torch.set_num_threads(threads)
        return classes, means

    def lay_out(self, conditioning: Conditioning, part: slice) -> None:
        """Copy the contributions to some samples to where a step finds them, with the biases."""
        if conditioning.entry is not None:
            self.entry[: part.stop - part.start] = conditioning.entry[:, :, part].permute(2, 0, 1)
        for layer, gate in enumerate(conditioning.gates):
            given = 0.0 if gate is None else (gate if gate.shape[2] == 1 else gate[:, :, part]).permute(2, 0, 1)
            self.gates[: part.stop - part.start, layer] = self.gate_biases[layer] + given

    def step(self) -> None:
        """Draw the next class of all streams, and make it their next input."""
        classes, means = self.draw(self.logits())
        self.classes.index_copy_(0, self.place, classes[None])
        self.means.index_copy_(0, self.place, means[None])
        self.inputs.copy_(torch.cat([self.inputs[:, 1:], classes[:, None]], dim=1))
        self.place += 1
        self.clock += 1

    def logits(self) -> Tensor:
        """Logits [B, 256] of the next sample; the layers' inputs replace the oldest ones of their rings."""
        streams = self.streams
        slots = self.first_slots + (self.clock + self.ages) % self.reaches
        past = self.rings.index_select(0, slots.flatten()).unflatten(0, slots.shape)  # [L, F - 1, B, C]
        gates = self.gates.index_select(0, self.place)[0] if len(self.gates) > 1 else self.gates[0]
        for tap, taps in enumerate(self.taps[:-1]):
            gates = self.add_input(gates, past[:, tap], taps)
        rows = self.inputs[:, -len(self.table_starts) :] + self.table_starts
        entering = functional.embedding(rows, self.tables).sum(1)
        if self.variant.audio == "one-hot":
            entering = torch.tanh(entering)
        change, hidden = self.entry.index_select(0, self.place)[0], []
        for layer, residual in enumerate(self.residuals):
            hidden.append(self.pass_layer(entering, change, gates[layer], self.taps[-1, layer], streams[layer]))
            entering, change = streams[layer], hidden[-1] @ residual
        torch.add(entering, change, out=streams[-1])
        self.rings.index_copy_(0, slots[:, 0], streams[:-1])
        if self.variant.skip == "own":
            return self.head(torch.bmm(torch.stack(hidden), self.skips).sum(0) + self.skip_bias)
        end = streams[-1] + self.biases[-1]
        return self.head(end - streams[0] if self.variant.skip == "shared" else end)

    def eager_layer(self, x: Tensor, change: Tensor, gates: Tensor, taps: Tensor, stream: Tensor) -> Tensor:
        """The hidden units [B, C] of a layer, whose present input x + change goes to `stream`."""
        torch.add(x, change, out=stream)
        here = self.add_input(gates, stream, taps)
        here[:, : stream.shape[1]].tanh_()
        return functional.glu(here, dim=1)

    def add_input(self, gates: Tensor, x: Tensor, taps: Tensor) -> Tensor:
        """Gates [..., B, 2C] with what one input [..., B, C] of the convolution adds to them."""
        if self.variant.separable:
            return torch.addcmul(gates.unflatten(-1, (2, -1)), x[..., None, :], taps).flatten(-2)
        return (torch.baddbmm if x.ndim == 3 else torch.addmm)(gates, x, taps)

    def head(self, x: Tensor) -> Tensor:
        """[B, C] -> logits [B, 256]."""
        return self.network.head(x[:, :, None])[:, :, 0]

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The next inputs, classes [B], and the means of the decoded distributions [B]."""
        probabilities = torch.softmax(logits.double() / self.temperature, dim=1)
        uniforms = self.uniforms.index_select(0, self.place).T
        # Rounding can leave the sum just below 1.
        picked = (probabilities.cumsum(1) <= uniforms).sum(1).clamp(max=CLASSES - 1)
        means = probabilities.float() @ self.levels
        nearest = (self.boundaries <= means.double()[:, None]).sum(1)
        return torch.where(self.feeds_mean, nearest, picked), means


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """A CUDA graph that does the same as `step`, which is run once meanwhile."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries take their memory before the capture
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def fused_layer(device: torch.device) -> Callable[..., Tensor] | None:
    """`TorchEngine.eager_layer` of separable layers as one Triton kernel; None where it does not run.

    The kernels of a step are so small that their number decides how long it takes.
    """
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"  # as in the tests: no graph can be captured then
    if device.type == "cuda" and not interpreted:
        with contextlib.suppress(Exception):  # whatever a missing compiler or driver raises
            from synthnet.kernels.fused import step_layer

            x, gates = torch.zeros(1, 16, device=device), torch.zeros(1, 32, device=device)
            step_layer(x, x, gates, gates, torch.empty_like(x))
            return step_layer
    return None


def choose_device(name: str) -> torch.device:
    """The device of this name, or for "auto" a GPU if there is one; InputError if it cannot be used."""
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    with contextlib.suppress(RuntimeError, AssertionError):
        device = torch.device(wanted)
        torch.zeros(1, device=device)
        if device.type in ("cpu", "cuda"):
            torch.backends.cudnn.allow_tf32 = False  # as products: full passes and cached steps give the same logits
            return device
    raise InputError(f"device {name!r} cannot be used here; auto, cpu or cuda may be")


def device_of(network: Network) -> torch.device:
    """The device of a network's weights."""
    return next(network.parameters()).device
