"""Instruments: General MIDI programs (0-based), their families and names, and pitch ranges (MIDI keys, A4 = 69).

The ranges are our choice: each instrument's usual compass, for the paper's seven widened where needed to keys 36 to 67
of the training music (Bach, BWV 1007).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from synthnet.files import InputError

HARMONICS = tuple(float(order) for order in range(1, 13))
# Of a bar, measured on FluidR3: the fundamental is 25 dB weaker than the second. 7.95 is left out, as it lies a fifth
# above 5.3: a note a fifth below that still rings would seem stronger than the note itself.
BAR_PARTIALS = (1.0, 5.28, 12.85)

UNPITCHED = range(115, 128)  # programs of percussion and sound effects that no pitched instrument can stand for
NARROWEST_RANGE = 14  # semitones: études need room for their scales, leaps and chords
RESERVED_NAMES = ("all", "shipped")  # words that mean something else where an instrument is named
NOTE_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class MidiInstrument:
    """A General MIDI preset, its pitch range (both ends included) and whether it plays chords.

    `partials` are the frequencies that define its pitch, relative to the fundamental.
    """

    name: str
    program: int
    lowest_pitch: int
    highest_pitch: int
    chords: bool = False
    partials: tuple[float, ...] = HARMONICS

    @property
    def code(self) -> str:
        """The name in the SynthNet experiment (Schimbinschi et al., IJCAI 2019): S56 for program 56."""
        return f"S{self.program:02d}"


# First the seven of the experiment, then one for each other family of General MIDI that a pitched instrument can stand
# for, and more of the families that songs use most.
KNOWN_INSTRUMENTS = (
    MidiInstrument("piano", 1, 21, 108, chords=True),
    MidiInstrument("glockenspiel", 9, 36, 108, chords=True, partials=BAR_PARTIALS),
    MidiInstrument("guitar", 24, 36, 88, chords=True),
    MidiInstrument("cello", 42, 36, 81),
    MidiInstrument("trumpet", 56, 36, 86),
    MidiInstrument("flute", 75, 36, 96),
    MidiInstrument("square", 80, 36, 96),
    MidiInstrument("organ", 19, 36, 96, chords=True),
    MidiInstrument("bass", 33, 28, 67),
    MidiInstrument("violin", 40, 55, 100),
    MidiInstrument("strings", 48, 36, 96, chords=True),
    MidiInstrument("choir", 52, 41, 84, chords=True),
    MidiInstrument("horn", 60, 41, 77),
    MidiInstrument("saxophone", 65, 44, 84),
    MidiInstrument("clarinet", 71, 50, 91),
    MidiInstrument("concert-flute", 73, 60, 98),
    MidiInstrument("pad", 89, 36, 96, chords=True),
)
INSTRUMENTS = KNOWN_INSTRUMENTS[:7]
INSTRUMENT_NAME = r"\w[\w-]*"  # it names folders, too


def known_instrument(name: str) -> MidiInstrument | None:
    """The known instrument of this name or code, in upper or lower case, or None."""
    return next((who for who in KNOWN_INSTRUMENTS if name.lower() in (who.name, who.code.lower())), None)


def find_instrument(name: str) -> MidiInstrument:
    """As `known_instrument`, but raises InputError with the list of all if there is none."""
    instrument = known_instrument(name)
    if instrument is None:
        known = ", ".join(f"{who.name} ({who.code})" for who in KNOWN_INSTRUMENTS)
        own = "one of your own: synthnet corpus build --instrument NAME --program N"
        raise InputError(f"{name}: no such instrument; there are {known}; {own}")
    return instrument


def own_instrument(
    name: str, program: int, lowest_pitch: int = 36, highest_pitch: int = 84, chords: bool = False
) -> MidiInstrument:
    """An instrument of any General MIDI program, 0 to 127, under a new name.

    Raises InputError for a name that is taken or not of letters, digits, '-' and '_' (it names a folder), a program or
    key outside 0 to 127, and a range of less than 14 semitones.
    """
    if not re.fullmatch(INSTRUMENT_NAME, name):
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
    return MidiInstrument(name, program, lowest_pitch, highest_pitch, chords)


def plain_name(name: str) -> str:
    """The known instrument of a qualified name, such as trumpet for trumpet-synthnet; any other name unchanged."""
    base, hyphen, _ = name.rpartition("-")
    return base if hyphen and known_instrument(base) is not None else name


def partials_of(name: str) -> tuple[float, ...]:
    """The partials of the instrument of this name; harmonics if it is not known."""
    instrument = known_instrument(name)
    return HARMONICS if instrument is None else instrument.partials


def program_name(program: int) -> str:
    """The name of a General MIDI program, 0 to 127: that of 60 is "French Horn"."""
    import pretty_midi  # only here: it loads the synthesizer's library, which a score does not need

    return str(pretty_midi.program_to_instrument_name(program))


def family_of(program: int) -> int:
    """The General MIDI family, 0 to 15, of a program: 0 for pianos, 0-7; 1 for chromatic percussion, 8-15; ..."""
    return program // 8


def pitch_name(pitch: float) -> str:
    """A MIDI pitch as a note, C4 for 60, with the cents it is off; "nothing" for nan."""
    if math.isnan(pitch):
        return "nothing"
    key = round(pitch)
    cents = round(100 * (pitch - key))
    return f"{NOTE_NAMES[key % 12]}{key // 12 - 1}{f' {cents:+d} cents' if cents else ''}"
