"""A recipe's results beside the paper's: results.json, results.md, results.csv and the figures.

Everything comes from what the runs left in their folders; a run that failed, or was not run, stays visible as such.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthnet.evaluation.cqt import mean_and_ci95
from synthnet.evaluation.measure import HEADER, markdown_row
from synthnet.evaluation.plots import plot_learning, plot_networks
from synthnet.experiments.recipe import Recipe, Run
from synthnet.experiments.runner import FINISHED, facts_about, machine, networks_folder, read_outcome
from synthnet.files import atomic_write
from synthnet.score.general_midi import INSTRUMENTS
from synthnet.text import clock
from synthnet.training.run import training_rows

RMSE_FIGURE, CURVES_FIGURE = "rmse.png", "curves.png"
MISSING = "-"


def results_folder(recipe: Recipe, out: Path) -> Path:
    """Where a recipe's results lie."""
    return out / f"{recipe.name}-{recipe.scale}"


def write_results(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Collect what the runs have left, write all files, each whole or not at all, and return the results."""
    results = collect(recipe, out)
    folder = results_folder(recipe, out)
    with atomic_write(folder / "results.json") as beside:
        beside.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    with atomic_write(folder / "results.csv") as beside:
        beside.write_text(as_csv(results), "utf-8", newline="")
    with atomic_write(folder / "results.md") as beside:
        beside.write_text(as_markdown(results), "utf-8")
    learned = [
        run for run in results["runs"] if run["epochs"] and any("valid_nll" in row for row in run["evaluations"])
    ]
    if learned:
        plot_networks(folder / RMSE_FIGURE, learned, results["paper"], results["title"])
        plot_learning(folder / CURVES_FIGURE, learned, results["title"])
    return results


PLAYERS_EXPLAINED = (
    "RMSE-CQT in dB with the floor at -80 / -50 dB, then the log-spectral distance of the whole band, of the Prelude "
    "with dynamics and of six generated pieces; for single notes the largest differences from the teacher: level over "
    "velocities 20 to 127 (dB), spectral centroid, level of a held note (dB)."
)


def players_rows(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows of the table of instruments beside their baselines, of runs that were measured so."""
    finals = [(name, final) for run in runs for name, final in run["final"].items() if "players" in final]
    return [markdown_row(name, player) for name, final in finals for player in final["players"]]


def collect(recipe: Recipe, out: Path) -> dict[str, Any]:
    """All figures as plain values: the recipe, the machine, and every run."""
    return {
        "recipe": recipe.name,
        "scale": recipe.scale,
        "title": recipe.title,
        "shows": recipe.shows,
        "written": time.strftime("%Y-%m-%d"),
        "commit": machine.commit(),
        "machine": machine.machine(),
        "runs": [run_results(run, networks_folder(out) / run.folder_name) for run in recipe.runs],
        "paper": recipe.paper,
    }


def run_results(run: Run, folder: Path) -> dict[str, Any]:
    """What is known of one run.

    `rmse_cqt_db` is the paper's figure: the mean over the evaluations during training, with its 95% interval; `final`
    has, by instrument, the figures of the network as it was at the end. Times are without the evaluations.
    """
    outcome = read_outcome(folder) if run.trains else {}
    rows = training_rows(folder) if run.trains else []
    evaluations = [row for row in rows if "rmse_cqt_db" in row]
    mean_db, ci95_db = (
        mean_and_ci95(np.array([row["rmse_cqt_db"] for row in evaluations])) if evaluations else (None,) * 2
    )
    steps = rows[-1]["step"] if rows else 0
    samples = steps * run.training.n_predicted * run.training.batch
    trained_s = 0.0
    if rows:
        # The last evaluation's row was written at a time that does not have it yet.
        trained_s = rows[-1]["elapsed_s"] - sum(row["evaluation_s"] for row in evaluations[:-1])
    samples_an_epoch = outcome.get("samples_an_epoch")
    return {
        "network": run.network,
        "instrument": run.learner,
        "axes": dict(run.axes),
        "status": outcome.get("status"),
        "fault": outcome.get("fault"),
        "folder": run.folder_name if run.trains else None,
        **facts_about(run.config),
        "samples": samples,
        "epochs": samples / samples_an_epoch if samples_an_epoch else None,
        "trained_s": trained_s,
        "samples_per_s": samples / trained_s if trained_s else None,
        "seconds_per_epoch": trained_s * samples_an_epoch / samples if samples and samples_an_epoch else None,
        "rmse_cqt_db": mean_db,
        "rmse_cqt_ci95_db": None if ci95_db is None or np.isnan(ci95_db) else ci95_db,
        "final": outcome.get("final", {}),
        "evaluations": evaluations,
        "training_rows": [row for row in rows if "train_nll" in row],
        "seed": run.training.seed,
        "commit": outcome.get("commit"),
        "machine": outcome.get("machine"),
        "settings": run.as_dict(),
    }


# -------------------------------------------------------------------------------------------------- tables


def in_order(values: Iterable[str]) -> list[str]:
    """Each value once, as they come first."""
    return list(dict.fromkeys(values))


def number(value: float | None, digits: int = 2) -> str:
    """A figure, or a dash where there is none."""
    return MISSING if value is None or np.isnan(value) else f"{value:,.{digits}f}"


def with_interval(mean: float | None, width: float | None) -> str:
    """Mean ± half a 95% interval."""
    return number(mean) + ("" if width is None or np.isnan(width) else f" ± {width:.2f}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_markdown(results: Mapping[str, Any]) -> str:
    """The results as a page: ours beside the paper's."""
    runs = results["runs"]
    trains = any(run["status"] for run in runs)
    command = f"synthnet recipe run recipes/{results['recipe']} --scale {results['scale']}"
    parts = [
        f"# {results['title']}",
        results["shows"],
        f"`{command}`, written {results['written']} on {machine.machine_line(results['machine'])}; commit "
        f"{results['commit'] or 'unknown (not a clone)'}.",
    ]
    if not trains:
        return "\n\n".join([*parts, facts_table(results)]) + "\n"
    if rows := players_rows(runs):
        return "\n\n".join([*parts, PLAYERS_EXPLAINED, "\n".join([HEADER, *rows])]) + "\n"
    small = results["scale"] != "paper"
    at_the_end = [
        "## At the end of training",
        "Of the last checkpoint, on the validation pieces. The loss in nats a sample; the excess is over the dither "
        "floor; the score gain is how much worse the loss is with another passage's score, near 0 where it is ignored. "
        "Right pitch: of the notes longer than 80 ms of the piece's beginning, expectation; the teacher's in brackets.",
        final_table(runs),
    ]
    if small:
        parts += [
            "**At this scale no network plays yet: compare excess and score gain, and the order of the networks, not "
            "the figures.** The rows that need a GPU: recipes/gpu.md.",
            *at_the_end,
        ]
    parts += [
        "## RMSE-CQT during training",
        "Free-running, in dB, against the clean target: mean over the evaluations during training ± 95%, as in the "
        "paper. In brackets the paper's figures, which are for 512 channels and 200 epochs.",
        distance_table(results),
        *([] if small else at_the_end),
        "## Training",
        "Times are without the evaluations. In brackets the paper's seconds an epoch, with 512 channels on a P100.",
        effort_table(results),
    ]
    if faults := [f"- {run['network']}, {run['instrument']}: {run['fault']}" for run in runs if run["fault"]]:
        parts += ["Failed:", "\n".join(faults)]
    if any(run["evaluations"] for run in runs):
        parts += [f"![RMSE-CQT of the networks]({RMSE_FIGURE})", f"![Curves]({CURVES_FIGURE})"]
    return "\n\n".join(parts) + "\n"


def facts_table(results: Mapping[str, Any]) -> str:
    """Parameters, layers and receptive field of networks that are not trained."""
    names = ("parameters", "layers", "receptive_field_samples")
    rows = []
    for run in results["runs"]:
        theirs = results["paper"].get(run["network"], {})
        figures = []
        for name in names:
            said = theirs.get(name)
            shown = "" if said is None else f" ({said:.2e})" if name == "parameters" else f" ({said:,})"
            figures.append(f"{run[name]:,}{shown}")
        rows.append([run["network"], *figures])
    return table(["network (in brackets: the paper's)", *(name.replace("_", " ") for name in names)], rows)


def distance_table(results: Mapping[str, Any]) -> str:
    """RMSE-CQT: a row a network, a column an instrument, and the mean over the instruments."""
    runs, paper = results["runs"], results["paper"]
    instruments = in_order(run["instrument"] for run in runs)
    by_place = {(run["network"], run["instrument"]): run for run in runs}
    rows = []
    for network in in_order(run["network"] for run in runs):
        theirs = paper.get(network, {})
        cells, means = [], []
        for instrument in instruments:
            run = by_place[network, instrument]
            cell = with_interval(run["rmse_cqt_db"], run["rmse_cqt_ci95_db"])
            if run["status"] != FINISHED:
                cell = run["status"] if run["rmse_cqt_db"] is None else f"{cell} ({run['status']})"
            else:
                means.append(run["rmse_cqt_db"])
            # A network of some instruments stands beside the paper's network of all seven.
            cells.append(cell + in_brackets(theirs.get("all" if "+" in instrument else instrument)))
        if len(instruments) > 1:
            mean = number(float(np.mean(means))) if len(means) == len(instruments) else MISSING
            same = set(instruments) == {who.name for who in INSTRUMENTS}  # the paper's mean is over these
            cells.append(mean + in_brackets(theirs.get("all") if same else None))
        rows.append([network, f"{by_place[network, instruments[0]]['parameters']:,}", *cells])
    return table(["network", "parameters", *instruments, *(["mean"] if len(instruments) > 1 else [])], rows)


def in_brackets(figure: Sequence[float] | float | None) -> str:
    """The paper's figure after ours."""
    if figure is None:
        return ""
    mean, width = (figure[0], figure[1]) if isinstance(figure, Sequence) else (figure, None)
    return f" ({with_interval(mean, width)})"


def final_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """What each network had reached at the end, by instrument."""
    rows = []
    for run in runs:
        for instrument, final in run["final"].items():
            rows.append(
                [
                    run["network"],
                    instrument,
                    number(final["valid_nll"], 3),
                    number(final["excess"], 3),
                    number(final["score_gain"]),
                    with_interval(final["rmse_cqt_db"], final["rmse_cqt_ci95_db"]),
                    with_interval(final["rmse_cqt_expectation_db"], final["rmse_cqt_expectation_ci95_db"]),
                    pitch_shares(final.get("piece")),
                ]
            )
        if not run["final"]:
            rows.append([run["network"], run["instrument"], *[MISSING] * 6])
    head = [
        "network",
        "instrument",
        "validation loss",
        "excess",
        "score gain",
        "RMSE-CQT, sample",
        "expectation",
        "right pitch",
    ]
    return table(head, rows)


def pitch_shares(piece: Mapping[str, Any] | None) -> str:
    """Notes of the right pitch as played by the network, and by the teacher."""
    if piece is None:
        return MISSING
    return f"{100 * piece['expectation']['pitch_share']:.1f}% ({100 * piece['teacher_pitch_share']:.1f}%)"


def effort_table(results: Mapping[str, Any]) -> str:
    """Samples, time and speed of each run."""
    rows = []
    for run in results["runs"]:
        theirs = results["paper"].get(run["network"], {}).get("seconds_per_epoch")
        rows.append(
            [
                run["network"],
                run["instrument"],
                run["status"],
                f"{run['samples']:,}",
                number(run["epochs"]),
                clock(run["trained_s"]) if run["trained_s"] else MISSING,
                number(run["samples_per_s"], 0),
                number(run["seconds_per_epoch"], 0) + ("" if theirs is None else f" ({theirs:,})"),
            ]
        )
    head = ["network", "instrument", "status", "samples", "epochs", "time", "samples/s", "seconds an epoch"]
    return table(head, rows)


CSV_FIGURES = (
    "network", "instrument", "status", "parameters", "layers", "receptive_field_samples", "samples", "epochs",
    "trained_s", "samples_per_s", "seconds_per_epoch", "rmse_cqt_db", "rmse_cqt_ci95_db",
)  # fmt: skip
CSV_FINAL = (
    "valid_nll", "dither_floor", "excess", "score_gain", "rmse_cqt_db", "rmse_cqt_ci95_db",
    "rmse_cqt_expectation_db", "rmse_cqt_expectation_ci95_db",
)  # fmt: skip


def as_csv(results: Mapping[str, Any]) -> str:
    """A line a run; final figures are means over its instruments, the paper's figure comes last."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    paper_columns = ["paper_rmse_cqt_db", "paper_rmse_cqt_ci95_db", "seed", "commit"]
    writer.writerow([*CSV_FIGURES, *(f"final_{name}" for name in CSV_FINAL), *paper_columns])
    for run in results["runs"]:
        finals = run["final"].values()
        means = [
            float(np.mean([final[name] for final in finals])) if any(name in final for final in finals) else None
            for name in CSV_FINAL
        ]
        said = results["paper"].get(run["network"], {}).get(run["instrument"], (None, None))
        mean, width = said if isinstance(said, Sequence) else (said, None)
        writer.writerow([*(run[name] for name in CSV_FIGURES), *means, mean, width, run["seed"], run["commit"]])
    return buffer.getvalue()
