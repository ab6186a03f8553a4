"""The torch engine's step against the full pass in double precision; its fitness for a CUDA graph; its CUDA graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from passages import VARIANTS, condition, passage
from torch import Tensor

from synthnet.generation.engine import TorchEngine
from synthnet.models import MODELS
from tests.device import ELSEWHERE, OnOneDevice

N_SAMPLES = 300  # more than the engine lays out at once
UNIFORMS, FEEDS_MEAN = np.random.default_rng(0).random((3, N_SAMPLES)), np.array([False, True, False])


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("model", MODELS)
def test_logits_equal_the_full_pass(model: str, changes: dict[str, Any]) -> None:
    case, made = passage(model, "tiny", 3, N_SAMPLES, double=True, **changes), []

    class Recorder(TorchEngine):
        def logits(self) -> Tensor:
            made.append(super().logits())
            return made[-1]

    engine = Recorder(case.network)
    engine.prime(*case.past)
    classes, means = engine.advance(case.conditioning, UNIFORMS, 0.8, FEEDS_MEAN)
    torch.testing.assert_close(torch.stack(made, dim=2), case.full_logits(classes), rtol=0, atol=1e-10)
    assert len(np.unique(classes)) > 50
    assert np.abs(means).max() < 1


@pytest.mark.parametrize("model", MODELS)
def test_a_step_keeps_its_buffers_and_stays_on_the_device(model: str) -> None:
    """A CUDA graph asks for both, and one that breaks the first computes nonsense without an error."""
    case = passage(model, "tiny", 3, N_SAMPLES, double=True)
    engine = TorchEngine(case.network)

    def tensors() -> dict[str, Tensor]:
        return {name: value for name, value in vars(engine).items() if isinstance(value, Tensor)}

    engine.prime(*case.past)
    before = {name: value.data_ptr() for name, value in tensors().items()}
    engine.advance(case.conditioning, UNIFORMS, 1.0, FEEDS_MEAN)
    assert {name: value.data_ptr() for name, value in tensors().items()} == before
    vars(engine).update({name: value.to(ELSEWHERE) for name, value in tensors().items()})
    engine.network.to(ELSEWHERE)
    with OnOneDevice() as watch:
        engine.step()
    assert any("addmm" in call for call in watch.calls)


@pytest.mark.parametrize("model", ["synthnet", "ablation-4-separable"])
def test_a_layer_in_one_kernel_makes_the_same_samples(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = pytest.importorskip("synthnet.kernels.fused", reason="Triton is not installed")
    case, made, used = passage(model, "tiny", 3, 12, double=True, **VARIANTS[1]), [], []
    for layer in (None, fused.step_layer):
        monkeypatch.setattr("synthnet.generation.engine.fused_layer", lambda device, layer=layer: layer)
        engine = TorchEngine(case.network)
        used.append(engine.pass_layer)
        engine.prime(*case.past)
        made.append(engine.advance(case.conditioning, UNIFORMS[:, :12], 0.8, FEEDS_MEAN))
    assert used[1] is fused.step_layer
    assert np.array_equal(made[0][0], made[1][0])
    np.testing.assert_allclose(made[0][1], made[1][1], rtol=0, atol=1e-6)  # means are float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("model", MODELS)
def test_the_cuda_graph_makes_the_same_samples(model: str) -> None:
    """With TRITON_INTERPRET=0 before pytest: of Triton's kernel, too."""
    case, made = passage(model, "tiny", 3, N_SAMPLES, double=True, **VARIANTS[1]), []
    for device in ("cpu", "cuda"):
        engine = TorchEngine(case.network.to(device))
        for _ in range(2):  # the second graph is of other buffers
            engine.prime(*(part.to(device) for part in case.past if part is not None))
        conditioning = condition(engine.network, case.roll.to(device), case.instruments.to(device), N_SAMPLES)
        made.append(engine.advance(conditioning, UNIFORMS, 0.8, FEEDS_MEAN))
    assert np.array_equal(made[0][0], made[1][0])
    np.testing.assert_allclose(made[0][1], made[1][1], atol=1e-5)
