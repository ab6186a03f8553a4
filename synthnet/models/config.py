"""The shapes of models: a checked dataclass for each family, the variants of the paper's networks, and the presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from synthnet.files import Checked, InputError, within

KEYS = 128  # rows of the piano roll
CLASSES = 256  # 8-bit mu-law
LONGEST_FIELD = 2**18  # samples: a small file could else ask for gigabytes of past

# Features of a note and of a time in a harmonic instrument (`synthnet.models.envelopes`).
NOTE_FEATURES, TIME_BUMPS, RELEASE_BUMPS = 6, 20, 10
HARMONIC_FEATURES = NOTE_FEATURES + TIME_BUMPS + 1 + RELEASE_BUMPS + 1

LONGEST_RELEASE_S = 3.0
LARGEST_WEIGHT = 1e4  # far beyond what training gives
# Measured weights of a harmonic instrument and their ranges: keys, seconds, cents, ratios of frequencies.
MEASURED = {
    "nearest": (0, KEYS - 1),
    "release_s": (1e-3, LONGEST_RELEASE_S + 1e-3),  # half precision rounds
    "cents": (-1200, 1200),
    "stretch": (0, 1),
    "ratios": (1e-3, 4096),
}


class Variant(NamedTuple):
    """The architecture of one of the paper's networks; `synthnet.models.autoregressive` has the parts."""

    audio: str  # "scalar", "one-hot" or "embedding"
    score: str  # "every-layer", "first-layer" or "midi-loss" (the first layer, with the auxiliary loss)
    separable: bool  # depthwise convolutions in the layers; the residual 1x1 is their pointwise half
    skip: str  # "none"; "shared": the residual's 1x1 gives the skip too; "own": a second 1x1
    activation: str  # in the head, "relu" or "selu"


MODELS = {
    "synthnet": Variant("embedding", "midi-loss", True, "none", "selu"),
    "wavenet": Variant("scalar", "every-layer", False, "shared", "relu"),
    "deepvoice": Variant("one-hot", "every-layer", False, "own", "relu"),
    # From Deep Voice to SynthNet, one change at a time.
    "ablation-1-embedding": Variant("embedding", "every-layer", False, "own", "relu"),
    "ablation-2-first-layer": Variant("embedding", "first-layer", False, "own", "relu"),
    "ablation-3-no-skips": Variant("embedding", "first-layer", False, "none", "relu"),
    "ablation-4-separable": Variant("embedding", "first-layer", True, "none", "relu"),
    "ablation-5-selu": Variant("embedding", "first-layer", True, "none", "selu"),
}


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The shape of one of the paper's networks; InputError for a value outside its range.

    Args:
        model: a key of `MODELS`.
        filter_width: taps F of every causal convolution.
        blocks: B, how often the dilations 1, 2, ..., 2^(R-1) are repeated.
        dilations: R, layers in a block.
        channels: C, residual and skip channels.
        styles: S, instruments of the network, each with its embedding; 0 for a single instrument.
        velocity: whether the input roll carries velocity / 127 instead of 1.
        dither: whether the audio is dithered before it is quantised, as in the paper.
    """

    kind: ClassVar[str] = "autoregressive"

    model: str
    filter_width: int = within(2, 8)
    blocks: int = within(1, 64)
    dilations: int = within(1, 20)
    channels: int = within(4, 8192, 512)
    styles: int = within(0, 128, 0)
    velocity: bool = False
    dither: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in MODELS:
            raise InputError(f"unknown model {self.model!r}; known: harmonic, {', '.join(MODELS)}")
        if self.receptive_field > LONGEST_FIELD:
            raise InputError(f"a receptive field of {self.receptive_field:,} samples; at most {LONGEST_FIELD:,}")

    @property
    def layer_dilations(self) -> tuple[int, ...]:
        """Dilation of each layer, first to last."""
        return tuple(2**r for _ in range(self.blocks) for r in range(self.dilations))

    @property
    def layers(self) -> int:
        """Number of layers."""
        return self.blocks * self.dilations

    @property
    def receptive_field(self) -> int:
        """Past samples that an output depends on: 1 + (F - 1)(1 + B(2^R - 1))."""
        return 1 + (self.filter_width - 1) * (1 + sum(self.layer_dilations))

    @property
    def head_channels(self) -> int:
        """Channels between the two convolutions of the head: 384 for the paper's 512 channels."""
        return 3 * self.channels // 4

    def facts(self, sample_rate_hz: int) -> dict[str, Any]:
        """Layers and receptive field, as plain values for `synthnet info`."""
        return {
            "layers": self.layers,
            "receptive_field_samples": self.receptive_field,
            "receptive_field_s": round(self.receptive_field / sample_rate_hz, 4),
        }


