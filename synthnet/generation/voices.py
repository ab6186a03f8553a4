"""Which of a network's instruments plays which track."""

from __future__ import annotations

from synthnet.checkpoint import Checkpoint, Voice
from synthnet.instruments import INSTRUMENTS
from synthnet.score import Score

PROGRAMS_IN_A_FAMILY = 8  # General MIDI: 0-7 pianos, 8-15 chromatic percussion, ...


def assign_voices(score: Score, checkpoint: Checkpoint, instrument: str | None) -> list[Voice]:
    """A voice for each track: the instrument asked for, or else the nearest to the track's General MIDI program.

    Nearest is the same program, then the same family of eight programs, then the network's first instrument.

    Raises:
        InputError: the network has no such instrument.
    """
    if instrument is not None or len(checkpoint.instruments) == 1:
        return [checkpoint.voice(instrument)] * len(score.tracks)
    programs = {who.program: who.name for who in INSTRUMENTS if who.name in checkpoint.instruments}
    voices = []
    for track in score.tracks:
        family = track.program // PROGRAMS_IN_A_FAMILY
        relatives = [name for program, name in programs.items() if program // PROGRAMS_IN_A_FAMILY == family]
        name = programs.get(track.program) or (relatives or [checkpoint.instruments[0]])[0]
        voices.append(checkpoint.voice(name))
    return voices
