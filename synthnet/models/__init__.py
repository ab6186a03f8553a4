"""The networks, built from a config: SynthNet, its two baselines and the steps between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from synthnet.files import InputError
from synthnet.models import ablation, deepvoice, synthnet, wavenet
from synthnet.models.config import PRESETS, ModelConfig, preset_config, preset_rate_hz
from synthnet.models.layers import Conditioning
from synthnet.models.model import Config, Losses, Model
from synthnet.models.network import Cache, Network

MODELS: dict[str, Callable[[ModelConfig], Network]] = {
    "synthnet": synthnet.build,
    "wavenet": wavenet.build,
    "deepvoice": deepvoice.build,
    **dict.fromkeys(ablation.STEPS, ablation.build),
}


def build_autoregressive(config: ModelConfig) -> Network:
    """A network with fresh weights.

    Raises:
        InputError: the config names an unknown model.
    """
    if config.model not in MODELS:
        raise InputError(f"unknown model {config.model!r}; known: {', '.join(MODELS)}")
    return MODELS[config.model](config)


class Kind(NamedTuple):
    """How a kind of model is read from a file and built."""

    config: Any  # the class of its configs
    build: Callable[[Any], Any]


KINDS: dict[str, Kind] = {
    ModelConfig.kind: Kind(ModelConfig, build_autoregressive),
}


def build_model(config: Config) -> Any:
    """A model with fresh weights, of the config's kind (a `Network` for "autoregressive"); raises InputError."""
    return KINDS[config.kind].build(config)


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
    "Kind",
    "Losses",
    "Model",
    "ModelConfig",
    "Network",
    "build_model",
    "config_from",
    "preset_config",
    "preset_rate_hz",
]
