"""Training of the paper's networks on a GPU: corpora in its memory, half precision, a step is one CUDA graph.

Run, folder, checkpoints and resuming are `Trainer`'s. Slices are drawn on the device (`synthnet.corpus.resident`), the
loss is that of `synthnet.models.time_major`. All of it runs on a CPU, too, without the graph, for tests.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from synthnet.corpus.resident import ResidentSlices
from synthnet.corpus.slices import SliceDataset
from synthnet.files import InputError
from synthnet.kernels.products import gated
from synthnet.models import Losses, Network
from synthnet.models.time_major import Parts, slice_loss
from synthnet.training.settings import PRECISION, annealed
from synthnet.training.trainer import Trainer

PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
FIRST_SCALE, GROW_AFTER = 2.0**16, 1000  # of the loss scale; steps without an overflow
EAGER_STEPS = 3  # before the graph is captured: libraries set themselves up


class LossScale(nn.Module):
    """A factor that keeps gradients within half precision; it lives on the device and is saved with a run.

    It is halved when a gradient overflows, and that step is left out; after 1,000 steps without, it doubles.
    """

    value: Tensor
    steps: Tensor  # without an overflow, since it last changed

    def __init__(self, dynamic: bool) -> None:
        super().__init__()
        self.dynamic = dynamic
        self.register_buffer("value", torch.tensor(FIRST_SCALE if dynamic else 1.0))
        self.register_buffer("steps", torch.tensor(0.0))

    def update(self, overflow: Tensor) -> None:
        """After a step, given 1 where a gradient was not finite, else 0."""
        if self.dynamic:
            self.steps.add_(1).mul_(1 - overflow)
            grown = (self.steps >= GROW_AFTER).float()
            self.value.mul_(1 + grown - 0.5 * overflow)
            self.steps.mul_(1 - grown)


def fast_parts(device: torch.device) -> Parts:
    """Triton's kernels and a compiled gate, or plain torch and a line to stderr where they do not run."""
    try:
        from synthnet.kernels import fused

        taps, bias, residual, x = (
            torch.zeros(shape, device=device) for shape in ((2, 2, 16), (2, 16), (16, 16), (8, 16))
        )
        fused.stack(x, [1], [(taps, bias, residual)])
    except Exception as error:  # whatever a missing compiler or driver raises
        reason = str(error).partition("\n")[0] or type(error).__name__
        print(f"Training is slower here: Triton's kernels do not run ({reason:.80}).", file=sys.stderr)
        return Parts()
    return Parts(fused.stack, fast_gated if device.type == "cuda" else gated)


def fast_gated(gates: Tensor) -> Tensor:
    """`gated`, compiled at the first call, which takes seconds: SynthNet does without. Where it fails, it is eager."""
    return compiled_gate()(gates)


@functools.cache
def compiled_gate() -> Callable[[Tensor], Tensor]:
    """For gates of any length."""
    import torch._dynamo  # slow

    torch._dynamo.config.suppress_errors = True  # a warning is enough
    return torch.compile(gated, dynamic=True)


class ResidentTrainer(Trainer):
    """A run of one of the paper's networks; its arguments are those of `Trainer`, with a `SliceDataset`.

    Args:
        precision: of activations, "float16" with a dynamic loss scale, "bfloat16" or "float32".
    """

    dataset: SliceDataset

    def __init__(self, *arguments: Any, precision: str = PRECISION, **options: Any) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
        super().__init__(*arguments, **options)
        self.precision, self.dtype = precision, PRECISIONS[precision]
        self.scale = LossScale(dynamic=self.dtype == torch.float16).to(self.device)
        self.learner.modules["scale"] = self.scale
        self.network: Network = self.learner.network  # type: ignore[assignment]
        self.adam: Any = self.learner.optimisers["adam"]
        self.rate = torch.zeros((), device=self.device)
        self.number = torch.zeros((), dtype=torch.int64, device=self.device)  # of the step's first slice
        self.losses = torch.zeros(2, device=self.device)
        self.steps_taken = 0

    def prepare(self) -> nn.Module:
        """Put the corpora on the device; all work goes to one stream, where the graph is captured."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.set_stream(torch.cuda.Stream())
        self.slices = ResidentSlices(self.dataset, self.network.config.filter_width, self.device)
        self.parts = fast_parts(self.device)
        for group in self.adam.param_groups:
            group["lr"] = self.rate  # a tensor, so that the graph reads it
        whole = [self.backward_and_update] if self.world == 1 else [self.backward, self.average_gradients, self.update]
        self.work: list[Callable[[], None]] = whole
        return self.network

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """Nothing, endlessly: slices are drawn within the step."""
        return itertools.repeat({})

    def train_step(self, module: torch.nn.Module, batch: dict[str, Tensor], elapsed_s: float) -> Losses:
        self.rate.fill_(annealed(self.training, self.step, elapsed_s))
        self.number.fill_(self.step * self.slices_per_step + self.rank * self.training.batch)
        try:
            self.take_step()
        except torch.cuda.OutOfMemoryError:
            raise InputError(
                f"{self.folder}: the GPU has too little memory; train again with a smaller --set n_predicted "
                f"than {self.training.n_predicted}"
            ) from None
        self.learner.average_weights(self.step)
        return Losses(*self.losses)

    def backward(self) -> None:
        """Losses and gradients of the slices of this process, their mean."""
        self.losses.zero_()
        for place in range(self.training.batch):
            losses = slice_loss(self.network, self.slices.draw(self.number + place), self.dtype, self.parts)
            (losses.total * (self.scale.value / self.training.batch)).backward()
            self.losses.add_(torch.stack(losses).detach() / self.training.batch)

    def average_gradients(self) -> None:
        """Over all processes."""
        gradients = self.gradients()
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts = (flat / self.world).split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(old) for part, old in zip(parts, gradients, strict=True)])

    def gradients(self) -> list[Tensor]:
        """Those that there are: the last residual of a network with skips has none."""
        return [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]

    def update(self) -> None:
        """Adam's step, without scale, left out if a gradient is not finite."""
        norms = torch.stack(torch._foreach_norm(self.gradients()))
        overflow = 1 - torch.isfinite(norms).all().float()
        self.adam.grad_scale, self.adam.found_inf = self.scale.value, overflow
        self.adam.step()
        self.scale.update(overflow)

    def backward_and_update(self) -> None:
        """A step of a single process."""
        self.backward()
        self.update()

    def take_step(self) -> None:
        """On a GPU the first steps set the libraries up; later ones replay graphs."""
        if self.device.type != "cuda" or self.steps_taken <= EAGER_STEPS:
            self.network.zero_grad(set_to_none=True)
        if self.device.type == "cuda" and self.steps_taken == EAGER_STEPS:
            for group in self.adam.param_groups:
                group["capturable"] = True
            self.work = [work if work == self.average_gradients else captured(work) for work in self.work]
        for work in self.work:
            work()
        self.steps_taken += 1


def captured(work: Callable[[], None]) -> Callable[[], None]:
    """Work on a GPU as the replay of a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        work()
    replay: Callable[[], None] = graph.replay
    return replay
