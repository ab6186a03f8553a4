"""`synthnet live`: play instruments from a keyboard, or a MIDI file, as it sounds."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import mido
import numpy as np

from synthnet.audio.files import check_encoding
from synthnet.cli.options import path_type, say, show
from synthnet.files import InputError, atomic_write
from synthnet.generation.library import Library, Seat, read_library
from synthnet.generation.live import plays_voices
from synthnet.generation.stage import (
    BLOCK_S,
    BlockTimes,
    Stage,
    bits_of,
    block_ms,
    recording,
    take_as_midi,
    undisturbed,
)
from synthnet.models.checkpoint import load_checkpoint
from synthnet.models.config import HARMONIC_RATE_HZ
from synthnet.score.channels import DRUM_CHANNEL
from synthnet.score.notes import Score
from synthnet.score.smf import Event, parse_midi

LOOK_S = 1.0  # how often to look whether the keyboard is there
EXTRA = "playing live needs more packages: pip install 'synthnet[live]'"
SEE = "synthnet live --list shows what is there"


@click.command()
@click.option("--instrument", "name", help="Who plays.  [default: by program changes; until there is one, the piano]")
@click.option("--play", "song", type=path_type, help="A MIDI file in place of a keyboard.")
@click.option("--port", help="A part of the MIDI port's name.  [default: the first port]")
@click.option("--device", help="The audio device's number, or a part of its name.  [default: the system's]")
@click.option("--list", "only_list", is_flag=True, help="List MIDI ports and audio devices.")
@click.option("--record", type=path_type, help="A new .wav, .flac, .ogg, .opus or .mp3 file of what sounds.")
@click.option("--record-midi", type=path_type, help="A new .mid file of what is played.")
def live(
    name: str | None,
    song: Path | None,
    port: str | None,
    device: str | None,
    only_list: bool,
    record: Path | None,
    record_midi: Path | None,
) -> None:
    """Play an instrument from a MIDI keyboard; Ctrl-C ends.

    \b
    synthnet live --instrument violin
    synthnet live --instrument violin --record take.wav --record-midi take.mid
    synthnet live --play song.mid

    Velocity, pedals, pitch bend, modulation, volume and expression are played. Of more than 64 voices the oldest fade
    out. A piece from a file has its own instrument for each program, unless you name one.
    """
    sound = audio_library()
    if only_list:
        list_hardware(sound)
        return
    for path in (record, record_midi):
        if path is not None and path.exists():
            raise InputError(f"{path}: exists; choose another name")
    seat_of = player_of_programs(read_library(), name)
    seat, events = seat_of(0), [] if song is None else read_events(song)
    rate = HARMONIC_RATE_HZ if plays_voices(seat.checkpoint) else seat.checkpoint.sample_rate_hz
    if record is not None:
        check_encoding(record, rate, bits_of(record))
    keys = None if events else find_port(port)
    output = Output(sound, device, rate)
    say(f"{seat.voice.name} [{seat.where}]: getting ready")
    if (spent_ms := block_ms(seat, rate)) > 1e3 * BLOCK_S:
        why = f"a block of {1e3 * BLOCK_S:.0f} ms takes {spent_ms:.1f} ms"
        if not plays_voices(seat.checkpoint):
            raise InputError(f"{seat.voice.name} is too slow to be played live here: {why}")
        say(f"{seat.voice.name} may stutter: {why}; other programs may keep this machine busy")
    stage = Stage(seat_of, rate, keep=record_midi is not None)
    for event in events:
        if event.status & 0xF0 == 0xC0:
            seat_of(event.data[0])  # loaded before it sounds
    stage.schedule(events)
    times = BlockTimes(stage.read, BLOCK_S)
    with until_signal() as stop, contextlib.ExitStack() as opened:
        output.next_block = times
        if record is not None:
            put = opened.enter_context(recording(opened.enter_context(atomic_write(record)), rate))
            output.next_block = lambda: put(times())
        if record_midi is not None:
            beside = opened.enter_context(atomic_write(record_midi))
            beside.touch()
        keyboard = opened.enter_context(contextlib.closing(Keyboard(keys, stage, seat_of))) if keys else None
        with undisturbed():
            perform(output, stage, keyboard, stop)
        if record_midi is not None:
            take_as_midi(stage).save(beside)
    say(times.line() + (f", {output.underruns} times the device ran dry" if output.underruns else ""))
    if stage.peak > 1:
        say(f"the loudest moment was {20 * math.log10(stage.peak):.1f} dB over full scale, and clipped")
    if line := Score((), stage.left_out).left_out_line():
        say(line)
    for path in (record, record_midi):
        if path is not None:
            say(f"{path}: {stage.position / rate:.1f} s")
    if output.error:
        raise output.error


def perform(output: Output, stage: Stage, keyboard: Keyboard | None, stop: threading.Event) -> None:
    """Play until the song is over, the device is gone, or somebody ends it."""
    with output.stream:
        while output.stream.active and not stop.wait(LOOK_S):
            if keyboard:
                keyboard.look()
            elif stage.silent:
                return
    if not (output.error or stop.is_set()):
        output.error = InputError("the audio device is gone")


class Output:
    """A sink: the sound device, which asks for a block when it needs one.

    Attributes:
        next_block: gives it.
        underruns: how often it came too late.
        error: what ended the playing, if not the player.
    """

    next_block: Callable[[], np.ndarray]

    def __init__(self, sound: Any, wanted: str | None, sample_rate_hz: int) -> None:
        self.underruns = 0
        self.error: Exception | None = None
        self._abort = sound.CallbackAbort
        device = int(wanted) if wanted and wanted.isdigit() else wanted
        try:
            with quiet():
                channels = min(2, sound.query_devices(device, "output")["max_output_channels"])
                self.stream = sound.OutputStream(
                    samplerate=sample_rate_hz,
                    blocksize=round(BLOCK_S * sample_rate_hz),
                    device=device,
                    channels=channels,
                    dtype="float32",
                    latency="low",
                    callback=self._ask,
                )
        except (ValueError, sound.PortAudioError) as error:
            which = f"no audio device {wanted!r}" if wanted else "no audio device"
            raise InputError(f"{which} ({error}); {SEE}") from None

    def _ask(self, out: np.ndarray, n: int, time: Any, status: Any) -> None:
        self.underruns += bool(status.output_underflow)
        try:
            block = self.next_block()
            out[:] = block if out.shape[1] == 2 else block.mean(axis=1, keepdims=True)
        except Exception as error:
            self.error = error
            raise self._abort from error


def find_port(wanted: str | None) -> str:
    """The MIDI port with this part of its name; InputError if there is none."""
    names = [name for name in port_names() if (wanted or "").lower() in name.lower()]
    if not names:
        which = f"no MIDI port {wanted!r}" if wanted else "no MIDI port"
        raise InputError(f"{which} is here: plug in a keyboard, or give a file with --play; {SEE}")
    return min(names, key=lambda name: "midi through" in name.lower())  # any other one comes first


class Keyboard:
    """A MIDI port whose messages go to a stage; it may be unplugged and come back."""

    _port: Any

    def __init__(self, name: str, stage: Stage, seat_of: Callable[[int], Seat]) -> None:
        self._stem = re.sub(r" \d+:\d+$", "", name)  # ALSA's numbers change
        self._stage, self._seat_of = stage, seat_of
        self._open(name)
        say(f"{name}: listening; Ctrl-C ends")

    def look(self) -> None:
        """See whether the port is still there: let all notes go when it is not, and listen again when it is back."""
        name = next((name for name in port_names() if name.startswith(self._stem)), None)
        if self._port and name is None:
            self.close()
            self._stage.release_all()
            say(f"{self._stem}: unplugged, all notes are released; plug it in again, or end with Ctrl-C")
        elif not self._port and name is not None:
            self._open(name)
            say(f"{self._stem}: here again")

    def close(self) -> None:
        """Stop listening."""
        if self._port:
            self._port.close()
            self._port = None

    def _open(self, name: str) -> None:
        try:
            with quiet():
                self._port = mido.open_input(name, callback=self._receive)
        except OSError as error:
            raise InputError(f"{name}: cannot be opened ({error})") from None

    def _receive(self, message: mido.Message) -> None:
        try:
            if message.type == "program_change" and message.channel != DRUM_CHANNEL:
                self._seat_of(message.program)  # loaded in this thread
            self._stage.send(message.bytes())
        except InputError as error:
            say(f"synthnet: {error}")


def player_of_programs(library: Library, name: str | None) -> Callable[[int], Seat]:
    """Who plays a program: the instrument of that name, or else that nearest to it of those that play at any rate."""
    if name is not None:
        asked = library.seat(name)
        return lambda program: asked
    voices = Library(tuple(player for player in library.players if plays_voices(player.header)))
    load = functools.cache(load_checkpoint)

    @functools.cache
    def seat_of(program: int) -> Seat:
        player, _ = voices.nearest(program)
        return Seat(load(player.path), player.header.voice(player.name), player.where)

    return seat_of


def read_events(path: Path) -> list[Event]:
    """The events of a MIDI file; InputError if it has no notes."""
    try:
        events = list(parse_midi(path.read_bytes()).events)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not any(event.status & 0xF0 == 0x90 for event in events):
        raise InputError(f"{path}: no notes")
    return events


def list_hardware(sound: Any) -> None:
    """Print MIDI ports and audio devices."""
    with quiet():
        devices, default = sound.query_devices(), sound.default.device[1]
    outputs = [
        f"{number}  {device['name']}, {device['default_samplerate']:.0f} Hz{', the default' * (number == default)}"
        for number, device in enumerate(devices)
        if device["max_output_channels"]
    ]
    for title, lines in (("MIDI ports", port_names()), ("audio devices", outputs)):
        show(f"{title}:")
        for line in lines or ["none"]:
            show(f"  {line}")


def audio_library() -> Any:
    """The module sounddevice; InputError where it or PortAudio is missing."""
    try:
        with quiet():
            import sounddevice
    except ImportError:
        raise InputError(EXTRA) from None
    except OSError:
        raise InputError("PortAudio is missing; install it: apt install libportaudio2") from None
    return sounddevice


def port_names() -> list[str]:
    """The MIDI ports that can be listened to; none where the system has no MIDI."""
    try:
        with quiet():
            return list(dict.fromkeys(mido.get_input_names()))
    except ImportError:
        raise InputError(EXTRA) from None
    except OSError:
        return []


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep away what libraries in C print on standard error: what is missing is told in one line."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def until_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C, the end of the terminal, and SIGTERM set, so that files are finished."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
