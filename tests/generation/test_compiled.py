"""The compiled engine against the torch one and the full pass: logits, draws, company, blocks; and its parts."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from synthnet.audio.mulaw import decode_mu_law, encode_mu_law
from synthnet.generation.compiled import CompiledEngine, draw_class, exp_of_negative
from synthnet.generation.engine import TorchEngine
from synthnet.kernels.tiles import add_product, aligned_zeros, padded, panels
from synthnet.models import MODELS, Conditioning, Network, build_model, preset_config

NEAR_TIE = 1e-5  # of cumulated probability: float32 logits differ in their last digits


class Passage(NamedTuple):
    """B streams of a network: a past of a receptive field, and what the score contributes to T samples after it."""

    network: Network
    x: Tensor
    roll: Tensor  # [B, 128, field + T]
    style: Tensor | None
    terms: Conditioning

    @property
    def past(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """What `Engine.prime` takes."""
        return self.x, self.roll[:, :, : self.network.config.receptive_field], self.style

    def stream(self, number: int) -> Passage:
        """One of the streams alone."""
        one = slice(number, number + 1)
        return Passage(
            self.network,
            *(None if part is None else part[one] for part in (self.x, self.roll, self.style)),
            cut(self.terms, one, slice(None)),
        )


def cut(terms: Conditioning, streams: slice, samples: slice) -> Conditioning:
    """The contributions to some streams and samples; constant ones stay so."""

    def part(term: Tensor | None) -> Tensor | None:
        if term is None:
            return None
        return term[streams] if term.shape[2] == 1 else term[streams, :, samples]

    return Conditioning(part(terms.entry), [part(gate) for gate in terms.gates])


def passage(
    model: str, preset: str, n_streams: int, n_samples: int, sharpness: float = 10.0, **changes: int
) -> Passage:
    torch.manual_seed(0)
    config = preset_config(model, preset, **changes)
    network = build_model(config).eval().requires_grad_(False)
    network.head.logits.weight.mul_(sharpness)  # logits as far apart as a trained network's
    field, generator = config.receptive_field, torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (n_streams, field), generator=generator)
    held = torch.rand(n_streams, 128, (field + n_samples) // 50 + 1, generator=generator) < 0.03
    roll = held.repeat_interleave(50, dim=2)[:, :, : field + n_samples].to(torch.uint8)
    if config.velocity:
        roll = roll * (torch.randint(1, 128, (n_streams, 128, 1), generator=generator) / 127)
    style = torch.rand(n_streams, config.styles, generator=generator) if config.styles else None
    terms = network.condition(roll[:, :, :-1], style, [n_samples] * (1 + len(network.stack)))
    return Passage(network, x, roll, style, terms)


def full_logits(case: Passage, given: Tensor) -> Tensor:
    """Logits [B, 256, T] of the full pass in plain torch, where the samples after the past are given [B, T]."""
    case.network.compiled = False
    x = torch.cat([case.x, given[:, :-1]], dim=1)
    return case.network(x, case.roll[:, :, : x.shape[1]], case.style)


def assert_drawn_as_in_the_reference(
    logits: Tensor, temperature: float, uniforms: np.ndarray, classes: np.ndarray, means: np.ndarray
) -> None:
    """Every class is the one that the reference's rule picks from the reference's logits, or u was at a near-tie."""
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


VARIANTS = [
    {},
    {"filter_width": 3, "styles": 3, "velocity": True, "channels": 12, "dilations": 3, "blocks": 2},
]


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("model", MODELS)
def test_logits_and_draws_agree_with_the_torch_engine(model: str, changes: dict[str, int]) -> None:
    n_streams, n_samples = 3, 1000
    case = passage(model, "tiny", n_streams, 2 * n_samples, sharpness=30.0, **changes)
    uniforms = np.random.default_rng(0).random((n_streams, n_samples))
    feeds_mean = np.array([False, True, False])
    engine, reference = CompiledEngine(case.network), TorchEngine(case.network)
    engine.prime(*case.past)
    reference.prime(*case.past)

    first = cut(case.terms, slice(None), slice(0, n_samples))
    classes, means = engine.advance(first, uniforms, 0.8, feeds_mean)
    logits = reference.teacher_forced(first, torch.from_numpy(classes).long())
    drawn = np.flatnonzero(~feeds_mean)
    assert_drawn_as_in_the_reference(logits[drawn], 0.8, uniforms[drawn], classes[drawn], means[drawn])
    levels = torch.from_numpy(decode_mu_law(np.arange(256))).double()
    expected_means = torch.softmax(logits[1].double() / 0.8, dim=0).T @ levels
    np.testing.assert_allclose(means[1], expected_means, atol=1e-5)
    assert (classes[1] == encode_mu_law(means[1].astype(np.float64))).all()

    # On from where the draws ended: both engines are in the same state.
    second = cut(case.terms, slice(None), slice(n_samples, None))
    given = torch.randint(0, 256, (n_streams, n_samples), generator=torch.Generator().manual_seed(2))
    expected = reference.teacher_forced(second, given)
    span = float(expected.max() - expected.min())
    assert span > 5
    torch.testing.assert_close(engine.teacher_forced(second, given), expected, rtol=0, atol=1e-4 * span)


@pytest.mark.parametrize("velocity", [False, True])
def test_one_second_of_cpu_agrees_with_the_full_pass_given_and_drawn(velocity: bool) -> None:
    n_samples = 8_000
    case = passage("synthnet", "cpu", 1, n_samples, velocity=velocity)
    given = torch.randint(0, 256, (1, n_samples), generator=torch.Generator().manual_seed(3))
    engine = CompiledEngine(case.network)
    engine.prime(*case.past)
    expected = full_logits(case, given)
    span = float(expected.max() - expected.min())
    assert span > 5
    torch.testing.assert_close(engine.teacher_forced(case.terms, given), expected, rtol=0, atol=1e-4 * span)

    uniforms = np.random.default_rng(0).random((1, n_samples))
    engine.prime(*case.past)
    classes, means = engine.advance(case.terms, uniforms, 1.0, np.zeros(len(uniforms), bool))
    assert len(np.unique(classes)) > 100
    logits = full_logits(case, torch.from_numpy(classes).long())
    assert_drawn_as_in_the_reference(logits, 1.0, uniforms, classes, means)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("threads", [1, 3])
def test_streams_together_equal_each_alone(model: str, threads: int) -> None:
    n_streams, n_samples = 9, 300  # by one thread: a tile of six rows and one of three
    case = passage(model, "tiny", n_streams, n_samples, styles=2, channels=20)
    uniforms = np.random.default_rng(0).random((n_streams, n_samples))
    together = CompiledEngine(case.network, threads)
    together.prime(*case.past)
    classes, means = together.advance(case.terms, uniforms, 1.0, np.zeros(len(uniforms), bool))
    alone = CompiledEngine(case.network)
    for number in range(n_streams):
        one = case.stream(number)
        alone.prime(*one.past)
        own_classes, own_means = alone.advance(one.terms, uniforms[number : number + 1], 1.0, np.zeros(1, bool))
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
    whole = engine.advance(case.terms, uniforms, 1.0, np.zeros(len(uniforms), bool))
    engine.prime(*case.past)
    parts = []
    for start in range(0, n_samples, block):
        samples = slice(start, min(start + block, n_samples))
        parts.append(
            engine.advance(cut(case.terms, slice(None), samples), uniforms[:, samples], 1.0, np.zeros(2, bool))
        )
    for expected, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.array_equal(np.concatenate(pieces, axis=1), expected)


@pytest.mark.parametrize("rows", range(1, 15))
@pytest.mark.parametrize(("inputs", "outputs"), [(5, 16), (12, 48), (64, 80), (31, 150)])
def test_product_of_every_shape(rows: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(rows)
    matrices = rng.standard_normal((2, inputs, outputs)).astype(np.float32)
    x = rng.standard_normal((rows + 3, inputs + 2)).astype(np.float32)
    packed = np.stack([panels(matrix).reshape(-1) for matrix in matrices])
    out = aligned_zeros((rows, padded(outputs)))
    out[:] = start = rng.standard_normal(out.shape).astype(np.float32)
    add_product(out, x, 2, packed, 1, inputs)
    expected = start.astype(np.float64)
    expected[:, :outputs] += x[2 : 2 + rows, :inputs].astype(np.float64) @ matrices[1]
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_exponential_is_exact_to_thirteen_digits() -> None:
    for x in np.linspace(-700, 0, 5001):
        assert exp_of_negative(x) == pytest.approx(math.exp(x), rel=1e-13, abs=0)
    assert 0 <= exp_of_negative(-1e9) < 1e-300


def test_a_class_is_drawn_at_the_ends_of_the_unit_interval() -> None:
    logits = np.full((2, 256), -200.0, np.float32)
    logits[1, 7] = logits[1, 9] = 1.0  # all others together: 1e-85
    levels, scratch = np.arange(256, dtype=np.float32), np.zeros(256)
    assert draw_class(logits, 1, 0.25, 1.0, levels, scratch) == (7, 8.0)
    assert draw_class(logits, 1, 0.75, 1.0, levels, scratch) == (9, 8.0)
    assert draw_class(logits, 0, 0.0, 1.0, levels, scratch) == (0, 127.5)
    assert draw_class(logits, 0, np.nextafter(1.0, 0.0), 1.0, levels, scratch)[0] == 255
