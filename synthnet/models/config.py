"""The shape of a network: one validated dataclass, and the named presets (the paper's Table 2 and our own)."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

from synthnet.files import InputError
from synthnet.roll import ENVELOPES_S

KEYS = 128  # rows of the piano roll
CLASSES = 256  # 8-bit mu-law
MEASURED = 60  # harmonics of a tuned network: up to 4 kHz from 66 Hz on


@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to build a network.

    Args:
        model: name of the architecture (`synthnet.models.MODELS`).
        filter_width: taps F of every causal convolution, at least 2.
        blocks: B, how often the dilations 1, 2, ..., 2^(R-1) are repeated.
        dilations: R, layers in a block.
        channels: C, residual (and skip) channels.
        styles: S, number of instruments told apart by a one-hot style; 0 for a single instrument.
        harmonics: H, sine and cosine oscillators of the sounding notes added to the first layer; 0 for
            none, as in the paper.
        partials: frequencies of the H oscillators, relative to the fundamental, in rising order; none: 1, 2, ..., H.
        tuned: whether each key's oscillators are as its partials are in the recordings (`synthnet.tuning`), which must
            be near these: in frequency, phase, attack and release, with the E envelopes beside them; and a network that
            does not hear itself adds to its output all partials, and the modes of the body, at their levels there. Of
            one instrument alone.
        envelopes: E, how often the oscillators come: sustained, and dying away in E - 1 ways
            (`synthnet.roll.ENVELOPES_S`).
        noises: R, 0 to 2 sources of noise that come with the oscillators: white, and low (`synthnet.roll.noises`).
        dither: whether the audio that it models is dithered before it is quantised, as in the paper.

    Raises:
        InputError: a value outside its range.
    """

    model: str
    filter_width: int
    blocks: int
    dilations: int
    channels: int = 512
    styles: int = 0
    harmonics: int = 0
    partials: tuple[float, ...] = ()
    tuned: bool = False
    envelopes: int = 1
    noises: int = 0
    dither: bool = True

    def __post_init__(self) -> None:
        lowest = {
            "filter_width": 2,
            "blocks": 1,
            "dilations": 1,
            "channels": 4,
            "styles": 0,
            "harmonics": 0,
            "envelopes": 1,
            "noises": 0,
        }
        highest = {
            "filter_width": 8,
            "blocks": 64,
            "dilations": 20,
            "channels": 8192,
            "styles": 128,
            "harmonics": 64,
            "envelopes": 1 + len(ENVELOPES_S),
            "noises": 2,
        }
        for name, low in lowest.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= highest[name]:
                raise InputError(f"{name} must be a whole number from {low} to {highest[name]}, not {value!r}")
        rising = all(low < high for low, high in itertools.pairwise((0.0, *self.partials)))
        if self.partials and not (len(self.partials) == self.harmonics and rising):
            raise InputError(
                f"partials must be {self.harmonics} rising multiples of the fundamental: {self.partials!r}"
            )
        if self.tuned and self.styles:
            raise InputError(f"tuned is for networks of one instrument, not of {self.styles}")
        for name in ("tuned", "dither"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, not {getattr(self, name)!r}")

    @property
    def layer_dilations(self) -> tuple[int, ...]:
        """Dilation of each layer, first to last."""
        return tuple(2**r for _ in range(self.blocks) for r in range(self.dilations))

    @property
    def receptive_field(self) -> int:
        """Past samples that an output depends on: 1 + (F - 1)(1 + B(2^R - 1))."""
        return 1 + (self.filter_width - 1) * (1 + sum(self.layer_dilations))

    @property
    def oscillator_partials(self) -> tuple[float, ...]:
        """Frequencies of the oscillators, relative to the fundamental, [H]."""
        return self.partials or tuple(range(1, self.harmonics + 1))

    @property
    def measured_partials(self) -> tuple[float, ...]:
        """Where the partials of a tuned network are looked for, relative to the fundamental; the first H as above."""
        return self.partials or tuple(range(1, max(self.harmonics, MEASURED) + 1))

    @property
    def oscillators(self) -> int:
        """Sines and cosines given to the first layer, all envelopes of them; a tuned network's envelopes; noises."""
        return 2 * self.harmonics * self.envelopes + self.envelopes * self.tuned + self.noises

    @property
    def head_channels(self) -> int:
        """Channels between the two convolutions of the head: 384 for the paper's 512, in proportion else."""
        return 3 * self.channels // 4

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**dataclasses.asdict(self), "partials": list(self.partials)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """The inverse of `as_dict`; an unknown or missing key raises InputError."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(values) - known:
            raise InputError(f"unknown model setting {sorted(unknown)[0]!r}; known: {', '.join(sorted(known))}")
        try:
            return cls(**{**values, "partials": tuple(values.get("partials", ()))})
        except TypeError as error:
            raise InputError(f"incomplete model settings: {error}") from None


# L24, L26, L48 are the paper's. `small` is made for two CPU cores: it is trained in a quarter of an hour, plays faster
# than real time, and is helped by oscillators. `tiny` is for tests.
PRESETS: dict[str, dict[str, int]] = {
    "L24": {"filter_width": 3, "blocks": 2, "dilations": 12},
    "L26": {"filter_width": 2, "blocks": 2, "dilations": 13},
    "L48": {"filter_width": 2, "blocks": 4, "dilations": 12},
    "small": {"filter_width": 3, "blocks": 2, "dilations": 8, "channels": 48, "harmonics": 8, "envelopes": 4},
    "tiny": {"filter_width": 2, "blocks": 1, "dilations": 4, "channels": 8},
}


# The model of a preset when none is asked for: SynthNet, but for `small`, which has to learn in minutes.
PRESET_MODELS = {preset: "nsf" if preset == "small" else "synthnet" for preset in PRESETS}

# What a model is given besides, whatever the preset. Without a source NSF would have nothing to filter.
SHAPES: dict[str, dict[str, Any]] = {"nsf": {"harmonics": 24, "tuned": True, "envelopes": 4, "noises": 2}}


def preset_config(model: str | None, preset: str, **changes: Any) -> ModelConfig:
    """The configuration of a named preset, with some of its values changed; model None: the preset's own.

    Raises:
        InputError: unknown preset, or a value outside its range.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    model = model or PRESET_MODELS[preset]
    values = {**PRESETS[preset], **SHAPES.get(model, {})}
    if changes.get("styles"):
        values["tuned"] = False  # which is of one instrument alone
    return ModelConfig(model=model, **{**values, **changes})
