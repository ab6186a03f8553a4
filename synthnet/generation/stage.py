"""A stage: MIDI messages, of a keyboard or of a file, are played as they come.

Whatever asks for blocks is a *sink*: a sound device, or `Timekeeper`, which needs none. `Stage.read` gives a sink the
next block; `Stage.send` takes in a message, in any thread. A message that arrives while one block is asked for and the
next is heard in the next one, at its own sample, so that latency is a block and does not waver.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import queue
import statistics
import sys
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import NamedTuple

import mido
import numpy as np
from numpy.typing import NDArray

from synthnet.audio.files import encode
from synthnet.audio.mix import pan_gains
from synthnet.generation.library import Seat
from synthnet.generation.live import LiveInstrument, plays_voices
from synthnet.score.channels import ALL_NOTES_OFF, Channel, Part, Song, Strike
from synthnet.score.controllers import RESET_ALL_CONTROLLERS
from synthnet.score.roll import to_samples
from synthnet.score.smf import CHANNEL_DATA, META, SYSEX, Event

BLOCK_S = 0.005
VOICES = 64
HEADROOM = 0.5  # of the sum, so that ten keys at once do not clip
REMEMBERED_S = 0.1  # of controllers
SWITCH_S = 0.0005  # the longest that a thread of Python waits for another one


class Keys(Channel):
    """A channel that plays at once. A key struck while it is down ends the note before, whose release was lost."""

    song: Stage

    def strike(self, track: int, key: int, velocity: int, now_s: float) -> None:
        self.song.end(self.held[key].pop(track, ()), now_s)
        super().strike(track, key, velocity, now_s)
        for strike in self.held[key].get(track, ()):
            self.song.begin(strike)


class Message(NamedTuple):
    """A MIDI message: its sample, a number that orders those of one sample, where it comes from, and its bytes."""

    at: int
    number: int
    track: int
    port: int
    data: bytes


class Stage(Song):
    """Plays MIDI messages as they mean in files (`synthnet.score.channels`), at once.

    Each track, channel and program has an instrument of its own, and all of them together `VOICES` voices: beyond them
    the oldest fade out. One of the paper's networks plays all that its instrument has to play as one roll.

    Args:
        seat_of: who plays a General MIDI program; called when the first note of a program is struck.
        clock: seconds, of `send`.

    Attributes:
        position: the first sample of the block that `read` gives next.
        heard: what was received, if `keep`; else nothing.
    """

    def __init__(
        self,
        seat_of: Callable[[int], Seat],
        sample_rate_hz: int,
        block_samples: int | None = None,
        *,
        keep: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__()
        self.sample_rate_hz, self.block_samples = sample_rate_hz, block_samples or round(BLOCK_S * sample_rate_hz)
        self.position, self.peak = 0, 0.0
        self.heard: list[Message] = []
        self._seat_of, self._keep, self._clock = seat_of, keep, clock
        self._asked_s: float | None = None  # when the last block was asked for
        self._numbers = itertools.count()
        self._inbox = deque[tuple[int | float, int, int, bytes]]()
        self._waiting: list[Message] = []  # a heap
        self._instruments: dict[Hashable, tuple[LiveInstrument, float]] = {}  # and their levels
        self._instrument(Part(0, 0, 0, 0, False))  # one of the paper's networks takes a while

    def send(self, message: Sequence[int], at: int | None = None, track: int = 0, port: int = 0) -> None:
        """Take in a MIDI message, status byte first; in any thread.

        Args:
            at: sample at which it acts, not before the next; by default it comes from a keyboard now.

        Raises:
            ValueError: it is no complete message.
        """
        data = bytes(message)
        wanted = CHANNEL_DATA.get(data[0] & 0xF0, len(data) - 1) if data else 0
        if not data or data[0] < 0x80 or len(data) != 1 + wanted or (data[0] < SYSEX and max(data[1:]) > 127):
            raise ValueError(f"{data.hex(' ')} is no MIDI message")
        self._inbox.append((self._clock() if at is None else at, track, port, data))

    def schedule(self, events: Iterable[Event]) -> None:
        """Play a file's events from the next block on; before another thread reads."""
        for event in events:
            if event.status != META:
                at = self.position + int(to_samples(event.time_s, self.sample_rate_hz))
                data = bytes((event.status, *event.data))
                heappush(self._waiting, Message(at, next(self._numbers), event.track, event.port, data))

    def release_all(self) -> None:
        """Let all keys and pedals go and reset the controllers, as when a keyboard is unplugged; in any thread."""
        for status in range(0xB0, 0xC0):
            self.send((status, RESET_ALL_CONTROLLERS, 0))
            self.send((status, ALL_NOTES_OFF[0], 0))

    def read(self) -> NDArray[np.float32]:
        """The next block, float32 [block_samples, 2], left and right; loud chords may exceed full scale, +-1."""
        due = self._due(self._clock())
        for message in due:
            self._receive(message)
        if due:
            self._spread_controls()
        self._limit_voices()
        start, n, rate = self.position, self.block_samples, self.sample_rate_hz
        self.position += n
        block = np.zeros((n, 2), np.float32)
        for live, level in self._instruments.values():
            if not live.silent:
                sides = np.float32(HEADROOM * level) * pan_gains(live.controls.smoothed("pan", start, n, rate))
                block += live.read()[:, None] * sides
        self.peak = max(self.peak, float(np.abs(block).max()))
        return block

    @property
    def first_program(self) -> int:
        """The program of the instrument that plays without a program change."""
        seat = self._seat_of(0)
        known = dict(zip(seat.checkpoint.instruments, seat.checkpoint.programs, strict=True))
        return known.get(seat.voice.name) or 0

    @property
    def silent(self) -> bool:
        """Whether no note sounds and no message waits."""
        return not (self._inbox or self._waiting or self.voices)

    @property
    def voices(self) -> int:
        """How many notes sound or will."""
        return sum(len(live.sounding) for live, _ in self._instruments.values())

    def channel(self, port: int, number: int) -> Channel:
        """A channel of a port."""
        if (port, number) not in self.channels:
            self.channels[port, number] = Keys(self, port, number)
        return self.channels[port, number]

    def begin(self, strike: Strike) -> None:
        """Start a note; drums are left out."""
        if strike.part.drums:
            self.left_out["drum notes"] += 1
            return
        live = self._instrument(strike.part)
        live.position = self.position  # it may have been silent
        live.note_on(strike.pitch, int(to_samples(strike.start_s, self.sample_rate_hz)), strike.velocity)

    def end(self, strikes: Iterable[Strike], now_s: float) -> None:
        """End notes."""
        for strike in strikes:
            if strike.part.drums:
                continue
            live = self._instrument(strike.part)
            live.position = self.position
            live.note_off(strike.pitch, int(to_samples(now_s, self.sample_rate_hz)))

    def _instrument(self, part: Part) -> LiveInstrument:
        """Who plays a part."""
        if part not in self._instruments:
            seat = self._seat_of(part.program)
            key: Hashable = part if plays_voices(seat.checkpoint) else id(seat.checkpoint)
            if key not in self._instruments:
                rate, n, seed = self.sample_rate_hz, self.block_samples, len(self._instruments)
                live = LiveInstrument(
                    seat.checkpoint, instrument=seat.voice, sample_rate_hz=rate, block_samples=n, seed=seed
                )
                self._instruments[key] = live, seat.level
            return self._instruments[key][0]
        return self._instruments[part][0]

    def _due(self, now_s: float) -> list[Message]:
        """The messages of the next block, in order."""
        stop = self.position + self.block_samples
        for _ in range(len(self._inbox)):
            when, track, port, data = self._inbox.popleft()
            if isinstance(when, float):
                since_s = when - (when if self._asked_s is None else self._asked_s)
                when = min(self.position + round(since_s * self.sample_rate_hz), stop - 1)
            heappush(self._waiting, Message(max(when, self.position), next(self._numbers), track, port, data))
        self._asked_s = now_s
        due = []
        while self._waiting and self._waiting[0].at < stop:
            due.append(heappop(self._waiting))
        return due

    def _receive(self, message: Message) -> None:
        at, _, track, port, data = message
        now_s = at / self.sample_rate_hz
        if self._keep and data[0] <= SYSEX:
            self.heard.append(message)
        if data[0] < SYSEX:
            self.channel(port, data[0] & 0x0F).receive(data[0] & 0xF0, data[1:], track, now_s)
        elif data[0] == SYSEX:
            self.receive_system(data[1:], port, now_s)

    def _spread_controls(self) -> None:
        """Give each instrument the controls of its channel."""
        for channel in self.channels.values():
            channel.controllers.forget(self.position / self.sample_rate_hz - REMEMBERED_S)
        for part, (live, _) in self._instruments.items():
            if isinstance(part, Part):
                live.controls = self.channel(part.port, part.channel).controllers.controls()

    def _limit_voices(self) -> None:
        """Fade out the oldest notes of too many; those beyond twice the limit, as after a pause, end at once."""
        if self.voices <= VOICES:
            return
        lives = [live for live, _ in self._instruments.values()]
        stop = self.position + self.block_samples
        oldest = sorted((note.onset, n) for n, live in enumerate(lives) for note in live.sounding if note.onset < stop)
        cut, many = max(0, len(oldest) - 2 * VOICES), max(0, len(oldest) - VOICES)
        for n, count in Counter(n for _, n in oldest[:cut]).items():
            lives[n].drop(count)
        for n, count in Counter(n for _, n in oldest[cut:many]).items():
            lives[n].steal(count)


