"""The meaning of MIDI messages: events of a file to the notes and controls of a score.

Where a file leaves room:

- a port has sixteen channels; a message acts on its channel whatever track it comes from;
- a note-off ends the oldest open note of its key and channel, one of its own track first; one that ends nothing is
  passed over; notes still open at the end of the file end there;
- pedals are down from value 64. Under the sustain pedal, a note whose key is let go sounds on until the pedal comes up
  or the key is struck again; the sostenuto pedal does this only to notes whose keys are down when it goes down. Notes
  struck under the soft pedal get 2/3 of their velocity;
- all notes off (controllers 123 to 127) lets every key go, all sound off (120) ends every note;
- tuning in whole semitones, of a channel, a part or all, moves the keys of the notes struck from then on; the rest of
  it bends them (`Controls`); notes that it moves beyond the keys 0 to 127 are left out;
- channel 10 plays drums, and so do parts that Roland's GS, Yamaha's XG or General MIDI 2 make drum parts;
- tuning does not move the keys of drums;
- each track, channel and program makes a `Track`.

No instrument plays effects, banks, aftertouch and the like: they are counted in `Score.left_out`.
Sources: MIDI 1.0 (RP-015, RP-018, CA-025), Roland GS and Yamaha XG data formats.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from synthnet.files import InputError
from synthnet.score.controllers import RESET_ALL_CONTROLLERS, ChannelControllers
from synthnet.score.notes import Note, Score, Track, in_order
from synthnet.score.smf import LONGEST_SCORE_S, META, SYSEX, MidiFile

DRUM_CHANNEL = 9  # counted from 0; musicians call it channel 10
MOST_NOTES, MOST_PARTS = 1_000_000, 512
SHORTEST_DRUM_S = 0.01  # a drum sounds whenever it is let go, be it at once

PEDALS = SUSTAIN, SOSTENUTO, SOFT = 64, 66, 67
BANK_MSB, ALL_SOUND_OFF, LOCAL_CONTROL, ALL_NOTES_OFF = 0, 120, 122, range(123, 128)
DRUM_BANKS = {"XG": (126, 127), "GM2": (120,)}  # values of BANK_MSB
# Controllers that no instrument plays: name of the count, and the value that changes nothing.
UNHEARD = {
    **dict.fromkeys((0, 32), ("bank changes", 0)),
    **dict.fromkeys((5, 65, 84), ("portamento changes", 0)),
    8: ("balance changes", 64),
    **dict.fromkeys(range(70, 80), ("sound changes", 64)),
    **dict.fromkeys(range(91, 96), ("effect changes", 0)),
    91: ("reverb changes", 0),
    93: ("chorus changes", 0),
}


class Part(NamedTuple):
    """The notes that make one track of a score."""

    track: int
    port: int
    channel: int
    program: int
    drums: bool


class Strike(NamedTuple):
    """A key that was struck; `number` counts the strikes of its channel."""

    part: Part
    pitch: int
    velocity: int
    start_s: float
    number: int


class Song:
    """The notes and channels of a file so far."""

    def __init__(self) -> None:
        self.notes: defaultdict[Part, list[Note]] = defaultdict(list)
        self.n_notes = 0
        self.left_out: Counter[str] = Counter()
        self.system = "GM"  # whose drum banks count
        self.channels: dict[tuple[int, int], Channel] = {}

    def channel(self, port: int, number: int) -> Channel:
        """A channel of a port."""
        if (port, number) not in self.channels:
            self.channels[port, number] = Channel(self, port, number)
        return self.channels[port, number]

    def on_port(self, port: int) -> list[Channel]:
        """All channels of a port."""
        return [self.channel(port, number) for number in range(16)]

    def end(self, strikes: Iterable[Strike], now_s: float) -> None:
        """Turn strikes into notes that end now."""
        for strike in strikes:
            end_s = max(now_s, strike.start_s + SHORTEST_DRUM_S) if strike.part.drums else now_s
            if end_s > LONGEST_SCORE_S:
                raise InputError(f"lasts longer than {LONGEST_SCORE_S // 3600} hours, probably damaged")
            if end_s <= strike.start_s:
                self.left_out["zero-length notes"] += 1
                continue
            self.notes[strike.part].append(Note(strike.pitch, strike.velocity, strike.start_s, end_s))
            self.n_notes += 1
            if self.n_notes > MOST_NOTES:
                raise InputError(f"more than {MOST_NOTES:,} notes, probably damaged")

    def receive_system(self, data: bytes, port: int, now_s: float) -> None:
        """Take in a system-exclusive message, without its first byte."""
        match tuple(data.removesuffix(b"\xf7")):
            case (0x7E, _, 0x09, mode):  # General MIDI 1 and 2 on, off
                self.reset("GM2" if mode == 3 else "GM", port, now_s)
            case (0x41, _, 0x42, 0x12, 0x40 | 0x00, 0x00, 0x7F, _, _):  # GS reset, system mode
                self.reset("GS", port, now_s)
            case (0x43, _, 0x4C, 0x00, 0x00, 0x7E | 0x7F, _):
                self.reset("XG", port, now_s)
            case (0x41, _, 0x42, 0x12, 0x40, part, 0x15, value, _) if part & 0xF0 == 0x10:  # GS: use for rhythm part
                self.gs_part(port, part).drums = value > 0
            case (0x43, _, 0x4C, 0x08, part, 0x07, value) if part < 16:  # XG: part mode
                self.channel(port, part).drums = value > 0
            case (0x41, _, 0x42, 0x12, 0x40, part, 0x16, value, _) if part & 0xF0 == 0x10:  # GS: pitch key shift
                self.gs_part(port, part).controllers.set_master(now_s, part=value - 64)
            case (0x43, _, 0x4C, 0x08, part, 0x08, value) if part < 16:  # XG: note shift
                self.channel(port, part).controllers.set_master(now_s, part=value - 64)
            case (0x7F, _, 0x04, 0x01, lsb, msb):
                self.tune(port, now_s, volume=(msb * 128 + lsb) / 16_383)
            case (0x41, _, 0x42, 0x12, 0x40, 0x00, 0x04, value, _) | (0x43, _, 0x4C, 0x00, 0x00, 0x04, value):
                self.tune(port, now_s, volume=value / 127)
            case (0x7F, _, 0x04, 0x03, lsb, msb):
                self.tune(port, now_s, fine=(msb * 128 + lsb - 8192) / 8192)
            case (0x7F, _, 0x04, 0x04, _, msb):
                self.tune(port, now_s, coarse=msb - 64)
            case (0x41, _, 0x42, 0x12, 0x40, 0x00, 0x00, a, b, c, d, _) | (0x43, _, 0x4C, 0x00, 0x00, 0x00, a, b, c, d):
                tenth_cents = (a & 15) << 12 | (b & 15) << 8 | (c & 15) << 4 | d & 15
                self.tune(port, now_s, fine=(tenth_cents - 1024) / 1000)
            case (0x41, _, 0x42, 0x12, 0x40, 0x00, 0x05, value, _) | (0x43, _, 0x4C, 0x00, 0x00, 0x06, value):
                self.tune(port, now_s, coarse=value - 64)
            case _:
                self.left_out["system-exclusive messages"] += 1

    def gs_part(self, port: int, part: int) -> Channel:
        """The channel of a part of Roland's GS, whose tenth part is number 0."""
        order = part & 0x0F
        return self.channel(port, DRUM_CHANNEL if order == 0 else order - (order < 10))

    def reset(self, system: str, port: int, now_s: float) -> None:
        """Switch a sound module on anew."""
        self.system = system
        for channel in self.on_port(port):
            channel.end_all(now_s)
            channel.down.clear()
            channel.program, channel.bank, channel.drums = 0, None, channel.number == DRUM_CHANNEL
            channel.controllers.switch_on(now_s)

    def tune(self, port: int, now_s: float, **master: float) -> None:
        """Set the master volume (0 to 1), or the master tuning in semitones."""
        for channel in self.on_port(port):
            channel.controllers.set_master(now_s, **master)


