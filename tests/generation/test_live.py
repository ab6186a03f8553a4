"""Live notes against the same notes known beforehand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import SMALL, small_weights

from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.generation.live import LiveInstrument, Struck, play_score
from synthnet.generation.streams import Stream, generate
from synthnet.models import build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, arrays_of
from synthnet.models.envelopes import make_notes
from synthnet.score.controllers import Controls
from synthnet.score.notes import Note, Score, Track
from synthnet.score.roll import RollEvents, roll_events

RATE = 16_000


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    network = build_model(preset_config("synthnet", "tiny", velocity=True))
    with torch.no_grad():
        network.head.logits.weight.mul_(8)
    return Checkpoint(network.config, RATE, ("trumpet",), {}, arrays_of(network.state_dict()))


def test_notes_played_live_sound_as_if_they_had_been_known(checkpoint: Checkpoint) -> None:
    """Each event is given only when the block that it falls in is about to be read."""
    events = [(100, 60, 100), (300, 64, 20), (555, 60, 0), (700, 64, 127), (1_500, 64, 0)]
    for block_samples in (64, 256):
        live = LiveInstrument(checkpoint, block_samples=block_samples, seed=5, mean=False)
        waiting, heard = list(events), []
        while live.position < 2_000:
            while waiting and waiting[0][0] < live.position + block_samples:
                at, pitch, velocity = waiting.pop(0)
                if velocity:
                    live.note_on(pitch, at, velocity)
                else:
                    live.note_off(pitch, at)
            heard.append(live.read())
        assert all(block.shape == (block_samples,) for block in heard)
        # Key 64, struck again at 700 while down, is up for 5 ms.
        rows = [(60, 100, 555, 100), (64, 300, 700, 20), (64, 780, 1_500, 127)]
        known = RollEvents(*np.array(rows).T, sample_rate_hz=RATE)
        audio = np.concatenate(heard)
        blocks = generate(checkpoint.build(), [Stream(known, (5,))], len(audio))
        assert np.array_equal(audio, np.concatenate([block[0] for block in blocks]))


def test_a_harmonic_instrument_played_live_sounds_as_if_the_notes_had_been_known() -> None:
    """The touch of a note is that of its onset: the note before it is released while it sounds."""
    live = LiveInstrument(Checkpoint(SMALL, RATE, ("piano",), {}, small_weights()), block_samples=500)
    heard = []
    for number in range(40):
        if number % 8 < 2:
            live.note_on(60 + number, velocity=50 + number)
        if number % 8 in (3, 6):
            live.note_off(57 + number if number % 8 == 3 else 55 + number, live.position + 100)
        heard.append(live.read())
    rows = [(60 + 8 * k + j, 50 + 8 * k + j, (8 * k + j) * 500, (8 * k + 3 + 3 * j) * 500 + 100)
            for k in range(5) for j in range(2)]  # fmt: skip
    part = Part(make_notes(*np.array(rows).T, RATE))
    expected = HarmonicPlayer(SMALL, small_weights(), RATE).play(part, 0, 20_000)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(np.concatenate(heard), expected, atol=1e-6)


def test_bends_from_block_to_block_are_those_of_the_whole() -> None:
    rng, config = np.random.default_rng(1), dataclasses.replace(SMALL, vibrato_cents=30.0)
    curves = {
        "pitch": tuple((t, float(rng.uniform(-2, 2))) for t in np.sort(rng.uniform(0.1, 0.8, 60)).tolist()),
        "vibrato": ((0.3, 0.7), (0.6, 0.2)),
        "gain": ((0.2, 0.5), (0.5, 1.2)),
    }
    onset = np.sort(rng.integers(0, 10_000, 12))
    part = Part(make_notes(rng.integers(40, 90, 12), np.full(12, 90), onset, onset + 3_000, RATE), Controls(**curves))
    live = LiveInstrument(Checkpoint(config, RATE, ("piano",), {}, small_weights()), block_samples=77)
    live.struck = [Struck(*row) for row in zip(*(x.tolist() for x in (*part.notes, onset)), strict=True)]
    heard = []
    for _ in range(190):
        until_s = (live.position + 77) / RATE  # what comes later is not known yet
        live.controls = Controls(**{kind: tuple(x for x in curve if x[0] < until_s) for kind, curve in curves.items()})
        heard.append(live.read())
    expected = HarmonicPlayer(config, small_weights(), RATE).play(part, 0, 190 * 77)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(np.concatenate(heard), expected, atol=2e-6)


def test_a_stolen_note_fades_out_within_10_ms() -> None:
    live = LiveInstrument(Checkpoint(SMALL, RATE, ("piano",), {}, small_weights()), block_samples=80)
    live.note_on(60)
    live.note_on(67, at=100)
    parts = [Part(live.notes.take(np.array([number]))) for number in (0, 1)]
    heard = [live.read() for _ in range(5)]
    live.steal(1)
    live.steal(1)  # not while another one fades
    heard += [live.read() for _ in range(5)]
    assert [note.pitch for note in live.struck] == [67]
    player = HarmonicPlayer(SMALL, small_weights(), RATE)
    first, second = (player.play(part, 0, 800) for part in parts)
    ramp = np.clip(1 - (np.arange(800) - 400) / (0.01 * RATE), 0, 1)
    assert np.abs(first[400:]).max() > 0.01
    np.testing.assert_allclose(np.concatenate(heard), first * ramp + second, atol=1e-6)


def test_memory_does_not_grow_with_the_notes_played(checkpoint: Checkpoint) -> None:
    live = LiveInstrument(checkpoint, block_samples=512)
    for number in range(30):
        live.read()
        live.note_on(60 + number % 3)
        live.note_off(60 + number % 3, live.position + 100)
    assert len(live.notes.pitch) < 6


def test_events_of_the_past_and_pitches_of_no_key_are_refused(checkpoint: Checkpoint) -> None:
    live = LiveInstrument(checkpoint, block_samples=64)
    for _ in range(2):
        live.read()
    with pytest.raises(ValueError, match="sample 127 has been read already; the next is 128"):
        live.note_on(60, at=127)
    with pytest.raises(ValueError, match="pitch 128"):
        live.note_on(128)
    with pytest.raises(ValueError, match="velocity 0"):
        live.note_on(60, velocity=0)
    live.note_off(60)  # a key that is up
    live.note_on(60, at=500)
    live.note_off(60, at=400)  # not down then
    assert (live.notes.onset.tolist(), live.notes.pitch.tolist()) == ([500], [60])
    live.note_off(60, at=600)
    live.note_on(60, at=610)  # less than 5 ms after its release
    live.note_off(60, at=900)
    assert (live.notes.onset.tolist(), live.notes.release.tolist()) == ([500, 680], [600, 900])


def test_a_score_block_by_block_is_the_score_in_one_go(checkpoint: Checkpoint) -> None:
    notes = [Note(60, 90, 0.0, 0.1), Note(64, 30, 0.05, 0.2), Note(60, 90, 0.1, 0.15)]
    options = {"block_samples": 256, "seed": 3, "mean": False}
    audio = np.concatenate(list(play_score(checkpoint, Score((Track(tuple(notes)),)), **options)))
    assert 0.7 * RATE <= len(audio) < 0.7 * RATE + 256
    streams = [Stream(roll_events(notes, RATE), (3,))]
    expected = np.concatenate([block[0] for block in generate(checkpoint.build(), streams, len(audio))])
    assert np.array_equal(audio, expected)


def test_a_key_that_is_struck_again_within_5_ms_can_be_let_go() -> None:
    """It sounds 5 ms after the release before; until then it is down, though it does not sound yet, and struck once."""
    live = LiveInstrument(Checkpoint(SMALL, RATE, ("piano",), {}, small_weights()))
    live.note_on(60)
    live.read()
    live.note_off(60)
    for _ in range(3):
        live.note_on(60)
    live.note_on(62, at=1_000)
    live.note_off(62, at=900)  # it is up then
    live.note_off(60)
    assert live.notes.onset.tolist() == [0, 256 + 80, 1_000]
    assert live.notes.release.tolist()[:2] == [256, 337]
    assert live.notes.release[2] > 2**60
