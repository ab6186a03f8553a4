"""Muon against torch's own on matrices, against the singular value decomposition, and what it is used for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synthnet.models import MODELS, build_model, preset_config
from synthnet.training.muon import ADAMS_RMS, Muon, orthogonalised


@pytest.mark.parametrize("shape", [(8, 8), (16, 9), (9, 40)])
def test_steps_are_those_of_torchs_muon(shape: tuple[int, int]) -> None:
    """torch works in bfloat16, so that each step agrees to a hundredth or two of its size."""
    torch.manual_seed(0)
    start = torch.randn(shape)
    mine, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    own = Muon([mine], lr=0.1, weight_decay=0.5)
    torchs = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.5, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        before = mine.detach().clone(), theirs.detach().clone()
        gradient = torch.randn(shape)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        own.step()
        torchs.step()
        moved, expected = mine.detach() - before[0], theirs.detach() - before[1]
        assert (moved - expected).norm() < 0.03 * expected.norm()
        moved += 0.1 * 0.5 * before[0]
        # Whatever the shape, entries are ADAMS_RMS of the learning rate in the mean, as singular values are about 1.
        assert 0.7 < moved.square().mean().sqrt() / (0.1 * ADAMS_RMS) < 1.2


def test_singular_vectors_stay_and_singular_values_become_about_one() -> None:
    torch.manual_seed(1)
    matrices = torch.randn(5, 24, 10, dtype=torch.double)
    left, values, right = torch.linalg.svd(orthogonalised(matrices), full_matrices=False)
    assert values.min() > 0.6
    assert values.max() < 1.3
    expected_left, _, expected_right = torch.linalg.svd(matrices, full_matrices=False)
    # The polar factor U V' is unique, its parts are not.
    aligned = torch.einsum("nij,nij->n", left @ right, expected_left @ expected_right) / 10
    torch.testing.assert_close(aligned, torch.ones(5, dtype=torch.double), atol=0.02, rtol=0)


def test_taps_are_matrices_of_their_own() -> None:
    torch.manual_seed(2)
    convolution, gradient = nn.Parameter(torch.zeros(12, 8, 3)), torch.randn(12, 8, 3)
    taps = [nn.Parameter(torch.zeros(12, 8)) for _ in range(3)]
    convolution.grad = gradient
    for number, tap in enumerate(taps):
        tap.grad = gradient[:, :, number].clone()
    Muon([convolution], lr=0.1).step()
    Muon(taps, lr=0.1).step()
    torch.testing.assert_close(convolution.detach(), torch.stack([tap.detach() for tap in taps], dim=2))


def test_parameters_without_a_gradient_stay() -> None:
    still, moved = nn.Parameter(torch.ones(8, 8)), nn.Parameter(torch.ones(8, 8))
    moved.grad = torch.eye(8)
    Muon([still, moved], lr=0.1).step()
    assert (still == 1).all()
    assert not (moved == 1).all()


@pytest.mark.parametrize("model", MODELS)
def test_matrices_are_all_maps_between_vectors_but_not_the_tables_of_the_audio(model: str) -> None:
    network = build_model(preset_config(model, "tiny", channels=16, styles=9))
    chosen = {id(parameter) for parameter in network.matrices()}
    for name, parameter in network.named_parameters():
        vector_or_taps = parameter.ndim == 1 or parameter.shape[0] == 2  # biases, and depthwise taps [2, C, F]
        assert (id(parameter) in chosen) == (not vector_or_taps and not name.startswith("audio.")), name
