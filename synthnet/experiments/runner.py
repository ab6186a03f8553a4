"""Experiments: the runs of a recipe trained and measured, each in a folder of its own.

The folder's name ends in a digest of all the run's settings: finished runs are skipped, begun ones resumed, and recipes
that need the same run share it. Several processes may work on one recipe: each takes the next free run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from synthnet.corpus.build import DEFAULT_SCORES, ETUDES, build_corpus, default_corpus
from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.baselines import harmonic_players
from synthnet.evaluation.measure import measure_instrument
from synthnet.evaluation.pieces import evaluate, piece_lengths, play_piece
from synthnet.experiments import machine
from synthnet.experiments.recipe import Recipe, Run
from synthnet.files import InputError, Interrupted, atomic_write
from synthnet.models import HarmonicConfig, ModelConfig, Network, build_model
from synthnet.models.checkpoint import Checkpoint, load_checkpoint
from synthnet.score.etudes import compose_etudes
from synthnet.score.general_midi import find_instrument
from synthnet.training.run import provenance, train_run, training_samples
from synthnet.training.settings import Span, has_run

FINISHED, FAILED, UNFINISHED, NOT_RUN = "finished", "failed", "unfinished", "not run"


def networks_folder(out: Path) -> Path:
    """Where the runs of all recipes lie."""
    return out / "networks"


def run_recipe(
    recipe: Recipe,
    out: Path,
    runs: Sequence[Run],
    *,
    device: torch.device,
    workers: int = 0,
    say: Callable[[str], None],
    keep: Callable[[], None],
) -> None:
    """Train what is not finished yet.

    A run that fails is recorded as failed and the next begins; when the recipe is run again, it is tried again.

    Args:
        keep: called after each run, to write the results so far.

    Raises:
        InputError: a finished run was trained on a corpus other than today's.
        synthnet.training.Interrupted: see `Trainer.run`; what was trained is kept and resumed next time.
    """
    machine.commit()  # that of the code that is loaded now
    for number, run in enumerate(runs, start=1):
        folder = networks_folder(out) / run.folder_name
        heading = f"run {number} of {len(runs)}, {run.network}, {run.learner}"
        with held(folder) as is_ours:
            if not is_ours:
                say(f"{heading}: another process is at it")
                continue
            corpora = corpora_of(recipe, run, out, say)
            before = read_outcome(folder)
            if before.get("status") == FINISHED:
                if before["corpora"] != provenance(corpora)["corpora"]:
                    raise InputError(f"{folder}: was trained on another corpus than there is now; take another --out")
                say(f"{heading}: finished already")
                continue
            say(f"{heading}: {'resumed' if has_run(folder) else 'begun'} in {folder}")
            try:
                outcome = train_one(run, corpora, folder, device, workers, say)
            except Interrupted:
                raise Interrupted(f"{folder}: stopped and saved; the same command goes on from there") from None
            write_outcome(folder, outcome)
        keep()


def train_one(
    run: Run, corpora: Sequence[Corpus], folder: Path, device: torch.device, workers: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train and measure one network; a fault of the run becomes its outcome."""
    n_samples = training_samples(corpora)
    outcome = {
        **run.as_dict(),
        **provenance(corpora),
        "samples_an_epoch": n_samples,
        "machine": machine.machine(),
        "commit": machine.commit(),
    }
    write_outcome(folder, {**outcome, "status": UNFINISHED})  # tables made while it is trained show it as such
    settings = run.settings
    if settings.minutes is not None:
        span, every = Span(minutes=settings.minutes), Span(minutes=settings.minutes / settings.evaluations)
    else:
        steps = steps_of(run, n_samples)
        span, every = Span(steps=steps), Span(steps=steps // settings.evaluations)
    training = run.training
    if settings.anneal:
        training = dataclasses.replace(training, anneal_steps=span.steps, anneal_minutes=span.minutes)
    try:
        train_run(
            folder,
            corpora,
            run.config,
            training,
            span,
            device=device,
            resume=has_run(folder),
            evaluate_every=every,
            evaluation_seconds=run.settings.evaluation_seconds,
            workers=workers,
            say=say,
        )
        checkpoint = load_checkpoint(folder / "last.safetensors")
        final = MEASURES[run.config.kind](checkpoint, corpora, settings.final_seconds, device)
        return {**outcome, "status": FINISHED, "final": final}
    except (InputError, RuntimeError, MemoryError) as fault:
        reason = " ".join(str(fault).split()) or type(fault).__name__
        say(f"failed: {reason}")
        return {**outcome, "status": FAILED, "fault": reason}


def measure_autoregressive(
    checkpoint: Checkpoint, corpora: Sequence[Corpus], n_seconds: int, device: torch.device
) -> dict[str, Any]:
    """Figures by instrument, see `measure`."""
    network = checkpoint.build(device)
    return {
        corpus.instrument: measure(network, corpus, n_seconds, checkpoint.voice(corpus.instrument).style)
        for corpus in corpora
    }


def measure_harmonic(
    checkpoint: Checkpoint, corpora: Sequence[Corpus], n_seconds: int, device: torch.device
) -> dict[str, Any]:
    """Figures of the instrument beside its two baselines, see `synthnet.evaluation.measure`."""
    (corpus,) = corpora
    players = harmonic_players(checkpoint, corpus)
    return {corpus.instrument: measure_instrument(corpus, find_instrument(corpus.instrument), players).as_dict()}


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    ModelConfig.kind: measure_autoregressive,
    HarmonicConfig.kind: measure_harmonic,
}


