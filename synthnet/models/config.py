"""The shapes of models: a validated dataclass for each kind, and the presets (the paper's Table 2 and our own)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from synthnet.files import InputError

KEYS = 128  # rows of the piano roll
CLASSES = 256  # 8-bit mu-law

# Of a harmonic instrument, what `synthnet.models.envelopes` shows of a note beside its key, and of a time.
NOTE_FEATURES, TIME_BUMPS, RELEASE_BUMPS = 6, 20, 10
HARMONIC_FEATURES = NOTE_FEATURES + TIME_BUMPS + 1 + RELEASE_BUMPS + 1

T = TypeVar("T")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of an autoregressive network: SynthNet, WaveNet, Deep Voice, or a step between.

    Args:
        model: name of the architecture (`synthnet.models.MODELS`).
        filter_width: taps F of every causal convolution, at least 2.
        blocks: B, how often the dilations 1, 2, ..., 2^(R-1) are repeated.
        dilations: R, layers in a block.
        channels: C, residual (and skip) channels.
        styles: S, number of instruments told apart by a one-hot style; 0 for a single instrument.
        velocity: whether the input roll carries velocity / 127; False: 0 or 1, as in the paper.
        dither: whether the audio that it models is dithered before it is quantised, as in the paper.

    Raises:
        InputError: a value outside its range.
    """

    kind: ClassVar[str] = "autoregressive"

    model: str
    filter_width: int
    blocks: int
    dilations: int
    channels: int = 512
    styles: int = 0
    velocity: bool = False
    dither: bool = True

    def __post_init__(self) -> None:
        ranges = {
            "filter_width": (2, 8),
            "blocks": (1, 64),
            "dilations": (1, 20),
            "channels": (4, 8192),
            "styles": (0, 128),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise InputError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
        for name in ("velocity", "dither"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, not {getattr(self, name)!r}")

    @property
    def layer_dilations(self) -> tuple[int, ...]:
        """Dilation of each layer, first to last."""
        return tuple(2**r for _ in range(self.blocks) for r in range(self.dilations))

    @property
    def layers(self) -> int:
        """How many."""
        return len(self.layer_dilations)

    @property
    def receptive_field(self) -> int:
        """Past samples that an output depends on: 1 + (F - 1)(1 + B(2^R - 1))."""
        return 1 + (self.filter_width - 1) * (1 + sum(self.layer_dilations))

    @property
    def head_channels(self) -> int:
        """Channels between the two convolutions of the head: 384 for the paper's 512, in proportion else."""
        return 3 * self.channels // 4

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def facts(self, sample_rate_hz: int) -> dict[str, Any]:
        """Layers and receptive field, as plain values."""
        return {
            "layers": len(self.layer_dilations),
            "receptive_field_samples": self.receptive_field,
            "receptive_field_s": round(self.receptive_field / sample_rate_hz, 4),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `as_dict`; an unknown or missing key raises InputError."""
        return _from_values(cls, values)


@dataclass(frozen=True)
class HarmonicConfig:
    """The shape of a harmonic instrument (`synthnet.models.harmonic`).

    Args:
        partials: H, at most so many a note; those near half the sample rate and above are left out.
        bands: B, of noise.
        width: of the three hidden layers.
        embedding: numbers that describe a key.
        longest_s: length in seconds of the longest note that it learned; beyond it envelopes go on as they tend.

    Raises:
        InputError: a value outside its range.
    """

    kind: ClassVar[str] = "harmonic"

    partials: int = 160
    bands: int = 40
    width: int = 256
    embedding: int = 64
    longest_s: float = 12.0

    def __post_init__(self) -> None:
        ranges = {"partials": (1, 1024), "bands": (2, 256), "width": (4, 4096), "embedding": (1, 1024)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise InputError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
        longest_s = self.longest_s  # of which the last 2 s go on for ever
        if not isinstance(longest_s, int | float) or isinstance(longest_s, bool) or not 2 <= longest_s <= 3600:
            raise InputError(f"longest_s must lie between 2 and 3600 s, not {longest_s!r}")

    @property
    def model(self) -> str:
        """Name of the architecture, for a person."""
        return self.kind

    @property
    def styles(self) -> int:
        """It is of one instrument."""
        return 0

    @property
    def velocity(self) -> bool:
        """It hears velocity."""
        return True

    @property
    def layers(self) -> int:
        """The hidden ones."""
        return 3

    @property
    def receptive_field(self) -> int:
        """It does not hear itself."""
        return 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def facts(self, sample_rate_hz: int) -> dict[str, Any]:
        """Nothing that is not in the config."""
        return {}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights, by name; the same as `synthnet.models.harmonic.HarmonicInstrument` has."""
        outputs, width = self.partials + self.bands, self.width
        shapes: dict[str, tuple[int, ...]] = {"key.weight": (KEYS, self.embedding)}
        for number, inputs in ((0, self.embedding + HARMONIC_FEATURES), (2, width), (4, width)):
            shapes |= {f"hidden.{number}.weight": (width, inputs), f"hidden.{number}.bias": (width,)}
        shapes |= {"out.weight": (outputs, width), "out.bias": (outputs,), "slopes.weight": (outputs, 3)}
        shapes |= {f"{table}.weight": (KEYS, outputs) for table in ("gain", "fall")}
        shapes |= dict.fromkeys(("cents", "stretch", "release_s", "nearest"), (KEYS,))
        return {**shapes, "ratios": (self.partials,)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HarmonicConfig:
        """The inverse of `as_dict`; an unknown or missing key raises InputError."""
        return _from_values(cls, values)


def _from_values(kind: type[T], values: Mapping[str, Any]) -> T:
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := set(values) - known:
        raise InputError(f"unknown model setting {sorted(unknown)[0]!r}; known: {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"incomplete model settings: {error}") from None


# L24, L26, L48 are the paper's. `cpu` is the scale of the comparing recipes on two CPU cores: music at 8 kHz, of which
# it sees 1.02 s. `tiny` is for tests.
PRESETS: dict[str, dict[str, int]] = {
    "L24": {"filter_width": 3, "blocks": 2, "dilations": 12},
    "L26": {"filter_width": 2, "blocks": 2, "dilations": 13},
    "L48": {"filter_width": 2, "blocks": 4, "dilations": 12},
    "cpu": {"filter_width": 3, "blocks": 2, "dilations": 11, "channels": 64},
    "tiny": {"filter_width": 2, "blocks": 1, "dilations": 4, "channels": 8},
}

PAPER_RATE_HZ = 16_000
HARMONIC_RATE_HZ = 44_100  # of a harmonic instrument's default corpora
PRESET_RATES_HZ = {"cpu": 8_000, "tiny": 8_000}  # of the default corpora; of the other presets the paper's


def preset_rate_hz(preset: str | None) -> int:
    """Sample rate of the corpora that a preset is meant for, in Hz; None: of a harmonic instrument's."""
    return HARMONIC_RATE_HZ if preset is None else PRESET_RATES_HZ.get(preset, PAPER_RATE_HZ)


def preset_config(model: str, preset: str, **changes: Any) -> ModelConfig:
    """The configuration of a named preset, with some of its values changed.

    Raises:
        InputError: unknown preset, or a value outside its range.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    return ModelConfig(model=model, **{**PRESETS[preset], **changes})
