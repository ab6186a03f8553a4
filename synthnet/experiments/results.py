"""The state and the figures of a recipe's runs, collected from their folders, and the tables beside the paper's."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthnet.evaluation.charts import plot_learning, plot_networks
from synthnet.evaluation.cqt import mean_and_ci95
from synthnet.evaluation.measure import HEADER, markdown_row
from synthnet.experiments.machine import Machine, machine
from synthnet.experiments.recipe import FACTS, RECIPES, Recipe, Run
from synthnet.files import InputError, atomic_write, commit, parse_json
from synthnet.models import HarmonicConfig, ModelConfig, build_model
from synthnet.score.general_midi import INSTRUMENTS
from synthnet.text import clock
from synthnet.training.run import training_rows
from synthnet.training.settings import has_run

FINISHED, FAILED, UNFINISHED, NOT_RUN = "finished", "failed", "unfinished", "not run"
MISSING = "-"


@dataclass(frozen=True)
class Outcome:
    """The state of a run, kept as run.json in its folder.

    Attributes:
        status: FINISHED, FAILED, UNFINISHED (begun) or NOT_RUN; None if nothing is to be trained.
        facts: settings (`Run.as_dict`), `provenance`, samples_an_epoch, machine and commit; empty if not begun.
        final: figures of the last checkpoint, by instrument.
        fault: why it failed.
    """

    status: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    final: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None

    @classmethod
    def read(cls, folder: Path) -> Outcome:
        """Of the run in a folder; InputError for a damaged run.json."""
        try:
            facts = parse_json((folder / "run.json").read_bytes())
            status, final, error = facts.pop("status"), facts.pop("final", {}), facts.pop("fault", None)
            for one in final.values():  # raises what the tables would raise
                players = [markdown_row("", player) for player in one.get("players", ())]
                if not players:
                    final_cells(one), beside_cells(one)
                    math.fsum(one.get(name, 0.0) for name in CSV_FINAL)
            texts = [*final, facts.get("commit") or "", error or ""]
            right = status in (FINISHED, FAILED, UNFINISHED) and all(text.isprintable() for text in texts)
            if not right or not 0 < facts["samples_an_epoch"] < 1e300 or not isinstance(facts["corpora"], list):
                raise ValueError
            return cls(status, facts, final, error)
        except FileNotFoundError:
            return cls(UNFINISHED if has_run(folder) else NOT_RUN)
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError):
            raise InputError(f"{folder / 'run.json'}: damaged; remove it to train again") from None

    def write(self, folder: Path) -> None:
        """Keep it in a run's folder."""
        content = {**self.facts, "status": self.status, "final": self.final, "fault": self.fault}
        write_text(folder / "run.json", json.dumps(content, indent=2) + "\n")


@dataclass(frozen=True)
class RunResult:
    """The figures of one run; None where there is none.

    Attributes:
        status, fault, final: see `Outcome`.
        samples: predicted in training so far.
        trained_s: time of training, without the evaluations.
        rmse_cqt_db, rmse_cqt_ci95_db: mean over the evaluations during training, as in the paper; half its interval.
        evaluations, training_rows: rows of metrics.jsonl.
    """

    network: str
    instrument: str
    axes: Mapping[str, str]
    status: str | None
    fault: str | None
    folder: str | None
    parameters: int
    layers: int
    receptive_field_samples: int
    samples: int
    epochs: float | None
    trained_s: float
    samples_per_s: float | None
    seconds_per_epoch: float | None
    rmse_cqt_db: float | None
    rmse_cqt_ci95_db: float | None
    final: Mapping[str, Any]
    evaluations: Sequence[Mapping[str, Any]]
    training_rows: Sequence[Mapping[str, Any]]
    seed: int
    commit: str | None
    machine: Mapping[str, Any] | None
    settings: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def final_means(self, names: Iterable[str]) -> list[float] | None:
        """Means over the instruments of some final figures of one of the paper's networks; None without any."""
        finals = [final for final in self.final.values() if "valid_nll" in final]
        return [float(np.mean([final.get(name, math.nan) for final in finals])) for name in names] if finals else None


