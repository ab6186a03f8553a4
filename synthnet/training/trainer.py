"""The training loop: random slices of the corpora, resumable to the bit, data-parallel under torchrun.

Adam trains everything, or all but the matrices, which Muon trains then.
All randomness is a function of (seed, slice number), as the dataset makes its slices. There is no generator state to
save, and N steps followed by N resumed steps are the same computation as 2N steps.

The loop knows a model by its config, which builds it, and by `Model.loss` of a batch of the dataset.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from synthnet.files import InputError, Interrupted
from synthnet.models import Config, Losses, Model, build_model
from synthnet.models.checkpoint import Checkpoint, arrays_of, load_tensors, save_checkpoint, save_tensors
from synthnet.training.muon import Muon
from synthnet.training.settings import TrainingConfig, annealed

ADAM_BETAS = (0.9, 0.999)

ADAM_EPSILON = 1e-8

EMA_EVERY_STEPS = 5

LOSSES_AVERAGED = 20  # of every tenth step, in what is shown and in a row of metrics.jsonl


@dataclass
class Progress:
    """What the loop reports, every ten steps."""

    step: int
    elapsed_s: float  # of the whole run, resumed parts included
    loss: float  # minimised, in nats, mean of the last 200 steps
    error: float  # the audio's part of it, likewise
    share_done: float  # of what this call was asked to reach


class Trainer:
    """A run: network, optimiser, slices, and the folder that they are saved in.

    Args:
        folder: of the run; `last.safetensors`, `best.safetensors` (playable), `state.safetensors` (to resume)
            and `metrics.jsonl` are written there, by rank 0 alone.
        config: of the model, which is built from it.
        dataset: makes the training slices, dictionaries of tensors that the model's loss takes in batches.
        sample_rate_hz, instruments, provenance: for the checkpoints; resuming checks the last two.
        span: how long the run is meant to be, for whoever resumes it.
        workers: processes that prepare slices.
        start: a state, by name, to begin with; None: fresh weights.

    Raises:
        InputError: when resuming, the state is missing, damaged, or of another network or recipe.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        training: TrainingConfig,
        dataset: Dataset[dict[str, Tensor]],
        *,
        sample_rate_hz: int,
        instruments: tuple[str, ...],
        provenance: dict[str, Any],
        device: torch.device,
        resume: bool,
        span: dict[str, Any] | None = None,
        workers: int = 0,
        start: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.folder, self.config, self.training, self.dataset = folder, config, training, dataset
        self.sample_rate_hz, self.instruments, self.provenance = sample_rate_hz, instruments, provenance
        self.device, self.workers, self.span = device, workers, span
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        torch.manual_seed(training.seed)
        self.network: Model = build_model(config).to(device)
        if start is not None:
            self.network.load_state_dict({name: torch.from_numpy(x) for name, x in start.items()})
        self.average = copy.deepcopy(self.network) if training.ema_decay else self.network
        matrices = self.network.matrices() if training.muon else []
        rest = set(self.network.parameters()) - set(matrices)
        adam = torch.optim.Adam(
            [parameter for parameter in self.network.parameters() if parameter in rest],
            lr=training.learning_rate,
            betas=ADAM_BETAS,
            eps=ADAM_EPSILON,
            weight_decay=training.weight_decay,
            fused=True,
        )
        self.optimisers: dict[str, torch.optim.Optimizer] = {"adam": adam}
        if matrices:
            self.optimisers["muon"] = Muon(matrices, training.learning_rate, training.matrix_decay)
        self.step, self.elapsed_s, self.best = 0, 0.0, math.inf
        self.board = SummaryWriter(str(folder / "tensorboard")) if self.rank == 0 else None
        if resume:
            self.load_state()

    @property
    def slices_per_step(self) -> int:
        """Over all processes."""
        return self.training.batch * self.world

    @property
    def samples(self) -> int:
        """Predicted so far, over all processes."""
        return self.step * self.slices_per_step * self.training.n_predicted

    def run(
        self,
        *,
        until_step: int | None,
        until_s: float | None,
        on_step: Callable[[Progress], None],
        validate: Callable[[Any], dict[str, float]],
        validate_now: Callable[[int, float], bool],
        save_every_s: float = 120.0,
    ) -> None:
        """Train until a step or a time (of the whole run, resumed parts included) is reached.

        Args:
            validate: figures of the averaged model; the lowest "rmse_cqt_db" among them is the best checkpoint.
                Called by rank 0 alone, and once more at the end.
            validate_now: whether to validate after (step, elapsed seconds).

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            InputError: the loss is not finite; the checkpoints saved before stay as they were.
        """
        module: torch.nn.Module = LossModule(self.network)
        if self.world > 1:
            module = DistributedDataParallel(module, static_graph=True)
        begun, last_saved = time.monotonic() - self.elapsed_s, time.monotonic()
        validated_at = -1
        recent: deque[tuple[float, float]] = deque(maxlen=LOSSES_AVERAGED)
        with stop_on_signals() as stopped, self.network.training_threads():
            for batch in self.batches():
                self.elapsed_s = time.monotonic() - begun
                share = max(self.step / until_step if until_step else 0.0, self.elapsed_s / until_s if until_s else 0.0)
                finish, interrupted, elapsed_s = self.agree(share >= 1.0, stopped(), self.elapsed_s)
                if finish or interrupted:
                    break
                loss, error = self.train_step(module, batch, elapsed_s)
                self.step += 1
                if self.step % 10 == 0 or self.step == 1:  # reading a loss waits for a GPU
                    self.check_finite(loss)
                    recent.append((loss.item(), error.item()))
                    mean_loss, mean_error = (sum(values) / len(values) for values in zip(*recent, strict=True))
                    on_step(Progress(self.step, self.elapsed_s, mean_loss, mean_error, share))
                    if self.step % (10 * LOSSES_AVERAGED) == 0:
                        self.record({"loss": mean_loss, f"train_{self.network.error_name}": mean_error})
                if self.rank == 0 and validate_now(self.step, self.elapsed_s):
                    self.check_finite(loss)
                    self.keep_if_best(validate(self.average))
                    validated_at = self.step
                if self.rank == 0 and time.monotonic() - last_saved > save_every_s:
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

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """Batches of this process from the present step on, endlessly."""
        size, first = self.training.batch, self.step * self.slices_per_step + self.rank * self.training.batch
        loader = DataLoader(
            self.dataset,
            batch_sampler=SliceNumbers(first, size, self.slices_per_step),
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=leave_signals_to_parent,
            collate_fn=getattr(self.dataset, "collate", None),
        )
        yield from loader

    def train_step(self, module: torch.nn.Module, batch: dict[str, Tensor], elapsed_s: float) -> Losses:
        """One optimiser step; the losses before it."""
        rate = annealed(self.training, self.step, elapsed_s)
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            losses = module(batch)
        self.network.zero_grad(set_to_none=True)
        losses.total.backward()
        for optimiser in self.optimisers.values():
            optimiser.step()
        if self.training.ema_decay and (self.step + 1) % EMA_EVERY_STEPS == 0:
            updates = (self.step + 1) // EMA_EVERY_STEPS
            decay = min(self.training.ema_decay, (1 + updates) / (10 + updates))  # follows closely at first
            with torch.no_grad():
                for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                    mean.lerp_(value, 1 - decay)
        return Losses(*(loss.detach() for loss in losses))

    def agree(self, finish: bool, interrupted: bool, elapsed_s: float) -> tuple[bool, bool, float]:
        """Rank 0's word on whether to go on and what time it is, so that all processes do the same."""
        if self.world == 1:
            return finish, interrupted, elapsed_s
        word = torch.tensor([finish, interrupted, elapsed_s], dtype=torch.float64, device=self.device)
        dist.broadcast(word, src=0)
        return bool(word[0]), bool(word[1]), float(word[2])

    def check_finite(self, *tensors: Tensor) -> None:
        """Raise InputError if any value is not finite; what was saved before stays."""
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise InputError(
                f"{self.folder}: the loss is no longer finite at step {self.step}; the last good checkpoint is kept "
                "(train again with a lower --learning-rate)"
            )

    def record(self, figures: dict[str, float]) -> None:
        """Append figures to metrics.jsonl and to TensorBoard; rank 0 alone."""
        if self.board is None:
            return
        row = {"step": self.step, "elapsed_s": round(self.elapsed_s, 2), **figures}
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in figures.items():
            self.board.add_scalar(name, value, self.step)

    def keep_if_best(self, figures: dict[str, float]) -> None:
        """Record validation figures, and keep the model if no earlier one was as good."""
        self.record(figures)
        if figures["rmse_cqt_db"] < self.best:
            self.best = figures["rmse_cqt_db"]
            save_checkpoint(self.folder / "best.safetensors", self.checkpoint(figures))

    def checkpoint(self, figures: dict[str, float]) -> Checkpoint:
        """The playable model as it is now."""
        training = {
            **self.provenance,
            "steps": self.step,
            "samples": self.samples,
            "elapsed_s": round(self.elapsed_s, 1),
            "settings": dataclasses.asdict(self.training),
        }
        weights = arrays_of(self.average.state_dict())
        kept = {"validation": figures} if figures else {}
        return Checkpoint(self.config, self.sample_rate_hz, self.instruments, training, weights, figures=kept)

    def save(self) -> None:
        """Write the playable network and the state to resume from."""
        save_checkpoint(self.folder / "last.safetensors", self.checkpoint({}))
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self.average is not self.network:
            tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for kind, optimiser in self.optimisers.items():
            for number, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"{kind}.{number}.{name}": value for name, value in moments.items()}
        facts = {
            "kind": self.config.kind,
            "config": self.config.as_dict(),
            "training": dataclasses.asdict(self.training),
            "world": self.world,
            "instruments": list(self.instruments),
            "provenance": self.provenance,
            "span": self.span,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "best": None if math.isinf(self.best) else self.best,
        }
        save_tensors(self.folder / "state.safetensors", arrays_of(tensors), facts)

    def load_state(self) -> None:
        """Go on where `save` left off."""
        path = self.folder / "state.safetensors"
        tensors, facts = load_tensors(path)
        if facts.get("kind") != self.config.kind:
            raise InputError(f"{path}: holds a model of kind {facts.get('kind')!r}, not {self.config.kind!r}")
        for name, mine in (("config", self.config.as_dict()), ("training", dataclasses.asdict(self.training))):
            theirs = facts.get(name, {})
            for key, value in mine.items():
                if theirs.get(key) != value and not key.startswith("anneal"):  # a longer budget anneals longer
                    raise InputError(f"{path}: was trained with {key} {theirs.get(key)!r}, not {value!r}")
        if facts.get("instruments") != list(self.instruments):
            learned = ", ".join(facts.get("instruments", []))
            raise InputError(f"{path}: was trained on {learned}, not on {', '.join(self.instruments)}")
        if facts.get("provenance", {}).get("corpora") != self.provenance.get("corpora"):
            raise InputError(f"{path}: was trained on other corpora than these, or they have changed since")
        if facts.get("world") != self.world:
            raise InputError(f"{path}: was trained by {facts.get('world')} processes, not {self.world}")
        # What only the run's beginning knew, such as where it started from.
        self.provenance = {**facts.get("provenance", {}), **self.provenance}

        def part(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) :]: torch.from_numpy(x) for name, x in tensors.items() if name.startswith(prefix)}

        try:
            self.network.load_state_dict(part("network."))
            if self.average is not self.network:
                self.average.load_state_dict(part("average."))
            for kind, optimiser in self.optimisers.items():
                moments: dict[int, dict[str, Tensor]] = {}
                for name, value in part(f"{kind}.").items():
                    number, moment = name.split(".")
                    moments.setdefault(int(number), {})[moment] = value
                groups = optimiser.state_dict()["param_groups"]
                optimiser.load_state_dict({"state": moments, "param_groups": groups})
            self.step, self.elapsed_s = int(facts["step"]), float(facts["elapsed_s"])
            self.best = math.inf if facts["best"] is None else float(facts["best"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: damaged ({str(error).splitlines()[0]})") from None


class LossModule(torch.nn.Module):
    """Makes the loss the forward pass, which is what DistributedDataParallel synchronises."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> Losses:
        return self.model.loss(batch)


class SliceNumbers:
    """Batch sampler without end: `size` consecutive slice numbers from `first`, then again `stride` further on."""

    def __init__(self, first: int, size: int, stride: int) -> None:
        self.first, self.size, self.stride = first, size, stride

    def __iter__(self) -> Iterator[list[int]]:
        start = self.first
        while True:
            yield list(range(start, start + self.size))
            start += self.stride


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Within it, the first SIGINT or SIGTERM only sets a flag, so that a step is finished and saved; a second kills."""
    seen = False
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen = True
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: seen
    finally:
        restore()


def leave_signals_to_parent(worker: int) -> None:
    """For a worker process: Ctrl-C reaches the whole group, but only the trainer decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
