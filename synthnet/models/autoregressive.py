"""The autoregressive networks by name: SynthNet, WaveNet, Deep Voice and the steps between."""

from __future__ import annotations

from collections.abc import Callable

from synthnet.files import InputError
from synthnet.models import ablation, deepvoice, synthnet, wavenet
from synthnet.models.config import ModelConfig
from synthnet.models.network import Network

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
