"""The compiled engine against the torch one and the full pass: draws, means, company, blocks; and its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from passages import VARIANTS, cut, passage
from torch import Tensor

from synthnet.audio.mulaw import decode_mu_law, encode_mu_law
from synthnet.generation.compiled import CompiledEngine
from synthnet.generation.engine import TorchEngine
from synthnet.kernels.step import draw_class
from synthnet.kernels.tiles import add_product, aligned_zeros, padded, panels
from synthnet.models import MODELS

NEAR_TIE = 1e-5  # of cumulated probability: float32 logits differ in their last digits


def assert_drawn_as_in_the_reference(
    logits: Tensor, temperature: float, uniforms: np.ndarray, classes: np.ndarray, means: np.ndarray
) -> None:
    """The means are those of the reference's logits; every class is the one picked from them, or u was near a tie."""
    probabilities = torch.softmax(logits.double() / temperature, dim=1).numpy()  # [B, 256, T]
    cumulated = probabilities.cumsum(axis=1)
    picked = (cumulated <= uniforms[:, None]).sum(axis=1).clip(max=255)
    for stream, t in np.argwhere(picked != classes):
        low, high = sorted((int(picked[stream, t]), int(classes[stream, t])))
        boundaries = cumulated[stream, low:high, t]  # several where classes between have next to no probability
        assert np.abs(boundaries - uniforms[stream, t]).max() < NEAR_TIE
    assert (picked != classes).mean() < 1e-3
    expected = np.einsum("bct,c->bt", probabilities, decode_mu_law(np.arange(256)).astype(np.float64))
    np.testing.assert_allclose(means, expected, atol=1e-5)


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("model", MODELS)
def test_draws_and_means_agree_with_the_full_pass(model: str, changes: dict[str, int]) -> None:
    """In two blocks of different temperatures, the second on from where the first ended."""
    n_samples, temperatures = 1000, (0.8, 0.4)
    case = passage(model, "tiny", 3, 2 * n_samples, sharpness=30.0, **changes)
    uniforms = np.random.default_rng(0).random((3, 2 * n_samples))
    feeds_mean = np.array([False, True, False])
    engine = CompiledEngine(case.network)
    engine.prime(*case.past)
    blocks = [slice(0, n_samples), slice(n_samples, None)]
    made = [
        engine.advance(cut(case.conditioning, slice(None), block), uniforms[:, block], temperature, feeds_mean)
        for block, temperature in zip(blocks, temperatures, strict=True)
    ]
    logits = case.full_logits(np.concatenate([classes for classes, _ in made], axis=1))
    assert float(logits.max() - logits.min()) > 5
    levels = torch.from_numpy(decode_mu_law(np.arange(256))).double()
    for block, temperature, (classes, means) in zip(blocks, temperatures, made, strict=True):
        drawn = np.flatnonzero(~feeds_mean)
        assert_drawn_as_in_the_reference(
            logits[drawn, :, block], temperature, uniforms[drawn, block], classes[drawn], means[drawn]
        )
        expected_means = torch.softmax(logits[1, :, block].double() / temperature, dim=0).T @ levels
        np.testing.assert_allclose(means[1], expected_means, atol=1e-5)
        assert (classes[1] == encode_mu_law(means[1].astype(np.float64))).all()


@pytest.mark.parametrize("model", MODELS)
def test_the_torch_engine_makes_the_same_samples(model: str) -> None:
    case = passage(model, "tiny", 2, 500)
    uniforms, feeds_mean = np.random.default_rng(1).random((2, 500)), np.array([False, True])
    made = []
    for engine in (CompiledEngine(case.network), TorchEngine(case.network)):
        engine.prime(*case.past)
        made.append(engine.advance(case.conditioning, uniforms, 0.8, feeds_mean))
    assert np.array_equal(made[0][0], made[1][0])
    np.testing.assert_allclose(made[0][1], made[1][1], atol=1e-5)