@dataclass(frozen=True)
class Results:
    """A recipe's results beside the paper's figures; machine and commit are those that collected them."""

    recipe: str
    scale: str
    title: str
    shows: str
    written: str
    commit: str | None
    machine: Machine
    runs: Sequence[RunResult]
    paper: Mapping[str, Mapping[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def results_folder(recipe: Recipe, out: Path) -> Path:
    """The folder of a recipe's results."""
    return out / f"{recipe.name}-{recipe.scale}"


def write_results(recipe: Recipe, out: Path) -> Results:
    """Collect the results of runs below `out`, write all their files, each atomically, and return them."""
    results = Results(
        recipe=recipe.name,
        scale=recipe.scale,
        title=recipe.title,
        shows=recipe.shows,
        written=time.strftime("%Y-%m-%d"),
        commit=commit(),
        machine=machine(),
        runs=[run_result(run, run.folder(out)) for run in recipe.runs],
        paper=recipe.paper,
    )
    folder = results_folder(recipe, out)
    write_text(folder / "results.json", json.dumps(results.as_dict(), indent=2) + "\n")
    write_text(folder / "results.csv", as_csv(results))
    write_text(folder / "results.md", as_markdown(results, recipe.folder))
    learned = [run for run in results.runs if run.epochs and any("valid_nll" in row for row in run.evaluations)]
    if learned:
        plot_networks(folder / "rmse.png", [run.as_dict() for run in learned], recipe.paper, recipe.title)
        plot_learning(folder / "curves.png", [run.as_dict() for run in learned], recipe.title)
    return results


def run_result(run: Run, folder: Path) -> RunResult:
    """The figures that a run has left in its folder."""
    outcome, rows = (Outcome.read(folder), training_rows(folder)) if run.length else (Outcome(None), [])
    evaluations = [row for row in rows if "rmse_cqt_db" in row]
    mean_db, ci95_db = mean_and_ci95([row["rmse_cqt_db"] for row in evaluations]) if evaluations else (None, None)
    samples = rows[-1]["step"] * run.training.n_predicted * run.training.batch if rows else 0
    trained_s = trained_seconds(rows)
    epochs = samples / outcome.facts["samples_an_epoch"] if outcome.facts else None
    return RunResult(
        network=run.network,
        instrument=run.instrument,
        axes=run.axes,
        status=outcome.status,
        fault=outcome.fault,
        folder=run.folder_name if run.length else None,
        parameters=parameters_of(run.config),
        layers=run.config.layers,
        receptive_field_samples=run.config.receptive_field,
        samples=samples,
        epochs=epochs,
        trained_s=trained_s,
        samples_per_s=samples / trained_s if trained_s else None,
        seconds_per_epoch=trained_s / epochs if epochs else None,
        rmse_cqt_db=mean_db,
        rmse_cqt_ci95_db=None if ci95_db is None or math.isnan(ci95_db) else ci95_db,
        final=outcome.final,
        evaluations=evaluations,
        training_rows=[row for row in rows if "train_nll" in row],
        seed=run.training.seed,
        commit=outcome.facts.get("commit"),
        machine=outcome.facts.get("machine"),
        settings=run.as_dict(),
    )


def trained_seconds(rows: Sequence[Mapping[str, Any]]) -> float:
    """Time of training from the rows of metrics.jsonl, without the evaluations."""
    evaluated_s = [row["evaluation_s"] for row in rows if "evaluation_s" in row]
    # The time of the last evaluation's row does not include that evaluation yet.
    return float(rows[-1]["elapsed_s"] - sum(evaluated_s[:-1])) if rows else 0.0


def parameters_of(config: ModelConfig | HarmonicConfig) -> int:
    """Number of learned parameters of a network."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_model(config).parameters())


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as beside:
        beside.write_text(text, "utf-8", newline="")


def number(value: float | None, digits: int = 2, interval: float | None = None) -> str:
    """A figure, ± half its 95% interval where there is one; a dash without a figure."""
    if value is None or math.isnan(value):
        return MISSING
    rounded = round(value, digits) + 0.0  # never -0.00
    return f"{rounded:,.{digits}f}" + ("" if interval is None or math.isnan(interval) else f" ± {interval:.2f}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PLAYERS = (
    "RMSE-CQT in dB with the floor at -80 / -50 dB, then the log-spectral distance of the whole band, of the Prelude "
    "with dynamics and of six generated pieces; for single notes the largest differences from the teacher: level over "
    "velocities 20 to 127 (dB), spectral centroid, level of a held note (dB)."
)
SMALL_SCALE = (
    "**No network plays yet at this scale: compare excess and score gain, and the order of the networks, not the "
    "figures.** The rows that need a GPU: recipes/gpu.md."
)
AT_THE_END = (
    "The last checkpoint, on the validation pieces. The loss is in nats a sample; the excess is over the dither floor; "
    "the score gain is how much worse the loss is with another passage's score, near 0 where it is ignored. Right "
    "pitch: share of the notes longer than 80 ms in a piece's beginning, mean as output; the teacher's in brackets."
)
OVER_TRAININGS = (
    "The same figures, mean over trainings that differ in their seed ± 95% over trainings: unlike an interval over the "
    "seconds of one, it says how far another training may be."
)
DURING_TRAINING = (
    "Free-running, in dB, against the clean target: mean over the evaluations during training ± 95%, as in the paper. "
    "In brackets the paper's figures, which are for 512 channels and 200 epochs."
)
BESIDE = (
    "RMSE-CQT in dB with the floor at -80 / -50 dB on the same piece, mean as output: the network, the harmonic "
    "instrument that ships, and a sampler cut from the training music."
)
BESIDE_HEAD = ["network", "instrument", "seconds", "its", "harmonic", "sampler"]
EFFORT = "Times exclude the evaluations. In brackets the paper's seconds an epoch, with 512 channels on a P100."


def as_markdown(results: Results, folder: Path | None = None) -> str:
    """The results as a page, ours beside the paper's; `folder` is the recipe's, by default in recipes/."""
    runs = results.runs
    command = (
        f"synthnet recipe run {shlex.quote((folder or RECIPES / results.recipe).as_posix())} --scale {results.scale}"
    )
    made = f"written {results.written} on {results.machine}; commit {results.commit or 'unknown (not a clone)'}"
    parts = [f"# {results.title}", results.shows, f"`{command}`, {made}."]
    finals = [(name, final) for run in runs for name, final in run.final.items()]
    players = [markdown_row(name, player) for name, final in finals for player in final.get("players", ())]
    if not any(run.status for run in runs):
        parts.append(facts_table(results))
    elif players:
        parts += [PLAYERS, "\n".join([HEADER, *players])]
    else:
        at_the_end = ["## At the end of training", AT_THE_END, final_table(runs)]
        if pooled := pooled_table(runs):
            at_the_end += ["## Over trainings", OVER_TRAININGS, pooled]
        during = ["## RMSE-CQT during training", DURING_TRAINING, distance_table(results)]
        remark = [SMALL_SCALE] if results.scale == "cpu" else []
        parts += [*during, *at_the_end] if results.scale == "paper" else [*remark, *at_the_end, *during]
        beside = [[run.network, who, *beside_cells(final)] for run in runs for who, final in run.final.items()]
        if rows := [row for row in beside if len(row) > 2]:
            parts += ["## Beside other players", BESIDE, table(BESIDE_HEAD, rows)]
        parts += ["## Training", EFFORT, effort_table(results), "\n".join(made_on(runs))]
        if failed := [f"- {run.network}, {run.instrument}: {run.fault}" for run in runs if run.fault]:
            parts += ["Failed:", "\n".join(failed)]
        if any(run.evaluations for run in runs):
            parts += ["![RMSE-CQT of the networks](rmse.png)", "![Curves](curves.png)"]
    return "\n\n".join(parts) + "\n"


def facts_table(results: Results) -> str:
    """Parameters, layers and receptive field of networks that are not trained."""
    rows = []
    for run in results.runs:
        theirs = results.paper.get(run.network, {})
        said = {name: f" ({theirs[name]:{form}})" for name, form in FACTS.items() if name in theirs}
        rows.append([run.network, *(f"{getattr(run, name):,}{said.get(name, '')}" for name in FACTS)])
    return table(["network (in brackets: the paper's)", *(name.replace("_", " ") for name in FACTS)], rows)


def distance_table(results: Results) -> str:
    """RMSE-CQT: a row a network, a column an instrument, and the mean over the instruments."""
    instruments = list(dict.fromkeys(run.instrument for run in results.runs))
    several = len(instruments) > 1
    all_seven = set(instruments) == {who.name for who in INSTRUMENTS}  # the paper's mean is over these
    rows = []
    for network in dict.fromkeys(run.network for run in results.runs):
        theirs = results.paper.get(network, {})
        ours = [run for run in results.runs if run.network == network]
        cells = []
        for run in ours:
            cell = number(run.rmse_cqt_db, interval=run.rmse_cqt_ci95_db)
            if run.status != FINISHED:
                cell = str(run.status) if run.rmse_cqt_db is None else f"{cell} ({run.status})"
            # A network of some instruments stands beside the paper's network of all seven.
            cells.append(cell + in_brackets(theirs.get("all" if "+" in run.instrument else run.instrument)))
        if several:
            finished = [run.rmse_cqt_db for run in ours if run.status == FINISHED and run.rmse_cqt_db is not None]
            mean = float(np.mean(finished)) if len(finished) == len(ours) else None
            cells.append(number(mean) + in_brackets(theirs.get("all") if all_seven else None))
        rows.append([network, f"{ours[0].parameters:,}", *cells])
    return table(["network", "parameters", *instruments, *(["mean"] if several else [])], rows)


def in_brackets(figure: Sequence[float] | None) -> str:
    """The paper's figure [mean, half its 95% interval] after ours."""
    return "" if figure is None else f" ({number(figure[0], interval=figure[1])})"


def final_cells(final: Mapping[str, Any]) -> list[str]:
    """The figures of a last checkpoint on one instrument."""
    cells = [number(final["valid_nll"], 3), number(final["excess"], 3), number(final["score_gain"])]
    for output in ("rmse_cqt", "rmse_cqt_expectation"):
        at_80 = number(final[f"{output}_db"], interval=final[f"{output}_ci95_db"])
        cells.append(f"{at_80} / {number(final.get(f'{output}_50_db'))}")
    piece = final.get("piece")
    shares = (piece["expectation"]["pitch_share"], piece["teacher_pitch_share"]) if piece else None
    return [*cells, "{:.1%} ({:.1%})".format(*shares) if shares else MISSING]


def final_table(runs: Sequence[RunResult]) -> str:
    """The figures of each network's last checkpoint, by instrument."""
    head = "network, instrument, validation loss, excess, score gain, RMSE-CQT -80 / -50, of mean, right pitch"
    rows = []
    for run in runs:
        for instrument, final in run.final.items():
            rows.append([run.network, instrument, *final_cells(final)])
        if not run.final:
            rows.append([run.network, run.instrument, *[MISSING] * 6])
    return table(head.split(", "), rows)


def beside_cells(final: Mapping[str, Any]) -> list[str]:
    """Seconds of a last checkpoint's piece, then a network and others on it; empty if no others played it."""
    piece = final.get("piece") or {}
    if not (beside := piece.get("beside")):
        return []
    players = [piece["expectation"], beside.get("harmonic", {}), beside["sampler"]]
    floors = [[number(one.get(f"rmse_cqt{floor}_db")) for floor in ("", "_50")] for one in players]
    return [f"{piece['seconds']:.0f}", *map(" / ".join, floors)]


def made_on(runs: Sequence[RunResult]) -> list[str]:
    """A line for each card or processor, precision, commit and seed that runs were trained with."""
    made: dict[str, list[str]] = {}
    for run in runs:
        if run.machine:
            where = run.machine.get("gpu") or run.machine.get("processor", "unknown processor")
            how = f"{where}, {run.machine.get('precision', 'float32')}, commit {run.commit}, seed {run.seed}"
            made.setdefault(how, []).append(f"{run.network} ({run.instrument})")
    return [f"- {how}: {', '.join(networks) if len(made) > 1 else 'all'}" for how, networks in made.items()]


POOLED = {
    "excess": "excess", "score gain": "score_gain", "RMSE-CQT -80": "rmse_cqt_db", "-50": "rmse_cqt_50_db",
    "of mean -80": "rmse_cqt_expectation_db", "-50 ": "rmse_cqt_expectation_50_db",
}  # fmt: skip


def pooled_table(runs: Sequence[RunResult]) -> str | None:
    """The last checkpoints' figures over the trainings with several seeds; None where the seed is no axis.

    A training counts once, with its mean over seconds and instruments; the interval is over trainings.
    """
    groups: dict[tuple[str, str], list[list[float]]] = {}
    for run in runs:
        if means := run.final_means(POOLED.values()):
            labels = [label for name, label in run.axes.items() if name not in ("instrument", "seed")]
            place = " ".join(labels) or run.settings["config"]["model"], run.instrument
            groups.setdefault(place, []).append(means)
    if not groups or not any("seed" in run.axes for run in runs):
        return None
    rows = []
    for place, trainings in groups.items():
        figures = [mean_and_ci95(column) for column in zip(*trainings, strict=True)]
        rows.append([*place, str(len(trainings)), *(number(mean, interval=width) for mean, width in figures)])
    return table(["network", "instrument", "trainings", *POOLED], rows)


def effort_table(results: Results) -> str:
    """Samples, time and speed of each run."""
    head = "network, instrument, status, samples, epochs, time, samples/s, seconds an epoch"
    rows = []
    for run in results.runs:
        theirs = results.paper.get(run.network, {}).get("seconds_per_epoch")
        amount = [f"{run.samples:,}", number(run.epochs), clock(run.trained_s) if run.trained_s else MISSING]
        an_epoch = number(run.seconds_per_epoch, 0) + ("" if theirs is None else f" ({theirs:,})")
        rows.append([run.network, run.instrument, str(run.status), *amount, number(run.samples_per_s, 0), an_epoch])
    return table(head.split(", "), rows)


CSV_FIGURES = (
    "network", "instrument", "status", *FACTS, "samples", "epochs", "trained_s", "samples_per_s", "seconds_per_epoch",
    "rmse_cqt_db", "rmse_cqt_ci95_db",
)  # fmt: skip
CSV_FINAL = (
    "valid_nll", "dither_floor", "excess", "score_gain", "rmse_cqt_db", "rmse_cqt_ci95_db",
    "rmse_cqt_50_db", "rmse_cqt_expectation_db", "rmse_cqt_expectation_ci95_db", "rmse_cqt_expectation_50_db",
)  # fmt: skip


def as_csv(results: Results) -> str:
    """A line a run; final figures are means over its instruments."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    last = ("paper_rmse_cqt_db", "paper_rmse_cqt_ci95_db", "seed", "commit")
    writer.writerow([*CSV_FIGURES, *(f"final_{name}" for name in CSV_FINAL), *last])
    for run in results.runs:
        means: Sequence[float | None] = run.final_means(CSV_FINAL) or [None] * len(CSV_FINAL)
        theirs = results.paper.get(run.network, {}).get(run.instrument, (None, None))
        writer.writerow([*(getattr(run, name) for name in CSV_FIGURES), *means, *theirs, run.seed, run.commit])
    return buffer.getvalue()
