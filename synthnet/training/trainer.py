"""The training loop: slices number i, i + 1, ..., a step each, resumable to the bit, data-parallel under torchrun.

All randomness is a function of the seed and the number of a slice, so that N steps followed by N resumed steps are the
same computation as 2N steps. The loop knows a model by its config, which builds it, and by `Model.loss` of a batch of
the dataset.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from synthnet.files import InputError, Interrupted
from synthnet.models import Losses, Model
from synthnet.training.monitor import Monitor
from synthnet.training.state import RunState

REPORT_EVERY_STEPS = 10  # reading a loss waits for a GPU
LOSSES_AVERAGED = 20  # reports
SAVE_EVERY_S = 120.0


class Trainer(RunState):
    """A run that learns; its arguments are those of `RunState`."""

    def run(self, monitor: Monitor) -> None:
        """Train until the monitor's span is over. Rank 0 alone validates, once more at the end.

        Raises:
            Interrupted: SIGINT or SIGTERM came, or the monitor says so; the state is saved.
            InputError: the loss is not finite; the checkpoints saved before stay as they were.
        """
        module = self.prepare()
        begun, last_saved, validated_at = time.monotonic() - self.elapsed_s, time.monotonic(), -1
        recent: deque[tuple[float, float]] = deque(maxlen=LOSSES_AVERAGED)
        with stop_on_signals() as stopped:
            for batch in self.batches():
                self.elapsed_s = time.monotonic() - begun
                stop = stopped() or monitor.stop_now(monitor.longest_s)
                finish, interrupted, elapsed_s = self.agree(monitor.share_done >= 1, stop, self.elapsed_s)
                if finish or interrupted:
                    break
                loss, error = self.train_step(module, batch, elapsed_s)
                self.step += 1
                if self.step % REPORT_EVERY_STEPS == 0 or self.step == 1:
                    self.check_finite(loss)
                    recent.append((loss.item(), error.item()))
                    mean_loss, mean_error = (sum(values) / len(values) for values in zip(*recent, strict=True))
                    monitor.show(mean_loss, mean_error)
                    if self.step % (REPORT_EVERY_STEPS * LOSSES_AVERAGED) == 0:
                        self.record({"loss": mean_loss, f"train_{self.learner.network.error_name}": mean_error})
                if self.rank == 0 and monitor.is_due():
                    self.check_finite(loss)
                    self.keep_if_best(monitor.validate())
                    validated_at = self.step
                if self.rank == 0 and time.monotonic() - last_saved > SAVE_EVERY_S:
                    self.check_finite(loss)
                    self.save()
                    last_saved = time.monotonic()
        if self.step:
            self.check_finite(*self.learner.network.parameters())
        if self.rank == 0:
            self.elapsed_s = time.monotonic() - begun
            self.save()
            if not interrupted and validated_at != self.step:
                self.keep_if_best(monitor.validate())
                self.save()
        if interrupted:
            raise Interrupted(f"{self.folder}: stopped at step {self.step} and saved; --resume goes on from there")

    def prepare(self) -> torch.nn.Module:
        """What `train_step` takes, compiled and for all processes; called once, before the first step."""
        self.learner.network.compile_loss()
        module = LossModule(self.learner.network)
        return DistributedDataParallel(module, static_graph=True) if self.world > 1 else module

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """Batches of this process from the present step on, endlessly."""
        size = self.training.batch
        first = self.step * self.slices_per_step + self.rank * size
        yield from DataLoader(
            self.dataset,
            batch_sampler=(
                list(range(number, number + size)) for number in itertools.count(first, self.slices_per_step)
            ),
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=leave_signals_to_parent,
            collate_fn=getattr(self.dataset, "collate", None),
        )

    def train_step(self, module: torch.nn.Module, batch: dict[str, Tensor], elapsed_s: float) -> Losses:
        """Have the model judge a batch and the learner follow; returns the losses before the step."""
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            losses = module(batch)
        self.learner.follow(losses.total, self.step, elapsed_s)
        return Losses(*(loss.detach() for loss in losses))

    def agree(self, finish: bool, interrupted: bool, elapsed_s: float) -> tuple[bool, bool, float]:
        """Rank 0's decision and clock, so that all processes do the same."""
        if self.world == 1:
            return finish, interrupted, elapsed_s
        word = torch.tensor([finish, interrupted, elapsed_s], dtype=torch.float64, device=self.device)
        dist.broadcast(word, src=0)
        return bool(word[0]), bool(word[1]), float(word[2])

    def check_finite(self, *tensors: Tensor) -> None:
        """Raise InputError if any value is not finite."""
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise InputError(
                f"{self.folder}: the loss is no longer finite at step {self.step}; the last good checkpoint is kept "
                "(train again with a lower --set learning_rate)"
            )


class LossModule(torch.nn.Module):
    """Makes the loss the forward pass, which is what DistributedDataParallel synchronises."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> Losses:
        return self.model.loss(batch)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Within it, the first SIGINT or SIGTERM only sets a flag, so that a step is finished and saved; a second kills."""
    seen: list[int] = []

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        restore()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        restore()


def leave_signals_to_parent(worker: int) -> None:
    """In a worker process, ignore Ctrl-C: it reaches the whole group, but only the trainer decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
