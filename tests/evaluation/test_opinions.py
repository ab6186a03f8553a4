"""The figures of a listening test against closed forms, SciPy, and listeners whose minds are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, fault
from scipy import stats

from synthnet.evaluation.listening import ABX, ANCHOR, RATING, REFERENCE
from synthnet.evaluation.opinions import ALL, PAPER, Answers, flagged, read_answers, read_key, results

INSTRUMENTS = ("piano", "cello", "trumpet", "flute")
QUALITY = {"near": 4.4, "far": 2.2, REFERENCE: 5.0, ANCHOR: 1.4}
DISTANCE = {"near": 6.0, "far": 14.0}


def key_of(kind: str = RATING, extra: tuple[str, ...] = (REFERENCE, ANCHOR)) -> dict[str, Any]:
    """The key of a test of two models, four instruments and two pieces; distances grow with the instrument."""
    trials: dict[str, Any] = {}
    for number, instrument in enumerate(INSTRUMENTS):
        for piece in ("one", "two"):
            at = f"{instrument}-{piece}"
            about = {
                f"{at}-{model}": {
                    "model": model,
                    "rmse_cqt_db": DISTANCE[model] + number,
                    "rmse_cqt_50_db": 3.0 + number,
                }
                for model in DISTANCE
            } | {f"{at}-{model}": {"model": model} for model in extra}
            trial: dict[str, Any] = {"piece": piece, "instrument": instrument}
            if kind == RATING:
                trial |= {"reference": f"{at}-r", "samples": sorted(about)}
                trials[at] = trial | {"sounds": {**about, f"{at}-r": {"model": REFERENCE}}}
                continue
            for model in DISTANCE:
                x = [f"{at}-{model}-x0", f"{at}-{model}-x1"]
                a, b = f"{at}-{model}-a", f"{at}-{model}-b"
                sounds = {a: REFERENCE, b: model, x[0]: REFERENCE, x[1]: model}
                named = {one: {"model": who} for one, who in sounds.items()}
                trials[f"{at}-{model}"] = trial | {"a": a, "b": b, "x": x, "sounds": named}
    return {"test": "t", "kind": kind, "trials": trials}


def ratings(key: dict[str, Any], rng: np.random.Generator, spread: float = 0.5) -> dict[str, int]:
    """A careful listener's ratings; the hidden reference always gets a 5."""
    found = {}
    for trial in key["trials"].values():
        for sample in trial["samples"]:
            model = trial["sounds"][sample]["model"]
            heard = QUALITY[model] + (0 if model == REFERENCE else rng.normal(0, spread))
            found[sample] = int(np.clip(np.rint(heard), 1, 5))
    return found


def file_of(key: dict[str, Any], listener: str, given: dict[str, int]) -> dict[str, Any]:
    """Ratings as the page hands them in."""
    answers = [
        {"trial": name, "ratings": {sample: given[sample] for sample in trial["samples"]}}
        for name, trial in key["trials"].items()
    ]
    return {"format": 1, "test": key["test"], "kind": RATING, "listener": listener, "answers": answers}


def test_opinions_are_means_with_students_interval() -> None:
    key, rng = key_of(extra=()), np.random.default_rng(0)
    answers = [Answers(str(n), ratings(key, rng, 1.0), {}) for n in range(5)]
    found = results(key, answers)
    for model in DISTANCE:
        for instrument in (*INSTRUMENTS, ALL):
            given = [
                one.ratings[f"{name}-{piece}-{model}"]
                for one in answers
                for name in (INSTRUMENTS if instrument == ALL else [instrument])
                for piece in ("one", "two")
            ]
            opinion = found.opinions[model, instrument]
            low, high = stats.t.interval(0.95, len(given) - 1, np.mean(given), stats.sem(given))
            assert opinion.mos == pytest.approx(np.mean(given))
            assert opinion.ci95 == pytest.approx((high - low) / 2)
            assert opinion.ratings == len(given)
    assert found.opinions["near", "cello"].rmse_cqt_db == 7.0
    assert found.opinions["far", ALL].rmse_cqt_db == pytest.approx(15.5)


