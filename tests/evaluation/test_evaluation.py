"""Evaluation against networks whose figures are known in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from synthnet.audio.mulaw import DITHER_WIDTH
from synthnet.corpus.corpus import FULL_SCALE, Corpus
from synthnet.corpus.slices import SliceDataset
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.free_run import seconds_at, spread_places
from synthnet.evaluation.likelihood import VALIDATION_SEED, fit, split_floor_nats
from synthnet.evaluation.pieces import TARGETS, Part, PieceRun, evaluate, piece_lengths, play_pieces
from synthnet.generation.streams import Stream, generate
from synthnet.models import Network, build_model, preset_config
from synthnet.score.general_midi import pitch_name


def uniform_network(**changes: int) -> Network:
    """Every class with probability 1 / 256, whatever came before."""
    network = build_model(preset_config("synthnet", "tiny", **changes))
    with torch.no_grad():
        network.head.logits.weight.zero_()
        network.head.logits.bias.zero_()
    return network.eval().requires_grad_(False)


def test_a_uniform_network_knows_nothing(tiny_corpus: Corpus) -> None:
    places = [spread_places(tiny_corpus, 2, None)]
    (figures,) = evaluate(uniform_network(), places)
    assert figures.valid_nll == pytest.approx(math.log(256), abs=1e-5)
    assert figures.score_gain == pytest.approx(0.0, abs=1e-6)
    assert figures.excess == pytest.approx(math.log(256) - figures.dither_floor, abs=1e-5)
    # Its mean is a constant, 0: as far from the target as silence is.
    target = seconds_at(uniform_network(), places)[0].target.ravel()
    silence = rmse_cqt_at_floors(target, np.zeros_like(target), 16_000)[0].mean()
    assert figures.rmse_cqt_mean_db == pytest.approx(silence, abs=1.5)
    assert figures.rmse_cqt_db > 25  # white noise: 25 to 41
    assert figures.as_dict()["rmse_cqt_expectation_db"] == figures.rmse_cqt_mean_db  # as checkpoints call it


def test_fit_and_score_gain_of_a_network_that_only_looks_at_one_key(tiny_corpus: Corpus) -> None:
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
    told = fit(network.eval(), [tiny_corpus], n_slices=5, n_predicted=500)
    assert told.nll == pytest.approx(right, abs=1e-4)
    assert told.score_gain == pytest.approx(wrong - right, abs=1e-4)
    assert abs(wrong - right) > 1e-3


def test_the_floor_of_music_is_below_that_of_any_class(tiny_corpus: Corpus) -> None:
    samples = tiny_corpus.read_samples(tiny_corpus.split("valid")[0]) / FULL_SCALE
    floor = split_floor_nats([tiny_corpus], "valid")
    assert 0.5 < floor < math.log(256)
    assert np.abs(samples).max() > DITHER_WIDTH  # so the floor is not that of silence


def test_places_are_spread_over_the_pieces_and_never_past_an_end(tiny_corpus: Corpus) -> None:
    pieces = tuple(replace(piece, split="valid") for piece in tiny_corpus.pieces)
    places = spread_places(replace(tiny_corpus, pieces=pieces), 7, None).seconds
    assert len(places) == 7
    assert {piece.name for piece, _ in places} == {piece.name for piece in pieces}
    assert all(0 <= start <= piece.n_samples - 16_000 for piece, start in places)


def test_fit_takes_the_instrument_that_is_evaluated(tiny_corpus: Corpus) -> None:
    """The second instrument of a network is the first of one with the embeddings exchanged."""
    torch.manual_seed(0)
    network = build_model(preset_config("synthnet", "tiny", styles=2)).eval().requires_grad_(False)
    for layer in network.stack:
        layer.style.weight.mul_(5)
    second = fit(network, [tiny_corpus], n_slices=2, instrument=1)
    first = fit(network, [tiny_corpus], n_slices=2)
    for layer in network.stack:
        layer.style.weight.copy_(layer.style.weight.flip(1))
    assert fit(network, [tiny_corpus], n_slices=2).nll == pytest.approx(second.nll, abs=1e-6)
    assert abs(first.nll - second.nll) > 1e-4


@pytest.fixture(scope="module")
def silent_run(tiny_corpus: Corpus) -> PieceRun:
    """A piece in one go by a network whose mean is next to silence, and whose sample is noise."""
    piece = tiny_corpus.split("valid")[0]
    return play_pieces(uniform_network(), [Part(tiny_corpus, piece, piece.n_samples, None)], seed=3)[0]


def test_a_piece_is_played_in_one_go(tiny_corpus: Corpus, silent_run: PieceRun) -> None:
    n = len(silent_run.target)
    streams = [Stream(silent_run.events, (3, 0), None, mean) for mean in (False, True)]
    expected = np.concatenate(list(generate(uniform_network(), streams, n)), axis=1)
    np.testing.assert_array_equal(np.stack([silent_run.sample, silent_run.mean]), expected)
    piece, target = tiny_corpus.split("valid")[0], silent_run.target
    assert (target == tiny_corpus.read_samples(piece) / FULL_SCALE).all()
    starts = silent_run.fresh.starts
    assert (starts[0], starts[-1]) == (2 * n // 3, n - 16_000)
    for start, second in zip(starts, silent_run.fresh.target, strict=True):
        assert (second == target[start : start + 16_000]).all()


def test_silence_and_noise_miss_the_targets(silent_run: PieceRun) -> None:
    plain = silent_run.as_dict()
    assert plain["teacher_pitch_share"] == 1
    assert plain["seconds"] == len(silent_run.target) / 16_000
    missed = {name for name, met in silent_run.targets_met.items() if not met}
    assert missed == {"rmse_cqt_db", "pitch_share", "level_db", "collapsed"}
    assert silent_run.figures["mean"].collapsed == len(silent_run.target) // 16_000
    assert silent_run.figures["sample"].start_burst_db > TARGETS["start_burst_db"].highest
    assert plain["expectation"]["rmse_cqt_db"] == silent_run.figures["mean"].rmse_cqt_db  # as checkpoints call it
    text = silent_run.text()
    assert (text.count(" NO "), text.count(" yes ")) == (4, 3)


def test_the_teacher_itself_meets_every_target(silent_run: PieceRun) -> None:
    run = replace(silent_run, mean=silent_run.target, fresh=replace(silent_run.fresh, mean=silent_run.fresh.target))
    figures = run.figures["mean"]
    assert figures.rmse_cqt_thirds_db == (0, 0, 0)
    assert figures.wrong_notes == ()
    assert (figures.rmse_cqt_drift_db, figures.level_drift_db) == (0, 0)
    assert all(run.targets_met.values())


def test_each_error_has_its_figure(silent_run: PieceRun) -> None:
    target, events, fresh = silent_run.target, silent_run.events, silent_run.fresh.target
    assert silent_run.figures_of(target / 2, fresh).level_db == pytest.approx(-6.02, abs=0.01)

    burst = target.copy()
    burst[:4_000] += 0.3 * np.random.default_rng(0).standard_normal(4_000).astype(np.float32)
    assert silent_run.figures_of(burst, fresh).start_burst_db > 6

    gap = target.copy()
    gap[16_000:32_000] = 0
    figures = silent_run.figures_of(gap, fresh)
    assert figures.collapsed_seconds == (1,)
    wrong = [note.start_s for note in figures.wrong_notes]
    within = (events.onset >= 16_000) & (events.release <= 32_000)
    assert set(events.onset[within] / 16_000) <= set(wrong)
    assert all(0.7 < start_s < 2 for start_s in wrong)
    assert figures.rmse_cqt_thirds_db[1] > 10 > figures.rmse_cqt_thirds_db[0] == 0


def test_a_note_that_the_measure_does_not_find_in_the_teacher_is_not_judged(silent_run: PieceRun) -> None:
    target, fresh = silent_run.target, silent_run.fresh.target
    muddy = target.copy()
    muddy[16_000:32_000] = 0
    run = replace(silent_run, target=muddy)
    assert run.figures_of(target, fresh).pitch_share == 1
    figures = run.figures_of(muddy, fresh)
    assert (figures.pitch_share, figures.wrong_notes) == (1, ())
    nothing = replace(silent_run, target=np.zeros_like(target))
    assert math.isnan(nothing.figures_of(target, fresh).pitch_share)


def test_drift_compares_the_same_music(silent_run: PieceRun) -> None:
    target, fresh = silent_run.target, silent_run.fresh.target
    grown, better = silent_run.figures_of(target / 4, fresh), silent_run.figures_of(target, fresh / 4)
    assert grown.level_drift_db == pytest.approx(-12.04, abs=0.01)
    assert 5 < grown.rmse_cqt_drift_db <= 12.05
    assert better.rmse_cqt_drift_db == pytest.approx(-grown.rmse_cqt_drift_db)


def test_targets_include_their_bounds_and_no_nan() -> None:
    assert TARGETS["pitch_share"].met_by(0.97)
    assert not TARGETS["pitch_share"].met_by(0.969)
    assert not TARGETS["rmse_cqt_db"].met_by(9.01)
    assert TARGETS["level_db"].met_by(-2)
    assert not TARGETS["level_db"].met_by(2.1)
    assert not TARGETS["pitch_share"].met_by(math.nan)


def test_how_much_of_a_piece_is_played(tiny_corpus: Corpus) -> None:
    piece = tiny_corpus.split("valid")[0]
    assert piece_lengths(tiny_corpus, None) == piece_lengths(tiny_corpus, 1e6) == [(piece, piece.n_samples)]
    assert piece_lengths(tiny_corpus, 3.0) == [(piece, 48_000)]
    assert piece_lengths(tiny_corpus, 2.9) == piece_lengths(tiny_corpus, 0.0) == []


def test_pitch_names() -> None:
    named = [pitch_name(pitch) for pitch in (60, 69.0, 61 + 1 / 3, 21 - 1 / 3, math.nan)]
    assert named == ["C4", "A4", "C#4 +33 cents", "A0 -33 cents", "nothing"]
