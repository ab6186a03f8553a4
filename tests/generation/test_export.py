"""Exported instruments: SFZ folders sound in sfizz as in the player; ONNX files compute what the network does."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soxr
from conftest import SMALL, Run, contents, fault, small_weights

from synthnet.audio.files import encode, write_audio
from synthnet.files import InputError
from synthnet.generation.export_onnx import export_onnx
from synthnet.generation.export_sfz import LAYERS, RATE_HZ, SampledInstrument, export_sfz, find_loop, looped
from synthnet.generation.harmonic import HarmonicPlayer
from synthnet.generation.library import Seat
from synthnet.kernels.voices import Breakpoints
from synthnet.models.checkpoint import Checkpoint, Voice, save_checkpoint
from synthnet.models.envelopes import Notes
from synthnet.score.roll import RollEvents

ROOT = Path(__file__).parents[2]


def checkpoint(fall: float = 0.0) -> Checkpoint:
    """A tiny instrument of keys 60 to 65, whose log amplitudes fall by three times `fall` a second."""
    weights = small_weights()
    weights["slopes.weight"][:, 2], weights["fall.weight"][:] = 0, fall
    weights["nearest"] = np.clip(np.arange(128), 60, 65).astype(np.int32)
    return Checkpoint(SMALL, RATE_HZ, ("kazoo",), {"corpora": [{"gain": 0.5}]}, weights)


def seat(fall: float = 0.0) -> Seat:
    return Seat(checkpoint(fall), Voice("kazoo", None))


@pytest.fixture
def play_sfz(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import sfz_round_trip

    def play(path: Path, key: int, velocity: int, held_s: float, length_s: float) -> np.ndarray:
        key, velocity, onset, release = (np.array([value]) for value in (key, velocity, 0, round(held_s * RATE_HZ)))
        return sfz_round_trip.play_sfz(
            path, RollEvents(key, onset, release, velocity, RATE_HZ), round(length_s * RATE_HZ)
        )

    yield play
    sys.modules.pop("sfz_round_trip")


def decibels(x: np.ndarray) -> np.ndarray:
    """RMS in each 50 ms."""
    return 10 * np.log10(np.mean(x[: len(x) // 2205 * 2205].reshape(-1, 2205) ** 2, axis=1) + 1e-12)


@pytest.mark.parametrize("fall", [0.0, -0.3])
def test_sampler_plays_the_folder_as_the_player_does(fall: float, tmp_path: Path, play_sfz) -> None:
    sampled = SampledInstrument(seat(fall))
    assert sampled.sustains == (fall == 0)
    export_sfz(sampled, tmp_path / "out", "nobody's")
    path = tmp_path / "out" / "kazoo.sfz"
    gain = None  # sfizz's own
    for velocity in (*reversed(LAYERS), 100, 60, 12):
        theirs, mine = play_sfz(path, 61, velocity, 1.0, 1.5), sampled.play(61, velocity, 1.0, 1.5)
        gain = gain or np.linalg.norm(theirs[:RATE_HZ]) / np.linalg.norm(mine[:RATE_HZ])
        difference = decibels(theirs) - decibels(mine * gain)
        assert np.abs(difference[:20]).max() < (0.1 if velocity in LAYERS else 1.5), velocity
        loud = decibels(mine)[20:] > decibels(mine)[19] - 30
        assert np.abs(difference[20:][loud]).max() < 3  # the release
        alike = theirs[1:8001] @ mine[:8000] / np.linalg.norm(theirs[1:8001]) / np.linalg.norm(mine[:8000])
        assert alike > (0.998 if velocity >= 24 else 0.99)
    long, short = play_sfz(path, 61, 127, 9.0, 9.0), sampled.play(61, 127, 9.0, 9.0) * gain
    difference = decibels(long) - decibels(short)
    assert np.abs(difference[decibels(short) > decibels(short).max() - 60]).max() < 1  # the loop begins again twice
    theirs = play_sfz(path, 62, 127, 1.0, 1.0)[1:8001]
    mine = soxr.resample(sampled.play(61, 127, 1.0, 1.0), 2 ** (1 / 12), 1.0, "VHQ")[:8000]  # the key beside
    assert theirs @ mine / np.linalg.norm(theirs) / np.linalg.norm(mine) > 0.99


def test_loop_joins_its_ends() -> None:
    time_s = np.arange(round(4.5 * RATE_HZ)) / RATE_HZ
    sine = (np.exp(-0.1 * time_s) * np.sin(2 * np.pi * 220.3 * time_s)).astype(np.float32)
    start, end = find_loop(sine)
    x = looped(sine, start, end)
    assert np.array_equal(x[:start], sine[:start])
    assert np.array_equal(x[end:], x[start : start + len(x) - end])
    tiled = np.tile(x[start:end], 3)
    assert np.abs(decibels(tiled) - decibels(tiled)[0]).max() < 0.3
    # A sine of one frequency obeys x(n + 1) + x(n - 1) = 2 cos(w) x(n).
    w = 2 * np.pi * 220.3 / RATE_HZ
    assert np.abs(tiled[2:] + tiled[:-2] - 2 * np.cos(w) * tiled[1:-1]).max() < 0.01 * w * np.abs(tiled).max()


def test_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    sampled, folder = SampledInstrument(seat()), tmp_path / "out"

    def break_off(n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_sfz(sampled, folder, "", progress=break_off)
    assert not list(tmp_path.iterdir())
    export_sfz(sampled, folder, "nobody's")
    before = contents(folder)
    assert len(before) == 1 + 2 * len(LAYERS)
    with pytest.raises(KeyboardInterrupt):
        export_sfz(sampled, folder, "", progress=break_off)
    assert contents(folder) == before
    export_sfz(sampled, folder, "nobody's")  # its own may be replaced
    assert contents(folder) == before
    write_audio(folder / "samples" / "mine.wav", np.zeros(100), 8_000)
    with pytest.raises(InputError, match=r"mine\.wav: not of an SFZ instrument"):
        export_sfz(sampled, folder, "")
    export_sfz(sampled, folder, "nobody's", force=True)
    assert contents(folder).items() > before.items()
    assert (folder / "samples" / "mine.wav").is_file()
    assert list(tmp_path.iterdir()) == [folder]
    (tmp_path / "songs").mkdir()
    encode(tmp_path / "songs" / "song.wav", [np.zeros(100, np.float32)], 8_000)  # as render does
    with pytest.raises(InputError, match=r"song\.wav: not of an SFZ instrument"):
        export_sfz(sampled, tmp_path / "songs", "")
    assert (tmp_path / "songs" / "song.wav").is_file()


@pytest.mark.parametrize("operations", [1, 12])  # of 9 files removed and 9 moved
def test_an_export_killed_near_its_end_leaves_no_sfz_that_lacks_a_sample(
    operations: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, left = tmp_path / "out", iter(range(operations))
    with monkeypatch.context() as patch:  # a new folder takes one renaming
        patch.setattr(os, "replace", None)
        export_sfz(SampledInstrument(seat()), folder, "")
    old = contents(folder)

    def until_killed(operation):
        def do(*args):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return operation(*args)

        return do

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", until_killed(os.replace))
        patch.setattr(Path, "unlink", until_killed(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            export_sfz(SampledInstrument(seat(-0.3)), folder, "")
    half = contents(folder)
    assert "kazoo.sfz" not in half
    assert half.items() < old.items() or not half.items() & old.items()  # of one export
    export_sfz(SampledInstrument(seat()), folder, "")
    assert contents(folder) == old


@pytest.mark.parametrize("name", [None, "/hidden/000.wav"])
def test_errors_of_the_system_name_the_folder_that_was_asked_for(
    name: str | None, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device", name)

    monkeypatch.setattr("synthnet.generation.export_sfz.encode", full)
    save_checkpoint(tmp_path / "runs" / "one" / "last.safetensors", checkpoint())
    fault(run("export", "kazoo", "-o", "sfz"), "synthnet: sfz: No space left on device")


def test_onnx_file_computes_what_the_network_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instrument, path, rng = seat(-0.1), tmp_path / "kazoo.onnx", np.random.default_rng(1)
    export_onnx(instrument, path, "nobody's", False)
    session = onnxruntime.InferenceSession(path)
    n, k = 40, 30
    time_s = (8 * rng.random((n, k)) ** 2).astype(np.float32)  # beyond the longest note, 3 s
    release_s = np.where(rng.random((n, k)) < 0.5, -1, 0.5 * rng.random((n, k))).astype(np.float32)
    struck = np.zeros(n, np.int64)
    touch, step = rng.random(n).astype(np.float32), rng.integers(-30, 30, n).astype(np.float32)
    notes = Notes(rng.integers(0, 128, n), rng.integers(1, 128, n), struck, struck, touch, step)
    player = HarmonicPlayer(SMALL, instrument.checkpoint.weights, RATE_HZ)
    end_s = player.weights["release_s"][notes.pitch]
    points = Breakpoints(np.zeros((n, k), np.int64), time_s, release_s, np.ones((n, k), np.float32))
    expected = player.amplitudes(notes, points, end_s)
    columns = np.stack([notes.pitch, notes.velocity, touch, step], axis=1).astype(np.float32)
    inputs = {"notes": columns, "time_s": time_s, "release_s": release_s}
    tones, noises, hz, ends = session.run(None, inputs)
    assert expected.max() > 0.01
    np.testing.assert_allclose(np.concatenate([tones, noises], axis=-1), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(ends[:, 0], end_s)
    assert hz.shape == (n, SMALL.partials)

    # The example's sound is the player's.
    monkeypatch.syspath_prepend(ROOT / "examples")
    import play_onnx

    sampled = SampledInstrument(instrument)
    sampled.player.first_noise = 0
    for key, velocity, held in ((62, 90, 20_011), (40, 127, 200_000)):
        mine = play_onnx.play(session, key, velocity, held / RATE_HZ)
        np.testing.assert_allclose(mine, sampled.play(key, velocity, held / RATE_HZ, len(mine) / RATE_HZ), atol=1e-4)


def test_command_exports_own_instruments_and_refuses_what_it_cannot(run: Run, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "runs" / "one" / "last.safetensors", checkpoint(fall=-1.0))
    done = run("export", "kazoo", "-o", "sfz")
    assert done.status == 0, done.err
    assert "your own" in (tmp_path / "sfz" / "kazoo.sfz").read_text()
    assert run("export", "kazoo", "-o", "k.onnx").status == 0
    assert run("export", "kazoo", "-o", "k.onnx").status == 0  # its own
    (tmp_path / "other.onnx").write_bytes(b"something")
    fault(run("export", "kazoo", "-o", "other.onnx"), "other.onnx", "--force")
    fault(run("export", "kazoo", "-o", "k.onnx/x"))
    fault(run("export", "kazoo", "-o", "k.sfz"), "folder")
    fault(run("export", "nobody", "-o", "x"), "no instrument 'nobody'")
    for out in ("x", "x.onnx"):
        fault(run("export", "trumpet-synthnet", "-o", out), "harmonic instruments")
    assert not (tmp_path / "x").exists()
