"""Recipes: an experiment as a folder with one config file, `recipe.toml`, and a README.

    title = "Table 3: ..."              of the results
    shows = "..."                       a sentence on what is learned from it
    [common]                            settings of every run; a list makes an axis, and each combination is a run
    [scale.paper]                       what a scale adds or changes
    [scale.cpu]
    [scale.cpu.where.L24]               settings of the runs with this value on an axis
    [paper."synthnet L24"]              the paper's figures of a network: an instrument's RMSE-CQT [mean, 95%], facts

Settings are those of the network (`ModelConfig`), of training (`TrainingConfig`), and those of `RunSettings` below. A
recipe without `epochs`, `samples` and `minutes` trains nothing and tells facts about networks alone.

Each run is a folder whose name ends in a digest of all its settings: finished runs are skipped, begun ones resumed,
and recipes that need the same run share it. Several processes may work on one recipe: each takes the next free run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from synthnet import machine
from synthnet.checkpoint import load_checkpoint
from synthnet.corpus import DEFAULT_SCORES, Corpus, build_corpus, default_corpus
from synthnet.evaluation import evaluate, evaluate_piece, piece_lengths, play_piece
from synthnet.files import InputError, written_whole
from synthnet.instruments import INSTRUMENTS, find_instrument, partials_of
from synthnet.models import MODELS, ModelConfig, Network, build_model
from synthnet.runs import Span, fresh_settings, has_run, provenance, train_run, training_samples
from synthnet.training import Interrupted, TrainingConfig

CONFIG_NAME = "recipe.toml"
FINISHED, FAILED, UNFINISHED, NOT_RUN = "finished", "failed", "unfinished", "not run"
LONGEST_SECONDS = 600


@dataclass(frozen=True)
class RunSettings:
    """What a run is besides its network and its training.

    At most one of epochs, samples and minutes is given; without any, nothing is trained.

    Args:
        model, preset: as in `synthnet train`.
        instrument: one, several with commas for one network, or "all".
        variant: a label and nothing else: an axis whose settings stand under `where`.
        epochs, samples, minutes: how long to train; samples are those predicted, minutes go by the clock.
        evaluations: evenly spaced over training, the last at its end.
        evaluation_seconds: generated at each; the paper: 1.
        final_seconds: from the last checkpoint, as separate seconds, and in one go from the beginning of a piece.
        anneal: whether learning rate and corruption fall over the whole run.
        scores, valid, sample_rate: of a corpus of the recipe's own (paths relative to its folder), see `build_corpus`.
    """

    model: str
    preset: str
    instrument: str
    variant: str = ""
    epochs: float | None = None
    samples: int | None = None
    minutes: float | None = None
    evaluations: int = 10
    evaluation_seconds: int = 1
    final_seconds: int = 20
    anneal: bool = False
    scores: str | None = None
    valid: str | None = None
    sample_rate: int = 16_000


OWN = {field.name: field for field in dataclasses.fields(RunSettings)}
SHAPE = {field.name for field in dataclasses.fields(ModelConfig)} - {"model", "styles"}
LEARNING = {field.name for field in dataclasses.fields(TrainingConfig)} - {"anneal_steps", "anneal_minutes"}
KNOWN = {*OWN, *SHAPE, *LEARNING}
PAPER_FACTS = ("parameters", "receptive_field_samples", "layers", "seconds_per_epoch", "all")


@dataclass(frozen=True)
class Run:
    """One network to be trained.

    Attributes:
        network: its label, the values of all axes but the instrument.
        axes: name to value, as text.
        instruments: names, in the order of the network's styles.
    """

    network: str
    axes: Mapping[str, str]
    instruments: tuple[str, ...]
    settings: RunSettings
    config: ModelConfig
    training: TrainingConfig

    @property
    def learner(self) -> str:
        """The instruments in a word."""
        everyone = len(self.instruments) == len(INSTRUMENTS) > 1
        return "all" if everyone else "+".join(self.instruments)

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        return bool(self.length)

    @property
    def length(self) -> str:
        """How long is trained, in words."""
        for unit in ("epochs", "samples", "minutes"):
            if (number := getattr(self.settings, unit)) is not None:
                return f"{number:,} {unit}"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """All settings, as plain values."""
        own = dataclasses.asdict(self.settings)
        del own["model"], own["preset"], own["instrument"], own["variant"]
        own = {name: value for name, value in own.items() if value is not None}
        return {
            "instruments": list(self.instruments),
            "config": self.config.as_dict(),
            "training": dataclasses.asdict(self.training),
            "run": own,
        }

    @property
    def folder_name(self) -> str:
        """Readable, and different for different settings."""
        digest = hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:10]
        return "-".join([self.config.model, self.settings.preset, self.learner, digest])


@dataclass(frozen=True)
class Recipe:
    """A recipe at one of its scales; `paper` has the paper's figures by network."""

    folder: Path
    scale: str
    title: str
    shows: str
    runs: tuple[Run, ...]
    paper: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        return self.folder.resolve().name


