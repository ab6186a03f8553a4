"""The teacher against plain FluidSynth, against sums of single notes, and against the piano roll."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from synthnet.corpus import teacher as teacher_module
from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.files import InputError
from synthnet.score.general_midi import INSTRUMENTS, MidiInstrument
from synthnet.score.notes import Note
from synthnet.score.roll import roll_events, to_samples

RATE_HZ = 16_000
SMALL_SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"


def make(program: int, rate_hz: int = RATE_HZ) -> Teacher:
    return Teacher(find_soundfont(), program, rate_hz)


def strikes(onsets_s: list[float], pitch: int = 60, length_s: float = 0.3) -> list[Note]:
    return [Note(pitch, 90, onset_s, onset_s + length_s) for onset_s in onsets_s]


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, as a share of the peak."""
    return float(np.abs(a - b).max() / np.abs(a).max())


@pytest.mark.parametrize(
    ("program", "rate_hz"),
    [*((instrument.program, RATE_HZ) for instrument in INSTRUMENTS), (56, 22_050), (1, 44_100)],
)
def test_each_strike_sounds_the_same_from_its_snapped_onset_on(program: int, rate_hz: int) -> None:
    teacher = make(program, rate_hz)
    rng = np.random.default_rng(program)
    # Two seconds and more apart, at times off every grid; other keys in between, so that voices change hands.
    onsets_s = np.cumsum(rng.uniform(2.0, 2.3, 40)).tolist()
    notes = [Note(60 if i % 2 else int(rng.integers(40, 80)), 90, on, on + 0.3) for i, on in enumerate(onsets_s)]
    audio = teacher.play(notes, onsets_s[-1] + 1.0)
    starts = [int(to_samples(note.start_s, rate_hz)) for note in teacher.snap(notes)[1::2]]
    before = 40
    windows = np.stack([audio[start - before : start + round(0.29 * rate_hz)] for start in starts])  # [20, n]
    assert np.corrcoef(windows).min() > 0.9999  # what is left is the release of older notes
    for window in windows[1:]:
        assert scipy.signal.correlate(window, windows[0]).argmax() == windows.shape[1] - 1  # lag 0


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda instrument: instrument.name)
def test_sound_begins_at_the_onset(instrument: MidiInstrument) -> None:
    onset = 1600 * 3  # 0.3 s
    audio = make(instrument.program).play(strikes([0.3]), 0.6)
    peak = np.abs(audio).max()
    assert np.abs(audio[: onset - 64]).max() < 1e-4 * peak
    assert np.abs(audio[: onset - 4]).max() < 0.02 * peak  # the resampling filter rings ahead of a jump
    assert np.flatnonzero(np.abs(audio) > 0.02 * peak)[0] < onset + 8 * 16


@pytest.mark.parametrize("program", [1, 9, 56, 80])
def test_audio_is_the_sum_of_its_notes(program: int) -> None:
    rng = np.random.default_rng(3)
    notes = []
    for pitch in range(48, 78, 3):  # each key keeps the gap of 5 ms; keys overlap as they like
        now_s = float(rng.uniform(0.0, 0.5))
        for _ in range(3):
            end_s = now_s + float(rng.uniform(0.02, 0.7))
            notes.append(Note(pitch, int(rng.integers(40, 120)), now_s, end_s))
            now_s = end_s + float(rng.uniform(0.01, 0.5))  # struck again while the release may still sound
    teacher = make(program)
    whole = teacher.play(notes, 3.0)
    alone = sum(teacher.play([note], 3.0).astype(np.float64) for note in notes)
    assert apart(whole, alone) < 1e-6


def test_a_shift_by_blocks_shifts_the_audio_by_whole_samples() -> None:
    teacher = make(56)
    notes = [Note(60, 90, 0.1, 0.4), Note(64, 70, 0.25, 0.6)]
    later = [Note(n.pitch, n.velocity, n.start_s + 0.137, n.end_s + 0.137) for n in notes]
    assert apart(teacher.play(notes, 1.0), teacher.play(later, 1.137)[round(0.137 * RATE_HZ) :]) < 1e-6


