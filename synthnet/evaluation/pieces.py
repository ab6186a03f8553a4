"""Music to measure instruments with: dynamics for a plain score, and short pieces by a seeded generator.

A corpus of one velocity says nothing about dynamics. `add_dynamics` gives a score the velocities that a player might:
phrases that rise and fall, accents, and small unevenness. `compose_piece` makes a piece of one to three voices in the
range of an instrument. Both depend on their arguments and the seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from synthnet.instruments import Instrument
from synthnet.score import Note, Score, Track

PRELUDE_VELOCITIES = 40, 115
PIECE_VELOCITIES = 50, 124
PIECE_S = 12.0
LAST_END_S = 11.5  # of a note, so that its release is heard
MOST_VOICES = 3

PHRASE_S = 3.0, 7.0
ACCENT_SHARE = 0.1
ACCENT, UNEVENNESS = 0.2, 0.04  # of the range of velocities
EDGE_SHARE = 0.1  # of an instrument's range, left out at both ends
SCALE = (0, 2, 4, 5, 7, 9, 11)
STEPS = (-8, -4, -2, -1, -1, 0, 1, 1, 2, 4, 8)  # of the scale, from a note to the next; 0 strikes the key again
BEATS = (0.25, 0.5, 0.5, 1.0, 1.0, 2.0, 3.0)
REST_SHARE = 0.15


def add_dynamics(
    score: Score, seed: int = 0, lowest: int = PRELUDE_VELOCITIES[0], highest: int = PRELUDE_VELOCITIES[1]
) -> Score:
    """The same score with other velocities, `lowest` to `highest`; those of the score are not used.

    Phrases of 3 to 7 s rise to a peak and fall. A tenth of the notes has an accent, and each is a little uneven.

    Raises:
        ValueError: the velocities are not within 1 to 127, or not in order.
    """
    if not 1 <= lowest < highest <= 127:
        raise ValueError(f"velocities {lowest} to {highest}: must rise within 1 to 127")
    tracks = []
    for number, track in enumerate(score.tracks):
        rng = np.random.default_rng((seed, number))
        onsets_s = np.array([note.start_s for note in track.notes])
        heights = _phrases(onsets_s, rng)
        velocities = np.round(lowest + (highest - lowest) * heights).astype(int).tolist()
        notes = (replace(note, velocity=v) for note, v in zip(track.notes, velocities, strict=True))
        tracks.append(replace(track, notes=tuple(notes)))
    return replace(score, tracks=tuple(tracks))


def _phrases(onsets_s: np.ndarray, rng: Generator) -> np.ndarray:
    """Heights [N], 0 to 1, of notes with these onsets [N]: between breakpoints half a cosine, then accents."""
    end_s = float(onsets_s.max(initial=0.0))
    times_s, heights = [0.0], [rng.uniform(0.1, 0.5)]
    while times_s[-1] <= end_s:
        length_s, peak = rng.uniform(*PHRASE_S), rng.uniform(0.4, 0.7)
        times_s += [times_s[-1] + peak * length_s, times_s[-1] + length_s]
        heights += [rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.45)]
    place = np.interp(onsets_s, times_s, np.arange(len(times_s)))
    below = np.minimum(place.astype(int), len(times_s) - 2)
    share = 0.5 - 0.5 * np.cos(np.pi * (place - below))
    curve = np.array(heights)[below] * (1 - share) + np.array(heights)[below + 1] * share
    accents = ACCENT * (rng.random(len(onsets_s)) < ACCENT_SHARE)
    return np.clip(curve + accents + UNEVENNESS * rng.standard_normal(len(onsets_s)), 0.0, 1.0)


def compose_piece(instrument: Instrument, n_voices: int, seed: int = 0) -> Score:
    """A piece of at most 11.5 s (12 s with its release) in one track: 1 to 3 voices, velocities 50 to 124.

    Each voice walks along a major scale within its own part of the instrument's range, without its edges, so that no
    two notes of a key overlap. Times are multiples of 1 ms.

    Raises:
        ValueError: another number of voices.
    """
    if not 1 <= n_voices <= MOST_VOICES:
        raise ValueError(f"{n_voices} voices: must be 1 to {MOST_VOICES}")
    rng = np.random.default_rng((seed, instrument.program, n_voices))
    span = instrument.highest_pitch - instrument.lowest_pitch
    edge, tonic = round(EDGE_SHARE * span), int(rng.integers(12))
    keys = range(instrument.lowest_pitch + edge, instrument.highest_pitch - edge + 1)
    scale = [key for key in keys if (key - tonic) % 12 in SCALE]
    beat_s = rng.uniform(0.35, 0.65)
    notes: list[Note] = []
    for register in np.array_split(np.array(scale), n_voices):
        notes += _voice(register.tolist(), beat_s, rng)
    plain = Score((Track(tuple(sorted(notes, key=lambda note: (note.start_s, note.pitch))), instrument.program),))
    return add_dynamics(plain, seed, *PIECE_VELOCITIES)


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