def measure(network: Network, corpus: Corpus, n_seconds: int, style: np.ndarray | None) -> dict[str, Any]:
    """The figures of `evaluate`, and under "piece" those of the beginning of the first validation piece, if it is long
    enough: see `play_piece`.
    """
    figures = evaluate(network, corpus, n_seconds, instruments=style).as_dict()
    for piece, n_samples in piece_lengths(corpus, n_seconds)[:1]:
        figures["piece"] = play_piece(network, corpus, piece, n_samples, instruments=style).as_dict()
    return figures


def steps_of(run: Run, samples_an_epoch: int) -> int:
    """Steps of a run: a multiple of its evaluations, so that the last of them is at its end."""
    samples = run.settings.samples or samples_an_epoch * (run.settings.epochs or 0)
    steps = samples / (run.training.n_predicted * run.training.batch)
    return run.settings.evaluations * max(1, round(steps / run.settings.evaluations))


def corpora_of(recipe: Recipe, run: Run, out: Path, say: Callable[[str], None]) -> list[Corpus]:
    """What a run learns from: the instruments' default corpora, or the recipe's own; built where missing."""
    settings, rate = run.settings, run.settings.sample_rate
    assert rate is not None  # `one_run` has put the preset's there
    if settings.scores is None:
        return [default_corpus(find_instrument(name), rate, run.config.velocity, say) for name in run.instruments]
    words = settings.scores.split(",")
    paths = [DEFAULT_SCORES if word == "default" else recipe.folder / word for word in words if word != ETUDES]
    return [
        build_corpus(
            out / "corpora" / f"{recipe.name}-{name}",
            find_instrument(name),
            paths,
            rate,
            valid=settings.valid.split(",") if settings.valid else (),
            etudes=compose_etudes(find_instrument(name), wide=run.config.velocity) if ETUDES in words else None,
        )
        for name in run.instruments
    ]


@contextlib.contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Hold a run's folder for this process; False if another one holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")  # let go of by the system when a process dies
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def read_outcome(folder: Path) -> dict[str, Any]:
    """What became of a run; at least its status."""
    try:
        outcome = json.loads((folder / "run.json").read_text("utf-8"))
    except FileNotFoundError:
        return {"status": UNFINISHED if has_run(folder) else NOT_RUN}
    except ValueError:
        raise InputError(f"{folder / 'run.json'}: damaged, not JSON; remove it to train again") from None
    return outcome


def write_outcome(folder: Path, outcome: Mapping[str, Any]) -> None:
    """Keep what became of a run, whole or not at all."""
    with atomic_write(folder / "run.json") as beside:
        beside.write_text(json.dumps(outcome, indent=2) + "\n", "utf-8")


def facts_about(config: ModelConfig | HarmonicConfig) -> dict[str, Any]:
    """What a network is before it has learned anything: parameters, layers, receptive field in samples (0: none)."""
    with torch.device("meta"):
        network = build_model(config)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": n_parameters, "layers": config.layers, "receptive_field_samples": config.receptive_field}
