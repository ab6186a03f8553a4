"""Checkpoints: what was saved comes back, and nothing else is ever taken for one."""

from __future__ import annotations

import json
import random
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
from synthnet.models import KINDS, MODELS, Kind, build_model, preset_config
from synthnet.models.checkpoint import (
    Checkpoint,
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
    return Checkpoint(config, 16_000, ("cello", "flute"), {"steps": 7}, weights, {"validation": {"x": 1.5}})


def test_round_trip(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "deep" / "a.safetensors"
    save_checkpoint(path, checkpoint)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.safetensors"]
    again = load_checkpoint(path)
    assert (again.config, again.sample_rate_hz, again.instruments) == (checkpoint.config, 16_000, ("cello", "flute"))
    assert (again.training, again.figures) == ({"steps": 7}, {"validation": {"x": 1.5}})
    network = again.build()
    for name, value in network.state_dict().items():
        assert np.array_equal(value.numpy(), checkpoint.weights[name])


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


def test_a_glance_at_a_checkpoint_is_all_but_its_weights(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, checkpoint)
    assert peek_checkpoint(path) == replace(load_checkpoint(path), weights={})


def fault_of(path: Path) -> str | None:
    """What a file is refused with; None if it is not."""
    faults = []
    for read in (load_checkpoint, peek_checkpoint):
        try:
            read(path)
            faults.append(None)
        except InputError as fault:
            faults.append(str(fault))
    assert faults[0] == faults[1]
    return faults[0]


def test_every_truncation_and_damage_of_the_header_is_refused_in_one_line(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    whole, path = tmp_path / "whole.safetensors", tmp_path / "damaged.safetensors"
    save_checkpoint(whole, checkpoint)
    data = whole.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    rng = random.Random(0)
    for number in range(150):
        damaged = bytearray(data)
        if number % 2:
            del damaged[rng.randrange(len(data)) :]
        else:
            for _ in range(4):
                damaged[rng.randrange(header)] = rng.randrange(256)
        path.write_bytes(damaged)
        fault = fault_of(path)
        if fault is not None:
            assert str(path) in fault
            assert "\n" not in fault
        else:  # damage that only renames a fact, such as an instrument, cannot be seen; a file cut short always can
            assert number % 2 == 0
    path.write_bytes(data[:-1])
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(path)


def test_foreign_files_are_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="no such file"):
        load_checkpoint(path)
    with pytest.raises(InputError, match="a folder, not a checkpoint"):
        load_checkpoint(tmp_path)
    save_file({"w": np.zeros(3)}, path)
    with pytest.raises(InputError, match="not one of SynthNet's"):
        load_checkpoint(path)
    save_file({"w": np.zeros(3)}, path, metadata={"synthnet": json.dumps({"format": 99})})
    with pytest.raises(InputError, match="format 99"):
        load_checkpoint(path)
    save_file({"w": np.zeros(3)}, path, metadata={"synthnet": json.dumps({"format": 1})})
    with pytest.raises(InputError, match="checkpoint format 1, this version reads format 2"):
        load_checkpoint(path)
    path.write_bytes(save({"w": torch.zeros(3, dtype=torch.bfloat16)}, {"synthnet": json.dumps({"format": 2})}))
    with pytest.raises(InputError, match="damaged or not a checkpoint"):
        load_checkpoint(path)
    save_tensors(path, {"w": np.zeros(3)}, {"step": 3})
    with pytest.raises(InputError, match="not a playable checkpoint"):
        load_checkpoint(path)


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["synthnet"])


def test_the_header_says_its_format_and_kind(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, checkpoint)
    assert header_of(path) == {
        "format": 2,
        "kind": "autoregressive",
        "config": checkpoint.config.as_dict(),
        "sample_rate_hz": 16_000,
        "instruments": ["cello", "flute"],
        "training": {"steps": 7},
        "figures": {"validation": {"x": 1.5}},
    }
    for kind in ("harmonica", None, []):
        facts = {**header_of(path), "kind": kind}
        save_file(dict(checkpoint.weights), tmp_path / "y.safetensors", metadata={"synthnet": json.dumps(facts)})
        fault = fault_of(tmp_path / "y.safetensors")
        assert fault is not None
        assert "\n" not in fault


def test_another_kind_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file holds any kind that is in the table: its config, and the model that this builds."""
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
    assert peek_checkpoint(path).weights == {}  # a glance does not look at them
    save_checkpoint(path, Checkpoint(checkpoint.config, 16_000, ("cello",), {}, checkpoint.weights))
    with pytest.raises(InputError, match="do not fit its network"):
        load_checkpoint(path)
