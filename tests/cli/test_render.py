"""`synthnet render` as a person runs it: what it writes, who plays, and one line for every error."""

from __future__ import annotations

import io
import os
import random
import re
import sys
from functools import partial
from pathlib import Path

import mido
import numpy as np
import pyloudnorm
import pytest
import soundfile
from conftest import SMALL, Run, fault, small_weights
from fuzz import damaged_bytes

from synthnet.audio.files import read_audio
from synthnet.generation.library import read_library
from synthnet.models.checkpoint import Checkpoint, save_checkpoint
from synthnet.score.midi import read_score, write_midi
from synthnet.score.notes import Note, Score, Track

RATE = 16_000


@pytest.fixture
def harmonic(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "kazoo.safetensors", Checkpoint(SMALL, RATE, ("kazoo",), {}, small_weights()))
    return tmp_path / "kazoo.safetensors"


def test_render_takes_the_shipped_unless_an_own_one_is_named(
    run: Run, song: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "trumpet.safetensors").write_bytes(network.read_bytes())
    monkeypatch.setattr("synthnet.cli.render.read_library", partial(read_library, shipped=shipped))
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "last.safetensors").write_bytes(network.read_bytes())
    result = run("render", song, "--duration", 0.1)
    assert result.status == 0, result.err
    assert "track 0, melody (2 notes): trumpet, its program 56 [shipped]" in result.err
    result = run("render", song, "--duration", 0.1, "--instrument", "trumpet")
    assert "track 0, melody (2 notes): trumpet, as asked [runs/mine/last.safetensors]" in result.err
    (folder / "best.safetensors").write_bytes(network.read_bytes())
    result = run("render", song, "--duration", 0.1, "--instrument", "1=trumpet")
    assert "track 0, melody (2 notes): trumpet, its program 56 [shipped]" in result.err
    assert "track 1, bass (1 note): trumpet, as asked [runs/mine/best.safetensors]" in result.err


def test_notes_that_an_instrument_never_heard_are_told(run: Run, tmp_path: Path) -> None:
    notes = tuple(Note(key, 90, n / 10, n / 10 + 0.1) for n, key in enumerate((30, 55, 100, 101)))
    write_midi(Score((Track(notes, 40),)), tmp_path / "wide.mid")
    told = run("render", tmp_path / "wide.mid", "-o", "wide.wav").err
    assert "track 0 (4 notes, 2 beyond the keys 36 to 100 that it learned): violin" in told


def test_render_options(run: Run, song: Path, network: Path, tmp_path: Path) -> None:
    def audio(*options: object) -> np.ndarray:
        result = run("render", song, "--checkpoint", network, "-o", "o.wav", "--duration", 0.1, *options)
        assert result.status == 0, result.err
        return read_audio(tmp_path / "o.wav").samples

    drawn = audio("--output", "sample")
    assert np.array_equal(drawn, audio("--output", "sample"))
    assert not np.array_equal(drawn, audio("--output", "sample", "--seed", 1))
    mean = audio("--output", "mean")
    assert np.std(mean) < np.std(drawn)
    assert np.array_equal(mean, audio())
    audio("--stems", "stems")
    assert [path.name for path in sorted((tmp_path / "stems").iterdir())] == ["00 melody.wav", "01 bass.wav"]
    whole = run("render", song, "--checkpoint", network, "-o", "o.flac")
    assert len(read_audio(tmp_path / "o.flac").samples) == round((0.1 + 0.5) * 44_100)
    assert "track 0, melody (2 notes): trumpet, its program 56" in whole.err


def test_render_reports_the_controls_that_a_network_does_not_hear(run: Run, network: Path, tmp_path: Path) -> None:
    midi = mido.MidiFile(type=0)
    midi.add_track().extend(
        [
            mido.Message("control_change", control=1, value=64),
            mido.Message("note_on", note=60, velocity=90),
            mido.Message("pitchwheel", pitch=4096, time=20),
            mido.Message("pitchwheel", time=20),
            mido.Message("note_off", note=60, time=20),
        ]
    )
    midi.save(tmp_path / "bends.mid")
    result = run("render", tmp_path / "bends.mid", "--checkpoint", network, "-o", "o.wav")
    assert result.status == 0, result.err
    assert f"{tmp_path / 'bends.mid'}: left out: 1 pitch bend, 1 modulation change" in result.err.splitlines()


