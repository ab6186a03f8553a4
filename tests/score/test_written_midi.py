"""Written MIDI files read back, here and elsewhere."""

from __future__ import annotations

import random
from pathlib import Path

import pretty_midi
import pytest
from handmade import assert_same_notes
from hypothesis import given, settings
from hypothesis import strategies as st

from synthnet.files import InputError
from synthnet.score.midi import read_score, write_midi
from synthnet.score.notes import Note, Score, Track


@st.composite
def scores(draw: st.DrawFn) -> Score:
    """Tracks of notes on a grid of 1 ms, in which notes of one key follow one another with or without a gap."""
    tracks = []
    for _ in range(draw(st.integers(1, 20))):
        notes = []
        for pitch in draw(st.lists(st.integers(0, 127), min_size=1, max_size=3, unique=True)):
            now_ms = 0
            for wait_ms, length_ms in draw(
                st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 60_000)), min_size=1, max_size=4)
            ):
                start_ms = now_ms + wait_ms
                now_ms = start_ms + length_ms
                notes.append(Note(pitch, draw(st.integers(1, 127)), start_ms / 1000, now_ms / 1000))
        notes.sort(key=lambda note: (note.start_s, note.pitch))
        name = draw(st.sampled_from(("", "Cello", "Prélude", "前奏曲")))
        tracks.append(Track(tuple(notes), draw(st.integers(0, 127)), name))
    return Score(tuple(tracks))


@settings(max_examples=40, deadline=None)
@given(score=scores())
def test_a_written_score_reads_back(tmp_path_factory: pytest.TempPathFactory, score: Score) -> None:
    path = tmp_path_factory.mktemp("written") / "score.mid"
    write_midi(score, path)
    again = read_score(path)
    assert [(track.name, track.program) for track in again.tracks] == [
        (track.name, track.program) for track in score.tracks
    ]
    for track, original in zip(again.tracks, score.tracks, strict=True):
        assert_same_notes(track, original)


def test_times_off_the_grid_come_back_within_a_tenth_of_a_millisecond(tmp_path: Path) -> None:
    rng = random.Random(0)
    starts = sorted(rng.uniform(0.0, 600.0) for _ in range(300))
    notes = tuple(Note(60, 80, start, stop) for start, stop in zip(starts[::2], starts[1::2], strict=True))
    write_midi(Score((Track(notes),)), tmp_path / "score.mid")
    assert_same_notes(read_score(tmp_path / "score.mid").tracks[0], Track(notes), within_s=1e-4)


def test_pretty_midi_reads_what_was_written(tmp_path: Path) -> None:
    score = Score((Track((Note(60, 80, 0.125, 1.5), Note(64, 90, 0.25, 2.0)), 42, "Cello"),))
    write_midi(score, tmp_path / "score.mid")
    (part,) = pretty_midi.PrettyMIDI(str(tmp_path / "score.mid")).instruments
    assert (part.program, part.name, part.is_drum) == (42, "Cello", False)
    read_notes = {Note(note.pitch, note.velocity, note.start, note.end) for note in part.notes}
    assert read_notes == set(score.notes)


def test_a_file_that_cannot_be_written_is_an_input_error_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "folder.mid"
    target.mkdir()
    with pytest.raises(InputError, match=r"folder\.mid: "):
        write_midi(Score(()), target)
    assert list(tmp_path.iterdir()) == [target]
