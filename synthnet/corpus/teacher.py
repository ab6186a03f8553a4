"""The teacher: plays notes through FluidSynth and a sound font, aligned with the piano roll to the sample.

FluidSynth starts and releases notes only where a block of 64 of its samples begins. So it runs at a power-of-two
multiple of the wanted rate (64 kHz for 16 kHz), where a block is a whole number of output samples. Every note is moved
to that grid (`Teacher.snap`), FluidSynth renders whole blocks between two events, and a filter without delay resamples
the result. A struck key then sounds the same each time, and audio is the sum of its notes, both to the rounding of
32-bit floats (measured: 1e-7 of the peak). The teacher plays exactly the events of the snapped notes' piano roll.

The first note of a fresh voice differs in its first block from all later ones (by up to 17% of the peak for the square
lead, 0.1 to 0.2% for most instruments). All keys are therefore struck and silenced once before the music starts.

Audio is mono, the mean of left and right, in FluidSynth's unit: `synth.gain` 1, not limited to +-1. A note of velocity
90 peaks between 0.1 and 0.3 for the paper's instruments. Reverb and chorus are off: their tails outlive what a network
can remember.

Reference: FluidSynth 2 (https://www.fluidsynth.org/api/).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import math
from collections import deque
from collections.abc import Iterable, Sequence
from ctypes import c_char_p, c_int, c_void_p
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from synthnet.files import InputError
from synthnet.score.notes import Note
from synthnet.score.roll import roll_events

FLUIDR3 = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
BLOCK = 64  # FluidSynth's samples between two moments at which an event can take effect
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 2_000, 96_000  # FluidSynth runs at four times the lowest to the highest

SETTINGS = {
    "synth.reverb.active": 0,
    "synth.chorus.active": 0,
    "synth.min-note-length": 0,  # the default, 10 ms, would hold short notes longer than the roll says
    "synth.polyphony": 1024,  # no voice is ever cut short to make room for another
    "synth.dynamic-sample-loading": 1,  # reads one preset, not the whole sound font
    "synth.lock-memory": 0,
}


def find_soundfont(path: Path | None = None) -> Path:
    """The sound font to use: `path` if given, else FluidR3 GM, else the small one that comes with pretty_midi.

    Raises InputError when `path` is not a whole SoundFont 2 file, or when there is none at all.
    """
    if path is not None:
        _check_soundfont(Path(path))
        return Path(path)
    pretty_midi = importlib.util.find_spec("pretty_midi")
    folders = (pretty_midi.submodule_search_locations if pretty_midi else None) or []
    for candidate in (FLUIDR3, *(Path(folder) / "TimGM6mb.sf2" for folder in folders)):
        if candidate.is_file():
            return candidate
    raise InputError(f"{FLUIDR3}: no sound font; install the Debian package fluid-soundfont-gm or name a file")


def _check_soundfont(path: Path) -> None:
    # FluidSynth would try other formats on a faulty file, and a library of one of them writes to stderr.
    try:
        with open(path, "rb") as file:
            header = file.read(12)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if header[:4] != b"RIFF" or header[8:] != b"sfbk":
        raise InputError(f"{path}: not a SoundFont 2 file")
    if size < int.from_bytes(header[4:8], "little") + 8:
        raise InputError(f"{path}: sound font is cut short")


@functools.cache
def _fluidsynth() -> Any:
    """The module pyfluidsynth, with its C library kept from writing to stderr."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it announces itself where the variable CI is set
            import fluidsynth
    except ImportError as error:
        raise InputError(
            f"FluidSynth: {error}; install the Debian package libfluidsynth3 and the Python package pyfluidsynth"
        ) from error
    parameters = (("level", c_int, 1), ("function", c_void_p, 1), ("data", c_void_p, 1))
    set_log_function = fluidsynth.cfunc("fluid_set_log_function", None, *parameters)
    for level in range(5):
        set_log_function(level, None, None)
    return fluidsynth


@functools.cache
def _c_function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of FluidSynth's C library that pyfluidsynth does not offer, of these types."""
    return _fluidsynth().cfunc(name, result, *((f"argument{i}", kind, 1) for i, kind in enumerate(arguments)))


def fluidsynth_version() -> str:
    """Version of the installed FluidSynth, such as "2.3.1": another one may render other samples."""
    return _c_function("fluid_version_str", c_char_p)().decode()