def test_render_counts_the_velocities_that_a_network_does_not_play(
    run: Run, network: Path, harmonic: Path, tmp_path: Path
) -> None:
    for velocities, line in (((80, 81, 81), "left out: velocities of 3 notes"), ((80, 80, 80), "")):
        notes = [Note(60 + n, velocity, 0.0, 0.1) for n, velocity in enumerate(velocities)]
        write_midi(Score((Track(tuple(notes)),)), tmp_path / "soft.mid")
        for file in (network, harmonic):
            told = run("render", "soft.mid", "--checkpoint", file, "-o", "o.wav").err
            assert ("left out" in told) == bool(line and file == network)
            assert line in told or file == harmonic


def test_a_window_has_the_tracks_numbers_and_sound_of_the_whole_song(run: Run, harmonic: Path, tmp_path: Path) -> None:
    early, late = Track((Note(60, 90, 0.0, 1.0),), 0, "early"), Track((Note(48, 90, 61.0, 63.0),), 0, "late/Bass?")
    write_midi(Score((early, late)), tmp_path / "song.mid")
    render = ["render", "song.mid", "--checkpoint", harmonic, "--rate", RATE, "--instrument", "1=kazoo", "-o"]
    assert run(*render, "whole.wav").status == 0
    result = run(*render, "part.wav", "--start", "1:01.5", "--duration", "0:00.25", "--stems", "stems")
    assert "track 1, late/Bass? (1 note): kazoo, as asked" in result.err
    whole, part = (read_audio(tmp_path / name).samples for name in ("whole.wav", "part.wav"))
    at = round(61.5 * RATE)
    np.testing.assert_allclose(part, whole[at : at + RATE // 4], atol=3.5 / 32_768)  # both dithered
    assert sorted(os.listdir(tmp_path / "stems")) == ["00 early.wav", "01 late Bass.wav"]
    assert np.abs(read_audio(tmp_path / "stems" / "00 early.wav").samples).max() < 2 / 32_768
    assert run(*render, "same.wav", "--start", "61.5", "--duration", 0.25).status == 0
    assert (tmp_path / "same.wav").read_bytes() == (tmp_path / "part.wav").read_bytes()
    fault(run(*render, "o.wav", "--start", 20, "--duration", 5), "song.mid", "no notes between 20 s and 25 s")
    fault(run(*render, "o.wav", "--start", "1:75"), "--start", "1:75")


def test_loud_songs_stay_below_full_scale_in_every_format(run: Run, harmonic: Path, tmp_path: Path) -> None:
    chord = Track(tuple(Note(40 + 2 * n, 127, 0.0, 1.0) for n in range(24)))
    write_midi(Score((chord,)), tmp_path / "loud.mid")
    render = ["render", "loud.mid", "--checkpoint", harmonic, "--rate", 48_000, "--stems", "stems", "-o"]
    for name in ("a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"):
        result = run(*render, name)
        assert re.search(r"true peak -1\.\d dBFS: the mix was turned down by", result.err), result.err
        for file in (tmp_path / name, tmp_path / "stems" / f"00{Path(name).suffix}"):
            assert 0.8 < np.abs(soundfile.read(file)[0]).max() <= 10 ** (-1 / 20)
    for bits, subtype in (("16", "PCM_16"), ("24", "PCM_24"), ("float", "FLOAT")):
        assert run(*render, "a.wav", "--bits", bits).status == 0
        assert soundfile.info(tmp_path / "a.wav").subtype == subtype
    fault(run(*render, "a.flac", "--bits", "float"), "a.flac", "float")
    fault(run(*render[:5], 44_100, "-o", "a.opus"), "a.opus", "44100")


def test_files_are_not_overwritten_by_mistake(run: Run, harmonic: Path, song: Path, tmp_path: Path) -> None:
    render = ["render", "--checkpoint", harmonic, "--duration", 0.1, "--rate", RATE]
    (tmp_path / "take.wav").write_bytes(song.read_bytes())
    os.link(tmp_path / "take.wav", tmp_path / "hard.wav")
    (tmp_path / "soft.wav").symlink_to("take.wav")
    for out in ([], ["-o", "hard.wav"], ["-o", "soft.wav"], ["--force", "-o", "take.wav"]):
        fault(run(*render, "take.wav", *out), out[-1] if out else "take.wav", "is the song itself")
    soundfile.write(tmp_path / "mine.wav", np.zeros(10), RATE)
    (tmp_path / "stems").mkdir()
    (tmp_path / "stems" / "01 bass.wav").write_text("mine")
    before = (tmp_path / "mine.wav").read_bytes()
    for options, name in ((("-o", "mine.wav"), "mine.wav"), (("-o", "o.wav", "--stems", "stems"), "01 bass.wav")):
        result = run(*render, song, *options)
        fault(result, name, "--force")
        assert len(result.err.splitlines()) == 1  # before who plays is told
    assert (tmp_path / "mine.wav").read_bytes() == before
    assert (tmp_path / "stems" / "01 bass.wav").read_text() == "mine"
    fault(run(*render, song, "-o", "s/00 melody.wav", "--stems", "s"), "00 melody.wav", "written twice")
    assert not (tmp_path / "s").exists()
    for _ in range(2):  # the second time it is our own
        assert run(*render, song, "-o", "mine.wav", "--stems", "stems", "--force").status == 0
    assert run(*render, song, "-o", "mine.wav", "--stems", "stems").status == 0
    assert not list(tmp_path.rglob("*part*"))


def test_what_a_wav_file_cannot_hold_is_refused_before_work(run: Run, harmonic: Path, tmp_path: Path) -> None:
    write_midi(Score((Track((Note(60, 90, 0.0, 0.1), Note(60, 90, 86_000.0, 86_000.1))),)), tmp_path / "day.mid")
    render = ["render", "day.mid", "--checkpoint", harmonic, "--mono", "-o"]
    fault(run(*render, "day.wav"), "day.wav: 7.1 GiB", ".flac")
    fault(run("render", "day.mid", "--checkpoint", harmonic), "day.wav: 14.1 GiB")
    fault(run(*render, "day.wav", "--rate", 16_000, "--bits", "float"), "day.wav: 5.1 GiB")
    assert sorted(os.listdir(tmp_path)) == ["day.mid", "kazoo.safetensors"]


def test_several_songs_go_on_after_an_error(run: Run, harmonic: Path, song: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mid").write_text("not MIDI")
    (tmp_path / "last.mid").write_bytes(song.read_bytes())
    render = ["render", "--checkpoint", harmonic, "--duration", 0.1, "--rate", RATE, "--out-dir", "out"]
    result = run(*render, song, "bad.mid", "missing.mid", "last.mid", "--stems", "stems")
    assert result.status == 2
    assert [line.split(":")[1] for line in result.err.splitlines() if line.startswith("synthnet: ")] == [
        " bad.mid",
        " missing.mid",
    ]
    assert sorted(os.listdir(tmp_path / "out")) == ["last.wav", "song.wav"]
    assert sorted(os.listdir(tmp_path / "stems" / "last")) == ["00 melody.wav", "01 bass.wav"]
    assert run(*render, song, "last.mid").status == 0
    fault(run(*render, song, "last.mid", "-o", "o.wav"), "-o names one file")
    (tmp_path / "other").mkdir()
    fault(run(*render, song, tmp_path / "other" / "song.mid"), "song.wav", "other", "one name")


def test_standard_input_and_any_name(
    run: Run, harmonic: Path, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = ["render", "--checkpoint", harmonic, "--duration", 0.1, "--rate", RATE]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(song.read_bytes())))
    assert run(*render, "-").status == 0
    (tmp_path / "\udce9tude.mid").write_bytes(song.read_bytes())
    result = run(*render, "\udce9tude.mid", "--stems", "st\udce9ms")
    assert result.status == 0, result.err
    assert (tmp_path / "\udce9tude.wav").read_bytes() == (tmp_path / "out.wav").read_bytes()
    assert run(*render, "\udce9tude.mid", "-o", "\udce9tude.ogg").status == 0


def test_tracks_of_a_song_are_played_by_different_instruments(run: Run, song: Path, many: Path, tmp_path: Path) -> None:
    def stems(path: Path, *options: object) -> tuple[list[np.ndarray], list[str]]:
        """Each track's audio, and the line that was printed for it."""
        folder = tmp_path / "stems" / "-".join(map(str, (path.stem, *options)))
        result = run("render", path, "--checkpoint", many, "--duration", 0.1, "--stems", folder, *options)
        assert result.status == 0, result.err
        lines = [
            line.strip().removesuffix(f" [{many}]") for line in result.err.splitlines() if line.startswith("  track ")
        ]
        return [read_audio(name).samples for name in sorted(folder.iterdir())], lines

    # A track's random numbers are those of its number: only the instrument can tell two stems of one track apart.
    cello, lines = stems(song, "--instrument", "cello")
    assert lines == ["track 0, melody (2 notes): cello, as asked", "track 1, bass (1 note): cello, as asked"]
    trumpet, _ = stems(song, "--instrument", "trumpet")
    assert not np.array_equal(cello[0], trumpet[0])
    assert not np.array_equal(cello[1], trumpet[1])
    both, lines = stems(song, "--instrument", "0=Cello,1=trumpet")
    assert lines == ["track 0, melody (2 notes): cello, as asked", "track 1, bass (1 note): trumpet, as asked"]
    assert np.array_equal(both[0], cello[0])
    assert np.array_equal(both[1], trumpet[1])
    by_program, lines = stems(song)
    assert lines == [
        "track 0, melody (2 notes): trumpet, its program 56",
        "track 1, bass (1 note): cello, its program 42",
    ]
    assert np.array_equal(by_program[0], trumpet[0])
    assert np.array_equal(by_program[1], cello[1])
    # A mixture is neither of its parts; the track that is not named goes by its program.
    mixed, lines = stems(song, "--instrument", "0=cello:0.5+trumpet:0.5")
    assert lines == [
        "track 0, melody (2 notes): cello:0.5+trumpet:0.5, as asked",
        "track 1, bass (1 note): cello, its program 42",
    ]
    assert not any(np.array_equal(mixed[0], part[0]) for part in (cello, trumpet))
    assert np.array_equal(mixed[1], cello[1])
    # The melody by itself, and nameless, is the same audio as in company.
    alone = tmp_path / "alone.mid"
    write_midi(Score((Track(read_score(song).tracks[0].notes, 99),)), alone)
    (melody,), lines = stems(alone, "--instrument", "cello")
    assert lines == ["track 0 (2 notes): cello, as asked"]
    np.testing.assert_allclose(melody, cello[0], atol=1.5 / 32_768)


def test_errors_of_the_choice_of_instruments(run: Run, song: Path, network: Path, many: Path, tmp_path: Path) -> None:
    render = ["render", song, "-o", "o.wav", "--checkpoint"]
    fault(run(*render, many, "--instrument", "2=cello"), "'2'", "2 tracks, 0 to 1")
    fault(run(*render, many, "--instrument", "cello,1=trumpet"), "'cello' has no track number", "0=cello,1=trumpet")
    fault(run(*render, many, "--instrument", "cello:nan"), "'cello:nan' is not NAME:WEIGHT")
    fault(run(*render, many, "--instrument", ""), "name is missing", "flute, cello, trumpet")
    fault(run(*render, network, "--instrument", "trumpet:1"), "one network of several")
    fault(run(*render, network, "--instrument", "0=horn"), "no instrument 'horn'", "there are: trumpet")
    assert not (tmp_path / "o.wav").exists()
    assert "track 0, melody (2 notes): trumpet, as asked" in run(*render, network, "--instrument", "0=trumpet").err


def test_programs_go_where_the_map_says(run: Run, song: Path) -> None:
    render = ["render", song, "--duration", 0.05, "--rate", RATE, "-o", "o.wav"]
    for words in (["--map", "56=flute,42=violin"], ["--map", "56=flute", "--map", "42=violin", "--map", "7=organ"]):
        told = run(*render, *words).err
        assert "track 0, melody (2 notes): flute, as asked [shipped]" in told
        assert "track 1, bass (1 note): violin, as asked [shipped]" in told
    told = run(*render, "--map", "56=flute,42=violin", "--instrument", "1=bass").err
    assert "(2 notes): flute, as asked" in told
    assert "(1 note): bass, as asked" in told
    for words in ("flute", "128=flute", "x=flute", "56=flute,"):
        fault(run(*render, "--map", words), "--map", "PROGRAM=NAME")
    fault(run(*render, "--map", "56=flute", "--map", "56=organ"), "program 56 is named twice")
    fault(run(*render, "--map", "99=kazoo"), "no instrument 'kazoo'")


def test_channels_and_loudness(run: Run, harmonic: Path, tmp_path: Path) -> None:
    write_midi(Score((Track((Note(60, 90, 0.0, 2.0),)),)), tmp_path / "song.mid")
    render = ["render", "song.mid", "--checkpoint", harmonic, "--rate", RATE, "-o", "o.wav"]
    told = run(*render, "--normalise", "lufs:-20").err
    assert re.search(r"true peak -\d+\.\d dBFS, -20\.0 LUFS\n", told)
    stereo, _ = soundfile.read("o.wav")
    assert stereo.shape == (len(stereo), 2)
    assert pyloudnorm.Meter(RATE).integrated_loudness(stereo) == pytest.approx(-20, abs=0.1)
    assert "LUFS instead of -1: louder would exceed -1 dBFS" in run(*render, "--normalise", "lufs:-1", "--mono").err
    assert soundfile.read("o.wav")[0].ndim == 1
    for words in ("-16", "lufs:16", "lufs:", "rms:-16", "lufs:nan"):
        fault(run(*render, "--normalise", words), "--normalise", "lufs:-16")


def test_errors_of_options(run: Run, song: Path, network: Path) -> None:
    render = ["render", song, "--checkpoint", network]
    fault(run(*render, "--instrument", "harp"), "harp", "trumpet")
    for option in ("--duration", "--start"):
        for value in ("-1", "nan", "inf"):
            fault(run(*render, option, value), option, value)
    fault(run(*render, "--start", 100), str(song), "beyond the end")
    fault(run(*render, "-o", "out.mp4"), "out.mp4", ".wav, .flac, .ogg, .opus or .mp3")
    for words in (["missing.mid", "-o", "o.mp4"], ["missing.mid", "-o", "o.ogg", "--bits", 24]):
        fault(run("render", *words), words[2])  # before the song is read
    fault(run(*render, "--temperature", 0), "--temperature")
    fault(run(*render, "--seed", -1), "seed")
    for chunks in ("some", "0", "1001", "-1"):
        fault(run(*render, "--chunks", chunks), "--chunks", "auto, off or a number")
    for option, value in {"output": "mean", "temperature": 1, "engine": "auto", "chunks": "off"}.items():
        fault(run("render", song, "--instrument", "trumpet", f"--{option}", value), f"--{option} is for the paper's")


def test_errors_of_files(run: Run, network: Path, song: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mid").touch()
    (tmp_path / "text.mid").write_text("not MIDI")
    (tmp_path / "cut.mid").write_bytes(song.read_bytes()[:40])
    write_midi(Score(()), tmp_path / "silent.mid")
    for name in ("empty.mid", "text.mid", "cut.mid", "silent.mid", "missing.mid", ""):
        fault(run("render", tmp_path / name, "--checkpoint", network), str(tmp_path / name))
    for folder in (".", "..", "/"):
        fault(run("render", folder), f"{folder}: Is a directory")
    assert not list(tmp_path.glob("*.wav"))
    fault(run("render", song, "--checkpoint", tmp_path), "a folder, not a checkpoint")
    fault(run("render", song, "--checkpoint", network, "-o", tmp_path), str(tmp_path))


def test_a_full_disk_is_one_line(run: Run, song: Path, network: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        result = run("render", song, "--checkpoint", network, "-o", "big.wav")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    fault(result, "big")
    assert not (tmp_path / "big.wav").exists()


def test_mutated_midi_files_render_or_are_refused(run: Run, song: Path, network: Path, tmp_path: Path) -> None:
    rng, outcomes = random.Random(0), set()
    original = song.read_bytes()
    for number in range(200):
        song.write_bytes(damaged_bytes(original, rng))
        result = run("render", song, "--checkpoint", network, "--duration", 0.002, "-o", "o.wav")
        outcomes.add(result.status)
        if result.status:
            fault(result, str(song))
            assert not (tmp_path / "o.wav").exists(), number
        else:
            assert len(read_audio(tmp_path / "o.wav").samples) == 88  # 2 ms at 44.1 kHz
        (tmp_path / "o.wav").unlink(missing_ok=True)
        assert not list(tmp_path.glob("*part*")), number
    assert outcomes == {0, 2}
