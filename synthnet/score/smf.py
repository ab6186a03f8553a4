"""Standard MIDI files (SMF) as bytes: chunks, events and their times in seconds.

The reader forgives what other players forgive, where the meaning is plain:

- a track ends at its end-of-track event, or else where its chunk's length says; if no chunk begins there, the reader
  searches for the next track;
- the header's number of tracks is ignored, chunks of other kinds are passed over, a RIFF envelope (.rmi) is opened;
- running status goes on after meta and system-exclusive events, and into the next track; status bytes without a meaning
  are passed over;
- meta events that cannot be decoded, and tempi of 0, are passed over, and data bytes above 127 count as 127;
- meta events beyond `LONGEST_SCORE_S`, ends of tracks too, are passed over;
- each device name (RP-019) has ports of its own; tracks without one use those of the first device.

SMPTE time has no tempo. Files of type 2 hold independent patterns: only those of a single track can be read.
Source: The MIDI Association, Standard MIDI Files 1.0 (RP-001).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from typing import NamedTuple

from synthnet.files import InputError

LONGEST_SCORE_S = 24 * 3600
MOST_EVENTS = 5_000_000  # a gigabyte of memory

SYSEX, META = 0xF0, 0xFF
TRACK_NAME, DEVICE_NAME, PORT, END_OF_TRACK, TEMPO = 0x03, 0x09, 0x21, 0x2F, 0x51  # types of meta events
# Data bytes after each status: of channel messages by the upper four bits, of system messages by the whole byte.
CHANNEL_DATA = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1}


class Event(NamedTuple):
    """One event of a track.

    Attributes:
        time_s: seconds from the start of the file.
        track: number of its track, from 0.
        port: MIDI port of the track at that time, plus 256 times the number of its device.
        status: 0x80 to 0xEF, a channel message; SYSEX, or META.
        data: the data bytes; of a meta event its type comes first.
    """

    time_s: float
    track: int
    port: int
    status: int
    data: bytes


@dataclass(frozen=True)
class MidiFile:
    """The events of all tracks in order of time (those of one time in that of their tracks), and the tracks' names.

    Times are computed as the events are taken, once.
    """

    events: Iterator[Event]
    names: tuple[str, ...]


_Raw = tuple[int, int, int, int, bytes]  # an event at a time in ticks: tick, track, port, status, data


def parse_midi(data: bytes) -> MidiFile:
    """Read the bytes of a MIDI file.

    Raises:
        InputError: without the file's name; not a MIDI file, cut short, damaged, of several patterns, or too large.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        data = data[max(data.find(b"MThd"), 0) :]
    if data[:4] != b"MThd" or len(data) < 14:
        raise InputError("not a MIDI file")
    midi_type, division = int.from_bytes(data[8:10], "big"), int.from_bytes(data[12:14], "big", signed=True)
    if midi_type > 2:
        raise InputError(f"a MIDI file of type {midi_type}; types 0, 1 and 2 can be read")
    if division == 0 or (division < 0 and not division & 0xFF):
        raise InputError("damaged: no ticks in a beat")
    reader = _Reader(data)
    n_tracks = len(reader.names)
    if not n_tracks:
        raise InputError("damaged, or not a MIDI file: no track")
    if midi_type == 2 and n_tracks > 1:
        raise InputError(f"a MIDI file of type 2 with {n_tracks} independent patterns; only a single one can be read")
    events = sorted(reader.events, key=itemgetter(0))
    return MidiFile(_timed(events, division), tuple(map(_text, reader.names)))


