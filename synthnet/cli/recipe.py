"""`synthnet recipe`: experiments from folders."""

from __future__ import annotations

from pathlib import Path

import click

from synthnet.cli.options import path_type, say
from synthnet.experiments.recipe import chosen_runs, read_recipe
from synthnet.experiments.results import as_markdown, results_folder, write_results
from synthnet.experiments.runner import FAILED, facts_about, networks_folder, read_outcome, run_recipe
from synthnet.files import InputError
from synthnet.generation.library import DEFAULT_RUNS
from synthnet.training.run import choose_device


@click.group()
def recipe() -> None:
    """Run an experiment from a folder with a recipe.toml: networks trained side by side, tables beside the paper's."""


scale_option = click.option("--scale", help="paper, or cpu: the same shrunk for two cores.  [default: cpu]")
recipe_out_option = click.option(
    "--out", type=path_type, default=DEFAULT_RUNS / "recipes", help="Networks and results go here."
)


@recipe.command("run")
@click.argument("folder", type=path_type)
@scale_option
@click.option("--only", multiple=True, help="Some of the runs, as in model=synthnet,wavenet; repeat to narrow down.")
@recipe_out_option
@click.option("--device", "device_name", default="auto", help="cpu, cuda, or auto: a GPU if there is one.")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Processes that prepare slices.")
def recipe_run(
    folder: Path, scale: str | None, only: tuple[str, ...], out: Path, device_name: str, workers: int
) -> None:
    """Train and measure all networks of a recipe that are not finished yet, and write its tables.

    Stopped runs are resumed, finished ones skipped, failed ones tried again. Several GPUs: start it once on each
    (CUDA_VISIBLE_DEVICES=0, 1, ...) with the same --out; each takes the next run that nobody is at.
    """
    chosen = read_recipe(folder, scale)
    runs = chosen_runs(chosen, only)

    def keep() -> None:
        write_results(chosen, out)

    if any(run.trains for run in runs):
        run_recipe(
            chosen,
            out,
            runs,
            device=choose_device(device_name),
            workers=workers,
            say=say,
            keep=keep,
        )
    results = write_results(chosen, out)
    click.echo(as_markdown(results))
    say(f"{results_folder(chosen, out)}: results.md, results.csv, results.json and the figures")
    if failed := sum(run["status"] == FAILED for run in results["runs"]):
        raise InputError(f"{failed} of {len(results['runs'])} runs failed; the reasons are in results.md")


@recipe.command("show")
@click.argument("folder", type=path_type)
@scale_option
@recipe_out_option
def recipe_show(folder: Path, scale: str | None, out: Path) -> None:
    """List the runs of a recipe and how far they are."""
    chosen = read_recipe(folder, scale)
    click.echo(f"{chosen.title}, scale {chosen.scale}")
    for run in chosen.runs:
        about = [f"{facts_about(run.config)['parameters']:,} parameters"]
        if run.trains:
            place = networks_folder(out) / run.folder_name
            about += [run.length, read_outcome(place)["status"], str(place)]
        click.echo(f"  {run.network}, {run.learner}: {', '.join(about)}")