class BlockTimes:
    """A function that gives blocks, and how long each took.

    Attributes:
        late: blocks that took longer than they last.
    """

    def __init__(self, read: Callable[[], NDArray[np.float32]], block_s: float) -> None:
        self._read, self.block_s, self.late = read, block_s, 0
        self.spent_s = array("d")

    def __call__(self) -> NDArray[np.float32]:
        begun = time.perf_counter()
        block = self._read()
        self.spent_s.append(time.perf_counter() - begun)
        self.late += self.spent_s[-1] > self.block_s
        return block

    def line(self) -> str:
        """The figures in one line."""
        median, most = 1e3 * np.percentile(self.spent_s, [50, 99.9])
        return (
            f"{len(self.spent_s):,} blocks of {1e3 * self.block_s:.1f} ms: median {median:.2f} ms, "
            f"99.9th percentile {most:.2f} ms, longest {1e3 * max(self.spent_s):.2f} ms, {self.late} late"
        )


class Timekeeper:
    """A sink without a sound device: asks for a block whenever one is due.

    Attributes:
        late: blocks that were not there when the next one was due. Time then begins anew, as after a device's underrun.
    """

    def __init__(
        self,
        block_s: float,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.block_s, self._clock, self._sleep, self.late = block_s, clock, sleep, 0

    def play(self, read: Callable[[], object], n_blocks: int) -> None:
        """Ask for blocks."""
        due_s = self._clock()
        for _ in range(n_blocks):
            if (early_s := due_s - self._clock()) > 0:
                self._sleep(early_s)
            read()
            due_s += self.block_s
            if self._clock() > due_s:
                self.late, due_s = self.late + 1, self._clock()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """No pauses for garbage, and threads that take turns quickly."""
    interval_s = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s)
        gc.enable()
        gc.unfreeze()


