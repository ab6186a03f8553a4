"""Recipes: an experiment as a folder with one config file, `recipe.toml`, and a README.

    title = "Table 3: ..."              of the results
    shows = "..."                       a sentence on what is learned from it
    [common]                            settings of every run; a list makes an axis, and each combination is a run
    [scale.paper]                       what a scale adds or changes
    [scale.cpu]
    [scale.cpu.where.L24]               settings of the runs with this value on an axis
    [paper."synthnet L24"]              the paper's figures of a network: an instrument's RMSE-CQT [mean, 95%], facts

Settings are those of the network (`ModelConfig`, `HarmonicConfig`), of training (`TrainingConfig`) and of the run
(`RunSettings`). A recipe without `epochs`, `samples` and `minutes` trains nothing and reports sizes alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthnet.audio import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from synthnet.files import Checked, InputError, within
from synthnet.models import HarmonicConfig, ModelConfig, preset_rate_hz
from synthnet.score.general_midi import INSTRUMENTS, find_instrument
from synthnet.training.settings import TrainingConfig, fresh_settings

CONFIG_NAME = "recipe.toml"
RECIPES = Path("recipes")  # relative to the working folder
MOST_RUNS = 1000


@dataclass(frozen=True)
class RunSettings(Checked):
    """The settings of a run that belong neither to its network nor to its training.

    At most one of epochs, samples and minutes is given; without any, nothing is trained.

    Args:
        model, preset: as in `synthnet train`; a harmonic instrument has no preset.
        instrument: one, several with commas for one network, or "all".
        sample_rate: of the corpus in Hz; default: that of the preset.
        variant: a label for an axis whose settings stand under `where`.
        epochs, samples, minutes: length of training; samples are those predicted, minutes go by the clock.
        evaluations: number, evenly spaced over training, the last at its end.
        evaluation_seconds: seconds generated at each; the paper: 1.
        final_seconds: seconds generated from the last checkpoint, separately and as the beginning of a piece.
        whole_piece: whether the whole piece is played instead of its beginning, in chunks (quick on a GPU alone).
        anneal: whether the learning rate falls over the whole run.
        corpora: a folder of corpora, by instrument, instead of the default ones; relative to the working folder.
        scores, valid: make a corpus for this recipe alone, see `build_corpus`. Scores are paths relative to the
            recipe's folder, `default` (BWV 1007) and `etudes`; commas separate them and the words of `valid`.

    Raises:
        InputError: two lengths, or a number outside its range.
    """

    model: str
    instrument: str
    sample_rate: int = within(LOWEST_RATE_HZ, HIGHEST_RATE_HZ)
    preset: str | None = None
    variant: str = ""
    epochs: float | None = within(1e-6, 1e6, None)
    samples: int | None = within(1, 10**15, None)
    minutes: float | None = within(1e-6, 1e6, None)
    evaluations: int = within(1, 600, 10)
    evaluation_seconds: int = within(1, 600, 1)
    final_seconds: int = within(1, 600, 20)
    whole_piece: bool | None = None
    anneal: bool = False
    corpora: str | None = None
    scores: str | None = None
    valid: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(getattr(self, name) is not None for name in LENGTHS) > 1:
            raise InputError("epochs, samples and minutes: give one of them")


LENGTHS = ("epochs", "samples", "minutes")
LABELS = ("model", "preset", "instrument", "variant")
OWN = {field.name for field in dataclasses.fields(RunSettings)}
TEXTS = {field.name for field in dataclasses.fields(RunSettings) if "str" in str(field.type)}
SETTINGS = OWN | {
    field.name for kind in (ModelConfig, HarmonicConfig, TrainingConfig) for field in dataclasses.fields(kind)
} - {"styles", "longest_s", "anneal_steps", "anneal_minutes"}
FACTS = {"parameters": ".2e", "layers": ",", "receptive_field_samples": ","}  # and the format of the paper's figure
RMSE_FIGURES = {*(who.name for who in INSTRUMENTS), "all"}
PAPER_FIGURES = {*RMSE_FIGURES, *FACTS, "seconds_per_epoch"}


@dataclass(frozen=True)
class Run:
    """One network to be trained.

    Attributes:
        network: its label, the values of all axes but the instrument.
        axes: name to value, as text.
        instruments: names, in the order of the network's outputs for them.
    """

    network: str
    axes: Mapping[str, str]
    instruments: tuple[str, ...]
    settings: RunSettings
    config: ModelConfig | HarmonicConfig
    training: TrainingConfig

    @property
    def instrument(self) -> str:
        """The instruments as one label."""
        return "all" if len(self.instruments) == len(INSTRUMENTS) else "+".join(self.instruments)

    @property
    def length(self) -> str:
        """The length of training, in words; empty if nothing is trained."""
        lengths = [(getattr(self.settings, unit), unit) for unit in LENGTHS]
        return "".join(f"{number:,} {unit}" for number, unit in lengths if number is not None)

    def as_dict(self) -> dict[str, Any]:
        """All settings, as plain values. The folder's name depends on each of them."""
        own = dataclasses.asdict(self.settings).items()
        return {
            "instruments": list(self.instruments),
            "config": self.config.as_dict(),
            "training": dataclasses.asdict(self.training),
            "run": {name: value for name, value in own if name not in LABELS and value is not None},
        }

    @property
    def folder_name(self) -> str:
        """Readable, and different for different settings."""
        digest = hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:10]
        return "-".join(filter(None, [self.config.model, self.settings.preset, self.instrument, digest]))

    def folder(self, out: Path) -> Path:
        """The run's folder; recipes with the same `out` share equal runs."""
        return out / "networks" / self.folder_name


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
    """Read the recipe in a folder, or of this name in recipes/, at a scale; default: cpu, else the recipe's first.

    Raises:
        InputError: one line that names the file, the error and what would be right.
    """
    folder = Path(folder)
    if len(folder.parts) == 1 and not folder.exists() and (RECIPES / folder).is_dir():
        folder = RECIPES / folder
    path = folder / CONFIG_NAME
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        only_known(content, {"title", "shows", "common", "scale", "paper"}, "key")
        scales, paper = table(content, "scale"), table(content, "paper")
        if not scales:
            raise InputError("no scale: [scale.cpu] or another is needed")
        for name in scales:
            if not re.fullmatch(r"\w[\w-]*", name):  # it names a folder
                raise InputError(f"scale {name!r}: a name is made of letters, digits, - and _")
        scale = scale or ("cpu" if "cpu" in scales else next(iter(scales)))
        if scale not in scales:
            raise InputError(f"no scale {scale!r}; there are {', '.join(scales)}")
        for key in ("title", "shows"):
            if not isinstance(content.get(key), str):
                raise InputError(f"{key} = '...' is missing")
        for network in paper:
            only_known(table(paper, network), PAPER_FIGURES, f"figure in paper.{network}:")
            for name, value in paper[network].items():
                numbers, wanted = [value], "a number"
                if name in RMSE_FIGURES:
                    wanted = "[mean, half its 95% interval] in dB"
                    numbers = value if isinstance(value, list) and len(value) == 2 else [None]
                if not all(type(figure) in (int, float) and abs(figure) < 1e300 for figure in numbers):
                    raise InputError(f"paper.{network}: {name} must be {wanted}")
        runs = runs_of(table(content, "common") | table(scales, scale))
        return Recipe(folder, scale, content["title"], content["shows"], runs, paper)
    except OSError as error:
        raise InputError(f"{folder}: not a recipe, no {CONFIG_NAME} can be read ({error.strerror})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not TOML ({error})") from None


