"""`synthnet show`: pictures of a score or of a run."""

from __future__ import annotations

from pathlib import Path

import click

from synthnet.cli.options import path_type, say
from synthnet.evaluation.charts import plot_training
from synthnet.evaluation.plots import check_picture, plot_roll
from synthnet.files import InputError
from synthnet.score.midi import read_score
from synthnet.training.run import training_rows


@click.command()
@click.argument("what", type=path_type)
@click.option("-o", "--out", type=path_type, help="A PNG or SVG; of several tracks, NAME-0.png and so on.")
def show(what: Path, out: Path | None) -> None:
    """Draw a MIDI file as piano rolls with velocities, a picture for each track, or the curves of a run's folder.

    Pictures go to the current folder, under the name of the file, and replace no others unless -o says so.
    """
    path = out or Path(f"{what.resolve().name if what.is_dir() else what.stem}.png")
    check_picture(path)
    if what.is_dir():
        if not (rows := training_rows(what)):
            raise InputError(f"{what}: not a run, or one without figures yet (metrics.jsonl)")
        free(path, out)
        plot_training(path, rows, what.resolve().name)
        say(f"{path}: the picture")
        return
    tracks = read_score(what, drums=True).parts
    paths = [path.with_stem(f"{path.stem}-{n}") if len(tracks) > 1 else path for n in range(len(tracks))]
    for page in paths:
        free(page, out)
    for page, track in zip(paths, tracks, strict=True):
        kind = "drums" if track.drums else f"program {track.program}"
        plot_roll(page, track.notes, " · ".join(filter(None, [what.name, track.name, kind])))
        say(f"{page}: the picture")


def free(path: Path, asked: Path | None) -> None:
    """Raise InputError for a file that is there already and was not asked for."""
    if path.exists() and not asked:
        raise InputError(f"{path}: is there already; -o {path} replaces it")
