"""Checkpoints: what was saved comes back, and nothing else is ever taken for one."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import save

from synthnet.files import InputError
from synthnet.generation.library import SHIPPED
from synthnet.models import KINDS, MODELS, Kind, build_model, preset_config
from synthnet.models.checkpoint import (
    Checkpoint,
    CheckpointHeader,
    arrays_of,
    load_checkpoint,
    load_tensors,
    peek_checkpoint,
    save_checkpoint,
    save_tensors,
)


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    config = preset_config("synthnet", "tiny", styles=2)
    weights = arrays_of(build_model(config).state_dict())
    return Checkpoint(config, 16_000, ("cello", "flute"), {"steps": 7}, weights, figures={"validation": {"x": 1.5}})


def test_round_trip(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "deep" / "a.safetensors"
    save_checkpoint(path, checkpoint)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.safetensors"]
    again, header = load_checkpoint(path), peek_checkpoint(path)
    assert replace(again, weights={}) == replace(checkpoint, weights={})
    assert header == CheckpointHeader(**{name: value for name, value in vars(checkpoint).items() if name != "weights"})
    assert header_of(path) == {"format": 2, **header.as_dict()}
    for name, value in again.build().state_dict().items():
        assert np.array_equal(value.numpy(), checkpoint.weights[name])


def test_shipped_files_keep_their_bytes(tmp_path: Path) -> None:
    for path in SHIPPED.glob("*.safetensors"):
        save_checkpoint(tmp_path / path.name, load_checkpoint(path))
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_header_is_read_without_torch() -> None:
    code = "import sys; from pathlib import Path; from synthnet.models.checkpoint import peek_checkpoint as peek;"
    code += f"print(peek(Path({str(SHIPPED / 'trumpet.safetensors')!r})).programs, 'torch' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout == "(56,) False\n", done.stderr


def test_arrays_keep_shape_and_type(tmp_path: Path) -> None:
    arrays = {"scalar": np.float32(2.5), "turned": np.arange(6).reshape(2, 3).T, "half": np.ones((2, 1), np.float16)}
    save_tensors(tmp_path / "x.safetensors", {name: np.asarray(x) for name, x in arrays.items()}, {"step": 3})
    again, facts = load_tensors(tmp_path / "x.safetensors")
    assert facts == {"step": 3}
    for name, array in arrays.items():
        assert (again[name].shape, again[name].dtype) == (array.shape, array.dtype)
        assert np.array_equal(again[name], array)


def test_voices(checkpoint: Checkpoint) -> None:
    assert checkpoint.voice().name == "cello"
    assert checkpoint.voice("flute").style.tolist() == [0, 1]
    with pytest.raises(InputError, match="does not play 'horn'; it plays: cello, flute"):
        checkpoint.voice("horn")


@pytest.mark.parametrize("model", MODELS)
def test_a_network_of_one_computes_what_the_network_of_several_did_with_that_style(model: str) -> None:
    torch.manual_seed(0)
    config = preset_config(model, "tiny", styles=3)
    several = Checkpoint(config, 16_000, ("cello", "flute", "oboe"), {}, arrays_of(build_model(config).state_dict()))
    n = config.receptive_field + 50
    x, roll = torch.randint(0, 256, (1, n)), (torch.rand(1, 128, n) < 0.05).float()
    outputs = []
    for name, style in [("oboe", [0.0, 0.0, 1.0]), ("cello", [1.0, 0.0, 0.0]), (None, [1 / 3, 1 / 3, 1 / 3])]:
        one = several.of_one(name)
        assert (one.config.styles, one.instruments) == (0, ("cello+flute+oboe" if name is None else name,))
        outputs.append(one.build()(x, roll))
        expected = several.build()(x, roll, torch.tensor([style]))
        torch.testing.assert_close(outputs[-1], expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-2)
    assert one.of_one() is one
    assert several.weights["layers.0.style.weight"].shape[1] == 3  # as it was


def test_programs_are_those_of_the_corpora_else_of_the_names(checkpoint: Checkpoint) -> None:
    for corpora, programs in [
        ([{"program": 43}, {"program": 73}], (43, 73)),
        ([{"program": 128}, {}], (42, 75)),
        ("?", (42, 75)),
    ]:
        assert replace(checkpoint, training={"corpora": corpora}).programs == programs
    assert replace(checkpoint, instruments=("kazoo", "flute")).programs == (None, 75)


def error_of(path: Path) -> str | None:
    """The one line that refuses a file, whole or its header; None if it is read."""
    errors = []
    for read in (load_checkpoint, peek_checkpoint):
        try:
            read(path)
            errors.append(None)
        except InputError as error:
            errors.append(str(error))
            assert str(path) in errors[-1]
            assert "\n" not in errors[-1]
    assert errors[0] == errors[1]
    return errors[0]


def test_truncated_files_and_damaged_headers_are_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    whole, path = tmp_path / "whole.safetensors", tmp_path / "damaged.safetensors"
    save_checkpoint(whole, checkpoint)
    data = whole.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    rng = random.Random(0)
    for _ in range(75):
        damaged = bytearray(data)
        for _ in range(4):
            damaged[rng.randrange(header)] = rng.randrange(256)
        path.write_bytes(damaged)
        error_of(path)  # damage that only renames a fact, such as an instrument, cannot be seen
    for length in (*(rng.randrange(len(data)) for _ in range(75)), len(data) - 1):
        path.write_bytes(data[:length])
        assert error_of(path) is not None


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"

    def refused(where: Path, line: str) -> None:
        with pytest.raises(InputError, match=line):
            load_checkpoint(where)

    refused(path, "no such file")
    refused(tmp_path, "a folder, not a checkpoint")
    save_file({"w": np.zeros(3)}, path)
    refused(path, "not one of SynthNet's")
    for version in (1, 99):
        save_file({"w": np.zeros(3)}, path, metadata={"synthnet": json.dumps({"format": version})})
        refused(path, f"checkpoint format {version}, this version reads format 2")
    path.write_bytes(save({"w": torch.zeros(3, dtype=torch.bfloat16)}, {"synthnet": json.dumps({"format": 2})}))
    refused(path, "damaged or not a checkpoint")
    save_tensors(path, {"w": np.zeros(3)}, {"step": 3})
    refused(path, "not a playable checkpoint")


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["synthnet"])


@pytest.mark.parametrize("kind", ["harmonica", None, []])
def test_unknown_kinds_are_refused(tmp_path: Path, checkpoint: Checkpoint, kind: Any) -> None:
    save_tensors(tmp_path / "x.safetensors", checkpoint.weights, {**checkpoint.as_dict(), "kind": kind})
    assert error_of(tmp_path / "x.safetensors") is not None


def test_a_file_holds_any_kind_of_model_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "gain", Kind(GainConfig, Gain))
    saved = Checkpoint(GainConfig(0.5), 44_100, ("horn",), {}, {"gain": np.array([2.0], np.float32)})
    save_checkpoint(tmp_path / "x.safetensors", saved)
    again = load_checkpoint(tmp_path / "x.safetensors")
    assert again.config == GainConfig(0.5)
    assert again.voice().style is None
    assert again.build()(torch.ones(1)).tolist() == [1.0]


@dataclass(frozen=True)
class GainConfig:
    factor: float
    kind: ClassVar[str] = "gain"
    model: ClassVar[str] = "gain"
    styles: ClassVar[int] = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GainConfig:
        return cls(**values)


class Gain(torch.nn.Module):
    def __init__(self, config: GainConfig) -> None:
        super().__init__()
        self.factor, self.gain = config.factor, torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.gain * x


def test_weights_may_be_kept_in_half_precision_and_are_built_in_single(tmp_path: Path, checkpoint: Checkpoint) -> None:
    halves = {name: value.astype(np.float16) for name, value in checkpoint.weights.items()}
    save_checkpoint(tmp_path / "x.safetensors", replace(checkpoint, weights=halves))
    again = load_checkpoint(tmp_path / "x.safetensors")
    for name, value in again.build().state_dict().items():
        assert again.weights[name].dtype == np.float16
        assert value.dtype == torch.float32
        assert np.array_equal(value.numpy(), halves[name])


def test_weights_of_another_network_are_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "x.safetensors"
    other = arrays_of(build_model(preset_config("synthnet", "tiny", styles=2, channels=12)).state_dict())
    save_checkpoint(path, Checkpoint(checkpoint.config, 16_000, checkpoint.instruments, {}, other))
    with pytest.raises(InputError, match="weights do not fit"):
        load_checkpoint(path)
    assert peek_checkpoint(path).config == checkpoint.config  # it does not look at them
    save_checkpoint(path, Checkpoint(checkpoint.config, 16_000, ("cello",), {}, checkpoint.weights))
    with pytest.raises(InputError, match="do not fit its network"):
        load_checkpoint(path)
