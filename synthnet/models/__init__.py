"""The networks: SynthNet and its two baselines, built from one config and one set of layers."""

from __future__ import annotations

from collections.abc import Callable

from synthnet.files import InputError
from synthnet.models.config import PRESETS, ModelConfig, preset_config
from synthnet.models.deepvoice import DeepVoice
from synthnet.models.network import Cache, Conditioning, Network
from synthnet.models.synthnet import SynthNet
from synthnet.models.wavenet import WaveNet

MODELS: dict[str, Callable[[ModelConfig], Network]] = {"synthnet": SynthNet, "wavenet": WaveNet, "deepvoice": DeepVoice}


def build_model(config: ModelConfig) -> Network:
    """A network with fresh weights.

    Raises:
        InputError: the config names an unknown model.
    """
    if config.model not in MODELS:
        raise InputError(f"unknown model {config.model!r}; known: {', '.join(MODELS)}")
    return MODELS[config.model](config)


__all__ = [
    "MODELS",
    "PRESETS",
    "Cache",
    "Conditioning",
    "ModelConfig",
    "Network",
    "build_model",
    "preset_config",
]
