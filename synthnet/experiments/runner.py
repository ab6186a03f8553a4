"""The runs of a recipe: each is trained and measured in a folder of its own below `networks/`.

The folder's name ends in a digest of the run's settings: finished runs are skipped, begun ones resumed, and recipes
share equal runs. Several processes may work on one recipe: each takes the next free run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from synthnet.corpus.build import DEFAULT_SCORES, ETUDES, build_corpus, default_corpus
from synthnet.corpus.corpus import Corpus, read_corpus
from synthnet.experiments.machine import machine
from synthnet.experiments.recipe import Recipe, Run
from synthnet.experiments.results import FAILED, FINISHED, UNFINISHED, Outcome, Results, write_results
from synthnet.files import InputError, Interrupted, commit, only_one
from synthnet.models.checkpoint import load_checkpoint
from synthnet.score.etudes import compose_etudes
from synthnet.score.general_midi import find_instrument
from synthnet.training.run import provenance, train_run, training_samples
from synthnet.training.settings import Span, has_run
from synthnet.training.tasks import TASKS

MARGIN_S = 15.0  # before the limit of a command: to write its results

Say = Callable[[str], None]


class Limit:
    """The time that a command may take; it ends a little earlier, so that results can be written.

    Attributes:
        is_reached: whether anything was stopped, or not begun, for lack of time.
    """

    def __init__(self, minutes: float | None = None) -> None:
        limit_s = math.inf if minutes is None else 60.0 * minutes
        self.end, self.least_s = time.monotonic() + limit_s - min(MARGIN_S, limit_s / 10), limit_s / 10
        self.is_reached = False

    def comes_within(self, seconds: float) -> bool:
        """Whether the limit comes before so many seconds have passed."""
        self.is_reached = self.is_reached or time.monotonic() + seconds > self.end
        return self.is_reached

    def check(self, n_samples: int = 0) -> None:
        """Raise Interrupted after the limit; to be called with progress."""
        if self.comes_within(0.0):
            raise Interrupted("the limit came")


def run_recipe(
    recipe: Recipe,
    runs: Sequence[Run],
    out: Path,
    *,
    device: torch.device,
    workers: int = 0,
    minutes: float | None = None,
    say: Say,
) -> Results:
    """Train and measure the runs that are not finished yet; write the results after each.

    A run that fails is recorded as failed and the next begins; when the recipe is run again, it is tried again.

    Args:
        minutes: time for all; a run that does not end within it is stopped, saved, and resumed next time.

    Raises:
        InputError: a finished run was trained on a corpus other than today's.
        Interrupted: see `Trainer.run`; the training so far is kept and resumed next time.
    """
    commit()  # of the code that is loaded now, for `provenance`
    limit = Limit(minutes)
    for place, run in enumerate(runs, start=1):
        if not run.length:
            continue
        folder = run.folder(out)
        heading = f"run {place} of {len(runs)}, {run.network}, {run.instrument}"
        with contextlib.ExitStack() as alone:
            try:
                alone.enter_context(only_one(folder))
            except InputError:
                say(f"{heading}: another process is at it")
                continue
            corpora = corpora_of(recipe, run, out, say)
            before = Outcome.read(folder)
            if before.status == FINISHED:
                if before.facts["corpora"] != provenance(corpora)["corpora"]:
                    raise InputError(f"{folder}: was trained on another corpus than there is now; take another --out")
                say(f"{heading}: finished already")
                continue
            if limit.comes_within(limit.least_s):
                break
            say(f"{heading}: {'resumed' if has_run(folder) else 'begun'} in {folder}")
            try:
                train_one(run, corpora, folder, before, device, workers, limit, say)
            except Interrupted:
                if limit.is_reached:
                    break
                raise Interrupted(f"{folder}: stopped and saved; the same command goes on from there") from None
        write_results(recipe, out)
    if limit.is_reached:
        say(f"stopped before the limit of {minutes:g} minutes; the same command goes on from there")
    return write_results(recipe, out)


def train_one(
    run: Run,
    corpora: Sequence[Corpus],
    folder: Path,
    before: Outcome,
    device: torch.device,
    workers: int,
    limit: Limit,
    say: Say,
) -> None:
    """Train and measure one network; an error of the run becomes its outcome."""
    settings, samples_an_epoch = run.settings, training_samples(corpora)
    facts = run.as_dict() | provenance(corpora)
    facts |= {"samples_an_epoch": samples_an_epoch, "machine": machine().as_dict()}
    is_trained = before.facts.get("is_trained", False)
    Outcome(UNFINISHED, facts | {"is_trained": is_trained}).write(folder)
    if settings.minutes is not None:
        span, every = Span(minutes=settings.minutes), Span(minutes=settings.minutes / settings.evaluations)
    else:
        samples = settings.samples or samples_an_epoch * (settings.epochs or 0)
        steps = samples / (run.training.n_predicted * run.training.batch)
        between = max(1, round(steps / settings.evaluations))
        span, every = Span(steps=between * settings.evaluations), Span(steps=between)  # the last is at the end
    training = run.training
    if settings.anneal:
        training = dataclasses.replace(training, anneal_steps=span.steps, anneal_minutes=span.minutes)
    try:
        if not is_trained:
            train_run(
                folder,
                corpora,
                run.config,
                training,
                span,
                device=device,
                resume=has_run(folder),
                evaluate_every=every,
                evaluation_seconds=settings.evaluation_seconds,
                workers=workers,
                stop_now=limit.comes_within,
                say=say,
            )
        Outcome(UNFINISHED, facts | {"is_trained": True}).write(folder)
        gc.collect()  # a trainer on a GPU is in a reference cycle with its graphs, which hold gigabytes
        checkpoint = load_checkpoint(folder / "last.safetensors")
        how = device, settings.final_seconds, settings.whole_piece, limit.check
        final = TASKS[run.config.kind].measure(checkpoint, corpora, *how)
        facts["machine"]["precision"] = checkpoint.training.get("precision")
        Outcome(FINISHED, facts, final).write(folder)
    except (InputError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        say(f"failed: {reason}")
        Outcome(FAILED, facts, fault=reason).write(folder)


def corpora_of(recipe: Recipe, run: Run, out: Path, say: Say) -> list[Corpus]:
    """The corpora of a run: those in a folder, else the default ones or the recipe's own, built where missing."""
    settings, velocity = run.settings, run.config.velocity
    if settings.corpora is not None:
        return [read_corpus(Path(settings.corpora) / name) for name in run.instruments]
    instruments = [find_instrument(name) for name in run.instruments]
    if settings.scores is None:
        return [default_corpus(instrument, settings.sample_rate, velocity, say) for instrument in instruments]
    words = settings.scores.split(",")
    return [
        build_corpus(
            out / "corpora" / f"{recipe.name}-{instrument.name}",
            instrument,
            [DEFAULT_SCORES if word == "default" else recipe.folder / word for word in words if word != ETUDES],
            settings.sample_rate,
            valid=settings.valid.split(",") if settings.valid else (),
            etudes=compose_etudes(instrument, wide=velocity) if ETUDES in words else None,
        )
        for instrument in instruments
    ]
