"""The seven instruments of the SynthNet experiment (Schimbinschi et al., IJCAI 2019), and own ones: data only.

A code Snn names the 0-based General MIDI program nn, which is the preset of the FluidR3 GM sound font that
plays the instrument. Pitches are MIDI keys (A4 = 69). The ranges are a choice of ours, each instrument's
usual compass widened where needed to keys 36 to 67, those of the training music (Bach, BWV 1007).
The glockenspiel's partials are those of a bar, measured on FluidR3: the fundamental, 25 dB weaker than the second.
There are more, at 7.95 for one. But that lies a fifth above 5.3: with it, a note a fifth below that still rings would
seem stronger than the note itself.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from synthnet.files import InputError


def program_name(program: int) -> str:
    """The name of a General MIDI program, 0 to 127: that of 60 is "French Horn"."""
    import pretty_midi  # only here: it loads the synthesizer's library, which a score does not need

    return str(pretty_midi.program_to_instrument_name(program))


OWN_RANGE = 36, 84  # of an instrument about which nothing is said

NARROWEST_RANGE = 14  # semitones: études need room for their scales, leaps and chords

RESERVED_NAMES = ("all", "shipped")  # words that mean something else where an instrument is named

HARMONICS = tuple(float(order) for order in range(1, 13))


@dataclass(frozen=True)
class MidiInstrument:
    """A General MIDI preset (`program`, 0-based), its pitch range (both ends included) and whether it plays chords.

    `partials` are the frequencies that tell its pitch, relative to the fundamental.
    """

    name: str
    code: str
    program: int
    lowest_pitch: int
    highest_pitch: int
    chords: bool
    partials: tuple[float, ...] = HARMONICS


INSTRUMENTS: tuple[MidiInstrument, ...] = (
    MidiInstrument("piano", "S01", 1, 21, 108, chords=True),
    MidiInstrument("glockenspiel", "S09", 9, 36, 108, chords=True, partials=(1.0, 5.28, 12.85)),
    MidiInstrument("guitar", "S24", 24, 36, 88, chords=True),
    MidiInstrument("cello", "S42", 42, 36, 81, chords=False),
    MidiInstrument("trumpet", "S56", 56, 36, 86, chords=False),
    MidiInstrument("flute", "S75", 75, 36, 96, chords=False),
    MidiInstrument("square", "S80", 80, 36, 96, chords=False),
)


# One for each family of General MIDI that a pitched instrument can stand for and that the seven leave out, and more of
# the families that songs use most.
MORE_INSTRUMENTS: tuple[MidiInstrument, ...] = (
    MidiInstrument("organ", "S19", 19, 36, 96, chords=True),
    MidiInstrument("bass", "S33", 33, 28, 67, chords=False),
    MidiInstrument("violin", "S40", 40, 55, 100, chords=False),
    MidiInstrument("strings", "S48", 48, 36, 96, chords=True),
    MidiInstrument("choir", "S52", 52, 41, 84, chords=True),
    MidiInstrument("saxophone", "S65", 65, 44, 84, chords=False),
    MidiInstrument("clarinet", "S71", 71, 50, 91, chords=False),
    MidiInstrument("concert-flute", "S73", 73, 60, 98, chords=False),
    MidiInstrument("pad", "S89", 89, 36, 96, chords=True),
)

KNOWN_INSTRUMENTS = (*INSTRUMENTS, *MORE_INSTRUMENTS)


def partials_of(name: str) -> tuple[float, ...]:
    """The partials of the instrument of this name; harmonics for one that is not known."""
    return next((who.partials for who in KNOWN_INSTRUMENTS if who.name == name), HARMONICS)


def known_instrument(name: str) -> MidiInstrument | None:
    """The instrument of this name or code, in upper or lower case; None if it is not known by name."""
    return next((who for who in KNOWN_INSTRUMENTS if name.lower() in (who.name, who.code.lower())), None)


def plain_name(name: str) -> str:
    """The instrument that a qualified name is of: trumpet for trumpet-synthnet; any other name as it is.

    A name is qualified if what stands before its last hyphen is the name of a known instrument.
    """
    base, hyphen, _ = name.rpartition("-")
    return base if hyphen and known_instrument(base) is not None else name


def find_instrument(name: str) -> MidiInstrument:
    """As `known_instrument`; InputError that lists them all if there is none."""
    instrument = known_instrument(name)
    if instrument is None:
        known = ", ".join(f"{who.name} ({who.code})" for who in KNOWN_INSTRUMENTS)
        own = "one of your own: synthnet corpus build --instrument NAME --program N"
        raise InputError(f"{name}: no such instrument; there are {known}; {own}")
    return instrument


def own_instrument(
    name: str,
    program: int,
    lowest_pitch: int = OWN_RANGE[0],
    highest_pitch: int = OWN_RANGE[1],
    chords: bool = False,
) -> MidiInstrument:
    """An instrument that is none of the seven: any General MIDI program, 0 to 127, under a name of one's own.

    Raises:
        InputError: a name that is taken or not of letters, digits, '-' and '_' (it becomes a folder's name, too), a
            program or a key outside 0 to 127, or a range of less than 14 semitones.
    """
    if not re.fullmatch(r"\w[\w-]*", name):
        raise InputError(f"{name!r}: a name is made of letters, digits, - and _, as in tenor-sax")
    if name.lower() in RESERVED_NAMES:
        raise InputError(f"{name}: this word means something else here; take another name")
    if (taken := known_instrument(name)) is not None:
        raise InputError(f"{name}: the {taken.name} is known, with program {taken.program}; take another name")
    for what, value in (("program", program), ("lowest pitch", lowest_pitch), ("highest pitch", highest_pitch)):
        if not 0 <= value <= 127:
            raise InputError(f"{name}: {what} {value} is not within 0 to 127")
    if highest_pitch - lowest_pitch < NARROWEST_RANGE:
        raise InputError(f"{name}: keys {lowest_pitch} to {highest_pitch} are less than {NARROWEST_RANGE} semitones")
    return MidiInstrument(name, f"S{program:02d}", program, lowest_pitch, highest_pitch, chords)


PROGRAMS_IN_A_FAMILY = 8  # General MIDI: 0-7 pianos, 8-15 chromatic percussion, ...


def family_of(program: int) -> int:
    """The family of a General MIDI program, 0 to 15."""
    return program // PROGRAMS_IN_A_FAMILY


def pitch_name(pitch: float) -> str:
    """A MIDI pitch as a note, C4 for 60, with the cents it is off; "nothing" for nan."""
    if math.isnan(pitch):
        return "nothing"
    key = round(pitch)
    cents = round(100 * (pitch - key))
    return f"{NOTE_NAMES[key % 12]}{key // 12 - 1}{f' {cents:+d} cents' if cents else ''}"


NOTE_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
