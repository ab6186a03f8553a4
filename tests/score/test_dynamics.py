"""Dynamics like phrases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthnet.corpus.build import DEFAULT_SCORES
from synthnet.score.dynamics import add_dynamics
from synthnet.score.midi import read_score
from synthnet.score.notes import Score

PRELUDE = DEFAULT_SCORES / "bwv1007_1_prelude.mid"


def velocities(score: Score) -> np.ndarray:
    return np.array([note.velocity for note in score.notes])


class TestAddDynamics:
    def test_only_velocities_change_and_they_stay_in_range(self) -> None:
        plain = read_score(PRELUDE)
        played = add_dynamics(plain)
        assert [replace(note, velocity=1) for note in played.notes] == [
            replace(note, velocity=1) for note in plain.notes
        ]
        assert velocities(played).min() == 40
        assert velocities(played).max() == 115

    def test_depends_on_the_seed_alone(self) -> None:
        plain = read_score(PRELUDE)
        assert add_dynamics(plain, 1) == add_dynamics(add_dynamics(plain, 2), 1) != add_dynamics(plain, 2)

    def test_neighbours_are_alike_and_distant_notes_are_not(self) -> None:
        v = velocities(add_dynamics(read_score(PRELUDE)))
        assert np.corrcoef(v[1:], v[:-1])[0, 1] > 0.6
        assert abs(np.corrcoef(v[60:], v[:-60])[0, 1]) < 0.3

    @pytest.mark.parametrize(("lowest", "highest"), [(0, 100), (40, 128), (90, 40)])
    def test_refuses_what_is_no_range_of_velocities(self, lowest: int, highest: int) -> None:
        with pytest.raises(ValueError, match="velocities"):
            add_dynamics(Score(()), 0, lowest, highest)