def test_correlation_over_all_pairs_and_within_a_model() -> None:
    key = key_of(extra=())
    given = {}
    for trial in key["trials"].values():
        number = INSTRUMENTS.index(trial["instrument"])
        for sample in trial["samples"]:  # the nearer model is better, yet within a model the farther sound is
            given[sample] = (4 if trial["sounds"][sample]["model"] == "near" else 1) + (number > 1)
    found = results(key, [Answers("a", given, {})]).correlations
    x = [DISTANCE[model] + n for model in DISTANCE for n in range(4)]
    y = [(4 if model == "near" else 1) + (n > 1) for model in DISTANCE for n in range(4)]
    assert (found[ALL].pairs, found["near"].pairs) == (8, 4)
    assert found[ALL].r == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found[ALL].r < -0.8
    assert found[ALL].p == pytest.approx(stats.linregress(x, y).pvalue)
    assert found["near"].r == pytest.approx(2 / math.sqrt(5))
    assert found["far"].r_50 == pytest.approx(2 / math.sqrt(5))


def test_a_correlation_that_does_not_exist_is_none() -> None:
    key = key_of(extra=())
    given = {sample: 3 for trial in key["trials"].values() for sample in trial["samples"]}
    found = results(key, [Answers("a", given, {})])
    assert found.correlations[ALL].r is None
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["correlations"][ALL]["pairs"] == 8


def test_listeners_who_do_not_listen_are_flagged() -> None:
    key, rng = key_of(), np.random.default_rng(1)
    samples = [sample for trial in key["trials"].values() for sample in trial["samples"]]
    answers = [Answers(f"good{n}", ratings(key, rng), {}) for n in range(6)]
    chance = {sample: int(rng.integers(1, 6)) for sample in samples}
    deaf = answers[0].ratings | {"piano-one-reference": 3}
    found = results(
        key,
        [
            *answers,
            Answers("chance", chance, {}),
            Answers("same", dict.fromkeys(samples, 4), {}),
            Answers("deaf", deaf, {}),
        ],
    )
    assert set(found.flags) == {"chance", "same", "deaf"}
    assert found.flags["deaf"] == ["rated the hidden reference below 4 on 1 of 8 pages"]
    assert found.flags["same"] == ["gave every sample a 4"]
    assert any("unlike" in why for why in found.flags["chance"])
    assert found.listeners == 9
    without = results(key, [*answers, Answers("chance", chance, {})], without_flagged=True)
    assert without.listeners == 6
    assert without.opinions == results(key, answers).opinions


def test_random_listeners_are_flagged_as_often_as_the_level_says() -> None:
    key, rng = key_of(extra=(ANCHOR,)), np.random.default_rng(2)
    samples = [sample for trial in key["trials"].values() for sample in trial["samples"]]
    careful = [Answers(f"good{n}", ratings(key, rng), {}) for n in range(5)]
    by_chance = [Answers("chance", {s: int(rng.integers(1, 6)) for s in samples}, {}) for _ in range(100)]
    missed = sum("chance" not in flagged(key, [*careful, one]) for one in by_chance)
    assert missed <= 12  # 5 of 100 pass by chance; 13 or more once in 700 times


