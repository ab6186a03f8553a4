"""The models, built from their configs: the paper's networks and the harmonic instrument.

Modules that need torch are loaded on first use, so that a harmonic instrument plays without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from synthnet.files import InputError
from synthnet.models.config import MODELS, PRESETS, Config, HarmonicConfig, ModelConfig, preset_config, preset_rate_hz

if TYPE_CHECKING:
    from synthnet.models.autoregressive import Network
    from synthnet.models.model import Losses, Model

_NEED_TORCH = {"Network": "autoregressive", "HarmonicInstrument": "harmonic", "Losses": "model", "Model": "model"}


def __getattr__(name: str) -> Any:
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEED_TORCH[name]}"), name)


class Kind(NamedTuple):
    """How a kind of model is read from a file and built."""

    config: Any  # the class of its configs
    build: Callable[[Any], Any]


KINDS = {
    ModelConfig.kind: Kind(ModelConfig, lambda config: __getattr__("Network")(config)),
    HarmonicConfig.kind: Kind(HarmonicConfig, lambda config: __getattr__("HarmonicInstrument")(config)),
}


def build_model(config: Config) -> Any:
    """A model of the config's kind with fresh weights."""
    return KINDS[config.kind].build(config)


def shapes_of(config: Config) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a model of this config, by name; torch is not loaded for a harmonic instrument."""
    if isinstance(config, HarmonicConfig):
        return config.shapes()
    import torch

    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build_model(config).state_dict().items()}


def config_from(kind: Any, values: Mapping[str, Any]) -> Any:
    """The config of a kind from its plain values; InputError for an unknown kind or value."""
    if kind not in KINDS:
        raise InputError(f"unknown kind of model {kind!r}; known: {', '.join(KINDS)}")
    return KINDS[kind].config.from_dict(values)


__all__ = [  # noqa: RUF022
    "MODELS", "PRESETS", "Config", "HarmonicConfig", "ModelConfig", "preset_config", "preset_rate_hz",
    "KINDS", "Kind", "build_model", "config_from", "shapes_of", "Losses", "Model", "Network",
]  # fmt: skip
