"""Evaluation against networks whose figures are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from synthnet.audio import DITHER_WIDTH
from synthnet.corpus import FULL_SCALE, Corpus
from synthnet.dataset import SliceDataset
from synthnet.evaluation import (
    VALIDATION_SEED,
    evaluate,
    evenly_spread,
    free_run,
    likelihood,
    split_floor_nats,
)
from synthnet.metrics import rmse_cqt_db
from synthnet.models import Network, build_model, preset_config


def uniform_network(**changes: int) -> Network:
    """Every class with probability 1 / 256, whatever came before."""
    network = build_model(preset_config("synthnet", "tiny", **changes))
    with torch.no_grad():
        network.head.logits.weight.zero_()
        network.head.logits.bias.zero_()
    return network.eval().requires_grad_(False)


def test_a_uniform_network_knows_nothing(tiny_corpus: Corpus) -> None:
    figures = evaluate(uniform_network(), tiny_corpus, 2)
    assert figures["valid_nll"] == pytest.approx(math.log(256), abs=1e-5)
    assert figures["score_gain"] == pytest.approx(0.0, abs=1e-6)
    assert figures["excess"] == pytest.approx(math.log(256) - figures["dither_floor"], abs=1e-5)
    # Its expectation is a constant, 0: as far from the target as silence is.
    silence = free_run(uniform_network(), tiny_corpus, 2)
    target = [rmse_cqt_db(second, np.zeros_like(second), 16_000)[0] for second in silence.target]
    assert figures["rmse_cqt_expectation_db"] == pytest.approx(np.mean(target), abs=1.5)
    assert figures["rmse_cqt_db"] > 25  # design: white noise 25 to 41


def test_likelihood_and_score_gain_of_a_network_that_only_looks_at_one_key(tiny_corpus: Corpus) -> None:
    """It has two distributions, key 57 down or up: the figures follow from counting classes under the two rolls."""
    torch.manual_seed(0)
    network = build_model(preset_config("synthnet", "tiny"))
    with torch.no_grad():
        network.audio.embedding.weight.zero_()
        network.score.convolution.weight.zero_()
        network.score.convolution.weight[:, 57, -1] = 3.0
        for layer in network.stack:
            layer.residual.weight.zero_()
            layer.residual.bias.zero_()
        network.head.logits.weight.mul_(5)
        keys = torch.zeros(2, 128, 2)
        keys[1, 57] = 1
        v = network.score.vectors(keys)  # [up, down]
        log_p = torch.log_softmax(network.head(v[:, :, None])[:, :, 0].double(), dim=1).numpy()
    context = network.config.receptive_field - 1
    slices = SliceDataset(
        [tiny_corpus], "valid", n_predicted=500, n_context=context, seed=VALIDATION_SEED, cold_start_share=0.0
    )
    items = [slices[number] for number in range(5)]

    def nll(classes: torch.Tensor, roll: torch.Tensor) -> float:
        down = roll[57, -500:].numpy().astype(int)
        return -log_p[down, classes.numpy()].mean()

    right = np.mean([nll(item["target_x"], item["roll"]) for item in items])
    wrong = np.mean([nll(items[n]["target_x"], items[(n + 1) % 5]["roll"]) for n in range(5)])
    told = likelihood(network.eval(), [tiny_corpus], n_slices=5, n_predicted=500)
    assert told.nll == pytest.approx(right, abs=1e-4)
    assert told.score_gain == pytest.approx(wrong - right, abs=1e-4)
    assert abs(wrong - right) > 1e-3


def test_floor_of_silence_is_the_entropy_of_the_dither_alone(tiny_corpus: Corpus) -> None:
    samples = tiny_corpus.read_samples(tiny_corpus.split("valid")[0]) / FULL_SCALE
    floor = split_floor_nats([tiny_corpus], "valid")
    assert 0.5 < floor < math.log(256)
    assert np.abs(samples).max() > DITHER_WIDTH  # so the floor is not that of silence


def test_places_are_spread_over_the_pieces_and_never_past_an_end(tiny_corpus: Corpus) -> None:
    pieces = tiny_corpus.pieces
    places = evenly_spread(pieces, 7, 16_000)
    assert len(places) == 7
    assert {piece.name for piece, _ in places} == {piece.name for piece in pieces}
    assert all(0 <= start <= piece.n_samples - 16_000 for piece, start in places)


def test_likelihood_takes_the_style_that_is_evaluated(tiny_corpus: Corpus) -> None:
    """The second instrument of a network is the first of one with its styles exchanged."""
    torch.manual_seed(0)
    network = build_model(preset_config("synthnet", "tiny", styles=2)).eval().requires_grad_(False)
    for layer in network.stack:
        layer.style.weight.mul_(5)
    second = likelihood(network, [tiny_corpus], n_slices=2, style=np.array([0.0, 1.0]))
    first = likelihood(network, [tiny_corpus], n_slices=2)
    for layer in network.stack:
        layer.style.weight.copy_(layer.style.weight.flip(1))
    assert likelihood(network, [tiny_corpus], n_slices=2).nll == pytest.approx(second.nll, abs=1e-6)
    assert abs(first.nll - second.nll) > 1e-4
