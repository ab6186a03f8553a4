"""The seven instruments of the SynthNet experiment (Schimbinschi et al., IJCAI 2019): data only.

A code Snn names the 0-based General MIDI program nn, which is the preset of the FluidR3 GM sound font that
plays the instrument. Pitches are MIDI keys (A4 = 69). The ranges are a choice of ours, each instrument's
usual compass widened where needed to keys 36 to 67, those of the training music (Bach, BWV 1007).
The glockenspiel's partials are those of a bar, measured on FluidR3: the fundamental, 25 dB weaker than the second.
There are more, at 7.91 for one. But that lies a fifth above 5.28: with it, a note a fifth below that still rings
would seem stronger than the note itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from synthnet.files import InputError

HARMONICS = tuple(float(order) for order in range(1, 13))


@dataclass(frozen=True)
class Instrument:
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


INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument("piano", "S01", 1, 21, 108, chords=True),
    Instrument("glockenspiel", "S09", 9, 36, 108, chords=True, partials=(1.0, 5.28, 12.85)),
    Instrument("guitar", "S24", 24, 36, 88, chords=True),
    Instrument("cello", "S42", 42, 36, 81, chords=False),
    Instrument("trumpet", "S56", 56, 36, 86, chords=False),
    Instrument("flute", "S75", 75, 36, 96, chords=False),
    Instrument("square", "S80", 80, 36, 96, chords=False),
)


def partials_of(name: str) -> tuple[float, ...]:
    """The partials of the instrument of this name; harmonics for one that is not known."""
    return next((who.partials for who in INSTRUMENTS if who.name == name), HARMONICS)


def find_instrument(name: str) -> Instrument:
    """The instrument of this name or code, in upper or lower case; InputError that lists them all if there is none."""
    for instrument in INSTRUMENTS:
        if name.lower() in (instrument.name, instrument.code.lower()):
            return instrument
    known = ", ".join(f"{instrument.name} ({instrument.code})" for instrument in INSTRUMENTS)
    raise InputError(f"{name}: no such instrument; there are {known}")
