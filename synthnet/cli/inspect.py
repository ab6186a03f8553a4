"""`synthnet inspect`: what the layers of trained networks have learned."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from synthnet.cli.corpora import corpus_of
from synthnet.cli.options import as_json, path_type, progress_bar, say, show
from synthnet.evaluation.charts import plot_grams, plot_key_answers
from synthnet.evaluation.layers import (
    LayerDistances,
    Point,
    depth_correlation,
    gram_points,
    key_answers,
    layer_distances,
    tsne,
)
from synthnet.evaluation.plots import check_picture
from synthnet.experiments.results import number
from synthnet.files import InputError, atomic_write
from synthnet.models.checkpoint import Checkpoint, fact, load_checkpoint


@click.group()
def inspect() -> None:
    """What the layers of the paper's trained networks have learned."""


@inspect.command("first-layer")
@click.argument("path", metavar="CHECKPOINT", type=path_type)
@click.option("--keys", help="Keys that it has learned, as 36-67.  [default: as the checkpoint says]")
@click.option("--plot", "plot_path", type=path_type, default=Path("first-layer.png"), help="A PNG or SVG.")
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
def first_layer(path: Path, keys: str | None, plot_path: Path, print_json: bool) -> None:
    """Which of SynthNet's score channels answer to fundamentals and octaves.

    A key alone is held down. An octave counts where answers to two keys an octave apart are more alike than those to
    keys 10, 11, 13 and 14 semitones apart; the baseline is the same with the keys shuffled 1000 times.
    """
    check_picture(plot_path)
    checkpoint = load_checkpoint(path)
    lowest, highest = learned_keys(checkpoint, keys)
    if checkpoint.config.kind != "autoregressive":
        raise InputError(f"{path}: a {checkpoint.config.kind} instrument, not one of the paper's networks")
    found = key_answers(checkpoint.build(), lowest, highest)
    plot_key_answers(plot_path, found, f"{path.stem}: octaves in {found.octave_channels:.0%} of the channels")
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
    ends: Sequence[Any] = [fact(checkpoint.training, "ranges", 0, end) for end in ("lowest_pitch", "highest_pitch")]
    if keys:
        ends = [int(end) if end.isdecimal() else -1 for end in keys.split("-")]
    if len(ends) != 2 or not all(isinstance(end, int) and 0 <= end <= 127 for end in ends):
        raise InputError("--keys: the keys that it has learned are needed, such as 36-67")
    return ends[0], ends[1]


@inspect.command("gram")
@click.option("--model", "models", multiple=True, required=True, metavar="TIMBRE=CHECKPOINT", help="Repeat it.")
@click.option("--piece", help="Validation piece.  [default: the first]")
@click.option("--corpus", "folders", multiple=True, type=path_type, help="Its corpus, for each model in turn.")
@click.option("--slices", default=4, type=click.IntRange(1, 60), help="Seconds of the piece.")
@click.option("--out", type=path_type, default=Path("gram"), help="Folder of the picture and the tables.")
def gram(models: tuple[str, ...], piece: str | None, folders: tuple[Path, ...], slices: int, out: Path) -> None:
    """Gram matrices of each layer's output, of one score through networks of several timbres (the paper's Figure 1).

    A timbre given twice, with another training, shows how far networks differ that know the same. A network of several
    instruments plays the one that its timbre names. Writes gram.png, points.csv and distances.csv.
    """
    if folders and len(folders) != len(models):
        raise InputError(f"{len(folders)} --corpus for {len(models)} --model: give one for each, or none")
    read, points = [read_model(word) for word in models], []
    configs: list[Any] = [one.checkpoint.config for one in read]
    shapes = {(config.channels, config.layers) for config in configs}
    if len(shapes) > 1:
        raise InputError("--model: all networks must have the same channels and layers")
    with progress_bar(len(read) * slices, 1) as advance:
        for index, one in enumerate(read):
            checkpoint = one.checkpoint
            voice = checkpoint.voice(one.timbre if one.timbre in checkpoint.instruments else None)
            corpus = corpus_of(checkpoint, voice.name, folders[index] if folders else None)
            rate = checkpoint.sample_rate_hz
            pieces = {each.name: each for each in corpus.split("valid")}
            wanted = piece or next(iter(pieces), None)
            if wanted not in pieces or corpus.sample_rate_hz != rate:
                raise InputError(
                    f"{corpus.folder}: no validation piece {wanted} at {rate} Hz; it has {', '.join(pieces) or 'none'}"
                )
            given = one.timbre, index, checkpoint.build(), corpus, pieces[wanted], slices, voice.style
            points += gram_points(*given, progress=lambda: advance(1))
    plane = tsne(points)
    rows = layer_distances(points, plane)
    write_csv(
        out / "points.csv",
        [*Point._fields[:-1], "norm", "x", "y"],
        [
            [*point[:-1], float(np.linalg.norm(point.gram)), *place]
            for point, place in zip(points, plane.tolist(), strict=True)
        ],
    )
    write_csv(out / "distances.csv", LayerDistances._fields, rows)
    plot_grams(out / "gram.png", points, plane, rows)
    show("layer  between timbres  other training  within a network  between / within  between, t-SNE")
    for row in rows:
        cells = f"{row.layer:5} {number(row.between, 3):>16} {number(row.retrained, 3):>15} {number(row.within, 3):>17}"
        show(f"{cells} {number(row.between / row.within):>17} {number(row.plane):>15}")
    if len({point.timbre for point in points}) == 1:
        show("One timbre alone: no distances between timbres, nor a layer that separates them. Give another timbre.")
    elif slices == 1:
        show("One slice alone: no distance within a network to compare with. Give --slices 2 or more.")
    else:
        correlation = depth_correlation(rows)
        show(f"Spearman's correlation of depth with between / within: {correlation:+.2f} (1: it always rises)")
    say(f"{out}: gram.png, points.csv, distances.csv")


class Model(NamedTuple):
    """A timbre and its network."""

    timbre: str
    checkpoint: Checkpoint


def read_model(word: str) -> Model:
    """From TIMBRE=CHECKPOINT; InputError for another form or kind."""
    timbre, _, path = word.partition("=")
    if not timbre or not path:
        raise InputError(f"--model {word}: must be TIMBRE=CHECKPOINT")
    checkpoint = load_checkpoint(Path(path))
    if checkpoint.config.kind != "autoregressive":
        raise InputError(f"{path}: a {checkpoint.config.kind} instrument, not one of the paper's networks")
    return Model(timbre, checkpoint)


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table atomically."""
    with atomic_write(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
