"""Standard MIDI files (types 0 and 1) in and out, as notes in seconds.

mido reads and writes the bytes. Their meaning is worked out here, because pretty_midi lets no pedal lengthen notes and
follows tempo events on the first track only. Where a file leaves room:

- tempo events count on every track;
- a note-off ends the oldest open note of its key, on its own track and channel, or nothing; notes still open at the
  end of the file end there;
- pedals (down from value 64) work on their channel, on all tracks. Under the sustain pedal, a note whose key is
  released sounds until the pedal comes up or the key is struck again; the sostenuto pedal does this only to notes
  whose keys are down when it goes down. Notes struck under the soft pedal get 2/3 of their velocity;
- the other controllers of a channel (see controllers.py) make the `Controls` of its tracks;
- each track, channel and program makes a `Track`, as in pretty_midi; a track that sets no program for its channel
  takes the channel's, as a General MIDI synthesizer would (pretty_midi takes 0);
- keys, velocities and other data above 127, which a file should not hold, count as 127.

Drums, aftertouch and notes of no length are left out and counted in `Score.left_out`.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import mido

from synthnet.files import InputError, atomic_write
from synthnet.score.controllers import RESET_ALL_CONTROLLERS, ChannelControllers, Controls
from synthnet.score.notes import Note, Score, Track, in_order

LONGEST_SCORE_S = 24 * 3600
LARGEST_FILE_BYTES = 2 << 20  # hours of recorded piano with every pedal movement stay below 1 MiB
LONGEST_HIGH_RUN = 4000  # bytes above 127 in a row; text in Chinese has hundreds

PEDALS = SUSTAIN, SOSTENUTO, SOFT = 64, 66, 67
DRUM_CHANNEL = 9  # counted from 0; musicians call it channel 10
CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
SET_TEMPO = 0x51  # the type of a meta event

WRITTEN_TICKS_PER_S = 20_000  # at 120 beats a minute a beat has half of them


def read_score(path: Path) -> Score:
    """Read a standard MIDI file of type 0 or 1 that holds notes (see the module's docstring).

    Raises InputError, naming the file, if it is missing, unreadable, too large, damaged, cut short, of type 2, timed
    in SMPTE frames, longer than 24 hours, or without notes.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
        if len(data) > LARGEST_FILE_BYTES:
            raise InputError(f"larger than {LARGEST_FILE_BYTES >> 20} MiB, not a score")
        midi = _parse(data)
        performance = _Performance()
        for now_s, track, message in _timed(midi):
            performance.receive(now_s, track, message)
        score = performance.score([_one_line(track.name) for track in midi.tracks])
        if not score.tracks:
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
    least a tick. The tracks take the 15 channels that are not drums in cycles. Controls are not written.
    """
    midi = mido.MidiFile(type=1, ticks_per_beat=WRITTEN_TICKS_PER_S // 2, charset="utf-8")
    midi.add_track().append(mido.MetaMessage("set_tempo", tempo=500_000))
    for index, track in enumerate(score.tracks):
        channel = CHANNELS[index % len(CHANNELS)]
        events = []
        for note in track.notes:
            start = round(note.start_s * WRITTEN_TICKS_PER_S)
            end = max(start + 1, round(note.end_s * WRITTEN_TICKS_PER_S))
            on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
            events += [(start, on), (end, mido.Message("note_off", channel=channel, note=note.pitch))]
        events.sort(key=itemgetter(0))  # stable: at the same time, a key's end stays before its next onset
        written = midi.add_track(track.name)
        written.append(mido.Message("program_change", channel=channel, program=track.program))
        now = 0
        for tick, message in events:
            written.append(message.copy(time=tick - now))
            now = tick
    file = io.BytesIO()
    midi.save(file=file)
    return file.getvalue()


def _build_meta_message(meta_type: int, data: bytes, delta: int = 0) -> mido.MetaMessage:
    """As mido's, which drops the time of unknown events and refuses a file for impossible values, but lenient."""
    with contextlib.suppress(mido.KeySignatureError, LookupError, ValueError):
        message = mido.midifiles.meta.build_meta_message(meta_type, data, delta)
        if message.type != "unknown_meta":
            return message
    if meta_type == SET_TEMPO:  # no other meta event matters to notes
        raise ValueError("a tempo of no length")
    return mido.UnknownMetaMessage(meta_type, data, delta)


mido.midifiles.midifiles.build_meta_message = _build_meta_message


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
    """Time in seconds, number of the track and message, of all tracks in order of time, then of the tracks.

    The clock is an integer, microseconds times ticks per beat, so that nothing is rounded before the last step.
    """
    messages = []
    for number, track in enumerate(midi.tracks):
        tick = 0
        for message in track:
            tick += message.time
            messages.append((tick, number, message))
            if message.type == "end_of_track":
                break
    messages.sort(key=itemgetter(0))
    units_per_s = midi.ticks_per_beat * 1_000_000
    tempo_us = 500_000  # microseconds per beat
    clock = last_tick = 0
    for tick, number, message in messages:
        clock += (tick - last_tick) * tempo_us
        last_tick = tick
        if clock > LONGEST_SCORE_S * units_per_s:
            raise InputError(f"lasts longer than {LONGEST_SCORE_S // 3600} hours, probably damaged")
        yield clock / units_per_s, number, message
        if message.type == "set_tempo":
            tempo_us = message.tempo


class _Strike(NamedTuple):
    part: tuple[int, int, int]  # track, channel and program
    pitch: int
    velocity: int
    start_s: float
    number: int  # strikes are counted from 0


class _Performance:
    """Follows the messages of a file in order of time; collects notes, controls and counts of what is left out."""

    def __init__(self) -> None:
        self._notes: defaultdict[tuple[int, int, int], list[Note]] = defaultdict(list)  # by track, channel, program
        self._left_out: Counter[str] = Counter()
        self._controllers: defaultdict[int, ChannelControllers] = defaultdict(ChannelControllers)
        self._programs: dict[tuple[int | None, int], int] = {}  # of a track and channel; of a channel on any track
        self._now_s = 0.0
        self._n_strikes = 0
        self._held: defaultdict[tuple[int, int, int], deque[_Strike]] = defaultdict(deque)  # track, channel, key
        self._down: dict[tuple[int, int], int] = {}  # channel and pedal, if it is down, -> number of strikes before
        # Channel and pedal -> key -> notes whose key was released and which this pedal holds.
        self._ringing: defaultdict[tuple[int, int], defaultdict[int, list[_Strike]]]
        self._ringing = defaultdict(lambda: defaultdict(list))

    def receive(self, now_s: float, track: int, message: mido.Message) -> None:
        """Take in the next message. This is the only place that gives messages a meaning."""
        self._now_s = now_s
        channel: int = getattr(message, "channel", -1)  # -1: a message to no channel
        struck = message.type == "note_on" and message.velocity > 0  # a note-on of velocity 0 is a note-off
        if channel == DRUM_CHANNEL:
            self._left_out["drum notes"] += struck
            return
        match message.type:
            case "note_on" if struck:
                program = self._programs.get((track, channel), self._programs.get((None, channel), 0))
                self._strike(track, channel, program, message.note, message.velocity)
            case "note_on" | "note_off":
                self._release(track, channel, message.note)
            case "program_change":
                self._programs[track, channel] = self._programs[None, channel] = message.program
            case "control_change" if message.control in PEDALS:
                self._pedal(channel, message.control, message.value >= 64)
            case "control_change" | "pitchwheel":
                self._controllers[channel].receive(message, now_s)
                if message.is_cc(RESET_ALL_CONTROLLERS):
                    for pedal in PEDALS:
                        self._pedal(channel, pedal, False)
            case "polytouch" | "aftertouch":
                self._left_out["aftertouch changes"] += 1

    def score(self, names: list[str]) -> Score:
        """The score, in which everything that still sounds ends now; `names` are those of the file's tracks."""
        ringing = (strikes for by_key in self._ringing.values() for strikes in by_key.values())
        for strikes in (*ringing, *self._held.values()):
            self._end(strikes)
        controls = {channel: followed.controls() for channel, followed in self._controllers.items()}
        tracks = (
            Track(in_order(notes), program, names[track], controls.get(channel, Controls()))
            for (track, channel, program), notes in sorted(self._notes.items())
        )
        return Score(tuple(tracks), {kind: n for kind, n in self._left_out.items() if n})

    def _strike(self, track: int, channel: int, program: int, pitch: int, velocity: int) -> None:
        for pedal in (SUSTAIN, SOSTENUTO):
            self._end(self._ringing[channel, pedal].pop(pitch, ()))
        if (channel, SOFT) in self._down:
            velocity = max(1, round(velocity * 2 / 3))
        strike = _Strike((track, channel, program), pitch, velocity, self._now_s, self._n_strikes)
        self._held[track, channel, pitch].append(strike)
        self._n_strikes += 1

    def _release(self, track: int, channel: int, pitch: int) -> None:
        held = self._held[track, channel, pitch]
        if not held:
            return
        strike = held.popleft()
        if held:  # the key was struck again
            self._end((strike,))
        elif strike.number < self._down.get((channel, SOSTENUTO), 0):
            self._ringing[channel, SOSTENUTO][pitch].append(strike)
        elif (channel, SUSTAIN) in self._down:
            self._ringing[channel, SUSTAIN][pitch].append(strike)
        else:
            self._end((strike,))

    def _pedal(self, channel: int, pedal: int, down: bool) -> None:
        if down:
            self._down.setdefault((channel, pedal), self._n_strikes)
            return
        self._down.pop((channel, pedal), None)
        for pitch, strikes in self._ringing.pop((channel, pedal), {}).items():
            if pedal == SOSTENUTO and (channel, SUSTAIN) in self._down:
                self._ringing[channel, SUSTAIN][pitch] += strikes
            else:
                self._end(strikes)

    def _end(self, strikes: Iterable[_Strike]) -> None:
        for part, pitch, velocity, start_s, _ in strikes:
            if self._now_s > start_s:
                self._notes[part].append(Note(pitch, velocity, start_s, self._now_s))
            else:
                self._left_out["zero-length notes"] += 1


def _one_line(text: str) -> str:
    """The printable part of a name, which mido has read as Latin-1, though most programs write UTF-8."""
    with contextlib.suppress(UnicodeDecodeError):
        text = text.encode("latin-1").decode("utf-8")
    return "".join(character for character in text if character.isprintable()).strip()
