"""Generated music: seeded, in range, playable; dynamics like phrases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthnet.evaluation.compose import LAST_END_S, compose_piece
from synthnet.evaluation.measure import PRELUDE
from synthnet.score.dynamics import add_dynamics
from synthnet.score.general_midi import INSTRUMENTS, MidiInstrument
from synthnet.score.midi import read_score
from synthnet.score.notes import Note, Score


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


def overlap(a: Note, b: Note) -> bool:
    return a.start_s < b.end_s and b.start_s < a.end_s


class TestComposePiece:
    @pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda who: who.name)
    @pytest.mark.parametrize("n_voices", [1, 2, 3])
    def test_pieces_are_playable(self, instrument: MidiInstrument, n_voices: int) -> None:
        for seed in range(5):
            notes = compose_piece(instrument, n_voices, seed).notes
            assert all(instrument.lowest_pitch <= note.pitch <= instrument.highest_pitch for note in notes)
            assert all(50 <= note.velocity <= 124 for note in notes)
            assert all(0 < note.start_s < note.end_s <= LAST_END_S for note in notes)
            together = [[b for b in notes if overlap(a, b)] for a in notes]
            assert max(map(len, together)) >= n_voices
            assert not any(b.pitch == a.pitch and b != a for a, row in zip(notes, together, strict=True) for b in row)
            sounding = [sum(n.start_s <= note.start_s < n.end_s for n in notes) for note in notes]
            assert max(sounding) == n_voices

    def test_depends_on_the_seed_and_the_instrument_alone(self) -> None:
        piano, trumpet = INSTRUMENTS[0], INSTRUMENTS[4]
        assert compose_piece(piano, 2, 3) == compose_piece(piano, 2, 3) != compose_piece(piano, 2, 4)
        assert compose_piece(trumpet, 2, 3).tracks[0].program == 56

    def test_refuses_other_numbers_of_voices(self) -> None:
        for n_voices in (0, 4):
            with pytest.raises(ValueError, match="voices"):
                compose_piece(INSTRUMENTS[0], n_voices)
