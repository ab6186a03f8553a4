"""What the tests of training share: trainers, runs to some step, and the comparison of two of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthnet.corpus.corpus import Corpus
from synthnet.corpus.slices import SliceDataset
from synthnet.models import preset_config
from synthnet.models.checkpoint import Checkpoint, load_tensors
from synthnet.training.monitor import Monitor
from synthnet.training.settings import Span, TrainingConfig
from synthnet.training.tasks import Task
from synthnet.training.trainer import Trainer


def network_trainer(
    kind: type[Trainer],
    folder: Path,
    corpus: Corpus,
    training: TrainingConfig,
    *,
    model: str = "synthnet",
    resume: bool = False,
    provenance: dict[str, Any] | None = None,
    start: dict[str, np.ndarray] | None = None,
    **options: Any,
) -> Any:
    """A trainer of a tiny network of the paper's kind, on a corpus."""
    folder.mkdir(exist_ok=True)
    config = preset_config(model, "tiny")
    lengths = {"n_predicted": training.n_predicted, "n_context": config.receptive_field - 1}
    dataset = SliceDataset([corpus], "train", **lengths, seed=training.seed)
    begin = Checkpoint(config, 16_000, ("trumpet",), provenance or {}, start or {})
    trainer = kind(folder, begin, training, dataset, device=torch.device("cpu"), **options)
    if resume:
        trainer.load()
    return trainer


def run_to(
    trainer: Trainer,
    steps: int,
    *,
    show: Callable[[float, float], None] | None = None,
    validated_at: int | None = None,
    figure: Callable[[Any], float] = lambda network: 1.0,
) -> None:
    """Train until a step; `figure` of the averaged network is its RMSE-CQT at `validated_at` and at the end."""
    task = Task(trainer.begin.config, trainer.dataset, lambda network: ({"rmse_cqt_db": figure(network)}, ""), "")
    length = Span(steps=steps)
    monitor = Monitor(task, trainer, length, length, 1, lambda needed_s: False, lambda line: None)
    monitor.is_due = lambda: trainer.step == validated_at
    monitor.show = show or monitor.show
    try:
        trainer.run(monitor)
    finally:
        monitor.bar.close()


def assert_same_files(one: Path, other: Path) -> None:
    """To the bit, the network to play and the state to resume from."""
    for name in ("last.safetensors", "state.safetensors"):
        theirs, mine = (load_tensors(folder / name)[0] for folder in (one, other))
        assert theirs.keys() == mine.keys()
        for key in theirs:
            assert np.array_equal(theirs[key], mine[key]), (name, key)
