"""The Python interface: the same as the commands, lazy, and documented by examples that run."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, Run, small_weights

import synthnet
import synthnet.api
from synthnet.audio.files import read_channels
from synthnet.corpus.corpus import Corpus
from synthnet.files import InputError
from synthnet.models.checkpoint import Checkpoint, save_checkpoint
from synthnet.score.controllers import Controls
from synthnet.score.midi import write_midi
from synthnet.score.notes import Note, Score, Track
from synthnet.training import settings

RATE_HZ = 8_000
SCORE = Score((Track((Note(60, 100, 0.0, 0.3), Note(64, 60, 0.2, 0.5)), 56), Track((Note(43, 90, 0.0, 0.4),), 42)))


def checkpoint(path: Path, name: str) -> Path:
    save_checkpoint(path, Checkpoint(SMALL, RATE_HZ, (name,), {}, small_weights()))
    return path


def test_importing_it_loads_no_more_than_needed() -> None:
    heavy = {"torch", "numba", "matplotlib"}
    for name, unwanted in [
        ("synthnet", heavy | {"numpy", "mido", "click", "soundfile"}),
        ("synthnet.api", heavy),
        ("synthnet.cli.render", heavy),  # so that its --help is quick
    ]:
        code = f"import {name}, sys; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert not unwanted & set(loaded.split()), name


def test_the_examples_of_the_documentation() -> None:
    for module in (synthnet, synthnet.api):
        assert doctest.testmod(module).failed == 0
    assert {name for name in synthnet.__all__ if not hasattr(synthnet, name)} == set()
    with pytest.raises(AttributeError):
        _ = synthnet.nothing


def test_an_instrument_plays_files_and_scores_as_render_does(run: Run, tmp_path: Path) -> None:
    write_midi(SCORE, tmp_path / "song.mid")
    file = checkpoint(tmp_path / "mine.safetensors", "kazoo")
    instrument = synthnet.load(file)
    assert instrument.name == "kazoo"
    audio = instrument.play(str(tmp_path / "song.mid"), sample_rate_hz=RATE_HZ, seed=2)
    assert audio.samples.dtype == np.float32
    assert audio.samples.shape[1:] == (2,)
    assert 0.01 < np.abs(audio.samples).max() <= 10 ** (-1 / 20)
    song = synthnet.read_score(tmp_path / "song.mid")
    mono = instrument.play(song, sample_rate_hz=RATE_HZ, seed=2, mono=True).samples
    np.testing.assert_allclose(mono, audio.samples.mean(axis=1), rtol=1e-5, atol=1e-6)
    assert np.array_equal(instrument.play(song, sample_rate_hz=RATE_HZ, seed=2).samples, audio.samples)
    assert not np.array_equal(instrument.play(song, sample_rate_hz=RATE_HZ, seed=3).samples, audio.samples)

    audio.save(tmp_path / "played.flac")
    rendering = synthnet.render(song, "mix.wav", instrument=file, sample_rate_hz=RATE_HZ, seed=2, stems="stems")
    assert rendering.n_samples == len(audio.samples)
    assert rendering.as_dict()["instruments"] == ("kazoo", "kazoo")
    step = 1 / 32_768  # of 16 bits
    np.testing.assert_allclose(read_channels(tmp_path / "played.flac")[0], audio.samples, atol=step)
    np.testing.assert_allclose(read_channels(tmp_path / "mix.wav")[0], audio.samples, atol=2 * step)  # dithered
    stems = [read_channels(tmp_path / "stems" / f"0{number}.wav")[0] for number in (0, 1)]
    np.testing.assert_allclose(sum(stems), audio.samples, atol=4 * step)
    result = run("render", "song.mid", "--checkpoint", file, "--rate", RATE_HZ, "--seed", 2, "-o", "command.wav")
    assert result.status == 0, result.err
    assert (tmp_path / "command.wav").read_bytes() == (tmp_path / "mix.wav").read_bytes()


def test_a_window_is_cut_from_the_whole_piece(tmp_path: Path) -> None:
    instrument = synthnet.load(checkpoint(tmp_path / "mine.safetensors", "kazoo"))
    part = instrument.play(SCORE, sample_rate_hz=RATE_HZ, start_s=0.1, duration_s=0.25)
    whole = instrument.play(SCORE, sample_rate_hz=RATE_HZ)
    assert len(part.samples) == 0.25 * RATE_HZ
    np.testing.assert_allclose(part.samples, whole.samples[800:2800], atol=1e-5)
    for window in ({"start_s": -1.0}, {"duration_s": 0.0}, {"start_s": 0.5}, {"start_s": float("nan")}):
        with pytest.raises(InputError, match="start"):
            instrument.play(SCORE, **window)


def test_each_track_is_played_by_its_program_or_as_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint(tmp_path / "runs" / "mine" / "best.safetensors", "kazoo")
    rendering = synthnet.render(SCORE, "a.wav", sample_rate_hz=RATE_HZ, duration_s=0.1)
    assert rendering.instruments == ("trumpet", "cello")
    rendering = synthnet.render(SCORE, "a.wav", instrument="1=kazoo", sample_rate_hz=RATE_HZ, duration_s=0.1)
    assert rendering.instruments == ("trumpet", "kazoo")
    assert synthnet.load("Kazoo").name == "kazoo"
    for call in (lambda: synthnet.load("harp"), lambda: synthnet.render(SCORE, "a.wav", instrument="harp")):
        with pytest.raises(InputError, match="no instrument 'harp'; there are: bass"):
            call()
    with pytest.raises(InputError, match=r"song\.mid"):
        synthnet.load("kazoo").play("song.mid")


def test_controllers_are_played(tmp_path: Path) -> None:
    instrument = synthnet.load(checkpoint(tmp_path / "mine.safetensors", "kazoo"))
    bent = Score((Track(SCORE.tracks[0].notes, controls=Controls(pitch=((0.1, 1.0),))),))
    plain, moved = (instrument.play(song, sample_rate_hz=RATE_HZ).samples for song in (Score(SCORE.tracks[:1]), bent))
    assert not np.allclose(plain, moved, atol=0.01)


def test_training_in_a_folder_of_ones_own(tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = SMALL, settings.training_config("harmonic", batch=1, n_predicted=9_000)
    monkeypatch.setattr(settings, "fresh_settings", lambda *asked: small)
    told: list[str] = []
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="a corpus of trumpet, not of oboe"):
        synthnet.Instrument.train("oboe", corpus=tiny_corpus.folder)
    trained = synthnet.Instrument.train("trumpet", 0.02, folder=folder, corpus=tiny_corpus.folder, report=told.append)
    assert trained.name == "trumpet"
    assert any("harmonic" in line for line in told)
    assert len(trained.play(SCORE, sample_rate_hz=RATE_HZ, duration_s=0.1).samples) == 800
    with pytest.raises(InputError, match="holds a run already"):
        synthnet.Instrument.train("trumpet", 0.02, folder=folder, corpus=tiny_corpus.folder)
