"""Scores as MIDI files.

`synthnet.score.smf` reads the bytes of a file, `synthnet.score.channels` gives its messages their meaning; mido writes
files. Times are seconds from the start of the score, pitches MIDI keys (A4 = 69), velocities 1 to 127.
"""

from __future__ import annotations

import io
import sys
from operator import itemgetter
from pathlib import Path

import mido

from synthnet.files import InputError, atomic_write
from synthnet.score.channels import DRUM_CHANNEL, to_score
from synthnet.score.notes import Score
from synthnet.score.smf import parse_midi

CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
WRITTEN_TICKS_PER_S = 20_000  # at 120 beats a minute a beat has half of them


def read_score(path: Path, *, drums: bool = False) -> Score:
    """Read a standard MIDI file that holds notes; `-` is standard input.

    Args:
        drums: accept a file that holds only drums.

    Raises:
        InputError: naming the file; it is missing, unreadable, damaged, cut short, of several patterns (type 2), longer
            than 24 hours, without notes, or has more than a million of them or more than 512 parts.
    """
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read(12)  # another kind of file may be large
                data += file.read() if data[:4] == b"MThd" or data[8:] == b"RMID" else b""
        score = to_score(parse_midi(data))
        if not (score.parts if drums else score.tracks):
            line = score.left_out_line()
            raise InputError("no notes" + (f" ({line})" if line else ""))
        return score
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def write_midi(score: Score, path: Path) -> None:
    """Write `midi_bytes` atomically; InputError if the file cannot be written."""
    try:
        with atomic_write(Path(path)) as beside:
            beside.write_bytes(midi_bytes(score))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def midi_bytes(score: Score) -> bytes:
    """A MIDI file of type 1: a tempo track, then one track for each of the score's. Equal scores give equal bytes.

    A tick is 0.05 ms, so that times come back within 0.025 ms, and those of a 1 ms grid exactly; a note lasts at
    least a tick. The tracks take the 15 channels that are not drums in turn, on as many ports as that
    needs. Controls are not written.
    """
    midi = mido.MidiFile(type=1, ticks_per_beat=WRITTEN_TICKS_PER_S // 2, charset="utf-8")
    midi.add_track().append(mido.MetaMessage("set_tempo", tempo=500_000))
    for index, track in enumerate(score.tracks):
        port, place = divmod(index, len(CHANNELS))
        channel = CHANNELS[place]
        events = []
        for note in track.notes:
            start = round(note.start_s * WRITTEN_TICKS_PER_S)
            end = max(start + 1, round(note.end_s * WRITTEN_TICKS_PER_S))
            on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
            events += [(start, on), (end, mido.Message("note_off", channel=channel, note=note.pitch))]
        events.sort(key=itemgetter(0))  # stable: at the same time, a key's end stays before its next onset
        written = midi.add_track(track.name)
        if port:
            written.append(mido.MetaMessage("midi_port", port=port))
        written.append(mido.Message("program_change", channel=channel, program=track.program))
        now = 0
        for tick, message in events:
            written.append(message.copy(time=tick - now))
            now = tick
    file = io.BytesIO()
    midi.save(file=file)
    return file.getvalue()
