"""Everything that decides what a run trains and for how long: fresh, started from a network, or resumed."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthnet.files import Checked, InputError, parse_json, sha256, within
from synthnet.models import HarmonicConfig, ModelConfig, config_from, preset_config
from synthnet.models.checkpoint import Checkpoint, load_checkpoint, load_tensors

if TYPE_CHECKING:
    from synthnet.corpus.corpus import Corpus

DEFAULT_MODEL, DEFAULT_PRESET = "synthnet", "cpu"
PAPER_EPOCHS = 200
PRECISION = "float16"
LEARNING_RATE_END = 0.05  # share of the learning rate left when annealing ends
# Fields that follow from options and corpora.
FOLLOWING = {"model", "styles", "longest_s", "vibrato_hz", "vibrato_cents", "anneal_minutes"}


@dataclass(frozen=True)
class TrainingConfig(Checked):
    """The recipe: how a model is trained. The defaults are the paper's."""

    learning_rate: float = within(1e-9, 10.0, 1e-3)  # learning rate of Adam and Muon after the warm-up
    muon: bool = False  # train matrices by Muon instead of Adam
    weight_decay: float = within(0.0, 1.0, 1e-5)  # l2 penalty inside Adam
    matrix_decay: float = within(0.0, 100.0, 0.0)  # decoupled weight decay of Muon, as a share of the learning rate
    batch: int = within(1, 4096, 1)  # slices in a step, in each process
    n_predicted: int = within(1, 10_000_000, 16_000)  # samples predicted in a slice
    warmup_steps: int = within(0, 10_000_000, 0)  # steps over which the learning rate rises linearly
    ema_decay: float = within(0.0, 0.99999, 0.0)  # decay, every 5 steps, of the averaged weights; 0: no average
    anneal_steps: int | None = within(1, 10**9, None)  # the learning rate falls (cosine) until this step
    anneal_minutes: float | None = within(1e-9, 1e9, None)  # the same by the clock: not reproducible to the bit
    seed: int = within(0, 2**31 - 1, 0)  # random seed of weights and slices


PAPER = TrainingConfig()
GPU = TrainingConfig(n_predicted=65_536, warmup_steps=200, ema_decay=0.995, anneal_minutes=9.0)  # the paper's, shorter
CPU = TrainingConfig(
    learning_rate=4e-3, muon=True, weight_decay=0.0, matrix_decay=0.5, n_predicted=4_000, warmup_steps=100,
    ema_decay=0.98, anneal_minutes=12.0,
)  # fmt: skip
HARMONIC = TrainingConfig(
    learning_rate=3e-3, muon=True, weight_decay=0.0, batch=4, n_predicted=44_100, warmup_steps=50, ema_decay=0.98,
    anneal_minutes=10.0,
)  # fmt: skip
TINY = dataclasses.replace(CPU, n_predicted=1_000, warmup_steps=10, anneal_minutes=1.0)
RECIPES = {"cpu": CPU, "harmonic": HARMONIC, "tiny": TINY}  # of other presets, `PAPER`


@dataclass(frozen=True)
class RunSettings(Checked):
    """Settings of a run that a resumed one may change."""

    rate: int | None = within(1, 10**6, None)  # sample rate in Hz of the default corpus
    workers: int = within(0, 256, 0)  # processes that prepare slices
    precision: str = PRECISION  # of the paper's networks on a GPU: float16, bfloat16 or float32
    evaluate_every: str | None = None  # length between validations, as in 5min, 500steps or 20epochs


@dataclass(frozen=True)
class Span:
    """A length of training: exactly one of the three is given; resumed parts count."""

    minutes: float | None = None
    epochs: float | None = None
    steps: int | None = None

    def in_steps(self, steps_an_epoch: int) -> int | None:
        """Steps, or None for a span by the clock."""
        return self.steps if self.epochs is None else max(1, round(self.epochs * steps_an_epoch))

    def share(self, step: int, elapsed_s: float, steps_an_epoch: int) -> float:
        """How often a run has lasted so long after so many steps and seconds."""
        steps = self.in_steps(steps_an_epoch)
        return elapsed_s / (60 * (self.minutes or math.inf)) if steps is None else step / steps

    @classmethod
    def parse(cls, text: str) -> Span:
        """The span in a text such as 5min, 500steps or 20epochs; else InputError."""
        match = re.fullmatch(r"(\d{1,7}(?:\.\d+)?)(min|steps|epochs)", text)
        if match is None or float(match[1]) < 0.01:
            raise InputError(f"{text!r} is not a number followed by min, steps or epochs, as in 5min")
        number, unit = float(match[1]), match[2]
        if unit == "steps":
            return cls(steps=max(1, round(number)))
        return cls(minutes=number) if unit == "min" else cls(epochs=number)


