"""A training run in a folder: what to train, for how long, validated and shown as it goes.

Used by `synthnet train` and by the recipes; `synthnet.training.trainer` is the loop itself.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from synthnet import __version__
from synthnet.corpus.corpus import FULL_SCALE, Corpus
from synthnet.corpus.slices import NoteSlices, SliceDataset, piece_notes, recordings_of
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.free_run import free_run
from synthnet.evaluation.likelihood import fit, split_floor_nats
from synthnet.evaluation.plots import plot_training
from synthnet.files import InputError
from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.models import HarmonicConfig, ModelConfig, Network, build_model
from synthnet.models.checkpoint import arrays_of
from synthnet.models.losses import spectral_distance
from synthnet.models.measuring import MEASURED, measure
from synthnet.text import clock
from synthnet.training.settings import Span, Start, TrainingConfig
from synthnet.training.trainer import Progress, Trainer

PAPER_EVALUATION_EPOCHS = 20

EVALUATION_MINUTES = 5.0

VALIDATED_S = 24  # of the validation piece, by a harmonic instrument

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
    """Leave the group that `join_processes` made; all of its processes together, and with nothing left that holds it.

    Otherwise its threads may outlive the interpreter, which then ends in an abort (seen once in many runs).
    """
    if dist.is_initialized():
        dist.barrier()
        gc.collect()  # what DistributedDataParallel leaves behind refers to itself
        dist.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """The device asked for, or for "auto" a GPU if there is one; InputError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise InputError(f"device {name!r} is not here; auto, cpu or cuda may be") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not one to train on; auto, cpu or cuda are")
    return device


def train_run(
    folder: Path,
    corpora: Sequence[Corpus],
    config: ModelConfig | HarmonicConfig,
    training: TrainingConfig,
    span: Span,
    *,
    device: torch.device,
    resume: bool = False,
    start: Start | None = None,
    evaluate_every: Span | None = None,
    evaluation_seconds: int = EVALUATION_SECONDS,
    workers: int = 0,
    say: Callable[[str], None],
) -> None:
    """Train in a folder until the span is over, showing progress; curves are drawn at the end, also of a stopped run.

    Args:
        start: what a new run begins with; default: fresh weights.
        evaluate_every: default 5 minutes, or the paper's 20 epochs if the span is in epochs.
        evaluation_seconds: generated for each instrument in an evaluation (the paper: 1).

    Raises:
        InputError: a corpus without a validation piece; see also `Trainer.run`.
        synthnet.training.Interrupted: see `Trainer.run`.
    """
    for corpus in corpora:
        if not corpus.split("valid"):
            raise InputError(
                f"{corpus.folder}: no validation piece, and training is judged by one; build it again with --valid NAME"
            )
    task = TASKS[config.kind](corpora, config, training, evaluation_seconds)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        folder,
        task.config,
        training,
        task.dataset,
        sample_rate_hz=corpora[0].sample_rate_hz,
        instruments=tuple(corpus.instrument for corpus in corpora),
        provenance=provenance(corpora) | ({} if start is None else {"started_from": dict(start.origin)}),
        device=device,
        resume=resume,
        span=dataclasses.asdict(span),
        workers=workers,
        start=task.start if start is None else started_from(start, task),
    )
    steps_an_epoch = max(1, round(training_samples(corpora) / (training.n_predicted * trainer.slices_per_step)))
    if evaluate_every is None:
        by_epochs = span.epochs is not None
        evaluate_every = Span(epochs=PAPER_EVALUATION_EPOCHS) if by_epochs else Span(minutes=EVALUATION_MINUTES)
    monitor = Monitor(task, trainer, span, evaluate_every, steps_an_epoch, say)
    try:
        trainer.run(
            until_step=span.in_steps(steps_an_epoch),
            until_s=None if span.minutes is None else 60 * span.minutes,
            on_step=monitor.show,
            validate=monitor.validate,
            validate_now=monitor.is_due,
        )
    finally:
        monitor.close()
        if trainer.rank == 0 and (rows := training_rows(folder)):
            plot_training(folder / "curves.png", rows)


def started_from(start: Start, task: Task) -> dict[str, np.ndarray]:
    """The state to begin with: what another network learned, and what was measured in today's corpora.

    Raises:
        InputError: a weight has another shape.
    """
    weights = {name: value.astype(np.float32) for name, value in start.checkpoint.weights.items()}
    if task.start is not None:
        weights |= {name: task.start[name] for name in MEASURED}
        for name, fresh in task.start.items():
            if weights[name].shape != fresh.shape:
                raise InputError(
                    f"{start.origin['file']}: {name} has the shape {weights[name].shape}, not {fresh.shape}"
                )
    return weights


