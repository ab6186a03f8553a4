"""Play the pieces of the listening test by another General MIDI sound font, TimGM6mb, which comes with pretty_midi.

    python recipes/listening/soundfont.py FOLDER

It writes FOLDER/INSTRUMENT/PIECE.flac for all instruments that ship: sounds for `synthnet listen build --audio`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pretty_midi

from synthnet.audio.files import write_audio
from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.evaluation.measure import PRELUDE
from synthnet.score.general_midi import KNOWN_INSTRUMENTS
from synthnet.score.midi import read_score

RATE_HZ, SECONDS = 44_100, 5.0
PIECES = (PRELUDE, *sorted((Path(__file__).parent / "pieces").glob("*.mid")))

if __name__ == "__main__":
    soundfont = find_soundfont(Path(pretty_midi.__file__).parent / "TimGM6mb.sf2")
    for instrument in KNOWN_INSTRUMENTS:
        teacher = Teacher(soundfont, instrument.program, RATE_HZ)
        for piece in PIECES:
            samples = teacher.play(read_score(piece).notes, SECONDS)
            samples /= max(1.0, abs(samples).max())
            write_audio(Path(sys.argv[1]) / instrument.name / f"{piece.stem}.flac", samples, RATE_HZ)
