"""Excerpts of scores."""

from __future__ import annotations

import dataclasses
import math

import pytest

from synthnet.files import InputError
from synthnet.score.controllers import Controls
from synthnet.score.notes import Note, Score, Track

PIECE = Score(
    (
        Track((Note(60, 80, 0.0, 2.0), Note(62, 81, 2.0, 4.0)), 42, "Cello"),
        Track((Note(64, 82, 1.0, 3.0), Note(65, 83, 3.5, 5.0)), 56),
    ),
    {"drum notes": 3},
)


def test_the_notes_of_all_tracks_are_merged_in_order() -> None:
    assert [note.pitch for note in PIECE.notes] == [60, 64, 62, 65]
    assert PIECE.end_s == 5.0


def test_an_excerpt_is_cut_at_both_ends_and_starts_at_zero() -> None:
    assert PIECE.excerpt(1.5, 1.0) == Score(
        (
            Track((Note(60, 80, 0.0, 0.5), Note(62, 81, 0.5, 1.0)), 42, "Cello"),
            Track((Note(64, 82, 0.0, 1.0),), 56),
        ),
        {"drum notes": 3},
    )


def test_notes_that_only_touch_the_window_and_silent_tracks_are_not_in_it() -> None:
    assert PIECE.excerpt(3.0, 0.5) == Score((Track((Note(62, 81, 0.0, 0.5),), 42, "Cello"),), {"drum notes": 3})
    assert PIECE.excerpt(4.0).tracks == (Track((Note(65, 83, 0.0, 1.0),), 56),)


def test_an_excerpt_of_everything_is_the_score() -> None:
    assert PIECE.excerpt(0.0) == PIECE
    assert PIECE.excerpt(0.0, math.inf) == PIECE
    empty = dataclasses.replace(PIECE, tracks=())
    assert empty.excerpt(0.0) == empty


def test_controls_are_cut_with_the_notes() -> None:
    controls = Controls(pitch=((0.0, 0.5), (1.0, 1.0), (3.0, 2.0)), vibrato=((4.0, 0.5),), gain=((1.5, 0.25),))
    score = Score((Track((Note(60, 80, 0.0, 5.0),), controls=controls),))
    assert score.excerpt(0.0).tracks[0].controls == controls
    assert score.excerpt(1.5, 2.0).tracks[0].controls == Controls(((0.0, 1.0), (1.5, 2.0)), (), ((0.0, 0.25),))


def test_cut_chords_stay_sorted() -> None:
    score = Score((Track((Note(67, 80, 0.0, 2.0), Note(60, 80, 0.5, 2.0))),))
    assert [note.pitch for note in score.excerpt(1.0).notes] == [60, 67]
    assert [note.pitch for note in score.excerpt(1.0).tracks[0].notes] == [60, 67]


@pytest.mark.parametrize(
    ("start_s", "duration_s"),
    [(-0.1, None), (math.nan, None), (math.inf, None), (5.0, None), (0.0, 0.0), (0.0, -1.0), (0.0, math.nan)],
)
def test_windows_that_make_no_sense_are_refused(start_s: float, duration_s: float | None) -> None:
    with pytest.raises(InputError, match=r"^excerpt: "):
        PIECE.excerpt(start_s, duration_s)
