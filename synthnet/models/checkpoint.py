"""A trained model in one self-describing file: safetensors weights, everything else as JSON in its metadata.

The metadata has `format`, `kind` (a key of `synthnet.models.KINDS`), the `config` of that kind, `sample_rate_hz`,
`instruments`, `training` (provenance) and `figures`.

Weights are numpy arrays here; only `Checkpoint.build` loads torch. No file is ever unpickled, so a checkpoint from a
stranger can hold wrong numbers but run no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from synthnet.audio import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from synthnet.files import InputError, atomic_write, parse_json
from synthnet.models import build_model, config_from, shapes_of
from synthnet.models.config import LARGEST_WEIGHT, MEASURED
from synthnet.score.general_midi import KNOWN_INSTRUMENTS

if TYPE_CHECKING:
    import torch

    from synthnet.models import Config

FORMAT = 2
METADATA_KEY = "synthnet"


@dataclass(frozen=True)
class Voice:
    """An instrument of a network, or a mixture of some.

    Attributes:
        name: of the instrument; a mixture has the name it is asked for by, such as "cello:0.5+trumpet:0.5".
        style: [S] weights of the instrument embeddings, None for a network with a single instrument.
        why: reason for the choice, for the person who asked; empty where there was none to make.
    """

    name: str
    style: np.ndarray | None
    why: str = ""


@dataclass(frozen=True)
class CheckpointHeader:
    """All that a checkpoint file holds but its weights; read without torch.

    Attributes:
        config: how the model is built; its class is that of the kind.
        sample_rate_hz: of the audio that it was trained on and makes.
        instruments: names, in the order of the instrument embeddings; one name for a single instrument.
        training: provenance, as plain values: steps, corpora and their hashes, settings.
        figures: reached, as plain values: "validation" during training, "evaluations" of `synthnet evaluate --keep` by
            instrument.
    """

    config: Config
    sample_rate_hz: int
    instruments: tuple[str, ...]
    training: Mapping[str, Any] = field(repr=False)
    figures: Mapping[str, Any] = field(default_factory=dict, kw_only=True, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: the metadata of a file."""
        return {
            "kind": self.config.kind,
            "config": self.config.as_dict(),
            "sample_rate_hz": self.sample_rate_hz,
            "instruments": list(self.instruments),
            "training": dict(self.training),
            "figures": dict(self.figures),
        }

    def voice(self, instrument: str | None = None) -> Voice:
        """The instrument of that name, by default the first; InputError if the network did not learn it."""
        name = self.instruments[0] if instrument is None else instrument
        if name not in self.instruments:
            raise InputError(f"this network does not play {name!r}; it plays: {', '.join(self.instruments)}")
        style = np.eye(len(self.instruments))[self.instruments.index(name)] if self.config.styles else None
        return Voice(name, style)

    @property
    def programs(self) -> tuple[int | None, ...]:
        """General MIDI program of each instrument, 0 to 127: its corpus's, else that of its name, else None."""
        by_name = {who.name: who.program for who in KNOWN_INSTRUMENTS}
        found = [fact(self.training, "corpora", number, "program") for number in range(len(self.instruments))]
        return tuple(
            program if isinstance(program, int) and 0 <= program <= 127 else by_name.get(name)
            for name, program in zip(self.instruments, found, strict=True)
        )


@dataclass(frozen=True)
class Checkpoint(CheckpointHeader):
    """What a checkpoint file holds.

    Attributes:
        weights: the model's state, by name. A file may hold them in half precision.
    """

    weights: Mapping[str, np.ndarray] = field(repr=False)

    def of_one(self, instrument: str | None = None) -> Checkpoint:
        """The same network for one of its instruments, or for the mean of all, without instrument embeddings.

        An embedding adds a constant to each layer's gates, which the convolution's bias takes up: what the network
        computes stays the same. A network of a single instrument is returned as it is.
        """
        style = self.voice(instrument).style
        if style is None:
            return self
        if instrument is None:
            style = np.full(len(self.instruments), 1 / len(self.instruments))
        weights = dict(self.weights)
        for name in self.weights:
            if name.endswith(".style.weight"):
                bias = name.removesuffix("style.weight") + "convolution.bias"
                added = weights.pop(name).astype(np.float64) @ style  # [2C, S] of [S]
                weights[bias] = (weights[bias] + added.reshape(weights[bias].shape)).astype(weights[bias].dtype)
        config = config_from(self.config.kind, {**self.config.as_dict(), "styles": 0})
        return replace(self, config=config, instruments=(instrument or "+".join(self.instruments),), weights=weights)

    def build(self, device: torch.device | str = "cpu") -> Any:
        """The model of its kind with these weights in single precision, ready to play."""
        import torch

        with torch.device("meta"):
            network = build_model(self.config)
        network.load_state_dict({name: torch.tensor(value) for name, value in self.weights.items()}, assign=True)
        return network.to(device).float().eval().requires_grad_(False)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all."""
    save_tensors(path, checkpoint.weights, checkpoint.as_dict())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check that its weights fit its config.

    Raises:
        InputError: see `load_tensors`; also metadata that are missing or do not fit the weights.
    """
    weights, facts = load_tensors(path)
    header = _header(path, facts)
    expected = shapes_of(header.config)
    shapes = {name: value.shape for name, value in weights.items()}
    wrong = [name for name in expected.keys() | shapes.keys() if shapes.get(name) != expected.get(name)]
    if wrong:
        model = header.config.model
        raise InputError(f"{path}: weights do not fit the {model} that it describes (first at {min(wrong)})")
    for name, value in weights.items():
        low, high = MEASURED.get(name, (-LARGEST_WEIGHT, LARGEST_WEIGHT))
        if value.dtype.kind != ("i" if name == "nearest" else "f"):
            raise InputError(f"{path}: weights of type {value.dtype} ({name})")
        if value.size and not (low <= value.min() and value.max() <= high):  # nor if one is not a number
            raise InputError(f"{path}: weights that are not finite, or not within {low:g} to {high:g} ({name})")
    return Checkpoint(**vars(header), weights=weights)


