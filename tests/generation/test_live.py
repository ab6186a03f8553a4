"""Live notes against the same notes known beforehand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from synthnet.generation.live import LiveInstrument, play_score
from synthnet.generation.streams import Stream, generate
from synthnet.models import build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, arrays_of
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
        live = LiveInstrument(checkpoint, block_samples=block_samples, seed=5, expectation=False)
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
        known = RollEvents(
            np.array([60, 64, 64]),
            np.array([100, 300, 780]),
            np.array([555, 700, 1_500]),
            velocity=np.array([100, 20, 127]),
            sample_rate_hz=RATE,
        )
        audio = np.concatenate(heard)
        expected = np.concatenate(
            [block[0] for block in generate(checkpoint.build(), [Stream(known, (5,))], len(audio))]
        )
        assert np.array_equal(audio, expected)


def test_memory_does_not_grow_with_the_notes_played(checkpoint: Checkpoint) -> None:
    live = LiveInstrument(checkpoint, block_samples=512)
    for number, _ in zip(range(30), live.blocks(), strict=False):
        live.note_on(60 + number % 3)
        live.note_off(60 + number % 3, live.position + 100)
    assert len(live.notes) < 6


def test_events_of_the_past_and_pitches_of_no_key_are_refused(checkpoint: Checkpoint) -> None:
    live = LiveInstrument(checkpoint, block_samples=64)
    next(itertools.islice(live.blocks(), 1, None))
    with pytest.raises(ValueError, match="sample 127 has been read already; the next is 128"):
        live.note_on(60, at=127)
    with pytest.raises(ValueError, match="pitch 128"):
        live.note_on(128)
    with pytest.raises(ValueError, match="velocity 0"):
        live.note_on(60, velocity=0)
    live.note_off(60)  # a key that is up
    live.note_on(60, at=500)
    live.note_off(60, at=400)  # not down then
    assert [note[:2] for note in live.notes] == [(500, 60)]
    live.note_off(60, at=600)
    live.note_on(60, at=610)  # less than 5 ms after its release
    assert [note[0] for note in live.notes] == [500, 680]
    live.note_off(60, at=900)
    assert live.notes[-1] == (680, 60, 900, 100)


def test_a_score_block_by_block_is_the_score_in_one_go(checkpoint: Checkpoint) -> None:
    notes = [Note(60, 90, 0.0, 0.1), Note(64, 30, 0.05, 0.2), Note(60, 90, 0.1, 0.15)]
    options = {"block_samples": 256, "seed": 3, "expectation": False}
    audio = np.concatenate(list(play_score(checkpoint, Score((Track(tuple(notes)),)), **options)))
    assert 0.7 * RATE <= len(audio) < 0.7 * RATE + 256
    streams = [Stream(roll_events(notes, RATE), (3,))]
    expected = np.concatenate([block[0] for block in generate(checkpoint.build(), streams, len(audio))])
    assert np.array_equal(audio, expected)
