"""Études: music by a seeded generator, so that a corpus covers an instrument's whole keyboard.

Bach's suite, the other training music, keeps to keys 36 to 67 and nearly to one voice. Études consist of figures of a
few seconds. A figure is drawn as intervals, then moved to where the keyboard has sounded least so far, which balances
the keys; long notes are balanced separately. Onsets are multiples of 1 ms, which a MIDI file keeps exactly.

*Wide* études are for models that hear velocity. The others are for binary piano rolls, where loudness is a guess: four
of five figures have the velocity of the training movements, 100, the others 90 or 110 (1.9 dB down or 1.7 dB up on
FluidR3's seven presets, with nearly the same tone).

Instruments that play chords have two to six voices. The others play double stops and chords of up to four voices, as
Bach's suite does, for a twelfth of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from synthnet.files import InputError
from synthnet.score.general_midi import MidiInstrument
from synthnet.score.notes import Note, Score, Track, in_order

SHORTEST_MINUTES, LONGEST_MINUTES = 0.2, 60.0
SHORTEST_S, LONGEST_S = 0.06, 5.0  # of a note
HELD_S = 8.0, 14.0  # of a note in the étude of held notes
SOFTEST, LOUDEST = 15, 127  # velocities of wide études
SILENCE_SHARE = 0.12  # of the figures have a longer silence after them
WIDEST_CHORD = 31  # semitones: six strings under one hand, or two hands near each other
SLUR_S = 0.1  # notes of a melody overlap for less than this; such an overlap makes no chord

MAJOR, MINOR = (0, 4, 7), (0, 3, 7)
SEVENTHS = ((0, 4, 7, 10), (0, 4, 7, 11), (0, 3, 7, 10), (0, 3, 6, 9))
# Steps above a tonic, in semitones: major, harmonic and melodic minor, pentatonic, whole tones, all keys.
SCALES = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 11),
    (0, 2, 3, 5, 7, 9, 11),
    (0, 2, 4, 7, 9),
    (0, 2, 4, 6, 8, 10),
    tuple(range(12)),
)
# Half of the chords are plain triads; the last four are suspended, augmented and two sharp dissonances.
CHORDS = (*4 * (MAJOR, MINOR), *SEVENTHS, (0, 5, 7), (0, 4, 8), (0, 1, 7), (0, 6, 11))
# From each of these keys up, the narrowest interval (semitones) that is clear to the ear when its notes sound together.
NARROWEST = ((52, 1), (48, 3), (46, 4), (34, 7), (0, 12))


class Tone(NamedTuple):
    """A note of a figure: semitones above the figure's reference, onset and end in seconds from its beginning."""

    interval: int
    start_s: float
    end_s: float


Figure = list[Tone]
Draw = Callable[[Generator], Figure]
Touch = Callable[[Figure, Generator], list[int]]  # velocities


def compose_etudes(
    instrument: MidiInstrument, minutes: float = 9.0, seed: int = 0, *, wide: bool = False
) -> dict[str, Score]:
    """Five études (six if wide) for an instrument, by name: together `minutes` long, 0.2 to 60; deterministic.

    Velocities are 15 to 127 and notes up to 14 s long if `wide`, else 90 to 110 and up to 5 s. No two notes of a key
    overlap. In 9 minutes or more, every key of the instrument's range sounds for a third to three times the keys' mean
    (measured: 0.4 to 1.7). Raises InputError for a length outside its range and a negative seed.
    """
    if not SHORTEST_MINUTES <= minutes <= LONGEST_MINUTES:
        raise InputError(f"études of {minutes:g} minutes: must be {SHORTEST_MINUTES:g} to {LONGEST_MINUTES:g}")
    if seed < 0:
        raise InputError(f"études with seed {seed}: must be 0 or more")
    voices, longest_s, chord_share = (6, LONGEST_S, 0.35) if instrument.chords else (4, 4.0, 0.08)
    held_share = 0.25 if wide else 0.0
    rest = 1.0 - chord_share - held_share
    # Figures of many keys come first: those of one key, last, can go wherever the keyboard has sounded too little.
    # Lengths are the exception: every key is to be heard long and short, even the middle ones, which the others fill.
    kinds: dict[str, tuple[float, Draw]] = {
        "scales": (0.25 * rest, _scale),
        "leaps": (0.15 * rest, partial(_leaps, widest=instrument.highest_pitch - instrument.lowest_pitch)),
        "chords": (chord_share, partial(_chord, most_voices=voices, longest_s=longest_s)),
        "lengths": (0.4 * rest, _long_or_short),
        "repeats": (0.2 * rest, _repeats),
    }
    if wide:
        kinds["held"] = (held_share, _held)
    rng = np.random.default_rng((seed, instrument.program))
    heard_s = np.zeros(instrument.highest_pitch + 1)
    etudes = {}
    for number, (kind, (share, figure)) in enumerate(kinds.items(), start=1):
        name = f"etude_{number}_{kind}"
        # The loudest chord sets the level of a whole corpus.
        touch = _wide_velocities if wide else partial(_near_velocities, loudest=100 if kind == "chords" else 110)
        guide_s = np.zeros_like(heard_s) if kind in ("lengths", "held") else heard_s
        notes = _compose(figure, round(60.0 * minutes * share, 3), touch, instrument, guide_s, rng)
        if kind == "lengths":
            heard_s += guide_s
        etudes[name] = Score((Track(notes, instrument.program, name),))
    return etudes


