"""The harmonic instrument's config, weights, files and gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, small_weights

from synthnet.files import InputError
from synthnet.models import HarmonicConfig, build_model, config_from
from synthnet.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from synthnet.models.envelopes import make_notes


@pytest.mark.parametrize("config", [SMALL, HarmonicConfig(), HarmonicConfig(3, 2, 5, 1, 100.0)])
def test_the_config_knows_the_shapes_of_the_weights(config: HarmonicConfig) -> None:
    state = build_model(config).state_dict()
    assert config.shapes() == {name: tuple(value.shape) for name, value in state.items()}


def test_a_config_is_its_plain_values() -> None:
    assert config_from("harmonic", SMALL.as_dict()) == SMALL
    vibrating = replace(SMALL, vibrato_hz=6.3, vibrato_cents=14.7)
    assert config_from("harmonic", vibrating.as_dict()) == vibrating
    assert vibrating.as_dict().keys() - SMALL.as_dict().keys() == {"vibrato_hz", "vibrato_cents"}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"partial": 8}, "unknown setting 'partial'"),
        ({"partials": 0}, "partials must be a whole number from 1 to 1,024, not 0"),
        ({"bands": 1}, "bands must be"),
        ({"width": 16.0}, "width must be a whole number"),
        ({"embedding": True}, "embedding must be a whole number"),
        ({"longest_s": 0.5}, "longest_s must be a number from 2 to 3,600, not 0.5"),
        ({"longest_s": True}, "longest_s must be a number"),
        ({"longest_s": "long"}, "longest_s must be a number"),
        ({"longest_s": float("nan")}, "longest_s must be a number"),
    ],
)
def test_errors_of_a_config(values: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        HarmonicConfig.from_dict({**SMALL.as_dict(), **values})


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    path, weights = tmp_path / "x.safetensors", small_weights()
    without = {name: value for name, value in weights.items() if name != "ratios"}
    for damaged in ({**weights, "ratios": weights["ratios"][:-1]}, {**weights, "more": np.zeros(1)}, without):
        save_checkpoint(path, Checkpoint(SMALL, 16_000, ("piano",), {}, damaged))
        with pytest.raises(InputError, match="weights do not fit the harmonic"):
            load_checkpoint(path)


def test_gradients_reach_all_that_is_trained_and_agree_with_differences() -> None:
    torch.manual_seed(0)
    model = build_model(SMALL)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in small_weights().items()})
    notes = make_notes(np.array([50, 62]), np.array([70, 100]), np.array([-100, 300]), np.array([400, 900]), 8_000)
    target = torch.randn(2, 1_200)

    def loss() -> torch.Tensor:
        audio = model(notes, np.array([0, 1]), 2, 1_200, 8_000, np.array([5, 77]))
        return (audio * target).sum()

    loss().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
        step = 1e-3 * parameter.grad / parameter.grad.norm()
        values = []
        for sign in (1, -2):
            with torch.no_grad():
                parameter += sign * step
                values.append(loss().item())
        with torch.no_grad():
            parameter += step
        assert (values[0] - values[1]) / 2e-3 == pytest.approx(parameter.grad.norm().item(), rel=0.03), name


def test_muon_trains_the_hidden_layers() -> None:
    model = build_model(SMALL)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [names[id(matrix)] for matrix in model.matrices()] == [f"hidden.{number}.weight" for number in (0, 2, 4)]
