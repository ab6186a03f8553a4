"""Runs that keep to a limit or a shard, and the scripts for sittings on a GPU, end to end on a tiny network."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, fault, melody

from synthnet.corpus.build import build_corpus
from synthnet.corpus.corpus import read_corpus
from synthnet.evaluation.baselines import Sampler
from synthnet.evaluation.measure import measure_recordings
from synthnet.experiments import runner
from synthnet.experiments.recipe import chosen_runs, read_recipe
from synthnet.experiments.results import FINISHED, UNFINISHED, Outcome
from synthnet.models.checkpoint import load_checkpoint
from synthnet.score.general_midi import find_instrument
from tests.experiments.recipe_scripts import RECIPES, recipe_script

TINY = RECIPES / "tiny"
MUSIC = {"gigue": melody(1), "bwv1007_1_prelude": melody(2)}


def ends_after(calls: int) -> Callable[..., bool]:
    """A `Limit.comes_within` that is reached when it is asked so often."""
    left = [calls]

    def comes_within(self: runner.Limit, seconds: float) -> bool:
        left[0] -= 1
        self.is_reached = self.is_reached or left[0] < 0
        return self.is_reached

    return comes_within


def test_a_run_stops_at_the_limit_and_goes_on_to_the_same_result(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped twice, in training and in measuring; the second time nothing is left to train."""
    only = ("--only", "preset=tiny", "--only", "model=synthnet")
    assert run("recipe", "run", TINY, *only, "--out", tmp_path / "whole").status == 0
    (whole,) = (one for one in read_recipe(TINY).runs if one.config.model == "synthnet")
    expected = Outcome.read(whole.folder(tmp_path / "whole"))
    part, steps = tmp_path / "part", {}

    def go_on(calls: int) -> Outcome:
        monkeypatch.setattr(runner.Limit, "comes_within", ends_after(calls))
        done = run("recipe", "run", TINY, *only, "--out", part, "--minutes", 5)
        assert done.status == 0, done.err
        outcome = Outcome.read(whole.folder(part))
        state = load_checkpoint(whole.folder(part) / "last.safetensors")
        steps[calls] = state.training["steps"]
        assert ("stopped before the limit of 5 minutes" in done.err) == (outcome.status == UNFINISHED)
        return outcome

    # It is asked before the run, before each of the eight steps and at their end, and in measuring.
    in_training = go_on(3)
    assert (in_training.status, in_training.facts["is_trained"], steps[3]) == (UNFINISHED, False, 2)
    in_measuring = go_on(1 + 6 + 1)
    assert (in_measuring.status, in_measuring.facts["is_trained"], steps[8]) == (UNFINISHED, True, 8)
    monkeypatch.delattr(runner, "train_run")  # whatever trains now fails
    finished = go_on(10_000)
    assert finished.status == FINISHED
    assert finished.final == expected.final


def test_limits_are_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[0])
    limit = runner.Limit(8.0)  # its last 15 s are for the results
    assert not runner.Limit().comes_within(1e9)
    assert not limit.comes_within(464.0)
    assert not limit.is_reached
    assert limit.comes_within(466.0)
    assert limit.is_reached
    limit = runner.Limit(8.0)
    now[0] += 464.0
    limit.check()
    now[0] += 2.0
    with pytest.raises(runner.Interrupted):
        limit.check()