class Channel:
    """A channel of a port: its program, keys, pedals and controllers."""

    def __init__(self, song: Song, port: int, number: int) -> None:
        self.song, self.port, self.number = song, port, number
        self.program = 0
        self.bank: int | None = None  # its most significant byte
        self.drums = number == DRUM_CHANNEL
        self.controllers = ChannelControllers()
        self.n_strikes = 0
        # Open notes by key and track; an entry without notes goes.
        self.held: defaultdict[int, dict[int, deque[Strike]]] = defaultdict(dict)
        self.down: dict[int, int] = {}  # pedals that are down -> number of strikes before
        # Notes whose key was let go and which a pedal holds, by pedal and key.
        self.ringing: defaultdict[int, defaultdict[int, list[Strike]]] = defaultdict(lambda: defaultdict(list))

    def receive(self, status: int, data: bytes, track: int, now_s: float) -> None:
        """Take in a message of this channel: the upper four bits of its status, and its data bytes."""
        match status:
            case 0x90 if data[1]:
                self.strike(track, data[0], data[1], now_s)
            case 0x80 | 0x90:  # a note-on of velocity 0 is a note-off
                self.let_go(track, data[0], now_s)
            case 0xB0:
                self.control(data[0], data[1], now_s)
            case 0xC0:
                self.program = data[0]
                if self.bank is not None and (banks := DRUM_BANKS.get(self.song.system)):
                    self.drums = self.bank in banks
            case 0xE0:
                self.controllers.bend(data[0] + 128 * data[1] - 8192, now_s)
            case _ if data[-1] and not self.drums:
                self.song.left_out["aftertouch changes"] += 1

    def strike(self, track: int, key: int, velocity: int, now_s: float) -> None:
        for pedal in (SUSTAIN, SOSTENUTO):
            self.song.end(self.ringing[pedal].pop(key, ()), now_s)
        if SOFT in self.down:
            velocity = max(1, round(velocity * 2 / 3))
        pitch = key if self.drums else key + self.controllers.shift
        if not 0 <= pitch <= 127:
            self.song.left_out["out-of-range notes"] += 1
            return
        part = Part(track, self.port, self.number, self.program, self.drums)
        self.held[key].setdefault(track, deque()).append(Strike(part, pitch, velocity, now_s, self.n_strikes))
        self.n_strikes += 1

    def let_go(self, track: int, key: int, now_s: float) -> None:
        tracks = self.held[key]
        if not tracks:
            return
        track = track if track in tracks else next(iter(tracks))
        strike = tracks[track].popleft()
        if tracks[track]:  # the key was struck again
            self.song.end((strike,), now_s)
            return
        del tracks[track]
        if strike.number < self.down.get(SOSTENUTO, 0):
            self.ringing[SOSTENUTO][key].append(strike)
        elif SUSTAIN in self.down:
            self.ringing[SUSTAIN][key].append(strike)
        else:
            self.song.end((strike,), now_s)

    def control(self, control: int, value: int, now_s: float) -> None:
        if control in PEDALS:
            self.pedal(control, value >= 64, now_s)
        elif control == ALL_SOUND_OFF:
            self.end_all(now_s)
        elif control in ALL_NOTES_OFF:
            for key, tracks in self.held.items():
                while tracks:
                    self.let_go(next(iter(tracks)), key, now_s)
        elif control == RESET_ALL_CONTROLLERS:
            for pedal in PEDALS:
                self.pedal(pedal, False, now_s)
            self.controllers.receive(control, value, now_s)
        elif control != LOCAL_CONTROL and not self.controllers.receive(control, value, now_s):
            if control == BANK_MSB:
                self.bank = value
            name, neutral = UNHEARD.get(control, ("other controller changes", 0))
            if value != neutral and not self.drums:
                self.song.left_out[name] += 1

    def pedal(self, pedal: int, down: bool, now_s: float) -> None:
        if down:
            self.down.setdefault(pedal, self.n_strikes)
            return
        self.down.pop(pedal, None)
        for key, strikes in self.ringing.pop(pedal, {}).items():
            if pedal == SOSTENUTO and SUSTAIN in self.down:
                self.ringing[SUSTAIN][key] += strikes
            else:
                self.song.end(strikes, now_s)

    def end_all(self, now_s: float) -> None:
        """End everything that sounds."""
        sounding: list[Mapping[int, Iterable[Strike]]] = [*self.ringing.values(), *self.held.values()]
        for by_place in sounding:
            for strikes in by_place.values():
                self.song.end(strikes, now_s)
        self.ringing.clear()
        self.held.clear()


def to_score(midi: MidiFile) -> Score:
    """The score of a file's events, a track for each part with notes.

    Raises:
        InputError: more than a million notes, or 512 parts.
    """
    song, now_s = Song(), 0.0
    for now_s, track, port, status, data in midi.events:
        if status < SYSEX:
            song.channel(port, status & 0x0F).receive(status & 0xF0, data, track, now_s)
        elif status != META:
            song.receive_system(data, port, now_s)
    for channel in song.channels.values():
        channel.end_all(now_s)
    if len(song.notes) > MOST_PARTS:
        raise InputError(f"{len(song.notes):,} parts, at most {MOST_PARTS} can be played")
    controls = {place: channel.controllers.controls() for place, channel in song.channels.items()}
    tracks = [
        Track(in_order(notes), part.program, midi.names[part.track], controls[part.port, part.channel], part.drums)
        for part, notes in sorted(song.notes.items())
    ]
    pitched, drums = (tuple(track for track in tracks if track.drums == wanted) for wanted in (False, True))
    return Score(pitched, {kind: n for kind, n in song.left_out.items() if n}, drums)
