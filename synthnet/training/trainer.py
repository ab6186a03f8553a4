"""The training loop: random slices of the corpora, resumable to the bit, data-parallel under torchrun.

Adam trains all weights, or those that are not matrices, with Muon for the rest. All randomness is a function of the
seed and the number of a slice, so that N steps followed by N resumed steps are the same computation as 2N steps.

The loop knows a model by its config, which builds it, and by `Model.loss` of a batch of the dataset.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from synthnet.files import InputError, Interrupted
from synthnet.models import Losses, Model
from synthnet.training.settings import annealed
from synthnet.training.state import RunState

EMA_EVERY_STEPS = 5
REPORT_EVERY_STEPS = 10  # reading a loss waits for a GPU
LOSSES_AVERAGED = 20  # reports
SAVE_EVERY_S = 120.0


class Trainer(RunState):
    """A run that learns; its arguments are those of `RunState`."""

    def run(
        self,
        *,
        until_step: int | None,
        until_s: float | None,
        on_step: Callable[[float, float, float], None],
        validate: Callable[[Any], dict[str, float]],
        validate_now: Callable[[int, float], bool],
        stop_now: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train until a step or a time (of the whole run, resumed parts included) is reached.

        Args:
            on_step: called every ten steps with the loss in nats and the audio's part of it, means of the last 200
                steps, and the share of the run that is done.
            validate: figures of the averaged model; the lowest "rmse_cqt_db" among them is the best checkpoint.
                Rank 0 alone calls it, and once more at the end.
            validate_now: whether to validate after (step, elapsed seconds).
            stop_now: whether to stop before the next step, as after a signal.

        Raises:
            Interrupted: SIGINT or SIGTERM came, or `stop_now` said so; the state is saved.
            InputError: the loss is not finite; the checkpoints saved before stay as they were.
        """
        module = self.prepare()
        begun, last_saved, validated_at = time.monotonic() - self.elapsed_s, time.monotonic(), -1
        recent: deque[tuple[float, float]] = deque(maxlen=LOSSES_AVERAGED)
        with stop_on_signals() as stopped:
            for batch in self.batches():
                self.elapsed_s = time.monotonic() - begun
                share = max(self.step / until_step if until_step else 0.0, self.elapsed_s / until_s if until_s else 0.0)
                finish, interrupted, elapsed_s = self.agree(share >= 1.0, stopped() or stop_now(), self.elapsed_s)
                if finish or interrupted:
                    break
                loss, error = self.train_step(module, batch, elapsed_s)
                self.step += 1
                if self.step % REPORT_EVERY_STEPS == 0 or self.step == 1:
                    self.check_finite(loss)
                    recent.append((loss.item(), error.item()))
                    mean_loss, mean_error = (sum(values) / len(values) for values in zip(*recent, strict=True))
                    on_step(mean_loss, mean_error, share)
                    if self.step % (REPORT_EVERY_STEPS * LOSSES_AVERAGED) == 0:
                        self.record({"loss": mean_loss, f"train_{self.network.error_name}": mean_error})
                if self.rank == 0 and validate_now(self.step, self.elapsed_s):
                    self.check_finite(loss)
                    self.keep_if_best(validate(self.average))
                    validated_at = self.step
                if self.rank == 0 and time.monotonic() - last_saved > SAVE_EVERY_S:
                    self.check_finite(loss)
                    self.save()
                    last_saved = time.monotonic()
        if self.step:
            self.check_finite(*self.network.parameters())
        if self.rank == 0:
            self.elapsed_s = time.monotonic() - begun
            self.save()
            if not interrupted and validated_at != self.step:
                self.keep_if_best(validate(self.average))
                self.save()
        if interrupted:
            raise Interrupted(f"{self.folder}: stopped at step {self.step} and saved; --resume goes on from there")

    def prepare(self) -> torch.nn.Module:
        """What `train_step` takes, compiled and for all processes; called once, before the first step."""
        self.network.compile_loss()
        module = LossModule(self.network)
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
        """One step of the optimisers; returns the losses before it."""
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = annealed(self.training, self.step, elapsed_s)
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            losses = module(batch)
        self.network.zero_grad(set_to_none=True)
        losses.total.backward()
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.average_weights()
        return Losses(*(loss.detach() for loss in losses))

    @torch.no_grad()
    def average_weights(self) -> None:
        """After a step, let the averaged model follow, if it is due."""
        if self.training.ema_decay and (self.step + 1) % EMA_EVERY_STEPS == 0:
            updates = (self.step + 1) // EMA_EVERY_STEPS
            decay = min(self.training.ema_decay, (1 + updates) / (10 + updates))  # follows closely at first
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    @property
    def precision(self) -> str:
        return "bfloat16" if self.device.type == "cuda" else "float32"

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
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    seen: list[int] = []

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(seen)
    finally:
        restore()


def leave_signals_to_parent(worker: int) -> None:
    """In a worker process, ignore Ctrl-C: it reaches the whole group, but only the trainer decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