def table(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A table of the config, empty if it is not there."""
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"{key} must be a table")
    return value


def only_known(given: Mapping[str, Any], known: set[str], what: str) -> None:
    """Raise InputError for the first key that is unknown."""
    for key in given:
        if key not in known:
            raise InputError(f"unknown {what} {key!r}; known: {', '.join(sorted(known))}")


def runs_of(settings: dict[str, Any]) -> tuple[Run, ...]:
    """All combinations of the axes, the lists among the settings; the last axis changes fastest."""
    where = table(settings, "where")
    settings = {name: value for name, value in settings.items() if name != "where"}
    only_known(settings, SETTINGS, "setting")
    for needed in ("model", "instrument"):
        if needed not in settings:
            raise InputError(f"{needed} is missing")
    axes = {name: value if isinstance(value, list) else [value] for name, value in settings.items()}
    order = ["instrument", *(name for name, value in settings.items() if isinstance(value, list))]
    axes = {name: axes[name] for name in order}  # the instrument changes slowest
    for name, values in axes.items():
        if not values:
            raise InputError(f"{name} is an empty list")
    if (n_runs := math.prod(map(len, axes.values()))) > MOST_RUNS:
        raise InputError(f"{n_runs:,} runs; at most {MOST_RUNS:,}")
    labels = {axis_label(name, value) for name, values in axes.items() for value in values}
    only_known(where, labels, "value of an axis after where.")
    runs = []
    for chosen in itertools.product(*axes.values()):
        here = dict(zip(axes, chosen, strict=True))
        run = settings | here
        named = {name: axis_label(name, value) for name, value in here.items()}
        for label in named.values():
            only_known(table(where, label), SETTINGS - axes.keys(), f"setting in where.{label}")
            run |= table(where, label)
        runs.append(one_run(run, named))
    if len({(run.network, run.instrument) for run in runs}) < len(runs):
        raise InputError("an axis has the same value twice")
    return tuple(runs)


def axis_label(name: str, value: Any) -> str:
    """A value on an axis as it is called in tables and after --only."""
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return value if isinstance(value, str) else f"{name}={value}"


def one_run(settings: Mapping[str, Any], axes: Mapping[str, str]) -> Run:
    """A run from plain settings."""
    for name, value in settings.items():
        if not isinstance(value, str if name in TEXTS else int | float):
            wanted = "a text" if name in TEXTS else "a number, true or false"
            raise InputError(f"{name} must be {wanted}, not {value!r}")
    model, preset = settings["model"], settings.get("preset")
    if preset is None and model != HarmonicConfig.kind:
        raise InputError("preset is missing")
    given = {name: value for name, value in settings.items() if name in OWN}
    own = RunSettings(**{"sample_rate": preset_rate_hz(preset), **given})
    names = [who.name for who in INSTRUMENTS] if own.instrument == "all" else own.instrument.split(",")
    instruments = tuple(find_instrument(name.strip()).name for name in names)
    overrides = {name: value for name, value in settings.items() if name not in OWN}
    config, training = fresh_settings(model, preset, len(instruments), overrides)
    training = dataclasses.replace(training, anneal_minutes=None)  # `anneal` decides
    network = " ".join(label for name, label in axes.items() if name != "instrument")
    return Run(network or " ".join(filter(None, [model, preset])), axes, instruments, own, config, training)


def chosen_runs(recipe: Recipe, only: Sequence[str]) -> list[Run]:
    """The runs that `--only AXIS=VALUE[,VALUE]` leaves; InputError for an axis or value that the recipe lacks.

    Model and preset count as axes, also where they follow from another one.
    """

    def labels(run: Run) -> dict[str, str]:
        return {"model": run.config.model, "preset": run.settings.preset or "", **run.axes}

    chosen = list(recipe.runs)
    axes = {name: {labels(run)[name] for run in chosen} for name in labels(chosen[0])}
    for condition in only:
        name, _, values = condition.partition("=")
        if name not in axes:
            raise InputError(f"--only {condition}: the recipe's axes are {', '.join(axes)}, as in model=synthnet")
        wanted = {value.strip() for value in values.split(",")}
        if wanted - axes[name]:
            raise InputError(f"--only {condition}: {name} is one of {', '.join(sorted(axes[name]))}")
        chosen = [run for run in chosen if labels(run)[name] in wanted]
    return chosen