def block_ms(seat: Seat, sample_rate_hz: int, n_keys: int = 8, n_blocks: int = 20) -> float:
    """Median milliseconds of a block of 5 ms with some keys down; also gets the engine ready.

    Raises:
        InputError: the instrument does not play at that rate.
    """
    stage = Stage(lambda program: seat, sample_rate_hz)
    for key in range(n_keys):
        stage.send((0x90, 48 + 3 * key, 80))
    stage.send((0xB0, 1, 64))
    times = BlockTimes(stage.read, BLOCK_S)
    for _ in range(n_blocks):
        times()
    return 1e3 * statistics.median(times.spent_s)


def bits_of(take: Path) -> str:
    """The finest encoding of a take's format."""
    return {".wav": "float", ".flac": "24"}.get(take.suffix.lower(), "16")


@contextlib.contextmanager
def recording(beside: Path, sample_rate_hz: int) -> Iterator[Callable[[NDArray[np.float32]], NDArray[np.float32]]]:
    """Encode blocks [n, 2] into a sound file in a thread; yields a function that takes a block and returns it.

    Raises:
        InputError, OSError: see `encode`, at the end.
    """
    blocks = queue.SimpleQueue[NDArray[np.float32] | None]()
    errors = list[Exception]()

    def taken() -> Iterator[NDArray[np.float32]]:
        while (block := blocks.get()) is not None:
            yield block

    def write() -> None:
        try:
            encode(beside, taken(), sample_rate_hz, bits_of(beside), channels=2)
        except Exception as error:
            errors.append(error)

    def put(block: NDArray[np.float32]) -> NDArray[np.float32]:
        if not errors:
            blocks.put(block)
        return block

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield put
    finally:
        blocks.put(None)
        thread.join()
    if errors:
        raise errors[0]


def take_as_midi(stage: Stage) -> mido.MidiFile:
    """What a stage with `keep` has heard as a MIDI file of type 0, a tick a sample, up to the next block.

    All channels begin with the program of the stage's first instrument.
    """
    beats_per_s = -(-stage.sample_rate_hz // 32_767)  # a beat has at most that many ticks
    midi = mido.MidiFile(type=0, ticks_per_beat=stage.sample_rate_hz // beats_per_s)
    track, now = midi.add_track(), 0
    track.append(mido.MetaMessage("set_tempo", tempo=1_000_000 // beats_per_s))
    for channel in sorted({message.data[0] & 0x0F for message in stage.heard if message.data[0] & 0xF0 == 0x90}):
        track.append(mido.Message("program_change", channel=channel, program=stage.first_program))
    for message in stage.heard:
        with contextlib.suppress(ValueError):  # pieces of system-exclusive messages
            track.append(mido.Message.from_bytes(message.data, time=message.at - now))
            now = message.at
    track.append(mido.MetaMessage("end_of_track", time=stage.position - now))
    return midi
