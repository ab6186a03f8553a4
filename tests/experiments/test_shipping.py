"""The script `recipes/shipped/ship.py`: made-up runs become checkpoints, cards and results that agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthnet.experiments.recipe import Recipe, Run, read_recipe
from synthnet.experiments.results import FINISHED, Outcome
from synthnet.files import InputError
from synthnet.models import build_model
from synthnet.models.checkpoint import Checkpoint, arrays_of, load_checkpoint, peek_checkpoint, save_checkpoint
from tests.experiments.recipe_scripts import recipe_script

ship = recipe_script("shipped/ship")

RECIPE = """\
title = "Shipped: made up"
shows = "Nothing."
[common]
model = "harmonic"
partials = 6
bands = 2
width = 8
embedding = 4
samples = 88_200
[scale.cpu]
instrument = ["trumpet", "organ", "cello"]
"""
MACHINE = {"processor": "a processor", "vectors": "AVX2", "cores": 2, "gpu": None, "load": 0.1, "python": "3.11.0"}


def player(name: str, farther_db: float) -> dict[str, Any]:
    distances = {
        "rmse_cqt_db": 7.12345 + farther_db,
        "rmse_cqt_50_db": 5.5 + farther_db,
        "log_spectral_db": 1.25,
        "level_db": 0.1,
    }
    levels = {"worst_level_db": 2.5 + farther_db, "worst_centroid": 0.0715, "keys": [40, 60, 80]}
    held = {"worst_db": 4.25, "keys": [40, 60, 80]}
    return {"player": name, "prelude": distances, "pieces_mean": distances, "levels": levels, "held": held}


def finish(run: Run, out: Path) -> None:
    """Write the files of a finished run, the network 1 dB farther than the sampler."""
    (name,) = run.instruments
    folder = run.folder(out)
    weights = arrays_of(build_model(run.config).state_dict())
    corpus = {"instrument": name, "program": 56, "soundfont": "FluidR3_GM.sf2", "train": {"etude_1": "", "dance": ""}}
    training = {"steps": 2, "corpora": [corpus], "ranges": [{"lowest_pitch": 36, "highest_pitch": 86}]}
    save_checkpoint(folder / "last.safetensors", Checkpoint(run.config, 44_100, (name,), training, weights))
    rows = [
        {"step": 1, "elapsed_s": 30.0, "loss": 2.0, "train_distance": 2.0},
        {"step": 2, "elapsed_s": 61.0, "rmse_cqt_db": 7.123456, "rmse_cqt_50_db": 5.5, "evaluation_s": 1.0},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    facts = {
        "corpora": [corpus],
        "samples_an_epoch": 44_100 * 90,
        "machine": MACHINE | {"torch": "2.4", "numba": "0.6", "precision": "float32"},
        "commit": "abc",
    }
    players = [player("network", 1.0), player("static partials", 3.0), player("sampler", 0.0)]
    final = {name: {"instrument": name, "sample_rate_hz": 44_100, "players": players}}
    Outcome(FINISHED, facts, final).write(folder)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE, "utf-8")
    nsf = {"trumpet": {"NSF": player("NSF", -0.5), "sampler": player("sampler", 9.0)}}
    (folder / "nsf.json").write_text(json.dumps({"instruments": nsf}), "utf-8")
    (folder / "README.md").write_text("{}\n{}\n".format(*ship.MARKERS), "utf-8")
    return read_recipe(folder)


@pytest.fixture
def shipped(recipe: Recipe, tmp_path: Path) -> dict[str, bytes]:
    """The files made of two finished runs out of three, by path below `tmp_path`."""
    for run in recipe.runs[:2]:
        finish(run, tmp_path / "runs")
    readme = tmp_path / "README.md"
    readme.write_text("before\n{}\n{}\nafter\n".format(*ship.MARKERS), "utf-8")
    files: dict[str, bytes] = {}
    for _ in range(2):
        missing = ship.ship(recipe, tmp_path / "runs", tmp_path / "networks", tmp_path / "results", readme)
        assert missing == ["cello: not run"]
        made = [*tmp_path.glob("networks/*"), *tmp_path.glob("results/**/*"), readme, recipe.folder / "README.md"]
        now = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in made if path.is_file()}
        assert not files or now == files  # the same again
        files = now
    return files


def test_what_ships_is_small_whole_and_agrees_with_the_figures(
    shipped: dict[str, bytes], recipe: Recipe, tmp_path: Path
) -> None:
    names = [f"networks/{name}.{end}" for name in ("trumpet", "organ") for end in ("safetensors", "md")]
    names += [f"results/training/{name}.jsonl" for name in ("trumpet", "organ")]
    names += ["results/results.json", "results/results.md", "results/figures.png", "README.md", "shipped/README.md"]
    assert sorted(shipped) == sorted(names)
    for page in ("results/results.md", "shipped/README.md"):
        assert b"Missing: cello (not run)" in shipped[page]
    rows = [json.loads(line) for line in shipped["results/training/trumpet.jsonl"].splitlines()]
    assert rows[1] == {"step": 2, "elapsed_s": 61.0, "rmse_cqt_db": 7.123, "rmse_cqt_50_db": 5.5, "evaluation_s": 1.0}

    # The checkpoint: learned weights in half precision, measured ones as they were, figures in the header.
    path = tmp_path / "networks" / "trumpet.safetensors"
    assert path.stat().st_size < 1_000_000
    before = load_checkpoint(recipe.runs[0].folder(tmp_path / "runs") / "last.safetensors")
    for name, value in load_checkpoint(path).weights.items():
        measured = name in ship.MEASURED
        kept = np.int32 if name == "nearest" else np.float32
        assert value.dtype == (kept if measured else np.float16), name
        assert np.allclose(value, before.weights[name], rtol=0 if measured else 1e-3, atol=0 if measured else 1e-6)
    peeked = peek_checkpoint(path)
    figures = peeked.figures["measured"]["trumpet"]
    assert set(figures) == {"network", "static partials", "sampler"}
    assert figures["network"]["prelude"]["rmse_cqt_db"] == pytest.approx(8.123, abs=1e-6)
    assert peeked.training["commit"] == "abc"
    assert peeked.instruments == ("trumpet",)

    # Cards and tables show the figures of results.json.
    results = json.loads(shipped["results/results.json"])
    assert list(results["instruments"]) == ["trumpet", "organ"]
    page = shipped["results/results.md"].decode()
    for name, facts in results["instruments"].items():
        card = shipped[f"networks/{name}.md"].decode()
        assert facts["bytes"] == len(shipped[f"networks/{name}.safetensors"])
        for figures in facts["players"]:
            row = f"{figures['player']} | {' | '.join(ship.player_cells(ship.chosen(figures)))} |"
            assert f"| {row}" in card
            assert f"| {name} | {row}" in page
        first, second = (line for line in card.splitlines()[:3] if line)
        assert first == f"# {name}"
        assert second.startswith("**The sampler is nearer to the teacher than the network: 7.12 against 8.12 dB")
    assert results["means"]["network"]["held"]["worst_db"] == 4.25  # of the trumpet, the only one of the seven
    assert "| NSF | 6.62 / 5.00 |" in shipped["networks/trumpet.md"].decode()
    assert "NSF" not in shipped["networks/organ.md"].decode()
    assert "held notes: 4.2 dB (3)" in shipped["networks/trumpet.md"].decode()
    readme = shipped["README.md"].decode()
    assert readme.startswith("before\n")
    assert readme.endswith("\nafter\n")
    assert "[trumpet](synthnet/shipped/trumpet.md) | 8.12 / 6.50 | 10.12 / 8.50 | 7.12 / 5.50 | 6.62 / 5.00 |" in readme
    assert "organ" not in readme  # which is none of the paper's seven


def test_without_finished_runs_nothing_ships(recipe: Recipe, tmp_path: Path) -> None:
    missing = ship.ship(recipe, tmp_path / "runs", tmp_path / "networks", tmp_path / "results")
    assert missing == ["trumpet: not run", "organ: not run", "cello: not run"]
    assert not (tmp_path / "networks").exists()
    assert json.loads((tmp_path / "results" / "results.json").read_text())["instruments"] == {}


def test_a_page_needs_both_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text {1} {0}".format(*ship.MARKERS), "utf-8")
    with pytest.raises(InputError, match="markers"):
        ship.fill(page, "table")
