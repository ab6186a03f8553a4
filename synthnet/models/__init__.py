"""The networks, built from one config and one set of layers: SynthNet, its two baselines and the steps between, NSF."""

from __future__ import annotations

from collections.abc import Callable

from synthnet.files import InputError
from synthnet.models import ablation, deepvoice, nsf, synthnet, wavenet
from synthnet.models.config import PRESETS, ModelConfig, preset_config
from synthnet.models.layers import Conditioning
from synthnet.models.network import Cache, Network

MODELS: dict[str, Callable[[ModelConfig], Network]] = {
    "synthnet": synthnet.build,
    "wavenet": wavenet.build,
    "deepvoice": deepvoice.build,
    "nsf": nsf.build,
    **dict.fromkeys(ablation.STEPS, ablation.build),
}


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