def _compose(
    draw: Draw, length_s: float, touch: Touch, instrument: MidiInstrument, heard_s: np.ndarray, rng: Generator
) -> tuple[Note, ...]:
    """Figures one after another until `length_s`, put where `heard_s`, seconds by key, is low, and added to it."""
    notes = []
    now_s = rng.uniform(0.1, 0.5)
    while now_s < length_s:
        figure = draw(rng)
        while not (places := _places(figure, instrument)):
            figure = draw(rng)
        intervals = np.array([tone.interval for tone in figure])
        seconds = np.array([tone.end_s - tone.start_s for tone in figure])
        reference = int(min(rng.choice(places, size=16), key=lambda key: float(heard_s[key + intervals] @ seconds)))
        for tone, velocity in zip(figure, touch(figure, rng), strict=True):
            start_s, end_s = round(now_s + tone.start_s, 3), round(now_s + tone.end_s, 3)
            if start_s < length_s - SHORTEST_S:
                notes.append(Note(reference + tone.interval, velocity, start_s, min(end_s, length_s)))
                heard_s[notes[-1].pitch] += notes[-1].end_s - start_s
        now_s += max(tone.end_s for tone in figure)
        now_s += rng.uniform(0.5, 2.0) if rng.random() < SILENCE_SHARE else rng.uniform(0.0, 0.25)
    return in_order(notes)


def _near_velocities(figure: Figure, rng: Generator, loudest: int) -> list[int]:
    """One velocity for a whole figure, so that the sound so far shows the loudness of what comes next."""
    return [min(int(rng.choice((100, 90, 110), p=(0.8, 0.1, 0.1))), loudest)] * len(figure)


def _wide_velocities(figure: Figure, rng: Generator) -> list[int]:
    """Velocities 15 to 127: a level for the figure, a rise or fall along it, and a little chance for each note."""
    level, slope = rng.uniform(SOFTEST, LOUDEST), rng.uniform(-25.0, 25.0)
    last_s = max(figure[-1].start_s, 1e-3)
    drawn = [level + slope * (tone.start_s / last_s - 0.5) + 6.0 * rng.normal() for tone in figure]
    return [int(min(max(round(velocity), SOFTEST), LOUDEST)) for velocity in drawn]


def _places(figure: Figure, instrument: MidiInstrument) -> list[int]:
    """The reference keys from which a figure is within the instrument's range, and its chords are clear."""
    intervals = [tone.interval for tone in figure]
    places = range(instrument.lowest_pitch - min(intervals), instrument.highest_pitch - max(intervals) + 1)
    together = [
        (low.interval, high.interval - low.interval)
        for low in figure
        for high in figure
        if low.interval < high.interval and min(low.end_s, high.end_s) - max(low.start_s, high.start_s) > SLUR_S
    ]
    return [place for place in places if all(_is_clear(place + low, width) for low, width in together)]


def _is_clear(pitch: int, width: int) -> bool:
    return width >= next(narrowest for lowest, narrowest in NARROWEST if pitch >= lowest)


# --------------------------------------------------------------------------------------------- figures


def _melody(intervals: list[int], step_s: float, rng: Generator) -> Figure:
    """One voice, a note about every `step_s` seconds: legato with short overlaps, detached or staccato."""
    steps_s = step_s * rng.uniform(0.93, 1.07, len(intervals))
    starts_s = np.cumsum(steps_s) - steps_s
    match rng.choice(3):
        case 0:
            lengths_s = steps_s + rng.uniform(0.01, min(0.06, 0.5 * step_s))
        case 1:
            lengths_s = steps_s * rng.uniform(0.8, 1.0)
        case _:
            lengths_s = np.maximum(steps_s * rng.uniform(0.3, 0.6), SHORTEST_S)
    return [*map(Tone, intervals, starts_s.tolist(), (starts_s + lengths_s).tolist())]


