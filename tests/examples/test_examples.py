"""The examples run, and sound comes out of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from synthnet.audio.files import read_audio
from synthnet.generation.export_onnx import export_onnx
from synthnet.generation.library import read_library
from synthnet.score.midi import read_score

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, *arguments: object) -> str:
    """Standard output of a script."""
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout


def sounds(path: Path) -> bool:
    """Whether a sound file is louder than -60 dB."""
    return bool(np.sqrt(np.mean(read_audio(path).samples ** 2)) > 1e-3)


def test_play_writes_every_track_by_its_instrument_and_all_by_one(tiny_scores: Path, tmp_path: Path) -> None:
    song = tiny_scores / "tiny_gigue.mid"
    run_example("play.py", song, "--out", tmp_path, "--instrument", "guitar", "--seconds", 1.5)
    for name in ("tiny_gigue.wav", "tiny_gigue-guitar.wav"):
        assert sounds(tmp_path / name)
        assert len(read_audio(tmp_path / name).samples) == 1.5 * 44_100


def test_own_instrument_learns_in_seconds_and_plays(tiny_scores: Path, tmp_path: Path) -> None:
    song = tiny_scores / "tiny_gigue.mid"
    run_example(
        "train_own_instrument.py", song, "--minutes", 0.1, "--etudes", 1, "--scores", tiny_scores, "--out", tmp_path
    )
    assert (tmp_path / "run" / "best.safetensors").is_file()
    assert sounds(tmp_path / "harp.wav")
    assert len(read_audio(tmp_path / "harp.wav").samples) > 44_100 * read_score(song).end_s


def test_exported_network_plays_a_note(tmp_path: Path) -> None:
    export_onnx(read_library().seat("square"), tmp_path / "square.onnx", "", False)
    run_example("play_onnx.py", tmp_path / "square.onnx", tmp_path / "note.wav", 60, 100, 0.5)
    assert sounds(tmp_path / "note.wav")
    assert 0.5 < len(read_audio(tmp_path / "note.wav").samples) / 44_100 < 1


def test_notebook_runs_and_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)  # which the command sets for its process
    notebook = nbformat.read(EXAMPLES / "hear_dynamics.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("<audio" in data.get("text/html", "") for data in outputs) == 6
    assert sum("image/png" in data for data in outputs) == 1


def test_time_series_is_forecast_beside_its_baselines() -> None:
    printed = run_example("timeseries.py", "--steps", 2, "--paths", 3, "--weeks", 1)
    errors = {line.split("  ")[0]: line for line in printed.splitlines() if "mean absolute error" in line}
    assert set(errors) == {"SynthNet", "seasonal naive", "exponential smoothing"}
    assert "error  315 MW" in errors["seasonal naive"]  # nothing is learned there
