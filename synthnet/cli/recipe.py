"""`synthnet recipe`: experiments from folders."""

from __future__ import annotations

import re
from pathlib import Path

import click

from synthnet.cli.options import path_type, positive, say, show
from synthnet.experiments.recipe import chosen_runs, read_recipe
from synthnet.experiments.results import FAILED, Outcome, as_markdown, parameters_of, results_folder
from synthnet.experiments.runner import run_recipe
from synthnet.files import InputError
from synthnet.generation.engine import choose_device
from synthnet.generation.library import DEFAULT_RUNS

folder_argument = click.argument("folder", type=path_type)
scale_option = click.option("--scale", help="paper, or cpu: small networks for two cores.  [default: cpu]")
out_option = click.option("--out", type=path_type, default=DEFAULT_RUNS / "recipes", help="For networks and results.")


def part_of(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int]:
    """I and N of I/N; (1, 1) without."""
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", value or "1/1")
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"{value!r} is not I/N with I from 1 to N, as in 3/8", context, parameter)
    return int(match[1]), int(match[2])


@click.group()
def recipe() -> None:
    """Run an experiment from a folder with a recipe.toml: train its networks, compare them with the paper's."""


@recipe.command("run")
@folder_argument
@scale_option
@click.option("--only", multiple=True, help="Choose runs, as in model=synthnet,wavenet; repeat to narrow down.")
@out_option
@click.option("--minutes", type=positive, help="Stop and save before so much time has passed; run again to go on.")
@click.option("--shard", metavar="I/N", callback=part_of, help="Take the runs I, I + N, ... alone, as in 3/8.")
@click.option("--device", "device_name", default="auto", help="cpu, cuda, or auto: a GPU if there is one.")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Processes that prepare training data.")
def recipe_run(
    folder: Path,
    scale: str | None,
    only: tuple[str, ...],
    out: Path,
    minutes: float | None,
    shard: tuple[int, int],
    device_name: str,
    workers: int,
) -> None:
    """Train and measure the networks of a recipe, and write its tables.

    Stopped runs are resumed, finished ones skipped, failed ones tried again. For several GPUs, start the command once
    on each (CUDA_VISIBLE_DEVICES=0, 1, ...) with the same --out; each process takes the next free run.
    A scheduler's array gives each job its own --shard.
    """
    chosen = read_recipe(folder, scale)
    first, step = shard
    runs = chosen_runs(chosen, only)[first - 1 :: step]
    device = choose_device(device_name)
    results = run_recipe(chosen, runs, out, device=device, workers=workers, minutes=minutes, say=say)
    show(as_markdown(results, chosen.folder))
    say(f"{results_folder(chosen, out)}: results.md, results.csv, results.json and the figures")
    if failed := sum(run.status == FAILED for run in results.runs):
        raise InputError(f"{failed} of {len(results.runs)} runs failed; the reasons are in results.md")


@recipe.command("show")
@folder_argument
@scale_option
@out_option
def recipe_show(folder: Path, scale: str | None, out: Path) -> None:
    """List the runs of a recipe and their progress."""
    chosen = read_recipe(folder, scale)
    lines = [f"{chosen.title}, scale {chosen.scale}"]
    for run in chosen.runs:
        about = [f"{parameters_of(run.config):,} parameters"]
        if run.length:
            place = run.folder(out)
            about += [run.length, str(Outcome.read(place).status), str(place)]
        lines.append(f"  {run.network}, {run.instrument}: {', '.join(about)}")
    show("\n".join(lines))
