"""The state of a run: the model, its optimisers and its checkpoints, saved so that a run resumes to the bit."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Dataset

from synthnet.files import InputError, append_line
from synthnet.models import Model, build_model
from synthnet.models.checkpoint import Checkpoint, arrays_of, load_tensors, save_checkpoint, save_tensors
from synthnet.training.muon import Muon
from synthnet.training.settings import Span, TrainingConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def tensorboard_writer(folder: Path) -> SummaryWriter:
    """A writer of TensorBoard logs. It does without TensorFlow, which is slow to load and may be broken."""
    sys.modules.setdefault(
        "tensorboard.compat.notf", ModuleType("notf")
    )  # what TensorBoard's own builds without it have
    from torch.utils.tensorboard import SummaryWriter  # slow

    return SummaryWriter(str(folder))


class RunState:
    """Model, averaged model, optimisers and progress of a run, and the folder that they are saved in.

    Rank 0 writes `last.safetensors` and `best.safetensors` (to play), `state.safetensors` (to resume),
    `metrics.jsonl` and a TensorBoard log.

    Args:
        begin: config, sample rate, instruments and provenance, which checkpoints keep and resuming compares, and the
            weights to begin with, by name (the others are fresh).
        dataset: makes the training slices, dictionaries of tensors that the model's loss takes in batches.
        span: intended length of the run, for whoever resumes it.
        workers: processes that prepare slices.

    Raises:
        InputError: weights to begin with that do not fit, or a state to resume from that is missing, damaged, or of
            another network or recipe.
    """

    def __init__(
        self,
        folder: Path,
        begin: Checkpoint,
        training: TrainingConfig,
        dataset: Dataset[dict[str, Tensor]],
        *,
        device: torch.device,
        resume: bool = False,
        span: Span | None = None,
        workers: int = 0,
    ) -> None:
        self.folder, self.begin, self.training, self.dataset = folder, begin, training, dataset
        self.device, self.span, self.workers = device, span, workers
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.provenance = dict(begin.training)
        torch.manual_seed(training.seed)
        self.network: Model = build_model(begin.config).to(device)
        present = self.network.state_dict()
        for name, value in begin.weights.items():
            if name not in present or present[name].shape != value.shape:
                raise InputError(f"{folder}: cannot start from {name} of shape {value.shape}")
            present[name].copy_(torch.from_numpy(value))
        self.networks = {"network": self.network}
        self.average = self.network
        if training.ema_decay:
            self.average = self.networks["average"] = copy.deepcopy(self.network)
        matrices = self.network.matrices() if training.muon else []
        rest = set(self.network.parameters()) - set(matrices)
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(
                [parameter for parameter in self.network.parameters() if parameter in rest],
                lr=training.learning_rate,
                weight_decay=training.weight_decay,
                fused=True,
            )
        }
        if matrices:
            self.optimisers["muon"] = Muon(matrices, training.learning_rate, training.matrix_decay)
        self.step, self.elapsed_s, self.best = 0, 0.0, math.inf
        self.board: SummaryWriter | None = None
        if self.rank == 0:
            self.board = tensorboard_writer(folder / "tensorboard")
        if resume:
            self.load()

    @property
    def precision(self) -> str:
        """Precision of the products of a step, for the record."""
        return "float32"

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
        append_line(
            self.folder / "metrics.jsonl",
            json.dumps({"step": self.step, "elapsed_s": round(self.elapsed_s, 2), **figures}),
        )
        for name, value in figures.items():
            self.board.add_scalar(name, value, self.step)

    def keep_if_best(self, figures: dict[str, float]) -> None:
        """Record validation figures, and keep the model if it is the best until now."""
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
        weights = arrays_of(self.average.state_dict())
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
        networks = self.networks.items()
        tensors = {f"{part}.{name}": value for part, net in networks for name, value in net.state_dict().items()}
        for part, optimiser in self.optimisers.items():
            for number, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"{part}.{number}.{name}": value for name, value in moments.items()}
        save_tensors(self.folder / "state.safetensors", arrays_of(tensors), self.facts())

    def load(self) -> None:
        """Continue from the state that `save` wrote."""
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
            parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
            for whole, value in arrays.items():
                part, _, name = whole.partition(".")
                parts[part][name] = torch.from_numpy(value)
            for part, network in self.networks.items():
                network.load_state_dict(parts[part])
            for part, optimiser in self.optimisers.items():
                moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
                for whole, tensor in parts[part].items():
                    number, name = whole.split(".")
                    moments[int(number)][name] = tensor
                optimiser.load_state_dict({**optimiser.state_dict(), "state": dict(moments)})
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