@pytest.mark.parametrize("program", [1, 56])  # the piano is stereo
def test_agrees_with_plain_fluidsynth_and_another_resampler(program: int) -> None:
    import fluidsynth

    teacher = make(program)
    notes = [Note(60, 90, 0.1, 0.4), Note(67, 80, 0.3, 0.7), Note(60, 100, 0.55, 0.9)]
    events = {100: (60, 90), 400: (60, 0), 300: (67, 80), 700: (67, 0), 550: (60, 100), 900: (60, 0)}  # by block
    options = {"synth.reverb.active": 0, "synth.chorus.active": 0}
    synth = fluidsynth.Synth(gain=1.0, samplerate=64_000, channels=16, **options)
    synth.program_select(0, synth.sfload(str(teacher.soundfont)), 0, program)
    blocks = []
    for block in range(1200):
        if block in events:
            pitch, velocity = events[block]
            synth.noteon(0, pitch, velocity) if velocity else synth.noteoff(0, pitch)
        blocks.append(synth.get_samples(64).reshape(64, 2).mean(axis=1) / 32768)
    synth.delete()
    plain = scipy.signal.resample_poly(np.concatenate(blocks), 1, 4, window=("kaiser", 12.0))
    audio = teacher.play(notes, 1.2)
    assert apart(plain, audio) < 0.02  # near 8 kHz the filters differ
    assert np.corrcoef(plain, audio)[0, 1] > 0.9999
    assert scipy.signal.correlate(audio, plain).argmax() == len(audio) - 1


def test_short_notes_are_released_when_the_roll_says() -> None:
    teacher = make(80)
    one, two = (teacher.play([Note(60, 90, 0.1, 0.1 + length_s)], 0.3) for length_s in (0.002, 0.009))
    until = round(0.102 * RATE_HZ) - 16
    assert apart(one[:until], two[:until]) < 1e-3  # the resampling filter looks ahead
    assert apart(two, one) > 0.1


def test_overlapping_notes_of_a_key_sound_as_the_roll_has_them() -> None:
    teacher = make(56)
    overlapping = [Note(60, 90, 0.1, 0.9), Note(60, 90, 0.5, 0.7), Note(60, 60, 0.5, 0.6)]
    roll = roll_events(teacher.snap(overlapping), RATE_HZ)
    np.testing.assert_array_equal(roll.onset, [1600, 8000])
    np.testing.assert_array_equal(roll.release, [7920, 14400])
    by_hand = [Note(60, 90, 0.1, 0.495), Note(60, 90, 0.5, 0.9)]
    np.testing.assert_array_equal(teacher.play(overlapping, 1.2), teacher.play(by_hand, 1.2))


def test_velocity_is_heard() -> None:
    teacher = make(56)
    soft, loud = (teacher.play([Note(60, velocity, 0.1, 0.5)], 0.6) for velocity in (50, 100))
    assert np.abs(loud).max() > 2 * np.abs(soft).max()


@settings(deadline=None)
@given(
    rate_hz=st.sampled_from([8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]),
    times=st.lists(st.tuples(st.floats(0, 600), st.floats(0, 5)), max_size=8),
)
def test_snap_moves_to_the_nearest_block(rate_hz: int, times: list[tuple[float, float]]) -> None:
    teacher = Teacher(Path("unused.sf2"), 0, rate_hz)
    notes = [Note(60, 80, start_s, start_s + length_s) for start_s, length_s in times]
    snapped = teacher.snap(notes)
    step = 64 // teacher.oversampling
    for note, moved in zip(notes, snapped, strict=True):
        start, end = to_samples(moved.start_s, rate_hz), to_samples(moved.end_s, rate_hz)
        assert start % step == end % step == 0
        assert end - start >= step
        assert abs(moved.start_s - note.start_s) <= step / rate_hz * 0.500001
        if end - start > step:
            assert abs(moved.end_s - note.end_s) <= step / rate_hz * 0.500001
    assert teacher.snap(snapped) == snapped


@pytest.mark.parametrize(
    ("rate_hz", "oversampling"),
    [(2_000, 4), (16_000, 4), (24_000, 4), (24_001, 2), (44_100, 2), (48_000, 2), (48_001, 1), (96_000, 1)],
)
def test_oversampling_stays_within_96_khz(rate_hz: int, oversampling: int) -> None:
    assert Teacher(Path("unused.sf2"), 0, rate_hz).oversampling == oversampling


