"""Checkpoints: what was saved comes back, and nothing else is ever taken for one."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from synthnet.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, save_tensors
from synthnet.files import InputError
from synthnet.models import build_model, preset_config


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    config = preset_config("synthnet", "tiny", styles=2)
    return Checkpoint(config, 16_000, ("cello", "flute"), {"steps": 7}, build_model(config).state_dict())


def test_round_trip(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "deep" / "a.safetensors"
    save_checkpoint(path, checkpoint)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.safetensors"]
    again = load_checkpoint(path)
    assert (again.config, again.sample_rate_hz, again.instruments) == (checkpoint.config, 16_000, ("cello", "flute"))
    assert again.training == {"steps": 7}
    network = again.build()
    for name, value in network.state_dict().items():
        assert torch.equal(value, checkpoint.weights[name])


def test_voices(checkpoint: Checkpoint) -> None:
    assert checkpoint.voice().name == "cello"
    assert checkpoint.voice("flute").style.tolist() == [0, 1]
    with pytest.raises(InputError, match="does not play 'horn'; it plays: cello, flute"):
        checkpoint.voice("horn")


def fault_of(path: Path) -> str | None:
    """What a file is refused with; None if it is not."""
    try:
        load_checkpoint(path)
    except InputError as fault:
        return str(fault)
    return None


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
    save_file({"w": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="not one of SynthNet's"):
        load_checkpoint(path)
    save_file({"w": torch.zeros(3)}, path, metadata={"synthnet": json.dumps({"format": 99})})
    with pytest.raises(InputError, match="format 99"):
        load_checkpoint(path)
    save_tensors(path, {"w": torch.zeros(3)}, {"step": 3})
    with pytest.raises(InputError, match="not a playable checkpoint"):
        load_checkpoint(path)


def test_weights_of_another_network_are_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "x.safetensors"
    other = build_model(preset_config("synthnet", "tiny", styles=2, channels=12)).state_dict()
    save_checkpoint(path, Checkpoint(checkpoint.config, 16_000, checkpoint.instruments, {}, other))
    with pytest.raises(InputError, match="weights do not fit"):
        load_checkpoint(path)
    save_checkpoint(path, Checkpoint(checkpoint.config, 16_000, ("cello",), {}, checkpoint.weights))
    with pytest.raises(InputError, match="do not fit its network"):
        load_checkpoint(path)
