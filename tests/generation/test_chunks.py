"""Chunks side by side against the piece in one go, and where they are cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from synthnet.generation import chunks
from synthnet.generation.chunks import chunks_that_pay, entry, generate_in_chunks, plan_cuts, sounding_spans
from synthnet.generation.streams import Stream, generate
from synthnet.models import Network, build_model, preset_config
from synthnet.score.notes import Note
from synthnet.score.roll import events_from, roll_events

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


def test_a_gpu_takes_more_and_shorter_chunks() -> None:
    with torch.device("meta"):  # as any that is no CPU
        network = build_model(preset_config("synthnet", "L24"))  # its warm-up is a second
    assert chunks_that_pay(network, 1, 8 * RATE, RATE) == 4
    assert chunks_that_pay(network, 10, 600 * RATE, RATE) == 25
    assert chunks_that_pay(network.to_empty(device="cpu"), 1, 8 * RATE, RATE) == 1
    places = [(2 * number * RATE, 2 * (number + 1) * RATE) for number in range(84)]
    even = [chunks.Chunk(0, max(0, start - RATE - 500), start, stop) for start, stop in places]
    assert len(chunks._groups(even, 84, 300 * RATE)) == 1  # the first one has no warm-up


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


@pytest.mark.parametrize("n_chunks", [1, 3])
def test_no_network_runs_in_the_rests_of_a_track(n_chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, n, steps, done = score_reader(), 20 * RATE, [0], []

    def counted(network: Network, streams: list[Stream], length: int, **options: object) -> Iterator[np.ndarray]:
        steps.append(len(streams) * length)
        return generate(network, streams, length, **options)

    monkeypatch.setattr(chunks, "generate", counted)
    sparse = [[Note(60 + track, 90, 1.5 * track + 0.5, 1.5 * track + 1.0)] for track in range(10)]
    streams = [Stream(roll_events(notes, RATE), (0,), mean=True) for notes in (*sparse, [])]
    made = np.concatenate(list(generate_in_chunks(network, streams, n, n_chunks, progress=done.append)), axis=1)
    assert made.shape == (11, n)
    assert sum(done) == n
    assert sum(steps) <= 10 * 1.6 * RATE  # of 11 x 20 s
    whole = np.concatenate(list(generate(network, streams, n)), axis=1)
    for row, (note,) in enumerate(sparse):
        onset, ring = (int(second * RATE) for second in (note.start_s, note.end_s + 0.5))
        np.testing.assert_allclose(made[row, onset : ring - 160], whole[row, onset : ring - 160], atol=1e-6)
        assert not made[row, : onset - 160].any()
        assert not made[row, ring:].any()
    assert not made[-1].any()


@pytest.mark.parametrize("n_chunks", [1, 4])
def test_a_start_in_held_notes_is_that_of_the_whole_piece(n_chunks: int) -> None:
    network, held = score_reader(), [Note(40, 90, 1.0, 5.0), Note(47, 90, 2.0, 9.0)]
    streams = [Stream(roll_events(notes, RATE), (3,), mean=True) for notes in (held, MELODY)]
    whole = np.concatenate(list(generate(network, streams, 8 * RATE)), axis=1)
    part = generate_in_chunks(network, streams, 4 * RATE, n_chunks, start=4 * RATE)
    np.testing.assert_allclose(np.concatenate(list(part), axis=1), whole[:, 4 * RATE :], atol=1e-6)


def test_generation_begins_at_the_onsets_of_what_is_heard_at_the_start() -> None:
    def began_s(*notes: Note) -> float:
        return (entry(events_from(roll_events(notes, RATE), 20 * RATE), 800) + 800) / RATE

    ended, held, later, long = Note(60, 90, 5, 19), Note(60, 90, 17, 21), Note(60, 90, 21.5, 22), Note(61, 90, 2, 30)
    assert began_s() == began_s(ended, later) == 0
    assert began_s(ended, held, later) == -3
    assert began_s(held, long) == -10
    assert began_s(Note(60, 90, 19, 19.8)) == -1  # it rings


def test_what_sounds_reaches_from_onsets_to_half_a_second_after_releases() -> None:
    notes = [Note(60, 90, *times) for times in ((0, 1), (3, 4), (4.5, 5), (6, 7), (11.9, 14))]
    spans = sounding_spans(events_from(roll_events(notes, 1000), 2000), 10_000, 300)
    assert spans == [(1000, 3500), (4000, 5500), (9900, 10_000)]
    assert sounding_spans(roll_events(notes[2:3], 1000), 5_700, 300) == [(4500, 5700)]
    assert sounding_spans(roll_events([], 1000), 3_700, 300) == []
