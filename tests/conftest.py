"""What several test modules share: running commands, two short scores and the trumpet corpus built from them."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported: the GPU's kernels run on a CPU

from synthnet import cli
from synthnet.corpus.build import build_corpus
from synthnet.corpus.corpus import Corpus
from synthnet.files import InputError
from synthnet.models import HarmonicConfig, build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, arrays_of, save_checkpoint
from synthnet.score.general_midi import find_instrument
from synthnet.score.midi import read_score, write_midi
from synthnet.score.notes import Note, Score, Track


def melody(seed: int, n_notes: int = 14) -> Score:
    """Notes of 0.15 to 0.35 s one after another, at times off every grid, some struck again without a gap."""
    rng = np.random.default_rng(seed)
    notes = []
    now_s = 0.1
    for _ in range(n_notes):
        length_s = float(rng.uniform(0.15, 0.35))
        notes.append(Note(int(rng.choice([50, 57, 57, 64])), 90, now_s, now_s + length_s))
        now_s += length_s
    return Score((Track(tuple(notes)),))


SMALL = HarmonicConfig(partials=8, bands=4, width=16, embedding=4, longest_s=3.0)


def small_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of a harmonic instrument of the shape SMALL, with levels, frequencies and releases by chance."""
    torch.manual_seed(seed)
    weights = arrays_of(build_model(SMALL).state_dict())
    rng = np.random.default_rng(seed)
    spreads = {"out.weight": 0.3, "slopes.weight": 0.3, "gain.weight": 0.2, "fall.weight": 0.1, "cents": 10.0}
    for name, spread in spreads.items():
        weights[name] = weights[name] + rng.normal(0, spread, weights[name].shape).astype(np.float32)
    weights["out.bias"] += 1.5
    weights["stretch"] = rng.uniform(0, 5e-4, 128).astype(np.float32)
    weights["release_s"] = rng.uniform(0.05, 0.4, 128).astype(np.float32)
    return weights


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """A melody of two notes for a trumpet, and a bass of one for a cello."""
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
    save_checkpoint(path, Checkpoint(config, 16_000, instruments, {"steps": 1}, model.state_dict()))
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A fresh network of the trumpet."""
    return saved_network(tmp_path / "net.safetensors", "trumpet")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A fresh network of three instruments."""
    return saved_network(tmp_path / "many.safetensors", "flute", "cello", "trumpet")


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Permissions as they are for everybody but root, who may read everything."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no such permissions")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)  # nobody
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(scope="session")
def tiny_scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny_gigue.mid, for training, and tiny_prelude.mid, for validation, about 3.5 s each."""
    folder = tmp_path_factory.mktemp("tiny_scores")
    write_midi(melody(1), folder / "tiny_gigue.mid")
    write_midi(melody(2), folder / "tiny_prelude.mid")
    return folder


@pytest.fixture(scope="session")
def tiny_corpus(tiny_scores: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The corpus of `tiny_scores`, trumpet at 16 kHz. Tests must not change its files."""
    return build_corpus(tmp_path_factory.mktemp("tiny_corpus"), find_instrument("trumpet"), [tiny_scores])


@pytest.fixture
def scores(tiny_scores: Path, tmp_path: Path) -> Path:
    """A copy of the two scores, to be changed."""
    return Path(shutil.copytree(tiny_scores, tmp_path / "scores"))


@pytest.fixture
def built(tiny_corpus: Corpus, tmp_path: Path) -> Path:
    """A copy of the corpus of `scores`, to be changed."""
    return Path(shutil.copytree(tiny_corpus.folder, tmp_path / "corpus"))


def contents(folder: Path) -> dict[str, str]:
    """Checksums of all files by their place in the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], Score]:
    """Reads a file of the given bytes."""

    def read_bytes(data: bytes) -> Score:
        path = tmp_path / "score.mid"
        path.write_bytes(data)
        return read_score(path)

    return read_bytes


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[bytes], str]:
    """The short line with which a file of the given bytes is refused, without the path that it must begin with."""

    def refuse(data: bytes) -> str:
        path = tmp_path / "score.mid"
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            read_score(path)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"{path}: ")
        assert len(message) < len(f"{path}: ") + 120
        return message.removeprefix(f"{path}: ")

    return refuse


@dataclass
class Result:
    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `synthnet WORDS...` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["synthnet", *map(str, words)])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        return Result(status, *capsys.readouterr())

    return call


def fault(result: Result, *parts: str) -> None:
    """Exit status 2, nothing on standard output, one last line that names the fault."""
    assert result.status == 2, result
    assert result.out == ""
    line = result.err.strip().splitlines()[-1]
    assert line.startswith("synthnet: ")
    assert "Traceback" not in result.err
    for part in parts:
        assert part in line, result.err
