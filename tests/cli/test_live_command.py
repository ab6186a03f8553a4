"""`synthnet live` with a device and a port that are none: what it writes, and one line for what is missing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import mido
import numpy as np
import pytest
from conftest import SMALL, Run, fault, small_weights

from synthnet.audio.files import read_channels
from synthnet.cli.live import Keyboard, find_port
from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.generation.library import read_file
from synthnet.generation.stage import HEADROOM
from synthnet.models.checkpoint import Checkpoint, save_checkpoint
from synthnet.models.envelopes import notes_of
from synthnet.score.midi import read_score, write_midi
from synthnet.score.notes import Note, Score, Track
from synthnet.score.roll import roll_events

RATE = 44_100
SONG = Score((Track((Note(60, 90, 0.0, 0.1), Note(67, 70, 0.05, 0.2))),))


class Device(ModuleType):
    """As much of sounddevice as is called; blocks are asked for as fast as they come, and kept."""

    class CallbackAbort(Exception):
        pass

    class PortAudioError(Exception):
        pass

    def __init__(self, n_outputs: int = 1) -> None:
        super().__init__("sounddevice")
        self.devices = [{"name": "Loudspeaker", "default_samplerate": 48_000.0, "max_output_channels": 2}] * n_outputs
        self.default = SimpleNamespace(device=[-1, 0])
        self.blocks: list[np.ndarray] = []
        self.after_block: Any = lambda number: None

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        if kind and (not self.devices or device not in (None, 0, "Loud")):
            raise ValueError("No output device matching") if device else self.PortAudioError("Error querying device -1")
        return self.devices[0] if kind else self.devices

    def OutputStream(self, *, callback: Any, blocksize: int, channels: int, **options: Any) -> Any:
        return Stream(self, callback, np.zeros((blocksize, channels), np.float32))


class Stream:
    def __init__(self, device: Device, callback: Any, out: np.ndarray) -> None:
        self.device, self.callback, self.out, self.active = device, callback, out, True

    def __enter__(self) -> None:
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while self.active:
            try:
                self.callback(self.out, len(self.out), None, SimpleNamespace(output_underflow=False))
            except Device.CallbackAbort:
                self.active = False
            self.device.blocks.append(self.out.copy())
            self.device.after_block(len(self.device.blocks))

    def __exit__(self, *_: object) -> None:
        self.active = False
        self.thread.join()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Device:
    """A loudspeaker, a keyboard, and a piano that is small."""
    device = Device()
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    monkeypatch.setattr(mido, "get_input_names", lambda: ["Midi Through Port-0 14:0", "Keystation MIDI 1 20:0"])
    monkeypatch.setattr("synthnet.cli.live.LOOK_S", 0.01)
    save_checkpoint(tmp_path / "piano.safetensors", Checkpoint(SMALL, RATE, ("piano",), {}, small_weights()))
    monkeypatch.setattr("synthnet.cli.live.read_library", lambda: read_file(tmp_path / "piano.safetensors"))
    monkeypatch.setattr("synthnet.cli.live.block_ms", lambda *_: 1.0)
    write_midi(SONG, tmp_path / "song.mid")
    return device


def test_a_song_is_played_to_its_end_and_recorded(run: Run, device: Device, tmp_path: Path) -> None:
    result = run("live", "--play", "song.mid", "--record", "take.wav", "--record-midi", "take.mid")
    assert result.status == 0, result.err
    heard, (take, rate) = np.concatenate(device.blocks), read_channels(tmp_path / "take.wav")
    assert np.array_equal(heard, take)
    part = Part(notes_of(roll_events(SONG.notes, RATE)))
    expected = HEADROOM * HarmonicPlayer(SMALL, small_weights(), RATE, seed=1).play(part, 0, len(take))
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(take, np.stack([expected, expected], axis=1), atol=1e-6)
    assert rate == RATE
    assert not take[-100:].any()
    assert [(n.pitch, n.velocity) for n in read_score(tmp_path / "take.mid").notes] == [(60, 90), (67, 70)]
    assert "blocks of 5.0 ms: median" in result.err
    assert not list(tmp_path.glob(".*"))
    fault(run("live", "--play", "song.mid", "--record", "take.wav"), "take.wav: exists; choose another name")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_keyboard_is_played_until_ctrl_c_and_the_files_are_whole(
    number: signal.Signals, run: Run, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = {}

    def open_input(name: str, callback: Any) -> Any:
        opened[name] = callback
        return SimpleNamespace(close=lambda: None)

    def after_block(n: int) -> None:
        if n == 3:
            opened["Keystation MIDI 1 20:0"](mido.Message("note_on", note=60, velocity=80))
        if n == 40:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(mido, "open_input", open_input)
    device.after_block = after_block
    result = run("live", "--instrument", "piano", "--record", "take.flac", "--record-midi", "take.mid")
    assert result.status == 0, result.err
    assert len(read_channels(tmp_path / "take.flac")[0]) == 220 * len(device.blocks)
    (note,) = read_score(tmp_path / "take.mid").notes
    assert note.pitch == 60
    assert note.end_s == pytest.approx(220 * len(device.blocks) / RATE, abs=1e-4)
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_keyboard_that_is_unplugged_lets_all_notes_go_and_may_come_back(
    device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = list[str]()

    def open_input(name: str, callback: Any) -> Any:
        log.append(f"open {name}")
        return SimpleNamespace(close=lambda: log.append("close"))

    monkeypatch.setattr(mido, "open_input", open_input)
    stage: Any = SimpleNamespace(release_all=lambda: log.append("release"))
    keyboard = Keyboard(find_port("keys"), stage, lambda program: None)  # type: ignore[arg-type, return-value]
    keyboard.look()
    monkeypatch.setattr(mido, "get_input_names", lambda: ["Midi Through Port-0 14:0"])
    keyboard.look()
    keyboard.look()
    monkeypatch.setattr(mido, "get_input_names", lambda: ["Keystation MIDI 1 24:0"])
    keyboard.look()
    assert log == ["open Keystation MIDI 1 20:0", "close", "release", "open Keystation MIDI 1 24:0"]
    assert "Keystation MIDI 1: unplugged, all notes are released" in capsys.readouterr().err


def test_list(run: Run, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("live", "--list").out.splitlines() == [
        "MIDI ports:", "  Midi Through Port-0 14:0", "  Keystation MIDI 1 20:0",
        "audio devices:", "  0  Loudspeaker, 48000 Hz, the default",
    ]  # fmt: skip

    def no_sequencer() -> list[str]:
        raise OSError("error creating ALSA sequencer client object")

    monkeypatch.setattr(mido, "get_input_names", no_sequencer)
    device.devices.clear()
    assert run("live", "--list").out.splitlines() == ["MIDI ports:", "  none", "audio devices:", "  none"]
    fault(run("live"), "no MIDI port is here: plug in a keyboard, or give a file with --play")
    fault(run("live", "--play", "song.mid"), "no audio device (Error querying device -1)")


def test_what_is_missing_or_wrong_is_one_line(
    run: Run, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(run("live", "--port", "organ"), "no MIDI port 'organ' is here")
    fault(run("live", "--device", "headphones"), "no audio device 'headphones'", "--list")
    fault(run("live", "--instrument", "kazoo"), "no instrument 'kazoo'")
    fault(run("live", "--play", "no.mid"), "no.mid: No such file")
    (tmp_path / "bad.mid").write_bytes(b"MThd")
    fault(run("live", "--play", "bad.mid"), "bad.mid: not a MIDI file")
    fault(run("live", "--play", "song.mid", "--record", "take.txt"), "take.txt: the name of a sound file")
    monkeypatch.setattr("synthnet.cli.live.block_ms", lambda *_: 81.5)
    slow = run("live", "--play", "song.mid")
    assert slow.status == 0, "a harmonic instrument is slow because the machine is busy now"
    assert "piano may stutter: a block of 5 ms takes 81.5 ms" in slow.err
    monkeypatch.setattr("synthnet.cli.live.plays_voices", lambda _: False)
    slow = run("live", "--instrument", "piano", "--play", "song.mid", "--record-midi", "take.mid")
    fault(slow, "piano is too slow to be played live here: a block of 5 ms takes 81.5 ms")
    assert not (tmp_path / "take.mid").exists()
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    fault(run("live"), "pip install 'synthnet[live]'")
    monkeypatch.delitem(sys.modules, "sounddevice")
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    fault(run("live"), "apt install libportaudio2")
