"""`synthnet compare` with pictures, `show` and `inspect` as a person runs them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, Run, fault, small_weights

from synthnet.audio.files import write_audio
from synthnet.corpus.corpus import Corpus
from synthnet.evaluation import plots
from synthnet.models import build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, arrays_of, save_checkpoint
from synthnet.score.midi import write_midi
from synthnet.score.notes import Note, Score, Track

RATE = 16_000


@pytest.fixture
def sounds(tmp_path: Path) -> tuple[str, str, str]:
    """A reference of 2 s and two tests, and song.mid."""
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)
    names = "ref.wav", "a.wav", "b.wav"
    for name, gain in zip(names, (0.2, 0.1, 0.02), strict=True):
        write_audio(tmp_path / name, gain * tone, RATE)
    song = Score((Track((Note(69, 90, 0.0, 1.5),), 56, "tune"), Track((Note(45, 50, 1.0, 2.0),), 42, "bass")))
    write_midi(song, tmp_path / "song.mid")
    return names


def network(path: Path, seed: int, **shape: int) -> Path:
    torch.manual_seed(seed)
    config = preset_config("synthnet", "tiny", **shape)
    ranges = {"ranges": [{"lowest_pitch": 40, "highest_pitch": 70}]}
    save_checkpoint(path, Checkpoint(config, RATE, ("trumpet",), ranges, arrays_of(build_model(config).state_dict())))
    return path


def test_compare_draws_both_floors_and_the_score(run: Run, sounds: tuple[str, ...], tmp_path: Path) -> None:
    done = run("compare", *sounds[:2], "--plot", "p.svg", "--score", "song.mid", "--json")
    assert done.status == 0, done.err
    text = (tmp_path / "p.svg").read_text("utf-8")
    assert text.startswith("<?xml")
    assert (tmp_path / "p-50.svg").is_file()
    figures = json.loads(done.out)
    assert list(figures["baselines"]) == ["silence", "other seconds of the reference"]
    at_80, at_50 = figures["baselines"]["silence"]
    assert at_80 > at_50 > figures["rmse_cqt_50_db"]


def test_triptych_shows_seconds_and_figures(
    run: Run, sounds: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    monkeypatch.setattr(plots, "save", lambda figure, path: saved.append(figure))
    done = run("compare", *sounds, "--triptych", "t.png", "--score", "song.mid", "--start", 0.5)
    assert done.status == 0, done.err
    assert done.out.count("floor at -50 dB") == 2
    assert saved[0].get_suptitle() == "from 0.5 s"
    columns = len(sounds)
    waves, below = saved[0].axes[:columns], saved[0].axes[columns : 2 * columns]
    assert [axes.get_title(loc="left") for axes in waves] == ["ref.wav", "1 a.wav", "2 b.wav"]
    assert [len(axes.lines[0].get_xdata()) for axes in waves] == [RATE] * 3
    boxes = [[(box.get_x(), box.get_y() + 0.5, box.get_width()) for box in axes.patches] for axes in below]
    assert boxes == [[(0, 69, 1.0), (0.5, 45, 0.5)]] * 3
    captions = [axes.get_xlabel() for axes in below]
    assert captions[0].startswith("seconds\nsilence: RMSE-CQT ")
    figures = [float(caption.split("RMSE-CQT ")[1].split(" / ")[0]) for caption in captions]
    assert figures[1] < figures[2] < figures[0]
    fault(run("compare", *sounds, "--plot", "t.png"), "--triptych")
    fault(run("compare", *sounds, "--score", "song.mid"), "--score is drawn over pictures")
    fault(run("compare", *sounds, "--triptych", "t.jpg"), "t.jpg")
    fault(run("compare", *sounds, "--triptych", "t.png", "--start", 3), "--start", "2.00 s")


def test_show_draws_a_page_a_track(run: Run, sounds: tuple[str, ...], tmp_path: Path) -> None:
    done = run("show", "song.mid")
    assert done.status == 0, done.err
    for page in ("song-0.png", "song-1.png"):
        assert (tmp_path / page).read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "song-0.png").unlink()
    fault(run("show", "song.mid"), "song-1.png")
    assert not (tmp_path / "song-0.png").exists()
    assert run("show", "song.mid", "-o", "song.png").status == 0
    fault(run("show", "song.mid", "-o", "song.gif"), "song.gif")
    (tmp_path / "folder-0.png").mkdir()
    fault(run("show", "song.mid", "-o", "folder.png"), "synthnet: folder-0.png: Is a directory")
    fault(run("show", "ref.wav"), "ref.wav")


def test_show_draws_the_curves_of_a_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    fault(run("show", "run"), "run", "metrics.jsonl")
    rows = [{"step": n, "elapsed_s": 1.0, "train_nll": 5 - n} for n in (1, 2)]
    (tmp_path / "run" / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    assert run("show", "run", "-o", "curves.svg").status == 0
    assert "<svg" in (tmp_path / "curves.svg").read_text("utf-8")


def test_inspect_first_layer(run: Run, tmp_path: Path) -> None:
    path = network(tmp_path / "n.safetensors", 0)
    done = run("inspect", "first-layer", path, "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert found["keys"] == list(range(40, 71))
    assert found["peak"] == pytest.approx(found["fresh_peak"], abs=0.1)  # it has learned nothing
    assert (tmp_path / "first-layer.png").read_bytes()[:4] == b"\x89PNG"
    assert "by chance 5%" in run("inspect", "first-layer", path, "--keys", "36-80").out
    fault(run("inspect", "first-layer", path, "--keys", "36"), "--keys")
    save_checkpoint(tmp_path / "h.safetensors", Checkpoint(SMALL, 44_100, ("trumpet",), {}, small_weights()))
    fault(run("inspect", "first-layer", "h.safetensors", "--keys", "36-80"), "harmonic")


def test_inspect_gram(run: Run, tiny_corpus: Corpus, tmp_path: Path) -> None:
    words = ["inspect", "gram", "--slices", 2]
    for number, timbre in enumerate(("trumpet", "trumpet", "cello")):
        network(tmp_path / f"{number}.safetensors", number)
        words += ["--model", f"{timbre}={number}.safetensors", "--corpus", tiny_corpus.folder]
    done = run(*words)
    assert done.status == 0, done.err
    assert "Spearman" in done.out
    with open(tmp_path / "gram" / "points.csv", encoding="utf-8", newline="") as file:
        points = list(csv.DictReader(file))
    assert Counter(point["timbre"] for point in points) == {"trumpet": 16, "cello": 8}
    with open(tmp_path / "gram" / "distances.csv", encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["layer"] for row in rows] == [1, 2, 3, 4]
    assert all(0 < row["within"] < min(row["between"], row["retrained"]) <= 2**0.5 for row in rows)
    assert (tmp_path / "gram" / "gram.png").read_bytes()[:4] == b"\x89PNG"
    fault(run(*words, "--piece", "sonata"), "sonata", "tiny_prelude")
    fault(run(*words, "--model", "x=0.safetensors"), "3 --corpus for 4 --model")
    network(tmp_path / "wide.safetensors", 0, channels=12)
    fault(run(*words, "--model", "x=wide.safetensors", "--corpus", tiny_corpus.folder), "channels")
    fault(run("inspect", "gram", "--model", "0.safetensors"), "TIMBRE=CHECKPOINT")


def test_inspect_gram_says_what_one_timbre_or_one_slice_cannot_show(
    run: Run, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    words: list[object] = ["inspect", "gram", "--slices", 1]
    for seed, timbre in enumerate(("trumpet", "cello")):
        network(tmp_path / f"{seed}.safetensors", seed)
        words += ["--model", f"{timbre}={seed}.safetensors", "--corpus", tiny_corpus.folder]
    for done, alone in ((run(*words[:3], 2, *words[4:8]), "One timbre alone"), (run(*words), "One slice alone")):
        assert done.status == 0, done.err
        assert alone in done.out
        assert "nan" not in done.out
