"""Standard MIDI files (SMF) as bytes: chunks, events and their times in seconds.

The reader forgives what other players forgive, where the meaning is plain:

- an event that ends a track counts, and else the length that the track's chunk gives; where a length leads to nothing,
  the next track is searched; the number of tracks in the header does not count; chunks of other kinds are passed over;
  a RIFF envelope (.rmi) is opened;
- running status goes on after meta and system-exclusive events, and into the next track; status bytes without a meaning
  are passed over;
- meta events that cannot be decoded, and tempi of 0, are passed over, and data bytes above 127 count as 127;
- meta events, also those that end a track, count only within `LONGEST_SCORE_S`;
- tracks whose device names (RP-019) differ are on ports of their own, those without one on the first one's.

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


class _Raw(NamedTuple):
    """An event at a time in ticks."""

    tick: int
    track: int
    port: int
    status: int
    data: bytes


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
    if not reader.n_tracks:
        raise InputError("damaged, or not a MIDI file: no track")
    if midi_type == 2 and reader.n_tracks > 1:
        raise InputError(
            f"a MIDI file of type 2 with {reader.n_tracks} independent patterns; only a single one can be read"
        )
    raw = sorted(reader.events, key=itemgetter(0))
    names = [b""] * reader.n_tracks
    for event in raw:
        if event.status == META and event.data[0] == TRACK_NAME and not names[event.track]:
            names[event.track] = event.data[1:]
    return MidiFile(_timed(raw, division), tuple(_text(name) for name in names))


class _Reader:
    """Reads the chunks of a file.

    Attributes:
        events: of all tracks, one track after the other.
        status: the running status.
        devices: names of devices, numbered in the order of their appearance.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.events: list[_Raw] = []
        self.n_tracks = self.status = at = 0
        self.devices: dict[bytes, int] = {}
        while at + 8 <= len(data):
            stop = at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
            if data[at : at + 4] == b"MTrk":
                end = self._track(at + 8, stop)
                self.n_tracks += 1
            else:
                end = at + 1
            follows = data[end : end + 4] == b"MTrk"
            at = stop if stop >= end and not follows and self._chunk_ends(stop) else self._next(end)

    def _chunk_ends(self, at: int) -> bool:
        """Whether nothing, or what looks like another chunk, follows a position."""
        return at == len(self.data) or self.data[at : at + 4].isalnum()

    def _next(self, at: int) -> int:
        """Where the next track begins; the end of the data if there is none."""
        found = self.data.find(b"MTrk", at)
        return len(self.data) if found < 0 else found

    def _track(self, at: int, stop: int) -> int:
        """Read the events of a track from a position on; where they end."""
        data, events, number = self.data, self.events, self.n_tracks
        tick = port = 0
        while at < len(data) and data[at : at + 4] != b"MTrk" and not (at == stop and self._chunk_ends(stop)):
            if len(events) >= MOST_EVENTS:
                raise InputError(f"more than {MOST_EVENTS:,} events, probably damaged")
            ticks, at = _number(data, at)
            tick += ticks
            byte = _byte(data, at)
            if byte >= 0xF0:
                at += 1
                if byte == META:
                    kind = _byte(data, at)
                    content, at = _content(data, at + 1)
                    events.append(_Raw(tick, number, port, META, bytes([kind]) + content))
                    if kind == PORT and len(content) == 1:
                        port = port & ~0xFF | content[0]
                    elif kind == DEVICE_NAME:
                        port = self.devices.setdefault(content, len(self.devices)) << 8 | port & 0xFF
                    elif kind == END_OF_TRACK:
                        return at
                elif byte in (SYSEX, 0xF7):
                    content, at = _content(data, at)
                    last = events[-1] if events else _Raw(0, -1, 0, META, b"")
                    open_end = last.status == SYSEX and not last.data.endswith(b"\xf7") and len(last.data) < 256
                    if byte != SYSEX and open_end and last.track == number:
                        content = events.pop().data + content  # the next packet of a message
                    events.append(_Raw(tick, number, port, SYSEX, content))
                else:
                    at += SYSTEM_DATA.get(byte, 0)
                continue
            if byte >= 0x80:
                self.status, at = byte, at + 1
            elif not self.status:
                raise InputError("damaged: data before the first status byte")
            length = CHANNEL_DATA[self.status & 0xF0]
            if at + length > len(data):
                raise InputError("cut short")
            content = bytes(min(value, 127) for value in data[at : at + length])
            events.append(_Raw(tick, number, port, self.status, content))
            at += length
        if at >= len(data) < stop:
            raise InputError("cut short")
        return at


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise InputError("cut short")
    return data[at]


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, of four bytes by the standard and at most eight, and the position after it."""
    value = 0
    for place in range(at, at + 8):
        byte = _byte(data, place)
        value = value << 7 | byte & 127
        if byte < 128:
            return value, place + 1
    raise InputError("damaged: a number of more than eight bytes")


def _content(data: bytes, at: int) -> tuple[bytes, int]:
    """The bytes of an event that gives its length, and the position after them."""
    length, at = _number(data, at)
    if at + length > len(data):
        raise InputError("cut short")
    return data[at : at + length], at + length


def _timed(events: list[_Raw], division: int) -> Iterator[Event]:
    """The same events with times in seconds; the clock is exact until the last step."""
    if division > 0:
        units_per_s, unit = division * 1_000_000, 500_000  # a tick is `unit` microseconds / ticks a beat
    else:
        frames = {29: Fraction(30_000, 1001)}.get(-(division >> 8), Fraction(-(division >> 8)))
        ticks_per_s = frames * (division & 0xFF)
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
