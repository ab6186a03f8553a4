"""Pieces to measure instruments with: one to three voices in the range of an instrument, the same for the same seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from synthnet.score.dynamics import add_dynamics
from synthnet.score.general_midi import MidiInstrument
from synthnet.score.notes import Note, Score, Track

PIECE_VELOCITIES = 50, 124
PIECE_S = 12.0
LAST_END_S = 11.5  # of a note, so that its release is heard
MOST_VOICES = 3
EDGE_SHARE = 0.1  # of an instrument's range, left out at both ends
SCALE = (0, 2, 4, 5, 7, 9, 11)
STEPS = (-8, -4, -2, -1, -1, 0, 1, 1, 2, 4, 8)  # of the scale, from a note to the next; 0 strikes the key again
BEATS = (0.25, 0.5, 0.5, 1.0, 1.0, 2.0, 3.0)
REST_SHARE = 0.15


def compose_piece(instrument: MidiInstrument, n_voices: int, seed: int = 0) -> Score:
    """A piece of 12 s, its last release included, in one track: 1 to 3 voices, velocities 50 to 124.

    Each voice walks along a major scale within its share of the instrument's range, so that no two notes of a key
    overlap. Times are multiples of 1 ms.

    Raises:
        ValueError: another number of voices.
    """
    if not 1 <= n_voices <= MOST_VOICES:
        raise ValueError(f"{n_voices} voices: must be 1 to {MOST_VOICES}")
    rng = np.random.default_rng((seed, instrument.program, n_voices))
    edge = round(EDGE_SHARE * (instrument.highest_pitch - instrument.lowest_pitch))
    tonic = int(rng.integers(12))
    keys = range(instrument.lowest_pitch + edge, instrument.highest_pitch - edge + 1)
    scale = [key for key in keys if (key - tonic) % 12 in SCALE]
    beat_s = rng.uniform(0.35, 0.65)
    registers = np.array_split(scale, n_voices)
    notes = [note for register in registers for note in _voice(register.tolist(), beat_s, rng)]
    notes.sort(key=lambda note: (note.start_s, note.pitch))
    return add_dynamics(Score((Track(tuple(notes), instrument.program),)), seed, *PIECE_VELOCITIES)


def _voice(register: Sequence[int], beat_s: float, rng: Generator) -> list[Note]:
    notes, place, now_s = [], int(rng.integers(len(register))), rng.uniform(0.05, 0.3)
    while now_s < LAST_END_S - 0.2:
        length_s = beat_s * float(rng.choice(BEATS))
        if rng.random() >= REST_SHARE:
            place = int(np.clip(place + rng.choice(STEPS), 0, len(register) - 1))
            end_s = min(now_s + length_s * rng.uniform(0.5, 0.98), LAST_END_S)
            notes.append(Note(register[place], 100, round(now_s, 3), round(end_s, 3)))
        now_s += length_s
    return notes