@dataclass(frozen=True)
class Teacher:
    """One preset (`program`, 0-based General MIDI, bank 0) of a sound font at one output rate.

    Raises InputError when the rate is not within FluidSynth's reach.
    """

    soundfont: Path
    program: int
    sample_rate_hz: int

    def __post_init__(self) -> None:
        if not LOWEST_RATE_HZ <= self.sample_rate_hz <= HIGHEST_RATE_HZ:
            reach = f"{LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz"
            raise InputError(f"sample rate {self.sample_rate_hz} Hz: FluidSynth renders {reach}")

    @property
    def oversampling(self) -> int:
        """FluidSynth's rate over the output rate: 4, or less where that would exceed 96 kHz."""
        return next(factor for factor in (4, 2, 1) if factor * self.sample_rate_hz <= HIGHEST_RATE_HZ)

    def snap(self, notes: Iterable[Note]) -> tuple[Note, ...]:
        """The notes with starts and ends moved to the nearest block boundary, each at least one block long."""
        blocks_per_s = self.oversampling * self.sample_rate_hz / BLOCK
        snapped = []
        for note in notes:
            start = math.floor(note.start_s * blocks_per_s + 0.5)
            end = max(start + 1, math.floor(note.end_s * blocks_per_s + 0.5))
            snapped.append(replace(note, start_s=start / blocks_per_s, end_s=end / blocks_per_s))
        return tuple(snapped)

    def play(self, notes: Iterable[Note], duration_s: float) -> np.ndarray:
        """Audio of the snapped notes from 0 to `duration_s`, in FluidSynth's unit.

        Returns float32 [round(duration_s * sample_rate_hz)]; notes are cut off at its end. Raises InputError when the
        sound font is unreadable or lacks the preset.
        """
        events = self._key_events(notes)
        n_samples = round(duration_s * self.sample_rate_hz)
        n_blocks = math.ceil(n_samples * self.oversampling / BLOCK)
        stereo = np.zeros((n_blocks * BLOCK, 2), np.float32)
        rate_hz = self.oversampling * self.sample_rate_hz
        synth = open_synth(self.soundfont, rate_hz, [(0, self.program)])
        try:
            render_events(synth, deque(events), 0, stereo)
        finally:
            synth.delete()
        mono = stereo.mean(axis=1)
        if self.oversampling > 1:
            mono = soxr.resample(mono, self.oversampling, 1, quality="VHQ")
        return mono[:n_samples]

    def _key_events(self, notes: Iterable[Note]) -> list[tuple[int, int, int]]:
        """(block, velocity or 0 for a release, pitch) in the order played, as the piano roll has them."""
        roll = roll_events(self.snap(notes), self.sample_rate_hz)
        # Onsets lie on the grid; releases that the roll moves ahead of a re-strike need not.
        first = roll.onset * self.oversampling // BLOCK
        last = np.maximum(first + 1, np.rint(roll.release * self.oversampling / BLOCK).astype(int))
        strikes = np.stack([first, roll.velocity, roll.pitch], axis=1)
        releases = np.stack([last, np.zeros_like(last), roll.pitch], axis=1)
        return sorted(map(tuple, np.concatenate([strikes, releases]).tolist()))  # in a block, releases come first


def new_synth(sample_rate_hz: int) -> Any:
    """A FluidSynth without a sound font, of gain 1, without reverb and chorus; `delete` closes it."""
    synth = _fluidsynth().Synth(gain=1.0, samplerate=sample_rate_hz, channels=16, **SETTINGS)
    # 7th order: the 4th dulls the glockenspiel (its peak by 3%)
    _c_function("fluid_synth_set_interp_method", c_int, c_void_p, c_int, c_int)(synth.synth, -1, 7)
    return synth


def open_synth(soundfont: Path, sample_rate_hz: int, presets: Sequence[tuple[int, int]]) -> Any:
    """A FluidSynth that plays the first of the presets (bank, program) that a sound font has; `delete` closes it.

    Every voice has sounded once (see the module's docstring). Raises InputError when the sound font is unreadable or
    has none of the presets.
    """
    _check_soundfont(soundfont)
    synth = new_synth(sample_rate_hz)
    try:
        font = synth.sfload(str(soundfont))
        if font < 0:
            raise InputError(f"{soundfont}: FluidSynth cannot read this sound font")
        if not any(synth.program_select(0, font, bank, program) == 0 for bank, program in presets):
            bank, program = presets[0]
            raise InputError(f"{soundfont}: has no preset {program} in bank {bank}")
        scratch = np.zeros((2 * BLOCK, 2), np.float32)
        for pitch in range(128):
            synth.noteon(0, pitch, 100)
        fill(synth, scratch[:BLOCK])
        synth.all_sounds_off(0)
        fill(synth, scratch)
    except InputError:
        synth.delete()
        raise
    return synth


def render_events(synth: Any, events: deque[tuple[int, int, int]], first: int, stereo: np.ndarray) -> None:
    """Fill float32 [n, 2], whole blocks from block number `first` on, and take the events that fall into it.

    Events are (block, velocity or 0 for a release, pitch), sorted.
    """
    now = 0
    while events and events[0][0] - first < len(stereo) // BLOCK:
        block, velocity, pitch = events.popleft()
        fill(synth, stereo[now * BLOCK : (block - first) * BLOCK])
        now = block - first
        if velocity:
            synth.noteon(0, pitch, velocity)
        else:
            synth.noteoff(0, pitch)
    fill(synth, stereo[now * BLOCK :])


def fill(synth: Any, stereo: np.ndarray) -> None:
    """Fill float32 [n, 2] with the next n samples, left and right."""
    types = (c_int, c_void_p, c_int, c_void_p, c_int, c_int, c_void_p, c_int, c_int)
    buffer = stereo.ctypes.data
    _c_function("fluid_synth_write_float", *types)(synth.synth, len(stereo), buffer, 0, 2, buffer, 1, 2)
