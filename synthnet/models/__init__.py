"""The models, built from their configs: SynthNet, its two baselines, the steps between, and the harmonic instrument.

What needs torch is loaded on first use, so that a harmonic instrument plays without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from synthnet.files import InputError
from synthnet.models.config import PRESETS, HarmonicConfig, ModelConfig, preset_config, preset_rate_hz

if TYPE_CHECKING:
    from synthnet.models.autoregressive import MODELS, build_autoregressive
    from synthnet.models.harmonic import HarmonicInstrument
    from synthnet.models.layers import Conditioning
    from synthnet.models.model import Config, Losses, Model
    from synthnet.models.network import Cache, Network

_LOADED_ON_USE = {
    "MODELS": "autoregressive",
    "build_autoregressive": "autoregressive",
    "HarmonicInstrument": "harmonic",
    "Conditioning": "layers",
    "Config": "model",
    "Losses": "model",
    "Model": "model",
    "Cache": "network",
    "Network": "network",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LOADED_ON_USE[name]}"), name)


def _shapes_by_torch(config: Any) -> dict[str, tuple[int, ...]]:
    import torch

    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build_model(config).state_dict().items()}


class Kind(NamedTuple):
    """How a kind of model is read from a file and built."""

    config: Any  # the class of its configs
    build: Callable[[Any], Any]
    shapes: Callable[[Any], dict[str, tuple[int, ...]]] = _shapes_by_torch  # of its weights, by name


KINDS: dict[str, Kind] = {
    ModelConfig.kind: Kind(ModelConfig, lambda config: __getattr__("build_autoregressive")(config), _shapes_by_torch),
    HarmonicConfig.kind: Kind(
        HarmonicConfig, lambda config: __getattr__("HarmonicInstrument")(config), HarmonicConfig.shapes
    ),
}


def build_model(config: Config) -> Any:
    """A model with fresh weights, of the config's kind (a `Network` for "autoregressive"); raises InputError."""
    return KINDS[config.kind].build(config)


def shapes_of(config: Config) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a model of this config, by name; InputError for an unknown model."""
    return KINDS[config.kind].shapes(config)


def config_from(kind: Any, values: Mapping[str, Any]) -> Any:
    """The config of a kind from its plain values; InputError for an unknown kind or value."""
    if kind not in KINDS:
        raise InputError(f"unknown kind of model {kind!r}; known: {', '.join(KINDS)}")
    return KINDS[kind].config.from_dict(values)


__all__ = [
    "KINDS",
    "MODELS",
    "PRESETS",
    "Cache",
    "Conditioning",
    "Config",
    "HarmonicConfig",
    "HarmonicInstrument",
    "Kind",
    "Losses",
    "Model",
    "ModelConfig",
    "Network",
    "build_autoregressive",
    "build_model",
    "config_from",
    "preset_config",
    "preset_rate_hz",
    "shapes_of",
]
