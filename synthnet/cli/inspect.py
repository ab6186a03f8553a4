"""`synthnet inspect`: what the layers of trained networks have learned."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from synthnet.cli.corpora import corpus_of
from synthnet.cli.options import Pair, as_json, path_type, progress_bar, say, show
from synthnet.evaluation import charts, layers, plots
from synthnet.experiments.results import number
from synthnet.files import InputError, atomic_write
from synthnet.models.checkpoint import Checkpoint, fact, load_checkpoint
from synthnet.text import columns


@click.group()
def inspect() -> None:
    """What the layers of the paper's trained networks have learned."""


@inspect.command("first-layer", short_help="Which score channels answer to octaves.")
@click.argument("path", metavar="CHECKPOINT", type=path_type)
@click.option("--keys", help="Keys that it has learned, as 36-67.  [default: as the checkpoint says]")
@click.option("--plot", "plot_path", type=path_type, default=Path("first-layer.png"), help="A PNG or SVG.")
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
def first_layer(path: Path, keys: str | None, plot_path: Path, print_json: bool) -> None:
    """Which of SynthNet's score channels answer to fundamentals and octaves.

    A key alone is held down. An octave counts where answers to two keys an octave apart are more alike than those to
    keys 10, 11, 13 and 14 semitones apart; the baseline is the same with the keys shuffled 1000 times.
    """
    plots.check_picture(plot_path)
    checkpoint = load_network(path)
    found = layers.key_answers(checkpoint.build(), *learned_keys(checkpoint, keys))
    charts.plot_key_answers(plot_path, found, f"{path.stem}: octaves in {found.octave_channels:.0%} of the channels")
    say(f"{plot_path}: the picture")
    if print_json:
        show(as_json({name: np.asarray(value).tolist() for name, value in asdict(found).items() if name != "answers"}))
        return
    lines = {
        "channels that answer alike to octaves": f"{found.octave_channels:6.1%}  (by chance 5%)",
        "octave excess of all channels": f"{found.octave_excess:+6.3f}  (shuffled keys give as much: {found.p:.1%})",
        "similarity an octave apart": f"{found.similarity[11]:+6.3f}",
        "answer that is to one key alone": f"{found.peak:6.1%}  (before training {found.fresh_peak:.1%})",
    }
    for label, line in lines.items():
        show(f"{label:38} {line}")


def learned_keys(checkpoint: Checkpoint, keys: str | None) -> tuple[int, int]:
    """The lowest and the highest key that a network has learned, or those asked for."""
    ends: list[Any] = [fact(checkpoint.training, "ranges", 0, end) for end in ("lowest_pitch", "highest_pitch")]
    if keys:
        ends = [int(end) if end.isdecimal() else -1 for end in keys.split("-")]
    if len(ends) != 2 or not all(isinstance(end, int) and 0 <= end <= 127 for end in ends):
        raise InputError("--keys: the keys that it has learned are needed, such as 36-67")
    return ends[0], ends[1]


def load_network(path: Path) -> Checkpoint:
    """One of the paper's networks; InputError for a harmonic instrument."""
    checkpoint = load_checkpoint(path)
    if checkpoint.config.kind != "autoregressive":
        raise InputError(f"{path}: a {checkpoint.config.kind} instrument, not one of the paper's networks")
    return checkpoint


@inspect.command("gram", short_help="Gram matrices of each layer's output.")
@click.option(
    "--model", "models", multiple=True, required=True, type=Pair("TIMBRE=CHECKPOINT"), help="Repeat it for each."
)
@click.option("--piece", "wanted", help="Validation piece.  [default: the first]")
@click.option("--corpus", "folders", multiple=True, type=path_type, help="Its corpus, for each model in turn.")
@click.option("--slices", default=4, type=click.IntRange(1, 60), help="Seconds of the piece.")
@click.option("--out", type=path_type, default=Path("gram"), help="Folder of the picture and the tables.")
def gram(
    models: tuple[tuple[str, str], ...], wanted: str | None, folders: tuple[Path, ...], slices: int, out: Path
) -> None:
    """Gram matrices of each layer's output, of one score through networks of several timbres (the paper's Figure 1).

    A timbre given twice, with another training, shows how far networks differ that know the same. A network of several
    instruments plays the one that its timbre names. Writes gram.png, points.csv and distances.csv.
    """
    if folders and len(folders) != len(models):
        raise InputError(f"{len(folders)} --corpus for {len(models)} --model: give one for each, or none")
    checkpoints = [load_network(Path(path)) for _, path in models]
    configs: list[Any] = [checkpoint.config for checkpoint in checkpoints]
    if len({(config.channels, config.layers) for config in configs}) > 1:
        raise InputError("--model: all networks must have the same channels and layers")
    points: list[layers.Point] = []
    with progress_bar(len(models) * slices, 1) as advance:
        for index, ((timbre, _), checkpoint) in enumerate(zip(models, checkpoints, strict=True)):
            voice = checkpoint.voice(timbre if timbre in checkpoint.instruments else None)
            corpus = corpus_of(checkpoint, voice.name, folders[index] if folders else None)
            pieces = {piece.name: piece for piece in corpus.split("valid")}
            name, rate = wanted or next(iter(pieces), None), checkpoint.sample_rate_hz
            if name not in pieces or corpus.sample_rate_hz != rate:
                raise InputError(
                    f"{corpus.folder}: no validation piece {name} at {rate} Hz; it has {', '.join(pieces) or 'none'}"
                )
            given = timbre, index, checkpoint.build(), corpus, pieces[name], slices, voice.style
            points += layers.gram_points(*given, progress=lambda: advance(1))
    plane = layers.tsne(points)
    rows = layers.layer_distances(points, plane)
    places = [
        [*point[:-1], float(np.linalg.norm(point.gram)), *place]
        for point, place in zip(points, plane.tolist(), strict=True)
    ]
    write_csv(out / "points.csv", [[*layers.Point._fields[:-1], "norm", "x", "y"], *places])
    write_csv(out / "distances.csv", [layers.LayerDistances._fields, *rows])
    charts.plot_grams(out / "gram.png", points, plane, rows)
    head = ["layer", "between timbres", "other training", "within a network", "between / within", "between, t-SNE"]
    cells = [
        [str(row.layer), *(number(x, 3) for x in row[1:4]), number(row.between / row.within), number(row.plane)]
        for row in rows
    ]
    show(columns([head, *cells]))
    if len({point.timbre for point in points}) == 1:
        show("One timbre alone: no distances between timbres, nor a layer that separates them. Give another timbre.")
    elif slices == 1:
        show("One slice alone: no distance within a network to compare with. Give --slices 2 or more.")
    else:
        correlation = layers.depth_correlation(rows)
        show(f"Spearman's correlation of depth with between / within: {correlation:+.2f} (1: it always rises)")
    say(f"{out}: gram.png, points.csv, distances.csv")


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write a table atomically."""
    with atomic_write(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
