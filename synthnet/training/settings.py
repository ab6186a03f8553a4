"""Everything that decides what is trained, and for how long."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthnet.corpus.corpus import Corpus
from synthnet.files import InputError, sha256
from synthnet.models import HarmonicConfig, ModelConfig, config_from, preset_config
from synthnet.models.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_tensors,
)

LEARNING_RATE_END = 0.05  # share of the learning rate left when annealing ends


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; the defaults are the paper's.

    Args:
        learning_rate: of Adam, after the warm-up.
        muon: whether matrices are trained by Muon, with the same learning rate, instead of Adam.
        weight_decay: L2 penalty inside Adam.
        matrix_decay: decoupled weight decay of what Muon trains: each step takes this share of the learning rate off
            the weights.
        batch: slices a step on each process.
        n_predicted: samples predicted in a slice.
        warmup_steps: steps over which the learning rate rises linearly.
        ema_decay: the checkpoint holds an exponential moving average of the weights, updated every 5 steps
            with this decay (0: the weights themselves).
        anneal_steps: the learning rate falls (cosine) until this step; None: constant, or over `anneal_minutes`.
        anneal_minutes: the same by the clock. Runs annealed by the clock are not bit-reproducible.
        seed: of the weights and slices.
    """

    learning_rate: float = 1e-3
    muon: bool = False
    weight_decay: float = 1e-5
    matrix_decay: float = 0.0
    batch: int = 1
    n_predicted: int = 16_000
    warmup_steps: int = 0
    ema_decay: float = 0.0
    anneal_steps: int | None = None
    anneal_minutes: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[float, float]] = {
            "learning_rate": (1e-9, 10.0),
            "weight_decay": (0.0, 1.0),
            "matrix_decay": (0.0, 100.0),
            "batch": (1, 4096),
            "n_predicted": (1, 10_000_000),
            "warmup_steps": (0, 10_000_000),
            "ema_decay": (0.0, 0.99999),
            "seed": (0, 2**31 - 1),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must lie between {low:g} and {high:g}, not {getattr(self, name)!r}")
        if not isinstance(self.muon, bool):
            raise InputError(f"muon must be true or false, not {self.muon!r}")
        for name in ("anneal_steps", "anneal_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be positive, not {value!r}")


PAPER = TrainingConfig()

CPU = TrainingConfig(
    learning_rate=4e-3,
    muon=True,
    weight_decay=0.0,
    matrix_decay=0.5,
    n_predicted=4_000,
    warmup_steps=100,
    ema_decay=0.98,
    anneal_minutes=12.0,
)

HARMONIC = TrainingConfig(
    learning_rate=3e-3,
    muon=True,
    weight_decay=0.0,
    batch=4,
    n_predicted=44_100,
    warmup_steps=50,
    ema_decay=0.98,
    anneal_minutes=10.0,
)

RECIPES = {
    "cpu": CPU,
    "harmonic": HARMONIC,
    "tiny": dataclasses.replace(CPU, n_predicted=1_000, warmup_steps=10, anneal_minutes=1.0),
}


def training_config(preset: str, **changes: Any) -> TrainingConfig:
    """The recipe of a preset (the paper's, unless the preset has one of its own), with some of its values changed."""
    return dataclasses.replace(RECIPES.get(preset, PAPER), **changes)


def annealed(training: TrainingConfig, step: int, elapsed_s: float) -> float:
    """The learning rate: a linear warm-up, then a cosine over the span of annealing, down to 5%."""
    share = 0.0
    if training.anneal_steps:
        share = min(step / training.anneal_steps, 1.0)
    elif training.anneal_minutes:
        share = min(elapsed_s / (60 * training.anneal_minutes), 1.0)
    rate = training.learning_rate * (
        LEARNING_RATE_END + (1 - LEARNING_RATE_END) * 0.5 * (1 + math.cos(math.pi * share))
    )
    if training.warmup_steps:
        rate *= min(1.0, (step + 1) / training.warmup_steps)
    return rate


DEFAULT_MODEL, DEFAULT_PRESET = "synthnet", "cpu"

PAPER_EPOCHS = 200


@dataclass(frozen=True)
class Span:
    """A length of training: exactly one of the three is given; resumed parts count."""

    minutes: float | None = None
    epochs: float | None = None
    steps: int | None = None

    def in_steps(self, steps_an_epoch: int) -> int | None:
        """Steps, or None for a span by the clock."""
        return self.steps if self.epochs is None else max(1, round(self.epochs * steps_an_epoch))


def fresh_settings(
    model: str | None, preset: str | None, n_instruments: int, overrides: Mapping[str, Any]
) -> tuple[ModelConfig | HarmonicConfig, TrainingConfig]:
    """Model and recipe; `overrides` are fields of either.

    Args:
        model: None: SynthNet.
        preset: of the paper's networks, None: the default. A harmonic instrument has none.
    """
    kind = HarmonicConfig if model == HarmonicConfig.kind else ModelConfig
    fields = {field.name for field in dataclasses.fields(kind)}
    shape = {name: value for name, value in overrides.items() if name in fields}
    recipe = {name: value for name, value in overrides.items() if name not in fields}
    for name in recipe.keys() - {field.name for field in dataclasses.fields(TrainingConfig)}:
        raise InputError(f"{name} is no setting of a {'harmonic instrument' if kind is HarmonicConfig else 'network'}")
    if model == HarmonicConfig.kind:
        if preset is not None:
            raise InputError(f"--preset {preset}: a harmonic instrument has no presets")
        return HarmonicConfig.from_dict(shape), training_config(HarmonicConfig.kind, **recipe)
    styles = n_instruments if n_instruments > 1 else 0
    preset = preset or DEFAULT_PRESET
    return preset_config(model or DEFAULT_MODEL, preset, styles=styles, **shape), training_config(preset, **recipe)


@dataclass(frozen=True)
class Start:
    """A trained network that a run begins with.

    Attributes:
        checkpoint: with as many instruments as the run.
        origin: where it comes from, as plain values for the provenance.
    """

    checkpoint: Checkpoint
    origin: Mapping[str, Any]


def read_start(path: Path, instrument: str | None, corpora: Sequence[Corpus]) -> Start:
    """The network in a file as a run on these corpora begins with it.

    A run of one instrument takes of a network of several the one that is named, or else the mean of all.

    Raises:
        InputError: see `load_checkpoint`; also another sample rate or number of instruments.
    """
    checkpoint = load_checkpoint(path)
    rate = corpora[0].sample_rate_hz
    if checkpoint.sample_rate_hz != rate and not isinstance(checkpoint.config, HarmonicConfig):
        raise InputError(f"{path}: at {checkpoint.sample_rate_hz} Hz, the corpus {corpora[0].folder} at {rate} Hz")
    if len(corpora) == 1:
        checkpoint = checkpoint.of_one(instrument)
    elif len(corpora) != checkpoint.config.styles:
        raise InputError(
            f"{path}: learned {len(checkpoint.instruments)} instruments; a run of {len(corpora)} cannot start from it"
        )
    file = f"{path.resolve().parent.name}/{path.name}"  # enough to know it by; a whole path would tell of the machine
    return Start(checkpoint, {"file": file, "sha256": sha256(path), "instrument": instrument})


def started_settings(
    start: Start, model: str | None, preset: str | None, overrides: Mapping[str, Any]
) -> tuple[ModelConfig | HarmonicConfig, TrainingConfig]:
    """The network that a run starts from, and the recipe of a preset, None: the default; `overrides` as above.

    Raises:
        InputError: the model, the preset or an override asks for a network of another shape.
    """
    config = start.checkpoint.config
    wanted = HarmonicConfig.kind if model == HarmonicConfig.kind else ModelConfig.kind
    if config.kind != wanted:
        raise InputError(f"{start.origin['file']}: holds a model of kind {config.kind!r}, not {wanted!r}")
    if isinstance(config, HarmonicConfig):
        return fresh_settings(model, preset, 1, {**config.as_dict(), **overrides})
    assert isinstance(config, ModelConfig)
    shape = {field.name for field in dataclasses.fields(ModelConfig)}
    asked = {} if preset is None else preset_config(config.model, preset, styles=config.styles).as_dict()
    asked |= {} if model is None else {"model": model}
    asked |= {name: value for name, value in overrides.items() if name in shape}
    for name, value in asked.items():
        if getattr(config, name) != value:
            raise InputError(f"{start.origin['file']}: starts with {name} {getattr(config, name)}, not {value}")
    recipe = {name: value for name, value in overrides.items() if name not in shape}
    return config, training_config(preset or DEFAULT_PRESET, **recipe)


def resumed_settings(folder: Path, overrides: Mapping[str, Any]) -> tuple[Any, TrainingConfig, Span]:
    """Network, recipe and length of the run in a folder.

    Raises:
        InputError: nothing to resume, or an override that contradicts what the run was begun with.
    """
    if not has_run(folder):
        raise InputError(f"{folder}: no run to resume")
    facts = load_tensors(folder / "state.safetensors")[1]
    try:
        config, training = config_from(facts["kind"], facts["config"]), TrainingConfig(**facts["training"])
        span = Span(**facts["span"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / 'state.safetensors'}: damaged ({error})") from None
    begun_with = {**config.as_dict(), **dataclasses.asdict(training)}
    for name, value in overrides.items():
        if begun_with[name] != value:
            raise InputError(f"{folder}: was begun with {name} {begun_with[name]}, not {value}")
    return config, training, span


def has_run(folder: Path) -> bool:
    """Whether a run was saved in the folder."""
    return (folder / "state.safetensors").exists()


def annealed_over(training: TrainingConfig, span: Span) -> TrainingConfig:
    """A recipe that anneals by the clock, with its annealing set to the minutes that it will be given.

    A span in steps or epochs does not anneal by the clock: the same steps must give the same weights.
    """
    if training.anneal_minutes is None:
        return training
    return dataclasses.replace(training, anneal_minutes=span.minutes)


def default_span(training: TrainingConfig) -> Span:
    """What a recipe is meant for: its minutes, or the paper's 200 epochs."""
    return Span(minutes=training.anneal_minutes) if training.anneal_minutes else Span(epochs=PAPER_EPOCHS)