def _scale(rng: Generator) -> Figure:
    """A scale or an arpeggio, over one to two and a half octaves: up, down, up and down, or in skips."""
    kinds = SCALES if rng.random() < 0.6 else (MAJOR, MINOR, *SEVENTHS)
    classes = kinds[rng.integers(len(kinds))]
    tonic, span = rng.integers(12), rng.integers(12, 31)
    run = [interval for interval in range(span + 1) if (interval - tonic) % 12 in classes]
    skips = [interval for pair in zip(run, run[2:], strict=False) for interval in pair]  # 1 3 2 4 3 5
    shape = (run, run[::-1], run + run[-2::-1], skips)[rng.choice(4)]
    return _melody(shape, _between(0.08, 0.5, rng), rng)


def _leaps(rng: Generator, widest: int) -> Figure:
    """Three to six notes, each at least a fifth from the one before, within an octave up to the whole range."""
    span = rng.integers(14, widest + 1)
    intervals = [int(rng.integers(span + 1))]
    while len(intervals) < 3 or (rng.random() < 0.7 and len(intervals) < 6):
        far = [interval for interval in range(span + 1) if abs(interval - intervals[-1]) >= 7]
        intervals.append(int(rng.choice(far)))
    return _melody(intervals, _between(0.12, 0.7, rng), rng)


def _repeats(rng: Generator) -> Figure:
    """A key struck three to nine times, released for 0 to 250 ms before each; or a trill of two keys."""
    count = int(rng.integers(3, 10))
    if rng.random() < 0.3:
        return _melody([0, int(rng.integers(1, 5))] * count, _between(0.08, 0.2, rng), rng)
    length_s = _between(SHORTEST_S, 0.6, rng)
    gap_s = 0.0 if rng.random() < 0.25 else _between(0.005, 0.25, rng)
    starts_s = [i * (length_s + gap_s) for i in range(count)]
    return [Tone(0, start_s, start_s + length_s) for start_s in starts_s]


def _held(rng: Generator) -> Figure:
    """Two notes of 8 to 14 s, an octave to two apart."""
    later_s, end_s = rng.uniform(0.3, 2.0), rng.uniform(*HELD_S)
    return [Tone(0, 0.0, end_s), Tone(int(rng.integers(12, 25)), later_s, later_s + rng.uniform(*HELD_S))]


def _long_or_short(rng: Generator) -> Figure:
    """One note of 1 to 5 s; or three to eight of 60 to 150 ms, near each other, with silence between them."""
    if rng.random() < 0.7:
        return [Tone(0, 0.0, _between(1.0, LONGEST_S, rng))]
    now_s, figure = 0.0, []
    for _ in range(rng.integers(3, 9)):
        length_s = rng.uniform(SHORTEST_S, 0.15)
        figure.append(Tone(int(rng.integers(-6, 7)), now_s, now_s + length_s))
        now_s += length_s + rng.uniform(0.03, 0.4)
    return figure


def _chord(rng: Generator, most_voices: int, longest_s: float) -> Figure:
    """A chord of two to `most_voices` voices: struck at once, spread, broken, or a bass held under moving voices."""
    n_voices = int(rng.integers(2, most_voices + 1))
    classes = CHORDS[rng.integers(len(CHORDS))]
    ladder = [12 * octave + interval for octave in range(8) for interval in classes]
    steps = None  # of the ladder, that the voices stand on; the bass may have more room above it
    while steps is None or ladder[steps[-1]] - ladder[steps[0]] > WIDEST_CHORD:
        rises = [rng.integers(1, 4), *rng.choice([1, 1, 2], size=n_voices - 2)]
        steps = rng.integers(len(classes)) + np.cumsum([0, *rises])
    match rng.choice(4):
        case 0:
            delay_s = 0.0
        case 1:
            delay_s = rng.uniform(0.004, 0.03)
        case 2:
            delay_s = min(_between(0.06, 0.3, rng), 0.5 * longest_s / n_voices)
        case _:
            return _over_a_bass(ladder, steps, longest_s, rng)
    first_s = delay_s * (n_voices - 1)
    end_s = first_s + _between(0.12, longest_s - first_s, rng)
    return [Tone(ladder[step], i * delay_s, end_s) for i, step in enumerate(steps)]


def _over_a_bass(ladder: list[int], steps: np.ndarray, longest_s: float, rng: Generator) -> Figure:
    """The lowest voice held while the others move together, three to six times, along the ladder."""
    length_s, n_moves = _between(1.5, longest_s, rng), int(rng.integers(3, 7))
    move_s = length_s / n_moves
    figure = [Tone(ladder[steps[0]], 0.0, length_s)]
    for i, rise in enumerate(rng.integers(0, 3, size=n_moves)):
        # Upwards only, so that no voice meets the bass; released a little before the next, which may be the same key.
        figure += [Tone(ladder[step + rise], i * move_s, (i + 0.95) * move_s) for step in steps[1:]]
    return figure


def _between(low: float, high: float, rng: Generator) -> float:
    """A length between two others: as likely to be below their geometric mean as above it."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))
