"""Scores: standard MIDI files (SMF types 0 and 1) in and out, as notes in seconds.

Times are seconds from the start of the score, pitches MIDI keys (A4 = 69), velocities 1 to 127.

mido reads and writes the bytes; their meaning in seconds and notes is worked out here, because pretty_midi lets
no pedal lengthen notes and follows tempo events on the first track only. Where a file leaves room:

- tempo events count on every track;
- a note-off ends the oldest open note of its key, on its own track and channel; one that ends nothing is
  passed over; notes still open at the end of the file end there;
- pedals (down from value 64) work on their channel, on all tracks. Under the sustain pedal, a note whose key is let
  go sounds on until the pedal comes up or the key is struck again; the sostenuto pedal does this only to notes
  whose keys are down when it goes down. Notes struck under the soft pedal get 2/3 of their velocity;
- the other controllers of a channel (see controllers.py) make the `Controls` of its tracks;
- each track, channel and program makes a `Track`, as in pretty_midi; a track that sets no program for its
  channel takes the channel's, as a General MIDI synthesiser would (pretty_midi takes 0);
- keys, velocities and other data above 127, which a file should not hold, count as 127.

What no instrument plays (drums, aftertouch, notes of no length) is left out and counted in `Score.left_out`.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import mido

from synthnet.files import InputError, atomic_write
from synthnet.score.controllers import RESET_ALL_CONTROLLERS, ChannelControllers, Controls, control_messages
from synthnet.score.notes import Note, Score, Track, _in_order

LONGEST_SCORE_S = 24 * 3600

LARGEST_FILE_BYTES = 2 << 20  # hours of recorded piano with every pedal movement stay below 1 MiB

LONGEST_HIGH_RUN = 4000  # bytes above 127 in a row; text in Chinese has hundreds


PEDALS = SUSTAIN, SOSTENUTO, SOFT = 64, 66, 67

DRUM_CHANNEL = 9  # counted from 0; musicians call it channel 10


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
    """Read a standard MIDI file of type 0 or 1 (see the module's docstring); tracks without notes are dropped.

    Raises InputError, naming the file, if it is missing, unreadable, too large, damaged, cut short, of type 2, timed
    in SMPTE frames, or longer than 24 hours.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
        if len(data) > LARGEST_FILE_BYTES:
            raise InputError(f"larger than {LARGEST_FILE_BYTES >> 20} MiB, not a score")
        return _to_score(_parse(data))
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
    least a tick. The tracks take the 15 channels that are not drums in turn. Controls are written as by
    `control_messages`, except those of tracks that share a channel with another, which would hear them too.
    """
    midi = mido.MidiFile(type=1, ticks_per_beat=WRITTEN_TICKS_PER_BEAT, charset="utf-8")
    midi.add_track().append(mido.MetaMessage("set_tempo", tempo=500_000))
    for index, track in enumerate(score.tracks):
        channel = CHANNELS[index % len(CHANNELS)]
        events = []
        if len(score.tracks[index % len(CHANNELS) :: len(CHANNELS)]) == 1:
            messages = control_messages(track.controls, channel)
            events += [(round(time_s * WRITTEN_TICKS_PER_S), message) for time_s, message in messages]
        for note in track.notes:
            start = round(note.start_s * WRITTEN_TICKS_PER_S)
            end = max(start + 1, round(note.end_s * WRITTEN_TICKS_PER_S))
            on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
            events += [(start, on), (end, mido.Message("note_off", channel=channel, note=note.pitch))]
        # The sort is stable: at the same time, controllers stay before notes and a key's end before its next onset.
        events.sort(key=itemgetter(0))
        written = midi.add_track(track.name)
        written.append(mido.Message("program_change", channel=channel, program=track.program))
        now = 0
        for tick, message in events:
            written.append(message.copy(time=tick - now))
            now = tick
    file = io.BytesIO()
    midi.save(file=file)
    return file.getvalue()


def _teach_mido() -> None:
    """Make mido keep the time before meta events that it does not know, and forgive impossible values in others.

    mido 1.3 drops the former and refuses a whole file for the latter, though no note depends on them.
    """
    meta = mido.midifiles.meta
    known = {spec.type_byte for spec in vars(meta).values() if hasattr(spec, "type_byte")}
    bytes_spec = meta.MetaSpec_sequencer_specific
    for type_byte in set(range(256)) - known:
        meta.add_meta_spec(type(f"MetaSpec_unknown_{type_byte}", (bytes_spec,), {"type_byte": type_byte}))
    for name in ("sequence_number", "channel_prefix", "smpte_offset", "time_signature", "key_signature"):
        meta.add_meta_spec(_forgiving(getattr(meta, f"MetaSpec_{name}")))


def _forgiving(spec: Any) -> type:
    """A class like `spec`, one of mido's for a type of meta event, that leaves out values it cannot decode."""

    def decode(self: Any, message: mido.MetaMessage, data: list[int]) -> None:
        with contextlib.suppress(mido.KeySignatureError, LookupError, ValueError):
            spec.decode(self, message, data)

    return type(spec.__name__, (spec,), {"decode": decode})


_teach_mido()


def _parse(data: bytes) -> mido.MidiFile:
    """The file in `data`; InputError, without the file's name, if it cannot be read."""
    # mido would take such a run for one number, in time that grows as the square of its length.
    if re.search(rb"[\x80-\xFF]{%d}" % LONGEST_HIGH_RUN, data):
        raise InputError(f"damaged, or not a MIDI file: {LONGEST_HIGH_RUN} bytes above 127 in a row")
    try:
        midi = mido.MidiFile(file=io.BytesIO(data), clip=True)
    except (EOFError, OSError, LookupError, ValueError) as error:
        raise InputError(f"damaged, or not a MIDI file: {str(error) or 'cut short':.80}") from error
    if midi.type not in (0, 1):
        raise InputError(f"a MIDI file of type {midi.type}; only types 0 and 1 can be read")
    if midi.ticks_per_beat <= 0:
        raise InputError("no ticks per beat: the header is damaged or gives SMPTE time, which cannot be read")
    return midi


def _timed(midi: mido.MidiFile) -> Iterator[tuple[float, int, mido.Message]]:
    """The messages of all tracks in order of time, after their times in seconds and the numbers of their tracks.

    Those of one time stay in the order of their tracks. The clock is an integer, microseconds times ticks per beat,
    so that nothing is rounded before the last step.
    """
    messages = []
    for track, track_messages in enumerate(midi.tracks):
        tick = 0
        for message in track_messages:
            tick += message.time
            messages.append((tick, track, message))
            if message.type == "end_of_track":
                break
    messages.sort(key=itemgetter(0))
    units_per_s = midi.ticks_per_beat * 1_000_000
    tempo_us = 500_000  # microseconds per beat
    clock = last_tick = 0
    for tick, track, message in messages:
        clock += (tick - last_tick) * tempo_us
        last_tick = tick
        if clock > LONGEST_SCORE_S * units_per_s:
            raise InputError(f"lasts longer than {LONGEST_SCORE_S // 3600} hours, probably damaged")
        yield clock / units_per_s, track, message
        if message.type == "set_tempo":
            tempo_us = message.tempo


class _Part(NamedTuple):
    track: int
    channel: int
    program: int


class _Strike(NamedTuple):
    part: _Part
    pitch: int
    velocity: int
    start_s: float
    number: int  # strikes are counted from 0


class _Keyboard:
    """Follows keys and pedals, and collects the notes that have ended in `notes`, part by part."""

    def __init__(self) -> None:
        self.notes: defaultdict[_Part, list[Note]] = defaultdict(list)
        self.n_zero_length = 0
        self._n_strikes = 0
        self._held: defaultdict[tuple[int, int, int], deque[_Strike]] = defaultdict(deque)  # track, channel, key
        self._down: dict[tuple[int, int], int] = {}  # channel and pedal, if it is down, -> number of strikes before
        # Channel and pedal -> key -> notes whose key was let go and which this pedal holds.
        self._ringing: defaultdict[tuple[int, int], defaultdict[int, list[_Strike]]]
        self._ringing = defaultdict(lambda: defaultdict(list))

    def strike(self, part: _Part, pitch: int, velocity: int, now_s: float) -> None:
        for pedal in (SUSTAIN, SOSTENUTO):
            self._end(self._ringing[part.channel, pedal].pop(pitch, ()), now_s)
        if (part.channel, SOFT) in self._down:
            velocity = max(1, round(velocity * 2 / 3))
        strike = _Strike(part, pitch, velocity, now_s, self._n_strikes)
        self._held[part.track, part.channel, pitch].append(strike)
        self._n_strikes += 1

    def let_go(self, track: int, channel: int, pitch: int, now_s: float) -> None:
        held = self._held[track, channel, pitch]
        if not held:
            return
        strike = held.popleft()
        if held:  # the key was struck again
            self._end((strike,), now_s)
        elif strike.number < self._down.get((channel, SOSTENUTO), 0):
            self._ringing[channel, SOSTENUTO][pitch].append(strike)
        elif (channel, SUSTAIN) in self._down:
            self._ringing[channel, SUSTAIN][pitch].append(strike)
        else:
            self._end((strike,), now_s)

    def pedal(self, channel: int, pedal: int, down: bool, now_s: float) -> None:
        if down:
            self._down.setdefault((channel, pedal), self._n_strikes)
            return
        self._down.pop((channel, pedal), None)
        for pitch, strikes in self._ringing.pop((channel, pedal), {}).items():
            if pedal == SOSTENUTO and (channel, SUSTAIN) in self._down:
                self._ringing[channel, SUSTAIN][pitch] += strikes
            else:
                self._end(strikes, now_s)

    def close(self, now_s: float) -> None:
        """End everything that still sounds."""
        for ringing in self._ringing.values():
            for strikes in ringing.values():
                self._end(strikes, now_s)
        for held in self._held.values():
            self._end(held, now_s)

    def _end(self, strikes: Iterable[_Strike], now_s: float) -> None:
        for strike in strikes:
            if now_s > strike.start_s:
                self.notes[strike.part].append(Note(strike.pitch, strike.velocity, strike.start_s, now_s))
            else:
                self.n_zero_length += 1


def _to_score(midi: mido.MidiFile) -> Score:
    keyboard = _Keyboard()
    controllers: defaultdict[int, ChannelControllers] = defaultdict(ChannelControllers)
    programs: dict[tuple[int | None, int], int] = {}  # of a track and channel; of a channel on whatever track
    left_out: Counter[str] = Counter()
    now_s = 0.0
    for now_s, track, message in _timed(midi):
        channel: int = getattr(message, "channel", -1)  # -1: a message to no channel
        struck = message.type == "note_on" and message.velocity > 0  # a note-on of velocity 0 is a note-off
        if channel == DRUM_CHANNEL:
            left_out["drum notes"] += struck
            continue
        match message.type:
            case "note_on" if struck:
                program = programs.get((track, channel), programs.get((None, channel), 0))
                keyboard.strike(_Part(track, channel, program), message.note, message.velocity, now_s)
            case "note_on" | "note_off":
                keyboard.let_go(track, channel, message.note, now_s)
            case "program_change":
                programs[track, channel] = programs[None, channel] = message.program
            case "control_change" if message.control in PEDALS:
                keyboard.pedal(channel, message.control, message.value >= 64, now_s)
            case "control_change" | "pitchwheel":
                controllers[channel].receive(message, now_s)
                if message.is_cc(RESET_ALL_CONTROLLERS):
                    for pedal in PEDALS:
                        keyboard.pedal(channel, pedal, False, now_s)
            case "polytouch" | "aftertouch":
                left_out["aftertouch changes"] += 1
    keyboard.close(now_s)
    left_out["zero-length notes"] = keyboard.n_zero_length
    controls = {channel: followed.controls() for channel, followed in controllers.items()}
    tracks = (
        Track(
            _in_order(notes),
            part.program,
            _one_line(midi.tracks[part.track].name),
            controls.get(part.channel, Controls()),
        )
        for part, notes in sorted(keyboard.notes.items())
    )
    return Score(tuple(tracks), {kind: n for kind, n in left_out.items() if n})


def _one_line(text: str) -> str:
    """The printable part of a name, which mido has read as Latin-1, though most programs write UTF-8."""
    with contextlib.suppress(UnicodeDecodeError):
        text = text.encode("latin-1").decode("utf-8")
    return "".join(character for character in text if character.isprintable()).strip()