def test_abx_is_the_exact_binomial_test(tmp_path: Path) -> None:
    key = key_of(ABX)
    right = {name: "near" not in name or number < 5 for number, name in enumerate(sorted(key["trials"], reverse=True))}
    found = results(key, [Answers("a", {}, right), Answers("b", {}, right)])
    n_near = sum(right[name] for name in right if "near" in name)
    for model, k in (("near", 2 * n_near), ("far", 16)):
        one = found.identified[model, ALL]
        assert (one.right, one.trials, one.share) == (k, 16, k / 16)
        assert one.p == pytest.approx(sum(math.comb(16, j) for j in range(k, 17)) / 2**16)
        low = 0.0 if k == 0 else stats.beta.ppf(0.025, k, 17 - k)
        high = 1.0 if k == 16 else stats.beta.ppf(0.975, k + 1, 16 - k)
        assert (one.low, one.high) == (pytest.approx(low), pytest.approx(high))
    assert found.opinions == {}
    answers = [
        {"trial": name, "x": trial["x"][number % 2], "answer": "a"}
        for number, (name, trial) in enumerate(key["trials"].items())
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"test": "t", "kind": ABX, "listener": "l", "answers": answers}))
    read = read_answers(path, key).right
    assert [read[one["trial"]] for one in answers] == [number % 2 == 0 for number in range(len(answers))]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A key and the answers of four listeners, one of whom answers by chance."""
    key, rng = key_of(), np.random.default_rng(3)
    (tmp_path / "key.json").write_text(json.dumps(key))
    (tmp_path / "answers").mkdir()
    for name in ("a", "b", "c", "odd"):
        given = ratings(key, rng)
        if name == "odd":
            given = {sample: int(rng.integers(1, 4)) for sample in given}
        (tmp_path / "answers" / f"{name}.json").write_text(json.dumps(file_of(key, name, given)))
    return tmp_path


def test_the_command_prints_the_paper_beside_ours(run: Run, session: Path) -> None:
    files = sorted((session / "answers").glob("*.json"))
    shown = run("listen", "results", *files, "--plot", "p.png")
    assert shown.status == 0, shown.err
    assert "4.36 ± 0.07" in shown.out
    assert "-0.78" in shown.out
    assert "listener odd, counted: " in shown.out
    assert (session / "p.png").read_bytes()[:4] == b"\x89PNG"
    plain = json.loads(run("listen", "results", *files, "--json").out)
    key = read_key(session / "key.json")
    found = results(key, [read_answers(path, key) for path in files])
    assert plain["opinions"]["near"][ALL]["mos"] == found.opinions["near", ALL].mos
    assert plain["paper"]["opinions"]["SynthNet L24"]["mos"] == PAPER["SynthNet L24"][0]
    assert list(plain["flags"]) == ["odd"]
    assert plain["listeners"] == 4
    without = run("listen", "results", *files, "--without-flagged", "--json")
    assert json.loads(without.out)["listeners"] == 3
    twice = run("listen", "results", files[0], files[0], files[1], "--json")
    assert json.loads(twice.out)["listeners"] == 2
    assert "left out" in twice.err


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda given: given.update(test="other"), "another test"),
        (lambda given: given["answers"].pop(), "7 pages"),
        (lambda given: given["answers"].append(given["answers"][0]), "8 pages"),
        (lambda given: given["answers"][0]["ratings"].popitem(), "damaged"),
        (lambda given: given["answers"][0]["ratings"].update({"piano-one-near": 6}), "damaged"),
        (lambda given: given["answers"][0]["ratings"].update({"piano-one-near": True}), "damaged"),
        (lambda given: given.update(answers=7), "damaged"),
        (lambda given: given.clear(), "damaged"),
    ],
)
def test_damaged_answers_end_in_one_line(run: Run, session: Path, change: Any, part: str) -> None:
    path = session / "answers" / "a.json"
    given = json.loads(path.read_text())
    change(given)
    path.write_text(json.dumps(given))
    fault(run("listen", "results", path), "a.json", part)


def test_other_files_end_in_one_line(run: Run, session: Path) -> None:
    path = session / "answers" / "a.json"
    fault(run("listen", "results", session / "missing.json"), "missing.json")
    fault(run("listen", "results", path, "--key", path), "a.json", "not the key")
    path.write_text("{")
    fault(run("listen", "results", path), "a.json", "not JSON")
    (session / "key.json").unlink()
    fault(run("listen", "results", path), "not JSON")
    fault(run("listen", "results", session / "missing.json"), "missing.json: No such file")
    path.write_text("{}")
    fault(run("listen", "results", path), "no key.json")
