"""What a trained autoregressive network does: a small SynthNet (`tests/data`) on the Prelude, which it never heard."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from synthnet.audio.mulaw import decode_mu_law
from synthnet.corpus.build import DEFAULT_SCORES, build_corpus
from synthnet.corpus.teacher import find_soundfont
from synthnet.evaluation.likelihood import fit, split_floor_nats
from synthnet.generation.chunks import generate_in_chunks, plan_cuts, warm_up_samples
from synthnet.generation.compiled import CompiledEngine
from synthnet.generation.streams import Generator, Stream, generate, rolls_of
from synthnet.models.checkpoint import Checkpoint, load_checkpoint
from synthnet.score.general_midi import find_instrument
from synthnet.score.midi import read_score
from synthnet.score.roll import RollEvents, roll_events

HOME = Path(__file__).parents[2]
DATA = Path(__file__).parents[1] / "data"
PRELUDE = HOME / "data" / "scores" / "bwv1007_1_prelude.mid"
RATE = 8_000
NEAR_TIE = 1e-5


@pytest.fixture(scope="module")
def trained() -> Checkpoint:
    return load_checkpoint(DATA / "synthnet.safetensors")


@pytest.fixture(scope="module")
def prelude() -> RollEvents:
    return roll_events(read_score(PRELUDE).notes, RATE)


def test_its_likelihood_and_score_gain_are_those_of_its_log(trained: Checkpoint, tmp_path: Path) -> None:
    """Golden figures, from the Prelude as the teacher plays it, through corpus, slices, network and loss."""
    if find_soundfont().name != trained.training["corpora"][0]["soundfont"]:
        pytest.skip("needs the sound font that it was trained with")
    corpus = build_corpus(tmp_path, find_instrument("trumpet"), [DEFAULT_SCORES], RATE)
    logged = [json.loads(line) for line in (DATA / "synthnet.jsonl").read_text("utf-8").splitlines()][-1]
    assert logged["step"] == trained.training["steps"]
    told = fit(trained.build(), [corpus])
    assert told.nll == pytest.approx(logged["valid_nll"], abs=2e-3)
    assert told.score_gain == pytest.approx(logged["score_gain"], abs=2e-3)
    assert split_floor_nats([corpus], "valid") == pytest.approx(logged["dither_floor"], abs=1e-3)


def test_both_engines_draw_the_same_second_of_music(trained: Checkpoint, prelude: RollEvents) -> None:
    """The first 8,000 classes agree; if rounding ever tips one, it must have been a near-tie."""
    network, streams = trained.build(), [Stream(prelude, (1,))]
    audio = {
        name: np.concatenate(list(generate(network, streams, RATE, engine=name)), axis=1)[0]
        for name in ("torch", "compiled")
    }
    differ = np.flatnonzero(audio["torch"] != audio["compiled"])
    if len(differ):
        assert distance_to_a_boundary(trained, prelude, int(differ[0])) < NEAR_TIE


def distance_to_a_boundary(trained: Checkpoint, events: RollEvents, sample: int) -> float:
    """How near the uniform number of a sample lies to a step of the reference's cumulated distribution."""
    generator = Generator(trained.build(), [Stream(events, (1,))], engine="torch")
    generator.advance([events], sample)
    uniform = copy.deepcopy(generator.generators[0])
    logits = []
    step = generator.network.step
    generator.network.step = lambda *arguments: logits.append(step(*arguments)) or logits[-1]
    generator.advance([events], 1)
    steps = torch.softmax(logits[0][0].double(), 0).cumsum(0).numpy()
    return float(np.abs(steps - uniform.random()).min())


def test_a_second_of_means_agrees_with_the_full_pass(trained: Checkpoint, prelude: RollEvents) -> None:
    """The compiled engine's distributions, given the samples that it drew."""
    network = trained.build()
    field = network.config.receptive_field
    past, roll = torch.full((1, field), 128), rolls_of(network, [prelude], -field, RATE - 1)
    engine = CompiledEngine(network)
    engine.prime(past, roll[:, :, :field], None)
    conditioning = network.condition(roll, None, [RATE] * (1 + len(network.stack)))
    uniforms = np.random.default_rng(2).random((1, RATE))
    classes, means = engine.advance(conditioning, uniforms, 1.0, np.zeros(1, bool))
    x = torch.cat([past, torch.from_numpy(classes[:, :-1]).long()], dim=1)
    probabilities = torch.softmax(network(x, roll[:, :, : x.shape[1]])[0].double(), dim=0).numpy()
    np.testing.assert_allclose(means[0], decode_mu_law(np.arange(256)) @ probabilities, atol=1e-5)


def test_chunks_are_as_loud_as_one_go_and_do_not_click(trained: Checkpoint, prelude: RollEvents) -> None:
    network, n = trained.build(), 12 * RATE
    streams = [Stream(prelude, (0,), mean=True)]
    whole = np.concatenate(list(generate(network, streams, n)), axis=1)[0]
    pieces = generate_in_chunks(network, streams, n, 4, progress=lambda done: None)
    chunked = np.concatenate(list(pieces), axis=1)[0]
    assert abs(10 * np.log10((chunked**2).mean() / (whole**2).mean())) < 2
    # A cut lies at an onset: a seam may jump as an onset does, not more than the worst of them in one go.
    jumps, fade = np.abs(np.diff(chunked)), RATE // 50
    seams = [jumps[cut - fade : cut + fade].max() for cut in plan_cuts([prelude], n, 4)[1:-1]]
    assert max(seams) <= 1.5 * np.abs(np.diff(whole)).max()


def test_on_a_processor_it_is_played_by_the_compiled_engine(trained: Checkpoint, prelude: RollEvents) -> None:
    assert isinstance(Generator(trained.build(), [Stream(prelude, (0,))]).engine, CompiledEngine)
    assert warm_up_samples(trained.build(), RATE) >= trained.config.receptive_field
