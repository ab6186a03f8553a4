"""`synthnet render` as a person runs it: what it writes, who plays, and one line for every error."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run, fault

from synthnet import cli
from synthnet.audio.files import read_audio
from synthnet.generation.library import read_library
from synthnet.models import build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, save_checkpoint
from synthnet.score.controllers import Controls
from synthnet.score.midi import read_score, write_midi
from synthnet.score.notes import Note, Score, Track

RATE = 16_000


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mid"
    melody = Track((Note(60, 90, 0.0, 0.05), Note(64, 90, 0.05, 0.1)), 56, "melody")
    write_midi(Score((melody, Track((Note(48, 90, 0.0, 0.1),), 42, "bass"))), path)
    return path


def saved_network(path: Path, *instruments: str) -> Path:
    """A network of these instruments, sharper than a fresh one, so that they differ."""
    torch.manual_seed(0)
    config = preset_config("synthnet", "tiny", styles=len(instruments) if len(instruments) > 1 else 0)
    model = build_model(config)
    with torch.no_grad():
        model.head.logits.weight.mul_(8)
    save_checkpoint(path, Checkpoint(config, RATE, instruments, {"steps": 1}, model.state_dict()))
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return saved_network(tmp_path / "net.safetensors", "trumpet")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return saved_network(tmp_path / "many.safetensors", "flute", "cello", "trumpet")


def test_render_takes_the_shipped_unless_an_own_one_is_named(
    run: Run, song: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "trumpet.safetensors").write_bytes(network.read_bytes())
    monkeypatch.setattr(cli.render, "read_library", partial(read_library, shipped=shipped))
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
    assert "track 1, bass (1 notes): trumpet, as asked [runs/mine/best.safetensors]" in result.err


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
    assert [path.name for path in sorted((tmp_path / "stems").iterdir())] == ["01.wav", "02.wav"]
    whole = run("render", song, "--checkpoint", network, "-o", "o.flac")
    assert len(read_audio(tmp_path / "o.flac").samples) == round((0.1 + 0.5) * 44_100)
    assert "track 0, melody (2 notes): trumpet, its program 56" in whole.err


def test_render_reports_the_controls_that_a_network_does_not_hear(run: Run, network: Path, tmp_path: Path) -> None:
    controls = Controls(pitch=((0.02, 1.0), (0.04, 0.0)), vibrato=((0.0, 0.5),))
    write_midi(Score((Track((Note(60, 90, 0.0, 0.1),), controls=controls),)), tmp_path / "bends.mid")
    result = run("render", tmp_path / "bends.mid", "--checkpoint", network, "-o", "o.wav")
    assert result.status == 0, result.err
    assert f"{tmp_path / 'bends.mid'}: left out: 1 pitch bend, 1 modulation change" in result.err.splitlines()


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
    assert lines == ["track 0, melody (2 notes): cello, as asked", "track 1, bass (1 notes): cello, as asked"]
    trumpet, _ = stems(song, "--instrument", "trumpet")
    assert not np.array_equal(cello[0], trumpet[0])
    assert not np.array_equal(cello[1], trumpet[1])
    both, lines = stems(song, "--instrument", "0=Cello,1=trumpet")
    assert lines == ["track 0, melody (2 notes): cello, as asked", "track 1, bass (1 notes): trumpet, as asked"]
    assert np.array_equal(both[0], cello[0])
    assert np.array_equal(both[1], trumpet[1])
    by_program, lines = stems(song)
    assert lines == [
        "track 0, melody (2 notes): trumpet, its program 56",
        "track 1, bass (1 notes): cello, its program 42",
    ]
    assert np.array_equal(by_program[0], trumpet[0])
    assert np.array_equal(by_program[1], cello[1])
    # A mixture is neither of its parts; the track that is not named goes by its program.
    mixed, lines = stems(song, "--instrument", "0=cello:0.5+trumpet:0.5")
    assert lines == [
        "track 0, melody (2 notes): cello:0.5+trumpet:0.5, as asked",
        "track 1, bass (1 notes): cello, its program 42",
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


def test_errors_of_options(run: Run, song: Path, network: Path) -> None:
    render = ["render", song, "--checkpoint", network]
    fault(run(*render, "--instrument", "horn"), "horn", "trumpet")
    for option in ("--duration", "--start"):
        for value in ("-1", "nan", "inf"):
            fault(run(*render, option, value), option, value)
    fault(run(*render, "--start", 100), str(song), "beyond the end")
    fault(run(*render, "-o", "out.mp3"), "out.mp3", ".wav or .flac")
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


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The data with bits flipped, bytes inserted, cut out or cut off."""
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(data) or 1)
        changes = {
            "flip": bytes(byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :],
            "insert": rng.randbytes(rng.randrange(1, 5)) + data[at:],
            "cut out": data[at + rng.randrange(1, 9) :],
            "cut off": b"",
        }
        data = data[:at] + changes[rng.choice(["flip", "insert", "cut out"] * 6 + ["cut off"])]
    return data


def test_mutated_midi_files_render_or_are_refused(run: Run, song: Path, network: Path, tmp_path: Path) -> None:
    rng, outcomes = random.Random(0), set()
    original = song.read_bytes()
    for number in range(200):
        song.write_bytes(mutated(original, rng))
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
