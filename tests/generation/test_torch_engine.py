"""The torch engine's step against the full pass in double precision; its fitness for a CUDA graph; its CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from passages import VARIANTS, condition, passage
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from synthnet.generation.engine import TorchEngine
from synthnet.models import MODELS

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
def test_a_step_keeps_its_buffers_and_reads_nothing_back(model: str) -> None:
    """Both are what a CUDA graph asks for, and a graph that breaks them computes nonsense without an error."""
    calls = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Callable[..., Any], types: Any, arguments: Any = (), named: Any = None
        ) -> Any:
            calls.add(str(function))
            return function(*arguments, **(named or {}))

    case = passage(model, "tiny", 3, N_SAMPLES, double=True)
    engine = TorchEngine(case.network)

    def addresses() -> dict[str, int]:
        return {name: value.data_ptr() for name, value in vars(engine).items() if isinstance(value, Tensor)}

    engine.prime(*case.past)
    before = addresses()
    with Watch():
        engine.step()
    assert any("addmm" in call for call in calls)
    assert not [call for call in calls if any(word in call for word in ("local_scalar", "nonzero", "equal", "unique"))]
    engine.advance(case.conditioning, UNIFORMS, 1.0, FEEDS_MEAN)
    assert addresses() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("model", MODELS)
def test_the_cuda_graph_makes_the_same_samples(model: str) -> None:
    case, made = passage(model, "tiny", 3, N_SAMPLES, double=True, **VARIANTS[1]), []
    for device in ("cpu", "cuda"):
        engine = TorchEngine(case.network.to(device))
        for _ in range(2):  # the second graph is of other buffers
            engine.prime(*(part.to(device) for part in case.past if part is not None))
        conditioning = condition(engine.network, case.roll.to(device), case.instruments.to(device), N_SAMPLES)
        made.append(engine.advance(conditioning, UNIFORMS, 0.8, FEEDS_MEAN))
    assert np.array_equal(made[0][0], made[1][0])
    np.testing.assert_allclose(made[0][1], made[1][1], atol=1e-5)
