"""A trained network in one self-describing file: safetensors weights, everything else as JSON in its metadata.

No file is ever unpickled, so a checkpoint from a stranger can hold wrong numbers but run no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from synthnet.files import InputError, written_whole
from synthnet.models import ModelConfig, Network, build_model

FORMAT = 1
METADATA_KEY = "synthnet"


@dataclass(frozen=True)
class Voice:
    """An instrument of a network, or a mixture of some.

    Attributes:
        name: of the instrument; of a mixture as it is asked for, such as "cello:0.5+trumpet:0.5".
        style: [S] weights of the styles, None for a network with a single instrument.
        why: it was chosen, for the person who asked; empty for a voice that nobody had to choose.
    """

    name: str
    style: np.ndarray | None
    why: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        config: the network's shape.
        sample_rate_hz: of the audio that it was trained on and makes.
        instruments: names, in the order of the one-hot style; one name for a single instrument.
        training: provenance, as plain values: steps, corpora and their hashes, settings, figures reached.
        weights: the network's state, by name.
    """

    config: ModelConfig
    sample_rate_hz: int
    instruments: tuple[str, ...]
    training: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    def voice(self, instrument: str | None = None) -> Voice:
        """The instrument of that name, or the first; InputError if the network did not learn it."""
        name = self.instruments[0] if instrument is None else instrument
        if name not in self.instruments:
            raise InputError(f"this network does not play {name!r}; it plays: {', '.join(self.instruments)}")
        style = np.eye(len(self.instruments))[self.instruments.index(name)] if self.config.styles else None
        return Voice(name, style)

    def build(self, device: torch.device | str = "cpu") -> Network:
        """The network with these weights, ready to play."""
        with torch.device("meta"):
            network = build_model(self.config)
        network.load_state_dict({name: value.to(device) for name, value in self.weights.items()}, assign=True)
        return network.eval().requires_grad_(False)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors with a JSON dictionary of facts, whole or not at all."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with written_whole(path) as beside:
        # Not safetensors' own save_file: it hides a full disk behind an error of its own.
        beside.write_bytes(save(plain, metadata={METADATA_KEY: json.dumps({"format": FORMAT, **facts})}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `save_tensors`.

    Raises:
        InputError: no such file, a folder, damaged, truncated, or not ours; one line that names it.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'a folder, not a checkpoint' if path.is_dir() else 'no such file'}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except PermissionError:
        raise InputError(f"{path}: cannot be read (permission denied)") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a checkpoint ({' '.join(str(error).split())})") from None
    try:
        facts = json.loads(metadata[METADATA_KEY])
        version = facts.pop("format")
    except (KeyError, ValueError, AttributeError):
        raise InputError(f"{path}: a safetensors file, but not one of SynthNet's") from None
    if version != FORMAT:
        raise InputError(f"{path}: checkpoint format {version}, this version reads format {FORMAT}")
    return tensors, facts


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all."""
    facts = {
        "config": checkpoint.config.as_dict(),
        "sample_rate_hz": checkpoint.sample_rate_hz,
        "instruments": list(checkpoint.instruments),
        "training": dict(checkpoint.training),
    }
    save_tensors(path, checkpoint.weights, facts)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check that its weights fit its config.

    Raises:
        InputError: see `load_tensors`; also facts that are missing or do not fit the weights.
    """
    path = Path(path)
    weights, facts = load_tensors(path)
    try:
        config = ModelConfig.from_dict(facts["config"])
        rate, instruments = int(facts["sample_rate_hz"]), tuple(str(name) for name in facts["instruments"])
        training = dict(facts["training"])
        with torch.device("meta"):
            expected = {name: tuple(value.shape) for name, value in build_model(config).state_dict().items()}
    except InputError as fault:
        raise InputError(f"{path}: {fault}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a playable checkpoint (missing or malformed {error})") from None
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if found != expected:
        wrong = sorted(name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name))[0]
        raise InputError(f"{path}: weights do not fit the {config.model} that it describes (first at {wrong})")
    if rate < 1000 or not instruments or (config.styles and config.styles != len(instruments)):
        raise InputError(f"{path}: its sample rate or its instruments do not fit its network")
    return Checkpoint(config, rate, instruments, training, weights)
