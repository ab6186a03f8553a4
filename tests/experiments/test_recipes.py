"""Recipes: a tiny one whole, from corpus to table; the real ones as far as reading them; every fault in one line."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import math
import shutil
import statistics
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, fault
from filelock import FileLock

from synthnet.corpus.corpus import read_corpus
from synthnet.evaluation.free_run import spread_places
from synthnet.evaluation.pieces import evaluate
from synthnet.experiments import runner as experiments
from synthnet.experiments.machine import Machine
from synthnet.experiments.recipe import CONFIG_NAME, chosen_runs, read_recipe
from synthnet.experiments.results import Results, RunResult, as_markdown, pooled_table, write_results
from synthnet.models import MODELS, PRESETS, preset_config
from synthnet.models.checkpoint import load_checkpoint
from synthnet.score.general_midi import INSTRUMENTS
from synthnet.training.settings import PAPER
from synthnet.training.trainer import Interrupted

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
NAMES = sorted(path.parent.name for path in FOLDER.glob(f"*/{CONFIG_NAME}"))
T_95 = 12.706  # Student's t for two values, 97.5%


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A copy of the tiny recipe, to be changed."""
    return Path(shutil.copytree(FOLDER / "tiny", tmp_path / "tiny"))


def changed(folder: Path, old: str, new: str) -> Path:
    """Replace a text in a recipe's config."""
    path = folder / CONFIG_NAME
    content = path.read_text("utf-8")
    assert old in content
    path.write_text(content.replace(old, new), "utf-8")
    return folder


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "tiny-cpu" / "results.json").read_text("utf-8"))


