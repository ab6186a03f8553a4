"""Answers to keys made by hand, and Gram matrices against a network's layers computed one by one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.layers import (
    LayerDistances,
    Point,
    depth_correlation,
    gram_points,
    key_answers,
    layer_distances,
    layer_grams,
    tsne,
)
from synthnet.files import InputError
from synthnet.models import Network, build_model, preset_config


def network_of(profile: np.ndarray) -> Network:
    """A SynthNet whose channels [C] answer to keys [128] as the profile says, within a tanh's straight part."""
    network = build_model(preset_config("synthnet", "tiny", channels=len(profile)))
    with torch.no_grad():
        weight = network.score.convolution.weight
        weight.zero_()
        weight[:, :, -1] = 0.01 * torch.from_numpy(profile)
        network.score.convolution.bias.zero_()
        network.score.hidden.weight.copy_(torch.eye(len(profile)))
        network.score.hidden.bias.zero_()
    return network


@pytest.fixture
def octaves() -> Network:
    """Each channel answers to one pitch class in every octave."""
    return network_of((np.arange(128)[None] % 12 == np.arange(12)[:, None]).astype(float))


class TestKeyAnswers:
    def test_channels_of_pitch_classes(self, octaves: Network) -> None:
        found = key_answers(octaves, 36, 83)
        assert found.similarity[11] == pytest.approx(1)
        assert found.similarity[23] == pytest.approx(1)
        assert found.similarity[6] == pytest.approx(-1 / 11, abs=1e-3)  # of two of twelve centred vectors
        assert found.octave_excess == pytest.approx(12 / 11, abs=1e-3)
        assert found.p == 0
        assert found.octave_channels == 1
        assert found.peak == pytest.approx((11 / 12) ** 2 / (4 * 11 / 12 * (1 - 4 / 48) * 1), abs=0.03)

    def test_channels_of_single_keys_know_no_octaves(self) -> None:
        found = key_answers(network_of(np.eye(128)[36:84]), 36, 83)
        assert found.similarity == pytest.approx(-1 / 47, abs=1e-3)
        assert abs(found.octave_excess) < 1e-3
        assert found.peak == pytest.approx(47 / 48, abs=1e-3)  # (47/48)^2 of (47/48)
        assert found.peak > 3 * found.fresh_peak
        assert found.answers.shape == (48, 48)

    def test_random_channels_pass_the_threshold_as_often_as_chance(self) -> None:
        found = key_answers(network_of(np.random.default_rng(1).standard_normal((400, 128))), 30, 90)
        assert 0.02 < found.octave_channels < 0.09
        assert (found.chance[0] < found.chance[1]).all()

    def test_errors(self, octaves: Network) -> None:
        with pytest.raises(InputError, match="two octaves"):
            key_answers(octaves, 36, 59)
        with pytest.raises(InputError, match="wavenet"):
            key_answers(build_model(preset_config("wavenet", "tiny")), 36, 83)


class TestGrams:
    def test_against_the_layers_one_by_one(self) -> None:
        torch.manual_seed(0)
        network = build_model(preset_config("synthnet", "tiny"))
        n, field = 40, network.config.receptive_field
        x, roll = torch.randint(256, (1, n + field - 1)), (torch.rand(1, 128, n + field - 1) > 0.9).float()
        with torch.no_grad():
            conditioning = network.condition(roll, None, network.stack_lengths(n))
            stream, expected = network.enter(x, conditioning.entry), []
            for layer, gate in zip(network.stack, conditioning.gates, strict=True):
                stream, _ = layer(stream, gate)
                last = stream[0, :, -n:].numpy()
                expected.append(sum(np.outer(column, column) for column in last.T) / n)
        found = layer_grams(network, x, roll, None)
        assert len(found) == 4
        for one, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.reshape(8, 8), wanted, rtol=1e-4, atol=1e-6)

    def test_points_of_a_piece(self, tiny_corpus: Corpus) -> None:
        torch.manual_seed(0)
        network = build_model(preset_config("synthnet", "tiny", styles=2))
        (piece,) = tiny_corpus.split("valid")
        styles = np.eye(2)
        a, again, b = (
            gram_points("t", 0, network, tiny_corpus, piece, 2, style) for style in (styles[0], styles[0], styles[1])
        )
        assert [(point.layer, point.slice) for point in a] == [(layer, n) for n in (0, 1) for layer in (1, 2, 3, 4)]
        assert all((one.gram == two.gram).all() for one, two in zip(a, again, strict=True))
        assert all((one.gram != two.gram).any() for one, two in zip(a, b, strict=True))


class TestDistances:
    def test_by_hand(self) -> None:
        e = np.eye(3)
        points = [
            Point("a", 0, 1, 0, 2 * e[0]), Point("a", 0, 1, 1, 5 * e[0]), Point("a", 1, 1, 0, e[1]),
            Point("b", 2, 1, 0, e[2]), Point("a", 0, 2, 0, e[0]), Point("a", 0, 2, 1, e[0] + e[1]),
            Point("b", 2, 2, 0, e[0]),
        ]  # fmt: skip
        plane = np.array([[0, 0], [0, 0], [0, 0], [3, 4], [0, 0], [0, 0], [1, 0]], float)
        first, second = layer_distances(points, plane)
        assert first == (1, pytest.approx(2**0.5), pytest.approx(2**0.5), 0, 5)
        near = (2 - 2**0.5) ** 0.5
        assert (second.within, second.between, second.plane) == (pytest.approx(near), pytest.approx(near / 2), 1)
        assert np.isnan(second.retrained)

    def test_depth(self) -> None:
        rows = [LayerDistances(n, between, 0, 0.5, 0) for n, between in enumerate((0.1, 0.2, 0.4, 0.3), 1)]
        assert depth_correlation(rows) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)

    def test_tsne_keeps_groups_apart_and_repeats(self) -> None:
        rng = np.random.default_rng(0)
        grams = [rng.normal(10 * group, 0.1, 16) for group in range(3) for _ in range(6)]
        points = [Point("a", 0, 1, n, gram) for n, gram in enumerate(grams)]
        plane = tsne(points)
        assert (plane == tsne(points)).all()
        centres = plane.reshape(3, 6, 2).mean(axis=1)
        spread = max(np.linalg.norm(plane.reshape(3, 6, 2) - centres[:, None], axis=2).ravel())
        assert all(np.linalg.norm(one - other) > spread for one, other in pairwise(centres))
        with pytest.raises(InputError, match="four"):
            tsne(points[:3])