def training_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl in their order; of a step that was done again after a stop, the last."""
    metrics = folder / "metrics.jsonl"
    if not metrics.exists():
        return []
    rows = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    latest = {(row["step"], "rmse_cqt_db" in row): row for row in rows}
    return sorted(latest.values(), key=lambda row: row["step"])


def training_samples(corpora: Sequence[Corpus]) -> int:
    """Samples in the training split of all corpora together: an epoch."""
    return sum(piece.n_samples for corpus in corpora for piece in corpus.split("train"))


def provenance(corpora: Sequence[Corpus]) -> dict[str, Any]:
    """Where the training data comes from, for the checkpoint; `ranges` are the keys that were heard in training."""
    pitches = [
        [note.pitch for piece in corpus.split("train") for note in corpus.read_notes(piece)] for corpus in corpora
    ]
    return {
        "synthnet": __version__,
        "torch": torch.__version__,
        "corpora": [
            {
                "instrument": corpus.instrument,
                "program": corpus.program,
                "soundfont": corpus.soundfont,
                "soundfont_sha256": corpus.soundfont_sha256,
                "gain": corpus.gain,
                "train": {piece.name: piece.audio_sha256 for piece in corpus.split("train")},
                "valid": {piece.name: piece.audio_sha256 for piece in corpus.split("valid")},
            }
            for corpus in corpora
        ],
        # Not among the corpora's facts: by those a run that is resumed, perhaps an older one, knows its corpora again.
        "ranges": [{"lowest_pitch": min(heard), "highest_pitch": max(heard)} for heard in pitches],
    }


@dataclass(frozen=True)
class Task:
    """What a kind of model needs to be trained on some corpora.

    Attributes:
        config: of the model, completed by what was measured in the corpora.
        dataset: makes the training slices.
        validate: figures of the model as it is, and a line about them; among them "rmse_cqt_db".
        remark: about the loss, for the line that begins a run.
        floor_nats: below which no loss can be; 0 where there is none.
        start: the state of a fresh model, by name, if something in it was measured; else None.
    """

    config: Any
    dataset: Dataset[dict[str, Tensor]]
    validate: Callable[[Any], tuple[dict[str, float], str]]
    remark: str
    floor_nats: float = 0.0
    start: Mapping[str, np.ndarray] | None = None


def autoregressive_task(
    corpora: Sequence[Corpus], config: ModelConfig, training: TrainingConfig, evaluation_seconds: int
) -> Task:
    """Slices of classes and rolls; validation by fit and by free-running seconds."""
    dataset = SliceDataset(
        corpora,
        "train",
        n_predicted=training.n_predicted,
        n_context=config.receptive_field - 1,
        seed=training.seed,
        dithered=config.dither,
        velocity=config.velocity,
    )
    floor = {split: split_floor_nats(corpora, split, config.dither) for split in ("train", "valid")}

    def validate(network: Network) -> tuple[dict[str, float], str]:
        found = fit(network, corpora, n_slices=16)
        runs = []
        for number, corpus in enumerate(corpora):
            style = np.eye(len(corpora))[number] if config.styles else None
            runs.append(free_run(network, corpus, evaluation_seconds, instruments=style))
        figures = {
            "valid_nll": found.nll,
            "dither_floor": floor["valid"],
            "valid_excess": found.nll - floor["valid"],
            "score_gain": found.score_gain,
            "rmse_cqt_db": float(np.mean([run.sample_rmse_db.mean() for run in runs])),
            "rmse_cqt_expectation_db": float(np.mean([run.mean_rmse_db.mean() for run in runs])),
        }
        return figures, (
            f"validation {found.nll:.3f} nats, {figures['valid_excess']:+.3f} over the floor, score gain "
            f"{found.score_gain:.2f}; free-running RMSE-CQT {figures['rmse_cqt_db']:.1f} dB "
            f"(mean {figures['rmse_cqt_expectation_db']:.1f})"
        )

    remark = f"dither floor {floor['train']:.3f} nats a sample: no loss can be lower"
    return Task(config, dataset, validate, remark, floor["train"])


def harmonic_task(
    corpora: Sequence[Corpus], config: HarmonicConfig, training: TrainingConfig, evaluation_seconds: int
) -> Task:
    """Slices of audio and notes; frequencies are measured first; validation by what it plays.

    Raises:
        InputError: more than one corpus, or slices too short for the loss.
    """
    if len(corpora) != 1:
        raise InputError("a harmonic instrument learns one instrument; several in one network: --model synthnet")
    (corpus,) = corpora
    shortest = spectral_distance(corpus.sample_rate_hz).shortest
    if training.n_predicted < shortest:
        raise InputError(
            f"n_predicted: slices of {training.n_predicted} samples are too short for the spectra of a harmonic "
            f"instrument at {corpus.sample_rate_hz} Hz; at least {shortest}"
        )
    recordings = recordings_of(corpus, "train")
    config, measured = measure(recordings, corpus.sample_rate_hz, config)
    torch.manual_seed(training.seed)
    start = arrays_of(build_model(config).state_dict()) | measured
    dataset = NoteSlices(corpus, "train", training.n_predicted, training.seed)
    rate, piece = corpus.sample_rate_hz, corpus.split("valid")[0]
    reference = corpus.read_samples(piece)[: VALIDATED_S * rate].astype(np.float32) / FULL_SCALE
    part = Part(piece_notes(corpus, piece, rate))

    def validate(network: Any) -> tuple[dict[str, float], str]:
        sound = HarmonicPlayer(config, arrays_of(network.state_dict()), rate).play(part, 0, len(reference))
        at_80, at_50 = rmse_cqt_at_floors(reference, sound, rate).mean(axis=1).tolist()
        figures = {"rmse_cqt_db": at_80, "rmse_cqt_50_db": at_50}
        return figures, f"{piece.name}: RMSE-CQT {at_80:.2f} dB, {at_50:.2f} dB with the floor at -50 dB"

    return Task(config, dataset, validate, "the loss is a distance of spectra", start=start)


TASKS: dict[str, Callable[..., Task]] = {
    ModelConfig.kind: autoregressive_task,
    HarmonicConfig.kind: harmonic_task,
}


class Monitor:
    """Shows a run's progress and validates it; silent on all processes but the first."""

    def __init__(
        self,
        task: Task,
        trainer: Trainer,
        span: Span,
        evaluate_every: Span,
        steps_an_epoch: int,
        say: Callable[[str], None],
    ) -> None:
        self.task, self.trainer, self.say = task, trainer, say
        self.every_steps = evaluate_every.in_steps(steps_an_epoch)
        self.every_s = None if evaluate_every.minutes is None else 60 * evaluate_every.minutes
        self.next_s = self.every_s + trainer.elapsed_s if self.every_s else math.inf
        self.begun: tuple[Progress, int] | None = None
        self.bar: tqdm | None = None
        if trainer.rank == 0:
            steps = span.in_steps(steps_an_epoch)
            n_parameters = sum(parameter.numel() for parameter in trainer.network.parameters())
            length = f"{span.minutes:g} minutes" if steps is None else f"{steps} steps"
            say(
                f"{trainer.config.model}, {n_parameters:,} parameters, for {length} ({steps_an_epoch} steps an epoch); "
                f"{task.remark}"
            )
            self.bar = tqdm(
                total=100,
                initial=0,
                bar_format="{percentage:3.0f}%|{bar}| {postfix}",
                mininterval=0.3 if sys.stderr.isatty() else 20.0,
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def show(self, progress: Progress) -> None:
        """Move the bar."""
        if self.bar is None:
            return
        if self.begun is None:  # the first step, which is slower than the rest, is not timed
            self.begun = progress, self.trainer.samples
        first, samples = self.begun
        passed_s = max(progress.elapsed_s - first.elapsed_s, 1e-9)
        rate = (self.trainer.samples - samples) / passed_s
        left_s = passed_s * (1 - progress.share_done) / max(progress.share_done - first.share_done, 1e-9)
        over = f"{progress.error - self.task.floor_nats:+.3f} over the floor, " if self.task.floor_nats else ""
        self.bar.set_postfix_str(
            f"step {progress.step}, loss {progress.loss:.3f}, {over}{rate:,.0f} samples/s, {clock(left_s)} left",
            refresh=False,
        )
        self.bar.update(100 * progress.share_done - self.bar.n)

    def is_due(self, step: int, elapsed_s: float) -> bool:
        """Whether to validate after this step."""
        if self.every_steps is not None:
            return step % self.every_steps == 0
        if elapsed_s < self.next_s:
            return False
        self.next_s = elapsed_s + (self.every_s or math.inf)
        return True

    def validate(self, network: Any) -> dict[str, float]:
        """The task's figures of the network as it is."""
        begun = time.monotonic()
        network.eval()
        figures, told = self.task.validate(network)
        figures["evaluation_s"] = time.monotonic() - begun  # which training had to wait
        network.train()
        if self.bar is not None:
            self.bar.clear()
        self.say(f"step {self.trainer.step}: {told}")
        return figures

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
