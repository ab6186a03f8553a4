"""What a trained network does: the shipped trumpet playing the Prelude, which it never heard."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from synthnet.audio import encode_mu_law
from synthnet.checkpoint import Checkpoint, load_checkpoint
from synthnet.generation.chunks import generate_in_chunks, plan_cuts, warm_up_samples
from synthnet.generation.compiled import CompiledEngine
from synthnet.generation.streams import Generator, Stream, generate, score_inputs
from synthnet.library import SHIPPED
from synthnet.metrics import note_pitches, rmse_cqt_db, start_burst_db
from synthnet.roll import RollEvents, roll_events
from synthnet.score import read_score
from synthnet.teacher import Teacher, find_soundfont

HOME = Path(__file__).parents[1]
PRELUDE = HOME / "data" / "scores" / "bwv1007_1_prelude.mid"
RATE = 16_000
NEAR_TIE = 1e-5


@pytest.fixture(scope="module")
def trumpet() -> Checkpoint:
    return load_checkpoint(SHIPPED / "trumpet.safetensors")


@pytest.fixture(scope="module")
def prelude() -> RollEvents:
    return roll_events(read_score(PRELUDE).notes, RATE)


@pytest.fixture(scope="module")
def target(trumpet: Checkpoint) -> np.ndarray:
    """Twelve seconds of the clean teacher at the corpus's level."""
    facts = trumpet.training["corpora"][0]
    soundfont = find_soundfont()
    if soundfont.name != facts["soundfont"]:
        pytest.skip(f"needs the sound font that the trumpet was learned from, {facts['soundfont']}")
    notes = read_score(PRELUDE).excerpt(0.0, 12.0).notes
    return Teacher(soundfont, facts["program"], RATE).play(notes, 12.0) * facts["gain"]


def test_both_engines_draw_the_same_second_of_music(trumpet: Checkpoint, prelude: RollEvents) -> None:
    """The first 16,000 classes agree; if rounding ever tips one, it must have been a near-tie."""
    network, streams = trumpet.build(), [Stream(prelude, (1,))]
    audio = {
        name: np.concatenate(list(generate(network, streams, RATE, engine=name)), axis=1)[0]
        for name in ("torch", "compiled")
    }
    differ = np.flatnonzero(audio["torch"] != audio["compiled"])
    if len(differ):
        assert distance_to_a_boundary(trumpet, prelude, int(differ[0])) < NEAR_TIE


def distance_to_a_boundary(trumpet: Checkpoint, events: RollEvents, sample: int) -> float:
    """How near the uniform number of a sample lies to a step of the reference's cumulated distribution."""
    generator = Generator(trumpet.build(), [Stream(events, (1,))], engine="torch")
    generator.advance([events], sample)
    uniform = copy.deepcopy(generator.generators[0])
    logits = []
    step = generator.engine.step
    generator.engine.step = lambda terms, t: logits.append(step(terms, t)) or logits[-1]
    generator.advance([events], 1)
    steps = torch.softmax(logits[0][0].double(), 0).cumsum(0).numpy()
    return float(np.abs(steps - uniform.random()).min())


def test_two_seconds_of_logits_agree(trumpet: Checkpoint, prelude: RollEvents) -> None:
    """Teacher forcing on the network's own two seconds: within 1e-4 of the logits' range."""
    network = trumpet.build()
    given = encode_mu_law(np.concatenate(list(generate(network, [Stream(prelude, (2,))], 2 * RATE)), axis=1))
    logits = {}
    for name in ("torch", "compiled"):
        generator = Generator(network, [Stream(prelude, (2,))], engine=name)
        field = network.config.receptive_field
        roll, tones = score_inputs(network, [prelude], [(2,)], -field, 2 * RATE - 1)
        terms = network.condition(roll, None, tones, [2 * RATE] * (1 + len(network.stack)))
        logits[name] = generator.engine.teacher_forced(terms, torch.from_numpy(given).long())
    scale = float(logits["torch"].max() - logits["torch"].min())
    assert float((logits["torch"] - logits["compiled"]).abs().max()) < 1e-4 * scale


def test_chunks_sound_as_good_as_one_go_and_do_not_click(
    trumpet: Checkpoint, prelude: RollEvents, target: np.ndarray
) -> None:
    network, n = trumpet.build(), 12 * RATE
    streams = [Stream(prelude, (0,), expectation=True)]
    whole = np.concatenate(list(generate(network, streams, n)), axis=1)[0]
    pieces = generate_in_chunks(network, streams, n, 4, progress=lambda done: None)
    chunked = np.concatenate(list(pieces), axis=1)[0]
    figures = [rmse_cqt_db(target, audio, RATE).mean() for audio in (whole, chunked)]
    assert abs(figures[0] - figures[1]) < 1.0
    # A cut lies at an onset: a seam may jump as an onset does, not more than the worst of them in one go.
    jumps, fade = np.abs(np.diff(chunked)), RATE // 50
    seams = [jumps[cut - fade : cut + fade].max() for cut in plan_cuts([prelude], n, 4)[1:-1]]
    assert max(seams) <= 1.5 * np.abs(np.diff(whole)).max()


def test_it_plays_the_prelude_at_the_teachers_level(
    trumpet: Checkpoint, prelude: RollEvents, target: np.ndarray
) -> None:
    stream = Stream(prelude, (0,), expectation=True)
    audio = np.concatenate(list(generate(trumpet.build(), [stream], 12 * RATE)), axis=1)[0]
    assert rmse_cqt_db(target, audio, RATE).mean() < 10  # "a sample of reasonable quality"
    level_db = 10 * np.log10((audio**2).mean() / (target**2).mean())
    assert abs(level_db) < 2
    assert note_pitches(audio, prelude).share >= 0.97
    assert start_burst_db(target, audio, int(prelude.onset[0]), RATE) < 6
    assert isinstance(Generator(trumpet.build(), [Stream(prelude, (0,))]).engine, CompiledEngine)
    assert warm_up_samples(trumpet.build(), RATE) >= trumpet.config.receptive_field