# ------------------------------------------------------------------------------------------------- reading


def read_recipe(folder: Path, scale: str | None = None) -> Recipe:
    """The recipe in a folder, at a scale, by default the one named cpu, else its first.

    Raises:
        InputError: one line that names the file, the fault and what would be right.
    """
    path = Path(folder) / CONFIG_NAME
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: not a recipe, it has no {CONFIG_NAME}") from None
    except OSError as fault:
        raise InputError(f"{path}: {fault.strerror}") from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise InputError(f"{path}: not TOML ({fault})") from None
    try:
        only_known(content, {"title", "shows", "common", "scale", "paper"}, "key")
        scales = table(content, "scale")
        if not scales:
            raise InputError("no scale: [scale.cpu] or another is needed")
        chosen = scale or ("cpu" if "cpu" in scales else next(iter(scales)))
        if chosen not in scales:
            raise InputError(f"no scale {chosen!r}; there are {', '.join(scales)}")
        runs = runs_of({**table(content, "common"), **table(scales, chosen)})
        return Recipe(
            folder=Path(folder),
            scale=chosen,
            title=text(content, "title"),
            shows=text(content, "shows"),
            runs=runs,
            paper=paper_figures(table(content, "paper")),
        )
    except InputError as fault:
        raise InputError(f"{path}: {fault}") from None


