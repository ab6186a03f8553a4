"""Scores as MIDI files.

Times are seconds from the start of the score, pitches MIDI keys (A4 = 69), velocities 1 to 127. `synthnet.score.smf`
reads the bytes of a file, `synthnet.score.channels` gives its messages their meaning; mido writes files.
"""

from __future__ import annotations

import io
import sys
from operator import itemgetter
from pathlib import Path

import mido

from synthnet.files import InputError, atomic_write
from synthnet.score.channels import DRUM_CHANNEL, to_score
from synthnet.score.controllers import control_messages
from synthnet.score.notes import Score
from synthnet.score.smf import parse_midi

WRITTEN_TICKS_PER_BEAT = 10_000  # at 120 beats a minute a tick is 0.05 ms
WRITTEN_TICKS_PER_S = 2 * WRITTEN_TICKS_PER_BEAT
CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)


def read_score(path: Path) -> Score:
    """Read a MIDI file that must hold notes: as `read_midi`, and InputError if there are none."""
    score = read_midi(path)
    if not score.tracks:
        line = score.left_out_line()
        raise InputError(f"{path}: no notes" + (f" ({line})" if line else ""))
    return score


def read_midi(path: Path) -> Score:
    """Read a standard MIDI file, or standard input for the path `-`; tracks without notes are dropped.

    Raises:
        InputError: naming the file; it is missing, unreadable, damaged, cut short, of several patterns (type 2), longer
            than 24 hours, or has more than a million notes or 512 parts.
    """
    try:
        if str(path) == "-":
            return to_score(parse_midi(sys.stdin.buffer.read()))
        with open(path, "rb") as file:
            start = file.read(4)
            return to_score(parse_midi(start + (file.read() if start in (b"MThd", b"RIFF") else b"")))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def write_midi(score: Score, path: Path) -> None:
    """Write the MIDI file of `midi_bytes`, whole or not at all; InputError if it cannot be written."""
    try:
        with atomic_write(Path(path)) as beside:
            beside.write_bytes(midi_bytes(score))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def midi_bytes(score: Score) -> bytes:
    """A MIDI file of type 1: a tempo track, then one track for each of the score's. Equal scores give equal bytes.

    A tick is 0.05 ms, so that times come back within 0.025 ms, and those of a 1 ms grid exactly; a note lasts at
    least a tick. The tracks take the 15 channels that are not drums in turn, on as many ports as that needs.
    """
    midi = mido.MidiFile(type=1, ticks_per_beat=WRITTEN_TICKS_PER_BEAT, charset="utf-8")
    midi.add_track().append(mido.MetaMessage("set_tempo", tempo=500_000))
    for index, track in enumerate(score.tracks):
        port, place = divmod(index, len(CHANNELS))
        channel = CHANNELS[place]
        messages = control_messages(track.controls, channel)
        events = [(round(time_s * WRITTEN_TICKS_PER_S), message) for time_s, message in messages]
        for note in track.notes:
            start = round(note.start_s * WRITTEN_TICKS_PER_S)
            end = max(start + 1, round(note.end_s * WRITTEN_TICKS_PER_S))
            on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
            events += [(start, on), (end, mido.Message("note_off", channel=channel, note=note.pitch))]
        # The sort is stable: at the same time, controllers stay before notes and a key's end before its next onset.
        events.sort(key=itemgetter(0))
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