@dataclass(frozen=True)
class HarmonicConfig(Checked):
    """The shape of a harmonic instrument (`synthnet.models.harmonic`); InputError for a value outside its range.

    Args:
        partials: H, the most partials of a note; those near half the sample rate and above are left out.
        bands: B, noise bands.
        width: of the three hidden layers.
        embedding: size of a key's embedding.
        longest_s: length in seconds of the longest note that it learned. Beyond it envelopes go on as they tend; its
            last 2 s go on for ever.
        vibrato_hz, vibrato_cents: the player's vibrato in held notes, to either side; 0 cents: none.
    """

    kind: ClassVar[str] = "harmonic"
    model: ClassVar[str] = "harmonic"
    styles: ClassVar[int] = 0
    velocity: ClassVar[bool] = True
    layers: ClassVar[int] = 3
    receptive_field: ClassVar[int] = 0

    partials: int = within(1, 1024, 160)
    bands: int = within(2, 256, 40)
    width: int = within(4, 4096, 256)
    embedding: int = within(1, 1024, 64)
    longest_s: float = within(2, 3600, 12.0)
    vibrato_hz: float = within(1, 20, 6.0)
    vibrato_cents: float = within(0, 100, 0.0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; those of the vibrato only where there is one."""
        plain = super().as_dict()
        return plain if self.vibrato_cents else {name: plain[name] for name in plain if "vibrato" not in name}

    def facts(self, sample_rate_hz: int) -> dict[str, Any]:
        """No more than the config has."""
        return {}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of `synthnet.models.harmonic.HarmonicInstrument`, by name."""
        outputs, width = self.partials + self.bands, self.width
        shapes: dict[str, tuple[int, ...]] = {"key.weight": (KEYS, self.embedding)}
        for number, inputs in ((0, self.embedding + HARMONIC_FEATURES), (2, width), (4, width)):
            shapes |= {f"hidden.{number}.weight": (width, inputs), f"hidden.{number}.bias": (width,)}
        shapes |= {"out.weight": (outputs, width), "out.bias": (outputs,), "slopes.weight": (outputs, 3)}
        shapes |= {f"{table}.weight": (KEYS, outputs) for table in ("gain", "fall")}
        shapes |= dict.fromkeys(("cents", "stretch", "release_s", "nearest"), (KEYS,))
        return {**shapes, "ratios": (self.partials,)}


Config = ModelConfig | HarmonicConfig

PAPER_RATE_HZ = 16_000
HARMONIC_RATE_HZ = 44_100  # of a harmonic instrument's default corpora

PRESETS = {
    "L24": ModelConfig("synthnet", 3, 2, 12),  # L24, L26 and L48 are the paper's (Table 2)
    "L26": ModelConfig("synthnet", 2, 2, 13),
    "L48": ModelConfig("synthnet", 2, 4, 12),
    "cpu": ModelConfig("synthnet", 3, 2, 11, 64),  # the comparing recipes on two cores: a context of 1.02 s
    "tiny": ModelConfig("synthnet", 2, 1, 4, 8),  # tests
}


def preset_rate_hz(preset: str | None) -> int:
    """Sample rate in Hz of the corpora that a preset is meant for; None: those of a harmonic instrument."""
    return {None: HARMONIC_RATE_HZ, "cpu": 8_000, "tiny": 8_000}.get(preset, PAPER_RATE_HZ)


def preset_config(model: str, preset: str, **changes: Any) -> ModelConfig:
    """A preset's config with some values changed; InputError for an unknown preset or a value outside its range."""
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    return replace(PRESETS[preset], model=model, **changes)
