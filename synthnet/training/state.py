"""The state of a run and the folder that it is kept in, so that it resumes to the bit."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Dataset

from synthnet.files import InputError, append_line
from synthnet.models.checkpoint import Checkpoint, arrays_of, load_tensors, save_checkpoint, save_tensors
from synthnet.training.learner import Learner
from synthnet.training.settings import Span, TrainingConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def tensorboard_writer(folder: Path) -> SummaryWriter:
    """A writer of TensorBoard logs. It does without TensorFlow, which is slow to load and may be broken."""
    # TensorBoard's own builds without TensorFlow have this module.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
    from torch.utils.tensorboard import SummaryWriter  # slow

    return SummaryWriter(str(folder))


class RunState:
    """A learner, what it learns from, and how far it has come, kept in a folder.

    Rank 0 writes `last.safetensors` and `best.safetensors` (to play), `state.safetensors` (to resume),
    `metrics.jsonl` and a TensorBoard log.

    Args:
        begin: config, sample rate, instruments and provenance, which checkpoints keep and resuming compares, and
            weights to begin with, see `Learner`.
        dataset: makes the training slices, dictionaries of tensors that the model's loss takes in batches.
        span: intended length of the run, for whoever resumes it.
        workers: processes that prepare slices.
    """

    def __init__(
        self,
        folder: Path,
        begin: Checkpoint,
        training: TrainingConfig,
        dataset: Dataset[dict[str, Tensor]],
        *,
        device: torch.device,
        span: Span | None = None,
        workers: int = 0,
    ) -> None:
        self.folder, self.begin, self.training, self.dataset = folder, begin, training, dataset
        self.device, self.span, self.workers = device, span, workers
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.provenance = dict(begin.training)
        self.learner = Learner(begin, training, device)
        self.precision = "bfloat16" if device.type == "cuda" else "float32"  # of a step's products, for the record
        self.step, self.elapsed_s, self.best = 0, 0.0, math.inf
        self.board = tensorboard_writer(folder / "tensorboard") if self.rank == 0 else None

    @property
    def slices_per_step(self) -> int:
        """Slices in a step of all processes."""
        return self.training.batch * self.world

    @property
    def samples(self) -> int:
        """Samples predicted by all processes until now."""
        return self.step * self.slices_per_step * self.training.n_predicted

    def record(self, figures: dict[str, float]) -> None:
        """Append figures to metrics.jsonl and to TensorBoard; rank 0 alone."""
        if self.board is None:
            return
        row = {"step": self.step, "elapsed_s": round(self.elapsed_s, 2), **figures}
        append_line(self.folder / "metrics.jsonl", json.dumps(row))
        for name, value in figures.items():
            self.board.add_scalar(name, value, self.step)

    def keep_if_best(self, figures: dict[str, float]) -> None:
        """Record validation figures, and keep the model if its "rmse_cqt_db" is the lowest until now."""
        self.record(figures)
        if figures["rmse_cqt_db"] < self.best:
            self.best = figures["rmse_cqt_db"]
            save_checkpoint(self.folder / "best.safetensors", self.checkpoint({"validation": figures}))

    def checkpoint(self, figures: dict[str, Any]) -> Checkpoint:
        """The playable model as it is now."""
        training = {
            **self.provenance,
            "steps": self.step,
            "samples": self.samples,
            "elapsed_s": round(self.elapsed_s, 1),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "precision": self.precision,
            "settings": dataclasses.asdict(self.training),
        }
        weights = arrays_of(self.learner.average.state_dict())
        return dataclasses.replace(self.begin, training=training, weights=weights, figures=figures)

    def facts(self) -> dict[str, Any]:
        """The facts in the saved state, as plain values."""
        return {
            "kind": self.begin.config.kind,
            "config": self.begin.config.as_dict(),
            "training": dataclasses.asdict(self.training),
            "world": self.world,
            "instruments": list(self.begin.instruments),
            "provenance": self.provenance,
            "span": self.span and dataclasses.asdict(self.span),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "best": None if math.isinf(self.best) else self.best,
        }

    def save(self) -> None:
        """Write the playable network and the state to resume from."""
        save_checkpoint(self.folder / "last.safetensors", self.checkpoint({}))
        save_tensors(self.folder / "state.safetensors", self.learner.arrays(), self.facts())

    def load(self) -> None:
        """Continue from the state that `save` wrote; InputError if it is damaged, or of another network or recipe."""
        path = self.folder / "state.safetensors"
        arrays, facts = load_tensors(path)
        try:
            theirs = identity(facts)
            for name, value in identity(self.facts()).items():
                if theirs.get(name) != value:
                    raise InputError(f"{path}: was trained with {name} {theirs.get(name)}, not {value}")
            if facts["provenance"].get("corpora") != self.provenance.get("corpora"):
                raise InputError(f"{path}: was trained on other corpora than these, or they have changed since")
            self.provenance = {**facts["provenance"], **self.provenance}  # the first may name the network started from
            self.learner.load(arrays)
            self.step, self.elapsed_s = int(facts["step"]), float(facts["elapsed_s"])
            self.best = math.inf if facts["best"] is None else float(facts["best"])
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
            raise InputError(f"{path}: damaged ({str(error).partition(chr(10))[0]})") from None


def identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that a resumed run must have in common with its beginning, by name; see `RunState.facts`."""
    return {
        "kind": facts["kind"],
        **facts["config"],
        # A longer run anneals longer.
        **{name: value for name, value in facts["training"].items() if not name.startswith("anneal")},
        "instruments": ", ".join(facts["instruments"]),
        "processes": facts["world"],
    }
