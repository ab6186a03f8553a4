"""Figures of any system: closed forms, matching by brute force, and sounds made by hand."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from synthnet.audio.files import write_audio
from synthnet.corpus.corpus import Piece
from synthnet.evaluation import systems
from synthnet.evaluation.systems import f1, loudness_error_db, over_trainings, read_playing, system_figures, table
from synthnet.files import InputError
from synthnet.score.notes import Note

RATE = 16_000
NOTES = (Note(60, 90, 0.2, 1.0), Note(67, 90, 1.1, 1.9))
PIECE = Piece("piece", "valid", 2 * RATE, 1.0, "", "", "", "")


def play(cents: float = 0.0, gain: float = 0.2) -> np.ndarray:
    """The notes as sawtooths of twelve partials, detuned."""
    sound = np.zeros(2 * RATE)
    for note in NOTES:
        n = round((note.end_s - note.start_s) * RATE)
        hz = 440 * 2 ** ((note.pitch - 69 + cents / 100) / 12)
        tone = sum(np.sin(2 * np.pi * h * hz * np.arange(n) / RATE) / h for h in range(1, 13))
        sound[round(note.start_s * RATE) :][:n] += (
            tone * np.minimum(1, np.arange(n) / 100) * np.exp(-np.arange(n) / RATE)
        )
    return (gain * sound).astype(np.float32)


def test_f1_matches_as_many_as_can_be() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        found, wanted = (
            [(int(key), float(time)) for key, time in zip(rng.integers(60, 62, 4), rng.uniform(0, 0.2, 4), strict=True)]
            for _ in range(2)
        )
        best = max(
            sum(a[0] == b[0] and abs(a[1] - b[1]) <= 0.05 for a, b in zip(order, wanted, strict=True))
            for order in itertools.permutations(found)
        )
        assert f1(found, wanted) == pytest.approx(2 * best / 8)
    assert f1([], [(60, 0.0)]) == 0
    assert math.isnan(f1([], []))


def test_loudness_error_is_that_of_levels() -> None:
    sound = play()
    assert loudness_error_db(sound, sound / 2, RATE) == pytest.approx(20 * np.log10(2), abs=1e-3)
    louder_then_softer = sound * np.repeat([2, 0.5], RATE).astype(np.float32)
    assert loudness_error_db(sound, louder_then_softer, RATE) == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert math.isnan(loudness_error_db(np.zeros(RATE, np.float32), sound[:RATE], RATE))


@pytest.mark.parametrize("cents", [0, 8, -20, 40])
def test_f0_error_is_the_detuning(cents: float) -> None:
    found = system_figures(play(), play(cents), NOTES, RATE, PIECE)
    assert found.f0_cents == pytest.approx(abs(cents), abs=3)
    assert found.right_pitch == 1
    assert (found.rmse_cqt_db == 0) == (cents == 0)


@pytest.mark.skipif(not importlib.util.find_spec("onnxruntime"), reason="needs the extra transcribe")
def test_note_f1_of_the_right_and_of_other_notes() -> None:
    assert systems.note_f1(play(), NOTES, RATE, PIECE) > 0.6 > 0.1 > systems.note_f1(play(300), NOTES, RATE, PIECE)


def test_note_f1_is_left_out_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert math.isnan(systems.note_f1(play(), NOTES, RATE, PIECE))


def test_playing_is_brought_to_length_and_level(tmp_path: Path) -> None:
    write_audio(tmp_path / "piece.wav", play(gain=0.05)[: -RATE // 4], RATE)
    read = read_playing(tmp_path, "piece", play(), RATE)
    assert len(read) == 2 * RATE
    assert not read[-RATE // 4 :].any()
    assert np.mean(read**2) == pytest.approx(np.mean(play() ** 2), rel=1e-4)
    with pytest.raises(InputError, match=r"no other\.wav"):
        read_playing(tmp_path, "other", play(), RATE)


def test_trainings_are_pooled_with_an_interval_over_them() -> None:
    def of(value: float) -> systems.SystemFigures:
        return systems.SystemFigures(*[value] * 8)

    trainings = [{"p": of(1), "q": of(3)}, {"p": of(4), "q": of(4)}]  # means 2 and 4
    mean, width = over_trainings(trainings)["rmse_cqt_db"]
    assert mean == 3
    assert width == pytest.approx(12.7062, rel=1e-4)  # Student's t, standard error 1
    assert "mean of 2 trainings  mine" in table({"mine": trainings})
    assert "trainings" not in table({"mine": trainings[:1]})
