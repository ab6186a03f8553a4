"""Composed pieces: seeded, in range, playable."""

from __future__ import annotations

import itertools

import pytest

from synthnet.evaluation.compose import LAST_END_S, compose_piece
from synthnet.score.general_midi import INSTRUMENTS
from synthnet.score.notes import Note


def overlap(a: Note, b: Note) -> bool:
    return a.start_s < b.end_s and b.start_s < a.end_s


class TestComposePiece:
    @pytest.mark.parametrize("n_voices", [1, 2, 3])
    def test_pieces_are_playable(self, n_voices: int) -> None:
        for instrument, seed in itertools.product(INSTRUMENTS, range(3)):
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