def test_shards_share_the_runs_out(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "corpora_of", lambda *_: [])
    taken: list[str] = []
    monkeypatch.setattr(runner, "train_one", lambda one, *_: taken.append(one.network))
    for shard in ("1/2", "2/2", "7/8"):
        assert run("recipe", "run", TINY, "--out", tmp_path, "--shard", shard).status == 0
        taken.append(shard)
    assert taken == ["wavenet", "synthnet", "1/2", "deepvoice", "2/2", "7/8"]
    fault(run("recipe", "run", TINY, "--shard", "3/2"), "--shard", "'3/2' is not I/N")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packed corpora of two instruments."""
    folder = tmp_path_factory.mktemp("packed")
    for name in ("trumpet", "piano"):
        recipe_script("gpu/pack").packed(folder / name, find_instrument(name), MUSIC)
    return folder


def test_packed_corpora_are_coarse_but_for_the_prelude(packed: Path, tmp_path: Path) -> None:
    whole = build_corpus(tmp_path, find_instrument("trumpet"), [], etudes=MUSIC)
    corpus, step = read_corpus(packed / "trumpet"), 2**7  # 9 of 16 bits
    assert sorted(path.name for path in packed.iterdir()) == ["piano", "trumpet"]
    for coarse, fine in zip(corpus.pieces, whole.pieces, strict=True):
        assert corpus.read_notes(coarse) == whole.read_notes(fine)
        samples = corpus.read_samples(coarse).astype(int)
        error = samples - whole.read_samples(fine)
        if coarse.split == "valid":
            assert not error.any()
        else:
            assert not (samples % step).any()
            assert 0 < np.abs(error).max() <= step
            assert abs(error.mean()) < 4 * error.std() / len(error) ** 0.5


def test_the_seven_in_one_network_from_pack_to_what_is_left(packed: Path, tmp_path: Path) -> None:
    leave = recipe_script("gpu/leave")

    def train(folder: Path, minutes: float) -> None:
        words = [str(packed), str(folder), "--tiny", "--device", "cpu", "--minutes", str(minutes)]
        recipe_script("gpu/instruments").main.main(words, standalone_mode=False)

    folder = tmp_path / "runs" / "seven"
    train(folder, 0.01)
    made = json.loads((folder / "figures.json").read_text("utf-8"))
    assert made["card"]
    assert (made["precision"], made["seed"], list(made["instruments"])) == ("float32", 0, ["piano", "trumpet"])
    checkpoint = load_checkpoint(folder / "last.safetensors")
    assert checkpoint.instruments == ("piano", "trumpet")
    assert checkpoint.config.velocity
    trumpet, corpus = made["instruments"]["trumpet"], read_corpus(packed / "trumpet")
    (sampler,) = measure_recordings(corpus, Sampler.from_corpus(corpus).play).values()
    assert trumpet["sampler"] == pytest.approx(sampler.as_dict())
    assert 0 < trumpet["harmonic"]["rmse_cqt_50_db"] < trumpet["synthnet"]["rmse_cqt_50_db"] < 60
    page = (folder / "figures.md").read_text("utf-8")
    assert page.startswith("**SynthNet is nearer than the harmonic instrument at both floors for none.**")
    assert f"{trumpet['harmonic']['rmse_cqt_db']:.2f} / {trumpet['harmonic']['rmse_cqt_50_db']:.2f}" in page

    left = leave.leave(folder.parent, tmp_path / "left")
    assert [path.name for path in left] == ["seven.safetensors", "rest.tar.gz", "state.tar.00"]
    half = load_checkpoint(left[0])
    assert {value.dtype for value in half.weights.values()} == {np.dtype(np.float16)}
    for name, value in half.weights.items():
        np.testing.assert_allclose(value, checkpoint.weights[name], rtol=1e-3, atol=1e-6)
    leave.put_back(tmp_path / "left", tmp_path / "back")
    assert (tmp_path / "back" / "seven" / "prelude.opus").exists()
    train(tmp_path / "back" / "seven", checkpoint.training["elapsed_s"] / 60 + 0.01)
    again = load_checkpoint(tmp_path / "back" / "seven" / "last.safetensors")
    assert again.training["steps"] > checkpoint.training["steps"]


def test_each_command_of_the_list_is_one_run() -> None:
    page = (RECIPES / "gpu.md").read_text("utf-8")
    commands = [shlex.split(text) for text in re.findall(r"`(synthnet recipe run [^`]+--minutes 8)`", page)]
    assert len(commands) > 25
    for _, _, _, name, *words in commands:
        options = list(zip(words[::2], words[1::2], strict=True))
        recipe = read_recipe(RECIPES / name, dict(options)["--scale"])
        chosen = chosen_runs(recipe, [value for option, value in options if option == "--only"])
        assert len(chosen) == 1, options
        assert (chosen[0].settings.minutes or 0) < 7, "training, evaluations and the end do not fit"
    for path in re.findall(r"python ((?:recipes|benchmarks)/[\w/]+\.py)", page):
        assert (RECIPES.parent / path).exists() or path == "benchmarks/gpu.py"