@pytest.mark.parametrize("velocity", [False, True])
def test_one_second_of_cpu_agrees_with_the_full_pass(velocity: bool) -> None:
    case = passage("synthnet", "cpu", 1, 8_000, velocity=velocity)
    uniforms = np.random.default_rng(0).random((1, 8_000))
    engine = CompiledEngine(case.network)
    engine.prime(*case.past)
    classes, means = engine.advance(case.conditioning, uniforms, 1.0, np.zeros(1, bool))
    assert len(np.unique(classes)) > 100
    assert_drawn_as_in_the_reference(case.full_logits(classes), 1.0, uniforms, classes, means)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("threads", [1, 3])
def test_streams_together_equal_each_alone(model: str, threads: int) -> None:
    n_streams, n_samples = 9, 300  # by one thread: a tile of six rows and one of three
    case = passage(model, "tiny", n_streams, n_samples, styles=2, channels=20)
    uniforms = np.random.default_rng(0).random((n_streams, n_samples))
    together = CompiledEngine(case.network, threads)
    together.prime(*case.past)
    classes, means = together.advance(case.conditioning, uniforms, 1.0, np.zeros(len(uniforms), bool))
    alone = CompiledEngine(case.network)
    for number in range(n_streams):
        one = case.stream(number)
        alone.prime(*one.past)
        own_classes, own_means = alone.advance(one.conditioning, uniforms[number : number + 1], 1.0, np.zeros(1, bool))
        assert np.array_equal(own_classes[0], classes[number])
        assert np.array_equal(own_means[0], means[number])
    assert len({row.tobytes() for row in classes}) == n_streams


@pytest.mark.parametrize("block", [1, 77, 128, 301])
def test_blocks_of_any_size_give_the_same_samples(block: int) -> None:
    n_samples = 602
    case = passage("wavenet", "tiny", 2, n_samples)
    uniforms = np.random.default_rng(0).random((2, n_samples))
    engine = CompiledEngine(case.network)
    engine.prime(*case.past)
    whole = engine.advance(case.conditioning, uniforms, 1.0, np.zeros(len(uniforms), bool))
    engine.prime(*case.past)
    parts = []
    for start in range(0, n_samples, block):
        samples = slice(start, min(start + block, n_samples))
        parts.append(
            engine.advance(cut(case.conditioning, slice(None), samples), uniforms[:, samples], 1.0, np.zeros(2, bool))
        )
    for expected, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.array_equal(np.concatenate(pieces, axis=1), expected)


@pytest.mark.parametrize("rows", range(1, 15))
@pytest.mark.parametrize(("inputs", "outputs"), [(5, 16), (12, 48), (64, 80), (31, 150)])
def test_product_of_every_shape(rows: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(rows)
    matrices = rng.standard_normal((2, inputs, outputs)).astype(np.float32)
    x = rng.standard_normal((rows + 3, padded(inputs))).astype(np.float32)
    packed = np.stack([panels(matrix).reshape(-1) for matrix in matrices])
    out = aligned_zeros((rows, padded(outputs)))
    out[:] = start = rng.standard_normal(out.shape).astype(np.float32)
    add_product(out, x, 2, packed, 1)
    expected = start.astype(np.float64)
    expected[:, :outputs] += x[2 : 2 + rows, :inputs].astype(np.float64) @ matrices[1]
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_a_class_is_drawn_at_the_ends_of_the_unit_interval() -> None:
    logits = np.full((2, 256), -200.0, np.float32)
    logits[1, 7] = logits[1, 9] = 1.0  # all others together: 1e-85
    levels, scratch = np.arange(256, dtype=np.float32), np.zeros(256)
    assert draw_class(logits, 1, 0.25, 1.0, levels, scratch) == (7, 8.0)
    assert draw_class(logits, 1, 0.75, 1.0, levels, scratch) == (9, 8.0)
    assert draw_class(logits, 0, 0.0, 1.0, levels, scratch) == (0, 127.5)
    assert draw_class(logits, 0, np.nextafter(1.0, 0.0), 1.0, levels, scratch)[0] == 255