def parse_settings(words: Iterable[str]) -> dict[str, Any]:
    """The values of words NAME=VALUE by name; names are not checked.

    Numbers, true, false and null are read as in JSON; another value remains text.
    """
    given: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise InputError(f"--set {word}: NAME=VALUE is needed, as in learning_rate=0.001")
        try:
            given[name.strip()] = parse_json(text.lower())
        except ValueError:
            given[name.strip()] = text
    return given


def split_settings(model: str | None, given: Mapping[str, Any], *others: type[Checked]) -> tuple[dict[str, Any], ...]:
    """Settings of the config of this model (None: SynthNet), of `TrainingConfig` and of other classes, in this order.

    InputError for a name that none of them has.
    """
    kind: Any = HarmonicConfig if model == HarmonicConfig.kind else ModelConfig
    fields = [{field.name for field in dataclasses.fields(cls)} for cls in (kind, TrainingConfig, *others)]
    known = sorted(set().union(*fields) - FOLLOWING)
    for name in given:
        if name not in known:
            raise InputError(f"unknown setting {name!r} of {kind.kind} models; known: {', '.join(known)}")
    return tuple({name: value for name, value in given.items() if name in names} for names in fields)


def recipe_name(model: str | None, preset: str | None) -> str:
    """The preset, or the default one; "harmonic" for that model, whose presets raise InputError."""
    if model != HarmonicConfig.kind:
        return preset or DEFAULT_PRESET
    if preset is not None:
        raise InputError(f"--preset {preset}: a harmonic instrument has no presets")
    return model


def training_config(recipe: str, **changes: Any) -> TrainingConfig:
    """The recipe of a preset or of "harmonic" (the paper's, unless it has its own), with some values changed."""
    return dataclasses.replace(RECIPES.get(recipe, PAPER), **changes)


def fresh_settings(
    model: str | None,
    preset: str | None,
    n_instruments: int,
    overrides: Mapping[str, Any],
    base: TrainingConfig | None = None,
) -> tuple[ModelConfig | HarmonicConfig, TrainingConfig]:
    """Config and recipe of a model (None: SynthNet) with fresh weights; `overrides` are fields of either.

    Args:
        base: the recipe to change; default: that of the preset.
    """
    shape, changes = split_settings(model, overrides)
    recipe = recipe_name(model, preset)
    training = training_config(recipe, **changes) if base is None else dataclasses.replace(base, **changes)
    if model == HarmonicConfig.kind:
        return HarmonicConfig.from_dict(shape), training
    styles = n_instruments if n_instruments > 1 else 0
    return preset_config(model or DEFAULT_MODEL, recipe, styles=styles, **shape), training


def read_start(path: Path, instrument: str | None, corpora: Sequence[Corpus]) -> Checkpoint:
    """The network in a file as a run on these corpora begins with it; its provenance is the file.

    A run of one instrument takes the instrument named from a network of several, by default the mean of all.

    Raises:
        InputError: see `load_checkpoint`; also another sample rate or number of instruments.
    """
    checkpoint, rate = load_checkpoint(path), corpora[0].sample_rate_hz
    config: Any = checkpoint.config
    if checkpoint.sample_rate_hz != rate and config.receptive_field:  # a harmonic instrument plays at any rate
        raise InputError(f"{path}: at {checkpoint.sample_rate_hz} Hz, the corpus {corpora[0].folder} at {rate} Hz")
    if len(corpora) == 1:
        checkpoint = checkpoint.of_one(instrument)
    elif len(corpora) != config.styles:
        raise InputError(
            f"{path}: learned {len(checkpoint.instruments)} instruments; a run of {len(corpora)} cannot start from it"
        )
    file = f"{path.resolve().parent.name}/{path.name}"  # a whole path would show the machine's folders
    origin = {"file": file, "sha256": sha256(path), "instrument": instrument}
    return dataclasses.replace(checkpoint, training={"started_from": origin})


