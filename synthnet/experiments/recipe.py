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

`synthnet.experiments.runner` trains the runs, `synthnet.experiments.results` writes the tables.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthnet.files import InputError
from synthnet.models import MODELS, HarmonicConfig, ModelConfig, preset_rate_hz
from synthnet.score.general_midi import INSTRUMENTS, find_instrument
from synthnet.training.settings import TrainingConfig, fresh_settings

CONFIG_NAME = "recipe.toml"
RECIPES = Path("recipes")  # below the folder that one works in
LONGEST_SECONDS = 600


@dataclass(frozen=True)
class RunSettings:
    """What a run is besides its network and its training.

    At most one of epochs, samples and minutes is given; without any, nothing is trained.

    Args:
        model, preset: as in `synthnet train`; a harmonic instrument has no preset.
        instrument: one, several with commas for one network, or "all".
        variant: a label and nothing else: an axis whose settings stand under `where`.
        epochs, samples, minutes: how long to train; samples are those predicted, minutes go by the clock.
        evaluations: evenly spaced over training, the last at its end.
        evaluation_seconds: generated at each; the paper: 1.
        final_seconds: from the last checkpoint, as separate seconds, and in one go from the beginning of a piece.
        anneal: whether the learning rate falls over the whole run.
        sample_rate: of the corpus, in Hz; without one that of the preset.
        scores, valid: of a corpus of the recipe's own, see `build_corpus`. Scores are paths relative to its folder,
            `default` (BWV 1007) and `etudes`; they and the words of `valid` stand between commas.
    """

    model: str
    instrument: str
    preset: str | None = None
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
    sample_rate: int | None = None


OWN = {field.name: field for field in dataclasses.fields(RunSettings)}
SHAPE = {field.name for kind in (ModelConfig, HarmonicConfig) for field in dataclasses.fields(kind)} - {
    "model",
    "styles",
    "longest_s",
}
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
    config: ModelConfig | HarmonicConfig
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
        return "-".join(filter(None, [self.config.model, self.settings.preset, self.learner, digest]))


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


def read_recipe(folder: Path, scale: str | None = None) -> Recipe:
    """The recipe in a folder, or of this name in recipes/, at a scale, by default the one named cpu, else its first.

    Raises:
        InputError: one line that names the file, the fault and what would be right.
    """
    folder = Path(folder)
    if len(folder.parts) == 1 and not folder.exists() and (RECIPES / folder).is_dir():
        folder = RECIPES / folder
    path = folder / CONFIG_NAME
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
            folder=folder,
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
    harmonic = settings.get("model") == HarmonicConfig.kind
    for needed in ("model", "instrument") if harmonic else ("model", "preset", "instrument"):
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
    # MidiInstrument by instrument, so that the first instrument is complete before the next begins.
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
    if own.sample_rate is None:
        own = dataclasses.replace(own, sample_rate=preset_rate_hz(own.preset))
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
    known = *MODELS, HarmonicConfig.kind
    if own.model not in known:
        raise InputError(f"unknown model {own.model!r}; known: {', '.join(known)}")
    config, training = fresh_settings(own.model, own.preset, len(instruments), overrides)
    network = " ".join(value for name, value in axes.items() if name != "instrument")
    training = dataclasses.replace(training, anneal_minutes=None)
    return Run(network or " ".join(filter(None, [own.model, own.preset])), axes, instruments, own, config, training)


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