def test_tiny_recipe_from_corpus_to_table(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("recipe", "run", FOLDER / "tiny", "--out", out)
    assert done.status == 0, done.err
    found = results(out)
    assert [(one["network"], one["status"]) for one in found["runs"]] == [
        ("wavenet", "finished"),
        ("deepvoice", "finished"),
        ("synthnet", "finished"),
    ]
    assert found["machine"]["cores"] >= 1
    for one in found["runs"]:
        assert one["samples"] == 4_000
        assert one["seed"] == 0
        assert one["trained_s"] > 0
        rows = [json.loads(line) for line in (out / "networks" / one["folder"] / "metrics.jsonl").open()]
        figures = [row["rmse_cqt_db"] for row in rows if "rmse_cqt_db" in row]
        assert len(figures) == 2
        assert one["rmse_cqt_db"] == pytest.approx(statistics.mean(figures))
        assert one["rmse_cqt_ci95_db"] == pytest.approx(T_95 * statistics.stdev(figures) / math.sqrt(2), rel=1e-4)

    # What the table says of the end is what the checkpoint gives when it is measured again.
    last = found["runs"][2]
    checkpoint = load_checkpoint(out / "networks" / last["folder"] / "last.safetensors")
    corpus = read_corpus(out / "corpora" / "tiny-trumpet")
    again = evaluate(checkpoint.build(), [spread_places(corpus, 3, None)])[0].as_dict()
    assert last["final"]["trumpet"]["valid_nll"] == pytest.approx(again["valid_nll"])
    assert last["final"]["trumpet"]["rmse_cqt_expectation_db"] == pytest.approx(again["rmse_cqt_expectation_db"])

    piece = last["final"]["trumpet"]["piece"]
    assert piece["seconds"] == 3
    assert 0 <= piece["expectation"]["pitch_share"] < 1 == piece["teacher_pitch_share"]

    page = (out / "tiny-cpu" / "results.md").read_text("utf-8")
    assert page.strip() == done.out.strip()
    ours = f"{last['rmse_cqt_db']:.2f} ± {last['rmse_cqt_ci95_db']:.2f}"
    assert f"| synthnet | {last['parameters']:,} | {ours} (8.90 ± 0.95) |" in page
    with open(out / "tiny-cpu" / "results.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["rmse_cqt_db"]) for line in lines] == [one["rmse_cqt_db"] for one in found["runs"]]
    assert [line["paper_rmse_cqt_db"] for line in lines] == ["", "", "8.9"]
    for name in ("rmse.png", "curves.png"):
        assert (out / "tiny-cpu" / name).read_bytes().startswith(b"\x89PNG")

    # Once more: nothing is trained again, the table is the same.
    times = {path: path.stat().st_mtime_ns for path in (out / "networks").rglob("*.safetensors")}
    again_done = run("recipe", "run", FOLDER / "tiny", "--out", out)
    assert again_done.err.count("finished already") == 3
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert results(out)["runs"] == found["runs"]

    # Another corpus in the same place is not mixed with what was learned from the first.
    other = Path(shutil.copytree(FOLDER / "tiny", tmp_path / "tiny"))
    shutil.copy(other / "prelude.mid", other / "menuet.mid")
    fault(run("recipe", "run", other, "--out", out), "was trained on another corpus")


def test_failed_runs_stay_visible_and_killed_ones_are_resumed(
    run: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def statuses() -> list[str]:
        return [one["status"] for one in results(tmp_path)["runs"]]

    def out_of_memory(folder: Path, corpora: Any, config: Any, *rest: Any, **named: Any) -> None:
        if config.model == "wavenet":
            raise RuntimeError("out of\nmemory")
        train_run(folder, corpora, config, *rest, **named)

    train_run = experiments.train_run
    assert run("recipe", "run", tiny, "--only", "model=synthnet", "--out", tmp_path).status == 0
    assert statuses() == ["not run", "not run", "finished"]
    first = results(tmp_path)["runs"][2]
    record = tmp_path / "networks" / first["folder"] / "run.json"
    begun = {**json.loads(record.read_text("utf-8")), "status": "unfinished"}
    del begun["final"]
    record.write_text(json.dumps(begun), "utf-8")  # as if killed just before the end, or still at it elsewhere
    assert "(unfinished)" in as_markdown(write_results(read_recipe(tiny), tmp_path))
    shown = run("recipe", "show", tiny, "--out", tmp_path).out
    assert (shown.count("not run"), shown.count("unfinished")) == (2, 1)

    monkeypatch.setattr(experiments, "train_run", out_of_memory)
    done = run("recipe", "run", tiny, "--only", "model=wavenet,synthnet", "--out", tmp_path)
    assert done.status == 2
    assert "1 of 3 runs failed" in done.err.splitlines()[-1]
    assert "resumed" in done.err
    assert "- wavenet, trumpet: out of memory" in done.out
    assert statuses() == ["failed", "not run", "finished"]
    second = results(tmp_path)["runs"][2]
    assert (second["final"], second["samples"]) == (first["final"], 4_000)
    monkeypatch.setattr(experiments, "train_run", train_run)
    assert run("recipe", "run", tiny, "--only", "model=wavenet", "--out", tmp_path).status == 0
    assert statuses() == ["finished", "not run", "finished"]


def test_a_stopped_recipe_says_how_to_go_on(
    run: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr(experiments, "train_run", stop)
    done = run("recipe", "run", tiny, "--out", tmp_path)
    assert done.status == 130
    assert "the same command goes on from there" in done.err.splitlines()[-1]
    with FileLock(next((tmp_path / "networks").iterdir()) / "lock").acquire(timeout=0):
        pass  # nobody is at it any more


def test_a_run_that_another_process_is_at_is_left_alone(run: Run, tiny: Path, tmp_path: Path) -> None:
    with contextlib.ExitStack() as others:
        for one in read_recipe(tiny).runs:
            one.folder(tmp_path).mkdir(parents=True)
            others.enter_context(FileLock(one.folder(tmp_path) / "lock"))
        done = run("recipe", "run", tiny, "--out", tmp_path)
    assert done.status == 0
    assert done.err.count("another process is at it") == 3
    assert {one["status"] for one in results(tmp_path)["runs"]} == {"not run"}


@pytest.mark.parametrize("name", NAMES)
def test_recipes_can_be_read(name: str) -> None:
    for scale in tomllib.loads((FOLDER / name / CONFIG_NAME).read_text("utf-8"))["scale"]:
        recipe = read_recipe(FOLDER / name, scale)
        labels = {run.network for run in recipe.runs}
        assert set(recipe.paper) <= labels, "the paper's figures of a network that is not there"


def test_folders_of_runs_keep_their_names() -> None:
    """Finished runs are found by these names, whatever becomes of the code that makes them."""
    kept = {
        ("table3", "cpu"): ["wavenet-cpu-trumpet-4d397b05fb", "synthnet-cpu-trumpet-e17d29d8ee"],
        ("table4", "paper"): ["deepvoice-L26-all-845a74f14f", "synthnet-L24-all-b21061e751"],
        ("shipped", "cpu"): ["harmonic-trumpet-29eb98ae18"],
    }
    for (name, scale), names in kept.items():
        assert {run.folder_name for run in read_recipe(FOLDER / name, scale).runs} >= set(names)


def test_table3_at_the_papers_scale_is_the_papers_experiment() -> None:
    runs = read_recipe(FOLDER / "table3", "paper").runs
    wanted = {
        (model, preset, who.name)
        for model in ("wavenet", "deepvoice", "synthnet")
        for preset in ("L24", "L26", "L48")
        for who in INSTRUMENTS
    }
    assert {(run.config.model, run.settings.preset, *run.instruments) for run in runs} == wanted
    assert all(run.axes["variant"] == run.settings.preset for run in runs)
    for run in runs:
        assert run.config == preset_config(run.config.model, run.settings.preset)
        assert run.config.channels == 512
        assert run.training == PAPER
        assert (run.settings.epochs, run.settings.evaluations, run.settings.evaluation_seconds) == (200, 10, 1)


def test_table3_for_two_cores_gives_all_networks_the_same() -> None:
    runs = read_recipe(FOLDER / "table3", "cpu").runs
    assert len(runs) == 9
    given = {(run.settings.minutes, run.settings.sample_rate, run.training, run.config.channels) for run in runs}
    assert len(given) == 1
    for run in runs:
        assert run.config.receptive_field / run.settings.sample_rate == pytest.approx(1.024, abs=1e-3)
    assert [run.config for run in runs if run.network == "synthnet L24"] == [preset_config("synthnet", "cpu")]


def test_the_papers_table3_was_copied_right() -> None:
    """Its last row is the mean of the seven above; in one column it is not, by more than rounding."""
    paper = read_recipe(FOLDER / "table3").paper
    assert len(paper) == 9
    for network, figures in paper.items():
        mean = statistics.mean(figures[who.name][0] for who in INSTRUMENTS)
        assert figures["all"][0] == pytest.approx(mean, abs=0.25), network


def test_recipes_share_their_runs() -> None:
    def folders(name: str, scale: str) -> set[str]:
        return {run.folder_name for run in read_recipe(FOLDER / name, scale).runs}

    for scale in ("paper", "cpu"):
        table3 = folders("table3", scale)
        assert len(folders("ablation", scale) & table3) == (14 if scale == "paper" else 2)
        assert len(folders("dither", scale) & table3) == len(folders("dither", scale)) / 2
        assert len(folders("figure4", scale) & table3) == (21 if scale == "paper" else 3)


def test_variants_are_named_settings_and_minutes_a_length(run: Run, tiny: Path, tmp_path: Path) -> None:
    changed(tiny, 'model = ["wavenet", "deepvoice", "synthnet"]', 'model = "synthnet"\nvariant = ["plain", "wide"]')
    changed(tiny, "samples = 4_000", "minutes = 0.02\nanneal = true")
    changed(
        tiny,
        "[paper.synthnet]",
        "[scale.cpu.where.wide]\nchannels = 12\n[paper.wide]",
    )
    recipe = read_recipe(tiny)
    assert [(one.network, one.config.channels) for one in recipe.runs] == [("plain", 8), ("wide", 12)]
    assert run("recipe", "run", tiny, "--out", tmp_path / "out").status == 0
    for one in results(tmp_path / "out")["runs"]:
        assert one["status"] == "finished"
        assert 0 < one["trained_s"] < 20  # of the 1.2 s, without the evaluations
        assert len(one["evaluations"]) >= 1
    assert (tmp_path / "out" / "tiny-cpu" / "curves.png").exists()


def test_ablation_goes_from_deepvoice_to_synthnet() -> None:
    runs = read_recipe(FOLDER / "ablation", "cpu").runs
    models = [run.config.model for run in runs]
    assert (models[0], models[-1]) == ("deepvoice", "synthnet")
    assert set(models[1:-1]) == {model for model in MODELS if model.startswith("ablation")}
    first = runs[0]
    for run in runs:
        assert dataclasses.replace(run.config, model="deepvoice") == first.config
        assert run.training == first.training


def test_only_narrows_down() -> None:
    recipe = read_recipe(FOLDER / "table3", "paper")
    chosen = chosen_runs(recipe, ["model=synthnet,deepvoice", "instrument=trumpet", "variant=L24"])
    assert [(run.network, run.instrument) for run in chosen] == [
        ("deepvoice L24", "trumpet"),
        ("synthnet L24", "trumpet"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("evaluations = 2", "evalutions = 2", ["unknown setting 'evalutions'", "evaluations"]),
        ("title =", "titel =", ["unknown key 'titel'", "title"]),
        ('"wavenet", ', '"wavenot", ', ["unknown model 'wavenot'", "deepvoice"]),
        ('preset = "tiny"', 'preset = "huge"', ["unknown preset 'huge'", ", ".join(PRESETS)]),
        ('"trumpet"', '"trombone"', ["trombone: no such instrument", "trumpet"]),
        ("samples = 4_000", "samples = 4_000\nepochs = 2", ["epochs, samples and minutes"]),
        ("samples = 4_000", "samples = -1", ["samples must be a whole number from 1 to"]),
        ("samples = 4_000", "samples = 'many'", ["samples must be a number", "'many'"]),
        ("samples = 4_000", "learning_rate = 50", ["learning_rate must be a number from"]),
        ("samples = 4_000", "channels = 3", ["channels must be a whole number from 4"]),
        ("evaluations = 2", "evaluations = 0.5", ["evaluations must be a whole number"]),
        ('"wavenet", "deepvoice"', '"wavenet", "wavenet"', ["same value twice"]),
        ("[paper.synthnet]", "[paper.synthnet]\ntuba = [1, 2]", ["unknown figure", "'tuba'"]),
        ("[8.90, 0.95]", "8.90", ["paper.synthnet: trumpet must be [mean"]),
        ("[scale.cpu]", "[scale.cpu.where.L99]\n[scale.cpu]", ["'L99'", "wavenet"]),
        ("[scale.cpu]", "[[[", ["not TOML"]),
        ("[scale.cpu]", f"a = {'[' * 1_000}", ["not TOML"]),
        ("[scale.cpu]", '[scale."x/../../escaped"]', ["scale 'x/../../escaped'", "letters"]),
        ("evaluations = 2", f"seed = {list(range(400))}", ["1,200 runs; at most 1,000"]),
        ("samples = 4_000", "epochs = inf", ["epochs must be a number from"]),
        ("menuet.mid", "minuet.mid", ["minuet.mid", "No such file"]),
    ],
)
def test_faults_of_a_recipe_are_one_line(run: Run, tiny: Path, old: str, new: str, parts: list[str]) -> None:
    changed(tiny, old, new)
    done = run("recipe", "run", tiny, "--out", tiny / "out")
    assert (done.status, done.out) == (2, "")
    assert "Traceback" not in done.err
    last = done.err.strip().splitlines()[-1]
    for part in (str(tiny), *parts):
        assert part in last


def test_faults_of_the_command(run: Run, tiny: Path, tmp_path: Path) -> None:
    fault(run("recipe", "run", tmp_path), "not a recipe", CONFIG_NAME)
    fault(run("recipe", "run", tiny, "--scale", "big"), "no scale 'big'; there are cpu")
    fault(run("recipe", "run", tiny, "--only", "modle=synthnet"), "--only modle=synthnet", "model")
    fault(run("recipe", "run", tiny, "--only", "model=tuba"), "model is one of deepvoice, synthnet, wavenet")


def test_trainings_with_several_seeds_are_pooled_over_trainings() -> None:
    found = json.loads((FOLDER / "figure4" / "results" / "results.json").read_text("utf-8"))
    one = RunResult(**found["runs"][2])
    assert pooled_table([one]) is None
    runs = []
    for seed, excess in enumerate((1.0, 2.0)):
        final = {"trumpet": {**one.final["trumpet"], "excess": excess, "rmse_cqt_ci95_db": 99.0}}
        axes = {"instrument": "trumpet", "model": "synthnet", "seed": f"seed={seed}"}
        runs.append(dataclasses.replace(one, axes=axes, final=final))
    row = str(pooled_table(runs)).splitlines()[-1]
    interval = T_95 * statistics.stdev((1.0, 2.0)) / math.sqrt(2)  # of two trainings, whatever their seconds
    assert row.startswith(f"| synthnet | trumpet | 2 | 1.50 ± {interval:.2f} | ")
    same = one.final["trumpet"]["rmse_cqt_db"]
    assert f"| {same:.2f} ± 0.00 |" in row


@pytest.mark.parametrize("folder", sorted(path.parent for path in FOLDER.glob("*/results/*/results.json")), ids=str)
def test_committed_results_are_whole_and_agree_with_each_other(folder: Path) -> None:
    found = json.loads((folder / "results.json").read_text("utf-8"))
    assert (found["recipe"], found["scale"]) == (folder.parent.parent.name, folder.name)
    runs = [RunResult(**one) for one in found["runs"]]
    again = Results(**{**found, "machine": Machine(**found["machine"]), "runs": runs})
    assert (folder / "results.md").read_text("utf-8") == as_markdown(again)
    assert json.loads(json.dumps(again.as_dict())) == found
    with open(folder / "results.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(found["runs"])
    planned = {(run.network, run.instrument) for run in read_recipe(folder.parent.parent, folder.name).runs}
    assert {(one["network"], one["instrument"]) for one in found["runs"]} == planned
    assert found["commit"]
    assert found["machine"]["processor"]


@pytest.mark.parametrize("text", ["[]", "3", '{"status": "finished"}', '{"status": 3}'])
def test_a_damaged_outcome_is_one_line(run: Run, tiny: Path, text: str) -> None:
    folder = read_recipe(tiny).runs[0].folder(tiny / "out")
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(text)
    fault(run("recipe", "show", tiny, "--out", tiny / "out"), "run.json: damaged")
