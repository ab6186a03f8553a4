"""Rolls against a loop over samples and pretty_midi's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pretty_midi
from hypothesis import given, settings
from hypothesis import strategies as st

from synthnet.score.notes import Note
from synthnet.score.roll import RollEvents, events_from, rasterise, roll_events, to_samples

RATE_HZ = 16_000


def whole_roll(events: RollEvents) -> np.ndarray:
    return rasterise(events, 0, events.n_samples)


def roll_by_definition(notes: list[Note], n_samples: int, gap: int) -> np.ndarray:
    """The roll at 1 kHz from the rules, key by key and sample by sample; the times of the notes are whole ms."""
    roll = np.zeros((128, n_samples), dtype=np.uint8)
    for pitch in {note.pitch for note in notes}:
        spans = [(round(n.start_s * 1000), round(n.end_s * 1000)) for n in notes if n.pitch == pitch]
        onsets = {onset for onset, _ in spans}
        for t in range(n_samples):
            down = any(onset <= t < release for onset, release in spans)
            onset_near = any(t < onset <= t + gap for onset in onsets)
            roll[pitch, t] = t in onsets or (down and not onset_near)
    return roll


notes_on_a_millisecond_grid = st.lists(
    st.builds(
        lambda pitch, start_ms, length_ms: Note(pitch, 80, start_ms / 1000, (start_ms + length_ms) / 1000),
        st.sampled_from((0, 60, 61, 127)),
        st.integers(0, 60),
        st.integers(0, 40),
    ),
    max_size=12,
)


# ------------------------------------------------------------------------------------------ samples


def test_seconds_become_the_nearest_sample_and_halves_the_later() -> None:
    assert to_samples(1.0, RATE_HZ) == 16_000
    assert to_samples(0.0, RATE_HZ) == 0
    assert to_samples(2.5 / 16_000, RATE_HZ) == 3
    assert to_samples(2.49 / 16_000, RATE_HZ) == 2
    assert to_samples(-2.5 / 16_000, RATE_HZ) == -2
    samples = to_samples(np.array([[0.0, 0.25], [0.5, 3600.0]]), 44_100)
    assert samples.dtype == np.int64
    np.testing.assert_array_equal(samples, [[0, 11_025], [22_050, 158_760_000]])


# ------------------------------------------------------------------------------------------ events and rolls


@settings(deadline=None)
@given(notes=notes_on_a_millisecond_grid)
def test_the_roll_follows_its_definition(notes: list[Note]) -> None:
    events = roll_events(notes, 1000)
    roll = rasterise(events, 0, 120)
    np.testing.assert_array_equal(roll, roll_by_definition(notes, 120, gap=5))
    assert events.n_samples == (np.flatnonzero(roll.any(axis=0)).max(initial=-1) + 1)


def test_a_roll_without_overlaps_is_pretty_midi_s() -> None:
    # At 1024 samples a second, and times that are multiples of that, pretty_midi's truncation is exact.
    rng = np.random.default_rng(0)
    part = pretty_midi.Instrument(0)
    notes = []
    for pitch in (40, 60, 61, 100):
        now = 0
        for wait, length in rng.integers(10, 500, (20, 2)):
            start, now = now + wait, now + wait + length
            part.notes.append(pretty_midi.Note(80, pitch, start / 1024, now / 1024))
            notes.append(Note(pitch, 80, start / 1024, now / 1024))
    roll = whole_roll(roll_events(notes, 1024))
    np.testing.assert_array_equal(roll, part.get_piano_roll(fs=1024) > 0)


@settings(deadline=None)
@given(notes=notes_on_a_millisecond_grid, start=st.integers(-50, 150), length=st.integers(0, 200))
def test_any_slice_is_that_slice_of_the_whole_roll(notes: list[Note], start: int, length: int) -> None:
    events = roll_events(notes, 1000)
    whole = rasterise(events, -50, 350)
    np.testing.assert_array_equal(rasterise(events, start, start + length), whole[:, start + 50 : start + length + 50])


def test_a_struck_again_key_drops_for_five_milliseconds() -> None:
    events = roll_events([Note(60, 80, 0.0, 0.5), Note(60, 80, 0.5, 1.0)], RATE_HZ)
    np.testing.assert_array_equal(events.onset, [0, 8000])
    np.testing.assert_array_equal(events.release, [8000 - 80, 16_000])


def test_events_are_in_order_of_their_onsets_then_pitches() -> None:
    notes = [Note(64, 80, 0.5, 1.0), Note(60, 80, 0.5, 1.0), Note(72, 80, 0.0, 2.0), Note(60, 80, 0.0, 0.1)]
    events = roll_events(notes, RATE_HZ)
    np.testing.assert_array_equal(events.pitch, [60, 72, 60, 64])
    np.testing.assert_array_equal(events.onset, [0, 0, 8000, 8000])
    assert {array.dtype for array in (events.pitch, events.onset, events.release)} == {np.dtype(np.int64)}
    assert events.n_samples == 32_000


def test_no_notes_make_an_empty_roll() -> None:
    events = roll_events([], RATE_HZ)
    assert events.n_samples == 0
    assert not rasterise(events, -3, 7).any()
    assert rasterise(events, -3, 7).shape == (128, 10)
    assert rasterise(events, 0, 1).dtype == np.uint8


def test_velocities_are_those_of_the_onsets_and_of_notes_struck_together_the_loudest() -> None:
    notes = [Note(60, 40, 0.0, 0.5), Note(60, 127, 0.0, 0.2), Note(60, 1, 0.25, 1.0), Note(64, 64, 0.1, 0.3)]
    events = roll_events(notes, RATE_HZ)
    assert events.pitch.tolist() == [60, 64, 60]
    assert events.velocity.tolist() == [127, 64, 1]


@settings(deadline=None)
@given(notes=notes_on_a_millisecond_grid, start=st.integers(-50, 60), length=st.integers(0, 80), seed=st.integers(0, 9))
def test_a_roll_of_velocities_is_the_binary_one_times_velocity(
    notes: list[Note], start: int, length: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    notes = [replace(note, velocity=int(rng.integers(1, 128))) for note in notes]
    events = roll_events(notes, 1000)
    roll = rasterise(events, start, start + length, velocity=True)
    assert roll.dtype == np.float32
    np.testing.assert_array_equal(roll > 0, rasterise(events, start, start + length))
    for pitch, t in np.argwhere(roll):
        latest = max(
            onset
            for onset in (note.start_s for note in notes if note.pitch == pitch)
            if round(1000 * onset) <= start + t
        )
        loudest = max(note.velocity for note in notes if note.pitch == pitch and note.start_s == latest)
        assert roll[pitch, t] == np.float32(loudest / 127)


def test_events_moved_in_time_give_the_same_roll() -> None:
    events = roll_events([Note(60, 90, 0.0, 0.5), Note(62, 90, 0.3, 0.9), Note(60, 90, 0.5, 0.7)], 1_000)
    moved = events_from(events, 400)
    for velocity in (False, True):
        assert np.array_equal(rasterise(moved, 0, 500, velocity), rasterise(events, 400, 900, velocity))
