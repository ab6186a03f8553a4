"""The sound font that plays drums and effects: against plain FluidSynth, and who plays with and without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from conftest import SMALL, Run, fault, small_weights

from synthnet.corpus.teacher import BLOCK, fill, find_soundfont, new_synth
from synthnet.files import InputError
from synthnet.generation import soundfont as soundfont_module
from synthnet.generation.library import FontSeat, Library, Seat, read_file, read_library
from synthnet.generation.soundfont import play_soundfont, soundfont_for
from synthnet.models.checkpoint import Checkpoint, save_checkpoint
from synthnet.score.controllers import Controls
from synthnet.score.notes import Note, Score, Track

RATE = 44_100
HITS = tuple(Note(key, 100, 64 * 100 * n / RATE, 64 * (100 * n + 50) / RATE) for n, key in enumerate((36, 42, 38, 49)))
DRUMS = Track(HITS, 0, "kit", Controls(), True)
NOTE = (Note(60, 90, 0.0, 0.3),)


def played(track: Track, start: int, stop: int) -> np.ndarray:
    return np.concatenate(list(play_soundfont(find_soundfont(), track, range(start, stop), RATE)))


@pytest.mark.parametrize(("drums", "bank", "program"), [(True, 128, 0), (True, 128, 25), (False, 0, 122)])
def test_it_plays_as_fluidsynth_does(drums: bool, bank: int, program: int) -> None:
    """Straight calls of the library, in stereo; what its voices played before differs by little."""
    synth = new_synth(RATE)
    font = synth.sfload(str(find_soundfont()))
    assert synth.program_select(0, font, bank, program) == 0
    expected = np.zeros((BLOCK * 400, 2), np.float32)
    for block in range(0, 400, 50):
        note = HITS[block // 100]
        (synth.noteoff if block % 100 else synth.noteon)(0, note.pitch, *([] if block % 100 else [note.velocity]))
        fill(synth, expected[BLOCK * block : BLOCK * (block + 50)])
    synth.delete()
    made = played(replace(DRUMS, program=program, drums=drums), 0, len(expected))
    assert np.abs(expected).max() > 0.01
    assert np.linalg.norm(made - expected) < 0.15 * np.linalg.norm(expected)


def test_a_window_is_cut_from_the_whole_and_an_unknown_kit_is_the_standard_one() -> None:
    whole = played(DRUMS, 0, 60_000)
    assert whole.shape == (60_000, 2)
    np.testing.assert_allclose(played(DRUMS, 10_001, 59_999), whole[10_001:59_999], atol=1e-6)
    assert np.array_equal(played(replace(DRUMS, program=99), 0, 60_000), whole)
    assert np.abs(whole[:, 0] - whole[:, 1]).max() > 0.01  # stereo


@pytest.fixture
def own(tmp_path: Path) -> Library:
    file = tmp_path / "runs" / "own" / "best.safetensors"
    save_checkpoint(file, Checkpoint(SMALL, RATE, ("drum",), {"corpora": [{"program": 117}]}, small_weights()))
    return read_library(tmp_path / "runs")


def test_it_plays_drums_and_what_nobody_can_stand_for(own: Library) -> None:
    tracks = tuple(Track(NOTE, program) for program in (0, 114, 117, 118, 127))
    score = Score(tracks, drums=(DRUMS,))
    for font in (None, find_soundfont()):
        seats = own.assign(score, soundfont=font)
        names = [seat.voice.name if isinstance(seat, Seat) else None for seat in seats]
        assert names == ["piano", "piano", "drum", None, None, None]
        assert [isinstance(seat, FontSeat) for seat in seats[3:]] == [font is not None] * 3
    asked = own.assign(score, "3=cello", programs={127: "violin"}, soundfont=find_soundfont())
    assert [seat.voice.name for seat in asked if seat][3:] == ["cello", "violin", "sound font"]
    assert "as no instrument here plays drums" in asked[-1].voice.why
    file = own.find("drum").path
    assert [isinstance(seat, Seat) for seat in read_file(file).assign(score)] == [True] * 5 + [False]


def test_without_fluidsynth_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert soundfont_for(Score((Track(NOTE, 100),))) == (None, "")
    for score in (Score((), drums=(DRUMS,)), Score((Track(NOTE, 122),))):
        assert soundfont_for(score) == (find_soundfont(), "")

    def missing() -> str:
        raise InputError("FluidSynth: not installed")

    monkeypatch.setattr(soundfont_module, "fluidsynth_version", missing)
    assert soundfont_for(score) == (None, " (no sound font plays: FluidSynth: not installed)")


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """A melody on channel 1, an effect on 2 and drums on 10, these at the left; reverb for all."""
    midi = mido.MidiFile(type=1)
    for name, channel, program, pan in (("melody", 0, 56, 64), ("sea", 1, 122, 64), ("kit", 9, 0, 0)):
        track = midi.add_track(name)
        changes = [
            mido.Message("control_change", channel=channel, control=c, value=v) for c, v in ((10, pan), (91, 40))
        ]
        track.extend([mido.Message("program_change", channel=channel, program=program), *changes])
        for message, time in (("note_on", 0), ("note_off", 240)):
            track.append(mido.Message(message, channel=channel, note=40, velocity=100, time=time))
    midi.save(tmp_path / "song.mid")
    return tmp_path / "song.mid"


def test_render_with_and_without_drums(run: Run, song: Path, tmp_path: Path) -> None:
    whole = run("render", song, "--rate", 16_000, "-o", "whole.wav", "--stems", "stems")
    assert whole.status == 0, whole.err
    assert f"{song}: left out: 2 reverb changes" in whole.err
    assert "track 2, kit (1 note): sound font, as no instrument here plays drums [" in whole.err
    assert "track 1, sea (1 note): sound font, as no instrument here plays program 122, Seashore [" in whole.err
    kit, _ = soundfile.read("stems/02 kit.wav")
    assert np.abs(kit[:, 0]).max() > 0.01
    assert np.abs(kit[:, 1]).max() < 2 / 32_768  # it is at the left
    mix, melody, sea = (soundfile.read(name)[0] for name in ("whole.wav", "stems/00 melody.wav", "stems/01 sea.wav"))
    np.testing.assert_allclose(mix, melody + sea + kit, atol=8 / 32_768)
    off = run("render", song, "--rate", 16_000, "-o", "off.wav", "--stems", "off", "--drums", "off")
    assert f"{song}: left out: 1 effect note, 1 drum note, 2 reverb changes" in off.err
    assert [path.name for path in (tmp_path / "off").iterdir()] == ["00 melody.wav"]
    alone, _ = soundfile.read("off.wav")
    np.testing.assert_allclose(alone, melody[: len(alone)], atol=4 / 32_768)


def test_drums_alone(run: Run, song: Path, tmp_path: Path) -> None:
    midi = mido.MidiFile(song)
    del midi.tracks[:2]
    midi.save(tmp_path / "drums.mid")
    assert run("render", "drums.mid", "--rate", 16_000).status == 0
    assert np.abs(soundfile.read("drums.wav")[0]).max() > 0.01
    fault(run("render", "drums.mid", "--drums", "off"), "drums.mid: nobody plays it (left out: 1 drum note")
