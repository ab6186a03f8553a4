"""Live notes against the same notes known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SMALL, small_weights

from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.generation.live import LiveInstrument, play_score
from synthnet.generation.streams import Stream, generate
from synthnet.models import build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, arrays_of
from synthnet.models.envelopes import make_notes
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
