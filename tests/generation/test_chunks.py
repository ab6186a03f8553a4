"""Chunks side by side against the piece in one go, and where they are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthnet.generation import chunks
from synthnet.generation.chunks import chunks_that_pay, generate_in_chunks, plan_cuts
from synthnet.generation.streams import Stream, generate
from synthnet.models import Network, build_model, preset_config
from synthnet.score.notes import Note
from synthnet.score.roll import roll_events

RATE = 16_000


def score_reader() -> Network:
    """Its distribution depends on the score's last frames alone: what it plays has no memory to lose at a cut."""
    torch.manual_seed(0)
    network = build_model(preset_config("synthnet", "tiny"))
    with torch.no_grad():
        network.audio.embedding.weight.zero_()
        network.score.convolution.weight.mul_(20)
        for layer in network.stack:
            layer.residual.weight.zero_()
            layer.residual.bias.zero_()
        network.head.logits.weight.mul_(8)
    return network.eval().requires_grad_(False)


MELODY = [Note(50 + number % 7, 90, 0.31 * number, 0.31 * number + 0.25) for number in range(40)]
BASS = [Note(36 + number % 3, 90, 1.24 * number, 1.24 * number + 1.2) for number in range(10)]


@pytest.mark.parametrize("n_chunks", [2, 3])
def test_chunks_add_up_to_the_piece(n_chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_S", 1.0)  # several groups
    network, n = score_reader(), round(6.5 * RATE)
    streams = [Stream(roll_events(notes, RATE), (number,), mean=True) for number, notes in enumerate((MELODY, BASS))]
    done = []
    pieces = list(generate_in_chunks(network, streams, n, n_chunks, progress=done.append))
    assert len(pieces) > n_chunks
    chunked = np.concatenate(pieces, axis=1)
    whole = np.concatenate(list(generate(network, streams, n)), axis=1)
    assert chunked.shape == (2, n)
    assert sum(done) == n
    assert np.ptp(whole) > 0.01
    np.testing.assert_allclose(chunked, whole, atol=1e-6)


def test_cuts_prefer_rests_and_onsets_that_end_what_sounded() -> None:
    held = Note(40, 90, 0.0, 4.9)  # sounds across the even place, 5.0 s, of one of two tracks
    early, late = Note(60, 90, 4.0, 4.95), Note(62, 90, 4.95, 6.0)
    events = [roll_events([held, Note(40, 90, 4.95, 9.0)], RATE), roll_events([early, late], RATE)]
    assert plan_cuts(events, 10 * RATE, 2) == [0, round(4.95 * RATE), 10 * RATE]
    assert plan_cuts([roll_events([], RATE)], 10 * RATE, 4) == [0, 40_000, 80_000, 120_000, 160_000]
    # Every onset lies under a held note: the even place is as good as any, and nearest.
    under = [roll_events([Note(40, 90, 0.0, 10.0), Note(60, 90, 4.9, 5.1)], RATE)]
    assert plan_cuts(under, 10 * RATE, 2)[1] == round(4.9 * RATE)


def test_cuts_increase() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = rng.uniform(0, 20, 60)
        events = [roll_events([Note(int(rng.integers(40, 60)), 90, s, s + rng.uniform(0.01, 3)) for s in starts], RATE)]
        cuts = plan_cuts(events, 20 * RATE, 9)
        assert len(cuts) == 10
        assert (np.diff(cuts) > 20 * RATE / 9 / 2).all()


def test_chunking_pays_for_long_pieces_of_few_tracks() -> None:
    network = score_reader()
    assert chunks_that_pay(network, 1, 3 * RATE, RATE) == 1
    assert chunks_that_pay(network, 1, 8 * RATE, RATE) == 4
    assert chunks_that_pay(network, 1, 600 * RATE, RATE) == 12
    assert chunks_that_pay(network, 4, 600 * RATE, RATE) == 3
    assert chunks_that_pay(network, 40, 600 * RATE, RATE) == 1


def test_more_chunks_than_there_is_music_for_are_fewer() -> None:
    streams = [Stream(roll_events([], RATE), (0,))]
    for n, n_chunks in ((800, 8), (8_000, 100)):
        made = list(generate_in_chunks(score_reader(), streams, n, n_chunks, progress=lambda done: None))
        assert np.concatenate(made, axis=1).shape == (1, n)