def peek_checkpoint(path: Path) -> CheckpointHeader:
    """The header of a checkpoint, as quick for a large network as for a small; raises as `load_checkpoint`."""
    return _header(path, load_tensors(path, only_facts=True)[1])


def _header(path: Path, facts: Mapping[str, Any]) -> CheckpointHeader:
    """The header of a file's metadata, if they fit one another; raises as `load_checkpoint`."""
    try:
        rate, names, training, figures = (facts[k] for k in ("sample_rate_hz", "instruments", "training", "figures"))
        for value, kind in ((rate, int), (names, list), (training, dict), (figures, dict)):
            if type(value) is not kind:
                raise TypeError(f"{value!r:.80}")
        if not all(isinstance(name, str) and name for name in names):
            raise TypeError("instruments' names")
        config = config_from(facts["kind"], facts["config"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a playable checkpoint (missing or malformed {error})") from None
    if not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ or not names or config.styles not in (0, len(names)):
        raise InputError(f"{path}: its sample rate or its instruments do not fit its network")
    return CheckpointHeader(config, rate, tuple(names), training, figures=figures)


def halved(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its learned weights in half precision, half the size; what was measured stays as it is.

    Raises:
        InputError: a weight is not finite or too large for half precision.
    """
    weights = dict(checkpoint.weights)
    for name, value in weights.items():
        if name not in MEASURED:
            if not np.abs(value).max(initial=0.0) <= np.finfo(np.float16).max:
                raise InputError(f"{name} is not finite or does not fit half precision; train the instrument again")
            weights[name] = value.astype(np.float16)
    return replace(checkpoint, weights=weights)


def credit_of(header: CheckpointHeader) -> str:
    """Whom to name where an instrument is heard: the players and licences of its recordings, "" if there are none."""
    given = fact(header.training, "credits")
    found = [text for text in given if isinstance(text, str) and text] if isinstance(given, list) else []
    return "; ".join(dict.fromkeys(found))


def fact(facts: Any, *keys: str | int) -> Any:
    """A value deep within plain values that anyone may have written; None if it is not there."""
    for key in keys:
        try:
            facts = facts[key]
        except (KeyError, IndexError, TypeError):
            return None
    return facts


def arrays_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Tensors of any device as arrays."""
    return {name: value.detach().cpu().numpy() for name, value in tensors.items()}


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write arrays with a JSON dictionary of facts, whole or not at all."""
    plain = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    with atomic_write(path) as beside:
        # Not safetensors' own save_file: it reports a full disk as an error of its format.
        beside.write_bytes(save(plain, metadata={METADATA_KEY: json.dumps({"format": FORMAT, **facts})}))


def load_tensors(path: Path, *, only_facts: bool = False) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The inverse of `save_tensors`; with `only_facts` the arrays stay unread and are left out.

    Raises:
        InputError: no such file, a folder, damaged, truncated, or not ours; one line that names it.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'a folder, not a checkpoint' if path.is_dir() else 'no such file'}")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in ([] if only_facts else file.keys())}
    except PermissionError:
        raise InputError(f"{path}: cannot be read (permission denied)") from None
    except (SafetensorError, OSError, ValueError, TypeError) as error:  # numpy does not know every type of numbers
        raise InputError(f"{path}: damaged or not a checkpoint ({' '.join(str(error).split())})") from None
    try:
        facts = parse_json(metadata[METADATA_KEY])
        version = facts.pop("format")
    except (KeyError, ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: a safetensors file, but not one of SynthNet's") from None
    if version != FORMAT:
        raise InputError(f"{path}: checkpoint format {version}, this version reads format {FORMAT}")
    return arrays, facts
