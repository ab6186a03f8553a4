"""The teacher measured against itself, and a player without dynamics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.measure import (
    HEADER,
    distances,
    markdown_row,
    measure_instrument,
    measure_recordings,
    teacher_of,
)
from synthnet.score.general_midi import find_instrument
from synthnet.score.notes import Note


def test_the_teacher_is_no_distance_from_itself_and_a_player_without_dynamics_is(tiny_corpus: Corpus) -> None:
    _, teacher = teacher_of(tiny_corpus)

    def deaf(notes: Sequence[Note], n_samples: int, rate: int) -> np.ndarray:
        return teacher([replace(note, velocity=100) for note in notes], n_samples, rate)

    players = {"teacher": teacher, "deaf": deaf}
    figures = measure_instrument(tiny_corpus, find_instrument("trumpet"), players, prelude_s=3.0)
    same, other = figures.players
    assert same.prelude.rmse_cqt_db == same.pieces_mean.log_spectral_db == same.levels.worst_level_db == 0
    assert other.prelude.rmse_cqt_db > 2
    assert other.levels.worst_level_db == pytest.approx(33, abs=2)
    assert other.held.worst_db == 0
    assert len(same.pieces) == 6
    mean = np.mean([piece.log_spectral_db for piece in other.pieces.values()])
    assert other.pieces_mean.log_spectral_db == pytest.approx(mean)
    read = json.loads(json.dumps(figures.as_dict()))
    assert [player["player"] for player in read["players"]] == ["teacher", "deaf"]
    assert read["players"][1]["prelude"]["rmse_cqt_db"] == other.prelude.rmse_cqt_db
    row = markdown_row("trumpet", read["players"][1])
    assert row.count("|") == HEADER.splitlines()[0].count("|")


def test_the_teacher_is_as_near_to_its_recordings_as_16_bits_allow(tiny_corpus: Corpus) -> None:
    _, teacher = teacher_of(tiny_corpus)
    (figures,) = measure_recordings(tiny_corpus, teacher).values()
    assert figures.rmse_cqt_db < 1
    assert figures.rmse_cqt_50_db < 0.1
    (piece,) = tiny_corpus.split("valid")
    sound = teacher(tiny_corpus.read_notes(piece), piece.n_samples, 16_000)
    assert distances(sound, 2 * sound, 16_000).level_db == pytest.approx(20 * np.log10(2), abs=0.01)