class _Reader:
    """Reads the chunks of a file.

    Attributes:
        at: position of the next byte.
        events: of all tracks, one track after the other.
        names: of the tracks read so far; empty for a track without one.
        status: the running status.
        devices: names of devices, numbered in the order of their appearance.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = self.status = 0
        self.events: list[_Raw] = []
        self.names: list[bytes] = []
        self.devices: dict[bytes, int] = {}
        while 0 <= self.at <= len(data) - 8:
            stop = self.at + 8 + int.from_bytes(data[self.at + 4 : self.at + 8], "big")
            if data.startswith(b"MTrk", self.at):
                self._track(stop)
            else:
                self.at += 1
            if stop < self.at or data.startswith(b"MTrk", self.at) or not self._chunk_ends(stop):
                stop = data.find(b"MTrk", self.at)
            self.at = stop

    def _chunk_ends(self, at: int) -> bool:
        """Whether nothing, or what looks like another chunk, follows a position."""
        return at == len(self.data) or self.data[at : at + 4].isalnum()

    def _track(self, stop: int) -> None:
        """Read a track, which should end at `stop`."""
        data, events, number = self.data, self.events, len(self.names)
        self.names.append(b"")
        self.at += 8
        tick = port = 0
        opened = -1  # the number of events, if the last one is a system-exclusive message that lacks its end
        while self.at < len(data) and not data.startswith(b"MTrk", self.at):
            if self.at == stop and self._chunk_ends(stop):
                return
            if len(events) >= MOST_EVENTS:
                raise InputError(f"more than {MOST_EVENTS:,} events, probably damaged")
            tick += self._number()
            byte = self._byte()
            if byte == META:
                kind = self._byte()
                content = self._take(self._number())
                events.append((tick, number, port, META, bytes([kind]) + content))
                if kind == PORT and len(content) == 1:
                    port = port & ~0xFF | content[0]
                elif kind == DEVICE_NAME:
                    port = self.devices.setdefault(content, len(self.devices)) << 8 | port & 0xFF
                elif kind == TRACK_NAME:
                    self.names[number] = self.names[number] or content
                elif kind == END_OF_TRACK:
                    return
            elif byte in (SYSEX, 0xF7):
                content = self._take(self._number())
                if byte != SYSEX and opened == len(events):
                    content = events.pop()[-1] + content  # the next packet of a message
                events.append((tick, number, port, SYSEX, content))
                opened = -1 if content.endswith(b"\xf7") or len(content) >= 256 else len(events)
            elif byte > SYSEX:
                self.at += SYSTEM_DATA.get(byte, 0)
            else:
                if byte >= 0x80:
                    self.status = byte
                elif self.status:
                    self.at -= 1
                else:
                    raise InputError("damaged: data before the first status byte")
                content = self._take(CHANNEL_DATA[self.status & 0xF0])
                events.append((tick, number, port, self.status, bytes(min(value, 127) for value in content)))
        if self.at >= len(data) < stop:
            raise InputError("cut short")

    def _take(self, length: int) -> bytes:
        """The next bytes."""
        if self.at + length > len(self.data):
            raise InputError("cut short")
        self.at += length
        return self.data[self.at - length : self.at]

    def _byte(self) -> int:
        return self._take(1)[0]

    def _number(self) -> int:
        """A number of variable length: of four bytes by the standard, of at most eight here."""
        value = 0
        for _ in range(8):
            byte = self._byte()
            value = value << 7 | byte & 127
            if byte < 128:
                return value
        raise InputError("damaged: a number of more than eight bytes")


def _timed(events: list[_Raw], division: int) -> Iterator[Event]:
    """The same events with times in seconds; the clock is exact until the last step."""
    if division > 0:
        units_per_s, unit = division * 1_000_000, 500_000  # a tick is `unit` microseconds / ticks a beat
    else:
        frames = -(division >> 8)
        ticks_per_s = (Fraction(30_000, 1001) if frames == 29 else Fraction(frames)) * (division & 0xFF)
        units_per_s, unit = ticks_per_s.numerator, ticks_per_s.denominator
    clock = last_tick = 0
    for tick, track, port, status, data in events:
        clock += (tick - last_tick) * unit
        last_tick = tick
        if clock > LONGEST_SCORE_S * units_per_s and status == META:
            continue
        yield Event(clock / units_per_s, track, port, status, data)
        if status == META and data[0] == TEMPO and len(data) == 4 and division > 0:
            unit = int.from_bytes(data[1:], "big") or unit


def _text(data: bytes) -> str:
    """The printable part of a text, UTF-8 or else Latin-1."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return "".join(character for character in text if character.isprintable()).strip()