def table(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A table of the config, empty if it is not there."""
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"{key} must be a table")
    return value


def text(content: Mapping[str, Any], key: str) -> str:
    """A text that has to be there."""
    if not isinstance(content.get(key), str):
        raise InputError(f"{key} = '...' is missing")
    return content[key]


def only_known(given: Mapping[str, Any], known: set[str], what: str) -> None:
    """Raise InputError for the first key that is none of the known ones."""
    for key in given:
        if key not in known:
            raise InputError(f"unknown {what} {key!r}; known: {', '.join(sorted(known))}")


def runs_of(settings: dict[str, Any]) -> tuple[Run, ...]:
    """All combinations of the axes, the lists among the settings; the last axis changes fastest."""
    where = table(settings, "where")
    settings = {name: value for name, value in settings.items() if name != "where"}
    only_known(settings, KNOWN, "setting")
    for needed in ("model", "preset", "instrument"):
        if needed not in settings:
            raise InputError(f"{needed} is missing")
    axes: dict[str, list[Any]] = {name: values for name, values in settings.items() if isinstance(values, list)}
    axes.setdefault("instrument", [settings["instrument"]])
    for name, values in axes.items():
        if not values:
            raise InputError(f"{name} is an empty list")
    named = {axis_text(name, value) for name, values in axes.items() for value in values}
    only_known(where, named, "value of an axis after where.")
    runs = []
    # Instrument by instrument, so that the first instrument is complete before the next begins.
    order = ["instrument", *(name for name in axes if name != "instrument")]
    for chosen in itertools.product(*(axes[name] for name in order)):
        here = dict(zip(order, chosen, strict=True))
        run = {**settings, **here}
        texts = {name: axis_text(name, value) for name, value in here.items()}
        for value in texts.values():
            extra = table(where, value)
            only_known(extra, KNOWN - set(axes), f"setting in where.{value}")
            run |= extra
        runs.append(one_run(run, texts))
    if len({(run.network, run.learner) for run in runs}) < len(runs):
        raise InputError("an axis has the same value twice")
    return tuple(runs)


def axis_text(name: str, value: Any) -> str:
    """How a value on an axis is called in tables and after --only."""
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return value if isinstance(value, str) else f"{name}={value}"


def one_run(settings: Mapping[str, Any], axes: Mapping[str, str]) -> Run:
    """A run from plain settings."""
    for name, value in settings.items():
        if not isinstance(value, str | int | float):
            raise InputError(f"{name} must be a text, a number, true or false, not {value!r}")
        is_text = name in OWN and "str" in str(OWN[name].type)
        if isinstance(value, str) != is_text:
            raise InputError(f"{name} must be {'a text' if is_text else 'a number, true or false'}, not {value!r}")
    own = RunSettings(**{name: value for name, value in settings.items() if name in OWN})
    if sum(length is not None for length in (own.epochs, own.samples, own.minutes)) > 1:
        raise InputError("epochs, samples and minutes: give one of them")
    for name in ("epochs", "samples", "minutes", "evaluations", "evaluation_seconds", "final_seconds"):
        value = getattr(own, name)
        if value is not None and (isinstance(value, bool) or not value > 0):
            raise InputError(f"{name} must be positive, not {value!r}")
    for name in ("evaluations", "evaluation_seconds", "final_seconds"):
        if not isinstance(getattr(own, name), int) or getattr(own, name) > LONGEST_SECONDS:
            raise InputError(f"{name} must be a whole number up to {LONGEST_SECONDS}, not {getattr(own, name)!r}")
    names = [who.name for who in INSTRUMENTS] if own.instrument == "all" else own.instrument.split(",")
    instruments = tuple(find_instrument(name.strip()).name for name in names)
    overrides = {name: value for name, value in settings.items() if name in SHAPE | LEARNING}
    if own.model not in MODELS:
        raise InputError(f"unknown model {own.model!r}; known: {', '.join(MODELS)}")
    config, training = fresh_settings(own.model, own.preset, len(instruments), overrides)
    network = " ".join(value for name, value in axes.items() if name != "instrument")
    training = dataclasses.replace(training, anneal_minutes=None)
    return Run(network or f"{own.model} {own.preset}", axes, instruments, own, config, training)


def paper_figures(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The paper's figures, checked: by network, then instrument or fact."""
    known = {*(who.name for who in INSTRUMENTS), *PAPER_FACTS}
    for network, figures in given.items():
        if not isinstance(figures, dict):
            raise InputError(f"paper.{network} must be a table")
        only_known(figures, known, f"figure in paper.{network}:")
    return dict(given)


def chosen_runs(recipe: Recipe, only: Sequence[str]) -> list[Run]:
    """The runs that `--only AXIS=VALUE[,VALUE]` leaves; InputError for what the recipe does not have."""
    axes: dict[str, set[str]] = {}
    for run in recipe.runs:
        for name, value in run.axes.items():
            axes.setdefault(name, set()).add(value)
    chosen = list(recipe.runs)
    for condition in only:
        name, _, values = condition.partition("=")
        if name not in axes:
            raise InputError(f"--only {condition}: the recipe's axes are {', '.join(axes)}, as in model=synthnet")
        wanted = [value.strip() for value in values.split(",")]
        for value in wanted:
            if value not in axes[name]:
                raise InputError(f"--only {condition}: {name} is one of {', '.join(sorted(axes[name]))}")
        chosen = [run for run in chosen if run.axes[name] in wanted]
    return chosen


# ------------------------------------------------------------------------------------------------- running


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
        network = checkpoint.build(device)
        final = {
            corpus.instrument: measure(
                network, corpus, settings.final_seconds, checkpoint.voice(corpus.instrument).style
            )
            for corpus in corpora
        }
        return {**outcome, "status": FINISHED, "final": final}
    except (InputError, RuntimeError, MemoryError) as fault:
        reason = " ".join(str(fault).split()) or type(fault).__name__
        say(f"failed: {reason}")
        return {**outcome, "status": FAILED, "fault": reason}


def measure(network: Network, corpus: Corpus, n_seconds: int, style: np.ndarray | None) -> dict[str, Any]:
    """The figures of `evaluate`, and under "piece" those of the beginning of the first validation piece, if it is long
    enough: see `evaluate_piece`.
    """
    figures: dict[str, Any] = dict(evaluate(network, corpus, n_seconds, style=style))
    for piece, n_samples in piece_lengths(corpus, n_seconds)[:1]:
        run = play_piece(network, corpus, piece, n_samples, style=style)
        figures["piece"] = evaluate_piece(run, partials_of(corpus.instrument))
    return figures


def steps_of(run: Run, samples_an_epoch: int) -> int:
    """Steps of a run: a multiple of its evaluations, so that the last of them is at its end."""
    samples = run.settings.samples or samples_an_epoch * (run.settings.epochs or 0)
    steps = samples / (run.training.n_predicted * run.training.batch)
    return run.settings.evaluations * max(1, round(steps / run.settings.evaluations))


def corpora_of(recipe: Recipe, run: Run, out: Path, say: Callable[[str], None]) -> list[Corpus]:
    """What a run learns from: the instruments' default corpora, or the recipe's own; built where missing."""
    settings = run.settings
    if settings.scores is None:
        return [default_corpus(find_instrument(name), say) for name in run.instruments]
    scores = [DEFAULT_SCORES if path == "default" else recipe.folder / path for path in settings.scores.split(",")]
    return [
        build_corpus(
            out / "corpora" / f"{recipe.name}-{name}",
            find_instrument(name),
            scores,
            settings.sample_rate,
            valid=settings.valid,
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
    with written_whole(folder / "run.json") as beside:
        beside.write_text(json.dumps(outcome, indent=2) + "\n", "utf-8")


def facts_about(config: ModelConfig) -> dict[str, Any]:
    """What a network is before it has learned anything."""
    with torch.device("meta"):
        network = build_model(config)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "layers": len(config.layer_dilations),
        "receptive_field_samples": config.receptive_field,
    }
