"""A training run in a folder, validated and shown as it goes: for `synthnet train`, the recipes and the API."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from synthnet import __version__
from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.charts import plot_training
from synthnet.files import InputError, commit, only_one, parse_json
from synthnet.models import HarmonicConfig, ModelConfig
from synthnet.models.checkpoint import Checkpoint
from synthnet.text import clock
from synthnet.training.resident import ResidentTrainer
from synthnet.training.settings import PRECISION, Span, TrainingConfig, has_run
from synthnet.training.tasks import TASKS, Task
from synthnet.training.trainer import Trainer

PAPER_EVALUATIONS, EVALUATIONS = Span(epochs=20), Span(minutes=5)
EVALUATION_SECONDS = 4  # generated for each instrument in an evaluation
CPU_ONLY = (HarmonicConfig.kind,)  # kinds of models whose kernels run on the processor


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
    config: ModelConfig | HarmonicConfig,
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
    first = int(os.environ.get("RANK", "0")) == 0  # of the processes of torchrun

    def refuse_former() -> None:
        if has_run(folder) and not resume:
            raise InputError(f"{folder}: holds a run already; --resume continues it, --out NAME starts another")

    refuse_former()
    task = TASKS[config.kind](corpora, config, training, evaluation_seconds)
    with only_one(folder) if first else contextlib.nullcontext():
        refuse_former()  # it may have come meanwhile
        begin = Checkpoint(
            task.config,
            corpora[0].sample_rate_hz,
            tuple(corpus.instrument for corpus in corpora),
            provenance(corpora) | (dict(start.training) if start else {}),
            {**(start.weights if start else {}), **task.measured},
        )
        options: dict[str, Any] = {"workers": workers}
        kind = Trainer
        if config.kind == ModelConfig.kind and device.type == "cuda" and not training.muon:
            kind, options = ResidentTrainer, {"precision": precision}
        trainer = kind(
            folder,
            begin,
            training,
            task.dataset,
            device=torch.device("cpu") if config.kind in CPU_ONLY else device,
            resume=resume,
            span=span,
            **options,
        )
        if evaluate_every is None:
            evaluate_every = EVALUATIONS if span.epochs is None else PAPER_EVALUATIONS
        monitor = Monitor(task, trainer, span, evaluate_every, training_samples(corpora), say)
        try:
            trainer.run(
                until_step=monitor.until_step,
                until_s=None if span.minutes is None else 60 * span.minutes,
                on_step=monitor.show,
                validate=monitor.validate,
                validate_now=monitor.is_due,
                stop_now=lambda: stop_now(monitor.longest_s),
            )
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
    pitches = [
        [note.pitch for piece in corpus.split("train") for note in corpus.read_notes(piece)] for corpus in corpora
    ]
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
        "ranges": [{"lowest_pitch": min(heard), "highest_pitch": max(heard)} for heard in pitches],
        "credits": [corpus.credit for corpus in corpora],
    }


class Monitor:
    """Shows a run's progress and validates it; silent in all processes but the first."""

    def __init__(
        self, task: Task, trainer: Trainer, span: Span, every: Span, epoch_samples: int, say: Callable[[str], None]
    ) -> None:
        self.task, self.trainer, self.say = task, trainer, say
        steps_an_epoch = max(1, round(epoch_samples / (trainer.training.n_predicted * trainer.slices_per_step)))
        self.until_step, self.every_steps = span.in_steps(steps_an_epoch), every.in_steps(steps_an_epoch)
        self.every_s = 60 * (every.minutes or math.inf)
        self.next_s = self.every_s + trainer.elapsed_s
        self.begun: tuple[float, int, float] | None = None
        self.longest_s = 0.0  # of an evaluation
        self.bar = tqdm(
            total=100,
            bar_format="{percentage:3.0f}%|{bar}| {postfix}",
            mininterval=0.3 if sys.stderr.isatty() else 20.0,
            file=sys.stderr,
            dynamic_ncols=True,
            disable=trainer.rank > 0,
        )
        if trainer.rank == 0:
            n_parameters = sum(parameter.numel() for parameter in trainer.network.parameters())
            length = f"{span.minutes:g} minutes" if self.until_step is None else f"{self.until_step} steps"
            say(
                f"{trainer.begin.config.model}, {n_parameters:,} parameters, for {length} ({steps_an_epoch} steps an "
                f"epoch); {task.remark}"
            )

    def show(self, loss: float, error: float, share: float) -> None:
        """Move the bar."""
        trainer = self.trainer
        # The first step, which is slower than the rest, is not timed.
        self.begun = self.begun or (trainer.elapsed_s, trainer.samples, share)
        elapsed_s, samples, begun = self.begun
        passed_s = max(trainer.elapsed_s - elapsed_s, 1e-9)
        rate = (trainer.samples - samples) / passed_s
        left_s = passed_s * (1 - share) / max(share - begun, 1e-9)
        over = f"{error - self.task.floor_nats:+.3f} over the floor, " if self.task.floor_nats else ""
        self.bar.set_postfix_str(
            f"step {trainer.step}, loss {loss:.3f}, {over}{rate:,.0f} samples/s, {clock(left_s)} left", refresh=False
        )
        self.bar.update(100 * share - self.bar.n)

    def is_due(self, step: int, elapsed_s: float) -> bool:
        """Whether to validate after this step."""
        if self.every_steps is not None:
            return step % self.every_steps == 0
        due = elapsed_s >= self.next_s
        if due:
            self.next_s = elapsed_s + self.every_s
        return due

    def validate(self, network: torch.nn.Module) -> dict[str, float]:
        """The task's figures of the network, and how long training waited for them."""
        begun = time.monotonic()
        network.eval()
        validation = self.task.validate(network)
        network.train()
        self.bar.clear()
        self.say(f"step {self.trainer.step}: {validation.line}")
        took_s = time.monotonic() - begun
        self.longest_s = max(self.longest_s, took_s)
        return {**validation.figures, "evaluation_s": took_s}
