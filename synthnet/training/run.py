"""A training run in a folder: for `synthnet train`, the recipes and the API."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from synthnet import __version__
from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.charts import plot_training
from synthnet.files import InputError, commit, only_one, parse_json
from synthnet.models import Config
from synthnet.models.checkpoint import Checkpoint
from synthnet.models.config import MEASURED
from synthnet.training.monitor import Monitor
from synthnet.training.resident import ResidentTrainer
from synthnet.training.settings import PRECISION, Span, TrainingConfig, has_run
from synthnet.training.tasks import TASKS
from synthnet.training.trainer import Trainer

PAPER_EVALUATIONS, EVALUATIONS = Span(epochs=20), Span(minutes=5)
EVALUATION_SECONDS = 4  # generated for each instrument in an evaluation


def join_processes(device: str) -> tuple[int, int]:
    """Rank and number of the processes that torchrun has started; (0, 1) without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return 0, 1
    cuda = torch.cuda.is_available() and device != "cpu"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")
    return dist.get_rank(), world


def part_processes() -> None:
    """Leave the group of `join_processes`, if there is one; all processes together.

    Without it, threads of the group may outlive the interpreter, which then aborts (seen once in many runs).
    """
    if dist.is_initialized():
        dist.barrier()
        gc.collect()  # DistributedDataParallel is part of a reference cycle that holds the group
        dist.destroy_process_group()


def train_run(
    folder: Path,
    corpora: Sequence[Corpus],
    config: Config,
    training: TrainingConfig,
    span: Span,
    *,
    device: torch.device,
    resume: bool = False,
    start: Checkpoint | None = None,
    precision: str = PRECISION,
    evaluate_every: Span | None = None,
    evaluation_seconds: int = EVALUATION_SECONDS,
    workers: int = 0,
    stop_now: Callable[[float], bool] = lambda needed_s: False,
    say: Callable[[str], None],
) -> None:
    """Train in a folder until the span is over, showing progress; curves are drawn at the end, also of a stopped run.

    Args:
        device: harmonic instruments learn on the processor whatever it is.
        start: of `read_start`; default: fresh weights.
        precision: of activations on a GPU, see `ResidentTrainer`.
        evaluate_every: default: 5 minutes, or the paper's 20 epochs if the span is in epochs.
        evaluation_seconds: generated for each instrument in an evaluation (the paper: 1).
        stop_now: whether to stop and save, given the seconds that the longest evaluation took until now.

    Raises:
        InputError: no validation piece; a folder that holds a run or where another process trains; see `Trainer.run`.
        Interrupted: see `Trainer.run`.
    """
    for corpus in corpora:
        if not corpus.split("valid"):
            raise InputError(
                f"{corpus.folder}: no validation piece, and training is judged by one; build it again with --valid NAME"
            )
    kind = TASKS[config.kind]
    device = device if kind.on_gpu else torch.device("cpu")
    first = int(os.environ.get("RANK", "0")) == 0  # of the processes of torchrun
    with only_one(folder) if first else contextlib.nullcontext():
        if has_run(folder) and not resume:
            raise InputError(f"{folder}: holds a run already; --resume continues it, --out NAME starts another")
        for corpus in corpora:
            say(f"{corpus.folder}: reading the corpus")
        task = kind.task(corpora, config, training, evaluation_seconds)
        learned = start.weights if start else {}
        begin = Checkpoint(
            task.config,
            corpora[0].sample_rate_hz,
            tuple(corpus.instrument for corpus in corpora),
            provenance(corpora) | (dict(start.training) if start else {}),
            {**task.measured, **{name: value for name, value in learned.items() if name not in MEASURED}},
        )
        trainer: Trainer
        if device.type == "cuda" and not training.muon:
            trainer = ResidentTrainer(
                folder, begin, training, task.dataset, device=device, span=span, precision=precision
            )
        else:
            trainer = Trainer(folder, begin, training, task.dataset, device=device, span=span, workers=workers)
        if resume:
            trainer.load()
        every = evaluate_every or (EVALUATIONS if span.epochs is None else PAPER_EVALUATIONS)
        monitor = Monitor(task, trainer, span, every, training_samples(corpora), stop_now, say)
        try:
            trainer.run(monitor)
        finally:
            monitor.bar.close()
            if trainer.rank == 0 and (rows := training_rows(folder)):
                plot_training(folder / "curves.png", rows)


def training_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl by step; the last of each step and kind, if a stopped run repeated it.

    Lines that are no rows, such as half a line that a full disk left, are passed over.
    """
    metrics = folder / "metrics.jsonl"
    latest = {}
    for line in metrics.read_bytes().splitlines() if metrics.exists() else ():
        with contextlib.suppress(ValueError):
            row = parse_json(line)
            whole = isinstance(row, dict) and type(row.get("step")) is int and "elapsed_s" in row
            if whole and all(type(value) in (int, float) and abs(value) < 1e300 for value in row.values()):
                latest[row["step"], "rmse_cqt_db" in row] = row
    return sorted(latest.values(), key=lambda row: row["step"])


def training_samples(corpora: Sequence[Corpus]) -> int:
    """Samples of an epoch: those in the training split of all corpora that are not left out."""
    return sum(b - a for corpus in corpora for piece in corpus.split("train") for a, b in piece.kept)


def provenance(corpora: Sequence[Corpus]) -> dict[str, Any]:
    """Origin of the training data, for the checkpoint; `ranges` are the lowest and highest keys in it."""
    ends = ("lowest_pitch", "highest_pitch")
    facts = ("instrument", "program", "soundfont", "soundfont_sha256", "gain")
    return {
        "synthnet": __version__,
        "torch": torch.__version__,
        "commit": commit(),
        "corpora": [
            {name: getattr(corpus, name) for name in facts}
            | {s: {piece.name: piece.audio_sha256 for piece in corpus.split(s)} for s in ("train", "valid")}
            for corpus in corpora
        ],
        # Not among the facts of the corpora, by which a resumed run, perhaps an older one, recognises them.
        "ranges": [dict(zip(ends, corpus.compass(), strict=True)) for corpus in corpora],
        "credits": [corpus.credit for corpus in corpora],
    }
