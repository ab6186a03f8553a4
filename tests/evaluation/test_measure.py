"""The teacher measured against itself, and a player without dynamics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.measure import HEADER, measure_instrument, measure_recordings, teacher_of
from synthnet.score.general_midi import find_instrument
from synthnet.score.notes import Note


def test_the_teacher_is_no_distance_from_itself_and_a_player_without_dynamics_is(tiny_corpus: Corpus) -> None:
    _, teacher = teacher_of(tiny_corpus)

    def deaf(notes: Sequence[Note], n_samples: int, rate: int) -> np.ndarray:
        return teacher([replace(note, velocity=100) for note in notes], n_samples, rate)

    rows: list[str] = []
    players = {"teacher": teacher, "deaf": deaf}
    figures = measure_instrument(tiny_corpus, find_instrument("trumpet"), players, prelude_s=3.0, report=rows.append)
    same, other = figures.players
    assert same.prelude.rmse_cqt_db == same.mean_of_pieces.log_spectral_db == same.levels.worst_level_db == 0
    assert other.prelude.rmse_cqt_db > 2
    assert other.levels.worst_level_db == pytest.approx(33, abs=2)
    assert other.held.worst_db == 0
    assert len(same.pieces) == 6
    assert figures.markdown_rows().splitlines() == rows
    assert all(row.count("|") == HEADER.splitlines()[0].count("|") for row in rows)
    read = json.loads(figures.json())
    assert [player["player"] for player in read["players"]] == ["teacher", "deaf"]
    assert read["players"][1]["prelude"]["rmse_cqt_db"] == pytest.approx(other.prelude.rmse_cqt_db, abs=1e-3)


def test_the_teacher_is_as_near_to_its_recordings_as_16_bits_allow(tiny_corpus: Corpus) -> None:
    _, teacher = teacher_of(tiny_corpus)
    (figures,) = measure_recordings(tiny_corpus, teacher).values()
    assert figures.rmse_cqt_db < 1
    assert figures.rmse_cqt_50_db < 0.1

    def loud(notes: Sequence[Note], n_samples: int, rate: int) -> np.ndarray:
        return 2 * teacher(notes, n_samples, rate)

    (louder,), (fitted,) = (measure_recordings(tiny_corpus, loud, fit).values() for fit in (False, True))
    assert louder.level_db == pytest.approx(20 * np.log10(2), abs=0.01)
    assert fitted.rmse_cqt_db == pytest.approx(figures.rmse_cqt_db, abs=0.01)
