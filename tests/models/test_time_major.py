"""The loss on a GPU against the networks' own loss, on a CPU: all variants, velocities, instrument embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from synthnet.models import MODELS, ModelConfig, Network, build_model
from synthnet.models.time_major import Parts, Slice, slice_loss

N_PREDICTED = 40


def both_forms(config: ModelConfig) -> tuple[Slice, dict[str, Tensor]]:
    """A slice of noise and chords, as the GPU and as the network's own loss take it."""
    n_inputs, width = N_PREDICTED + config.receptive_field - 1, config.filter_width
    rng = np.random.default_rng(0)
    notes = np.zeros((128, n_inputs + 1), np.float32)
    for key in range(40, 64, 3):
        start = int(rng.integers(-5, n_inputs))
        notes[key, max(start, 0) : start + n_inputs // 4] = rng.integers(1, 127) / 127
    roll, classes = torch.from_numpy(notes), torch.from_numpy(rng.integers(0, 256, n_inputs + 1))
    frames = functional.pad(roll, (width - 1, 0)).unfold(1, width + 1, 1).transpose(0, 1)  # [N, 128, F + 1]
    is_new = torch.cat([torch.ones(1, dtype=torch.bool), (frames[1:] != frames[:-1]).flatten(1).any(1)])
    windows = torch.cat([frames[is_new], torch.zeros(2, 128, width + 1)])  # two runs that no input has
    batch = {
        "x": classes[None, :-1],
        "roll": roll[None, :, :-1],
        "target_x": classes[None, -N_PREDICTED:],
        "target_roll": roll[None, :, -N_PREDICTED:],
        "style": torch.tensor([1]),
    }
    return Slice(classes, is_new.cumsum(0) - 1, windows, torch.tensor(1)), batch


def worst_gradient(network: Network, dtype: torch.dtype, parts: Parts) -> float:
    """The largest relative distance of a parameter's gradient from that of the network's own loss."""
    piece, batch = both_forms(network.config)
    scale = 1024.0 if dtype == torch.float16 else 1.0
    own, fast = network.loss(batch), slice_loss(network, piece, dtype, parts)
    for one, other in zip(own, fast, strict=True):
        assert other.item() == pytest.approx(one.item(), rel=1e-5 if dtype == torch.float32 else 0.01)
    gradients = []
    for loss, factor in ((own, 1.0), (fast, scale)):
        network.zero_grad()
        (loss.total * factor).backward()
        gradients.append({n: p.grad / factor for n, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    return max(float((gradients[1][name] - right).norm() / right.norm()) for name, right in gradients[0].items())


@pytest.mark.parametrize("model", MODELS)
def test_in_plain_torch_every_variant_is_the_network_s_own_loss(model: str) -> None:
    torch.manual_seed(0)
    network = build_model(ModelConfig(model, 3, 2, 3, 12, 2, velocity=True))
    assert worst_gradient(network, torch.float32, Parts()) < 1e-5


@pytest.mark.parametrize("model", ["synthnet", "wavenet", "deepvoice"])
def test_in_half_precision_gradients_are_within_two_percent(model: str) -> None:
    torch.manual_seed(0)
    network = build_model(ModelConfig(model, 2, 2, 3, 16, 2))
    assert worst_gradient(network, torch.float16, Parts()) < 0.02


@pytest.mark.parametrize(("width", "dtype", "within"), [(3, torch.float32, 1e-5), (2, torch.float16, 0.02)])
def test_with_triton_s_kernels(width: int, dtype: torch.dtype, within: float, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = pytest.importorskip("synthnet.kernels.fused", reason="Triton is not installed")
    monkeypatch.setattr(fused, "TILES", dict.fromkeys(fused.TILES, (64, 16, 1)))
    torch.manual_seed(0)
    network = build_model(ModelConfig("synthnet", width, 2, 3, 12, 2))
    assert worst_gradient(network, dtype, Parts(fused.stack)) < within