def started_settings(
    start: Checkpoint, model: str | None, preset: str | None, overrides: Mapping[str, Any]
) -> tuple[Any, TrainingConfig]:
    """The config that a run starts from, and the recipe of a preset (None: the default) with `overrides`.

    Raises:
        InputError: the model, the preset or an override asks for a network of another shape.
    """
    config, file = start.config, start.training["started_from"]["file"]
    shape, changes = split_settings(config.model, overrides)
    asked = {} if model is None else {"model": model}
    if preset is not None:
        asked |= preset_config(model or config.model, preset, styles=config.styles).as_dict()
    for name, value in {**asked, **shape}.items():
        if (present := getattr(config, name, None)) != value:
            raise InputError(f"{file}: starts with {name} {present}, not {value}")
    return config, training_config(recipe_name(config.model, preset), **changes)


def has_run(folder: Path) -> bool:
    """Whether a run was saved in the folder."""
    return (folder / "state.safetensors").exists()


def resumed_settings(folder: Path, model: str | None, overrides: Mapping[str, Any]) -> tuple[Any, TrainingConfig, Span]:
    """Config, recipe and length of the run in a folder.

    Raises:
        InputError: nothing to resume, or a model or an override that contradicts what the run was begun with.
    """
    if not has_run(folder):
        raise InputError(f"{folder}: no run to resume")
    facts = load_tensors(folder / "state.safetensors")[1]
    try:
        config, training = config_from(facts["kind"], facts["config"]), TrainingConfig(**facts["training"])
        span = Span(**facts["span"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / 'state.safetensors'}: damaged ({error})") from None
    begun_with = {"model": config.model, **config.as_dict(), **dataclasses.asdict(training)}
    for name, value in {"model": model or config.model, **overrides}.items():
        if begun_with.get(name) != value:
            raise InputError(f"{folder}: was begun with {name} {begun_with.get(name)}, not {value}")
    return config, training, span


@dataclass(frozen=True)
class Plan:
    """What a run trains: config, recipe and length, and the network it starts from; None: fresh or its own weights."""

    config: Any
    training: TrainingConfig
    span: Span
    start: Checkpoint | None = None


def plan_run(
    corpora: Sequence[Corpus],
    model: str | None,
    preset: str | None,
    overrides: Mapping[str, Any],
    span: Span | None,
    *,
    base: TrainingConfig | None = None,
    resumed: Path | None = None,
    start: tuple[Path, str | None] | None = None,
) -> Plan:
    """What a run on these corpora trains: fresh weights, unless a run is resumed or a network is the start.

    Args:
        span: default: that which a resumed run was begun with, or that of the recipe.
        base: of fresh weights, see `fresh_settings`.
        resumed: the run's folder.
        start: a file and the instrument in it, see `read_start`.
    """
    network = None
    if resumed is not None:
        config, training, begun = resumed_settings(resumed, model, overrides)
        span = span or begun
    elif start is not None:
        network = read_start(*start, corpora)
        config, training = started_settings(network, model, preset, overrides)
    else:
        config, training = fresh_settings(model, preset, len(corpora), overrides, base)
    span = span or default_span(training)
    return Plan(config, annealed_over(training, span), span, network)


def default_span(training: TrainingConfig) -> Span:
    """The length that a recipe is meant for: its minutes, or the paper's 200 epochs."""
    return Span(minutes=training.anneal_minutes) if training.anneal_minutes else Span(epochs=PAPER_EPOCHS)


def annealed_over(training: TrainingConfig, span: Span) -> TrainingConfig:
    """The recipe, which anneals by the clock over the minutes of the span, if it does so.

    A span in steps or epochs does not anneal by the clock: the same steps must give the same weights.
    """
    return dataclasses.replace(training, anneal_minutes=training.anneal_minutes and span.minutes)


def annealed(training: TrainingConfig, step: int, elapsed_s: float) -> float:
    """The learning rate: a linear warm-up, then a cosine down to 5% over the span of annealing."""
    share = 0.0
    if training.anneal_steps:
        share = min(step / training.anneal_steps, 1.0)
    elif training.anneal_minutes:
        share = min(elapsed_s / (60 * training.anneal_minutes), 1.0)
    fallen = LEARNING_RATE_END + (1 - LEARNING_RATE_END) * 0.5 * (1 + math.cos(math.pi * share))
    rate = training.learning_rate * fallen
    return rate * min(1.0, (step + 1) / training.warmup_steps) if training.warmup_steps else rate