@pytest.mark.parametrize("rate_hz", [1_999, 96_001])
def test_out_of_reach(rate_hz: int) -> None:
    with pytest.raises(InputError, match="sample rate"):
        Teacher(Path("unused.sf2"), 0, rate_hz)


@pytest.mark.parametrize("program", [-1, 128])
def test_no_such_program(program: int) -> None:
    with pytest.raises(InputError, match=f"no preset {program} "):
        make(program).play([], 0.1)


@pytest.mark.parametrize("duration_s", [0.0, 0.2501, 1.00003])
def test_length_and_cut(duration_s: float) -> None:
    notes = strikes([0.1, 0.9])
    audio = make(1).play(notes, duration_s)
    assert audio.dtype == np.float32
    assert len(audio) == round(duration_s * RATE_HZ)
    n = max(len(audio) - 200, 0)  # the filter's reach
    np.testing.assert_allclose(audio[:n], make(1).play(notes, 2.0)[:n], atol=1e-6)


def test_no_notes_is_silence() -> None:
    np.testing.assert_array_equal(make(56).play([], 0.5), np.zeros(8_000, np.float32))


# ----------------------------------------------------------------------------- sound fonts and errors


def test_soundfont_is_fluidr3_then_the_small_one_then_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(teacher_module, "FLUIDR3", tmp_path / "FluidR3_GM.sf2")
    assert find_soundfont() == SMALL_SOUNDFONT
    (tmp_path / "FluidR3_GM.sf2").write_bytes(b"")
    assert find_soundfont() == tmp_path / "FluidR3_GM.sf2"
    (tmp_path / "FluidR3_GM.sf2").unlink()
    monkeypatch.setattr(teacher_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="fluid-soundfont-gm"):
        find_soundfont()


def broken_soundfonts(folder: Path) -> dict[str, Path]:
    whole = SMALL_SOUNDFONT.read_bytes()
    contents = {
        "cut short": whole[:100_000],
        "not a SoundFont 2": b"RIFF\x10\0\0\0WAVEfmt ",
        "cannot read": whole[:12].replace(whole[4:8], struct.pack("<I", 8)) + b"LIST" + b"\0" * 4,
    }
    paths = {}
    for error, content in contents.items():
        paths[error] = folder / f"{error}.sf2"
        paths[error].write_bytes(content)
    paths["No such file"] = folder / "missing.sf2"
    paths["Is a directory"] = folder
    return paths


def test_faulty_soundfonts_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for error, path in broken_soundfonts(tmp_path).items():
        if error != "cannot read":
            with pytest.raises(InputError, match=error) as caught:
                find_soundfont(path)
            assert str(caught.value).startswith(f"{path}: ")
        with pytest.raises(InputError, match=error):
            Teacher(path, 56, RATE_HZ).play(strikes([0.1]), 0.2)
    assert find_soundfont(SMALL_SOUNDFONT) == SMALL_SOUNDFONT
    assert "fluidsynth:" not in capfd.readouterr().err


def test_missing_preset_is_named(tmp_path: Path) -> None:
    content = bytearray(SMALL_SOUNDFONT.read_bytes())
    first = content.index(b"phdr") + 8
    for at in range(first, first + struct.unpack_from("<I", content, first - 4)[0], 38):  # preset headers
        if struct.unpack_from("<HH", content, at + 20) == (56, 0):
            struct.pack_into("<H", content, at + 22, 99)  # to bank 99
    path = tmp_path / "no_trumpet.sf2"
    path.write_bytes(content)
    assert np.abs(Teacher(path, 1, RATE_HZ).play(strikes([0.1]), 0.2)).max() > 0.01
    with pytest.raises(InputError, match="no preset 56 in bank 0"):
        Teacher(path, 56, RATE_HZ).play(strikes([0.1]), 0.2)


def test_without_fluidsynth_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    teacher_module._fluidsynth.cache_clear()
    with pytest.raises(InputError, match=r"libfluidsynth3.*pyfluidsynth"):
        make(56).play([], 0.1)


def test_nothing_is_printed() -> None:
    """In a fresh process: FluidSynth and pyfluidsynth speak up when they are loaded."""
    code = (
        "from pathlib import Path; from synthnet.corpus.teacher import *; from synthnet.score.notes import Note;"
        "Teacher(find_soundfont(), 56, 16000).play([Note(60, 90, 0.0, 0.1)], 0.2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "CI": "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == done.stderr == ""
