"""Figures as pictures: how trainings went, networks and players beside each other, opinions, and what layers know.

They are drawn as the pictures of `plots.py`, and raise InputError as those do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import LogFormatter

from synthnet.evaluation.cqt import FLOORS_DB
from synthnet.evaluation.layers import KeyAnswers, LayerDistances, Point
from synthnet.evaluation.opinions import ALL, PAPER, Listening
from synthnet.evaluation.plots import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    INK,
    LEGEND,
    ORANGE,
    label_axes,
    new_figure,
    save,
    save_with_legend,
)
from synthnet.files import InputError

MARKERS = "osD^vP*Xhp"
PALE = ("#b8c7d9", "#d8b48f", GREY)  # of players beside the network
PAPER_COLOUR = "#b8b8b8"  # bars of the paper's figures

# Panels of the picture of a training, by title: figure, label, colour and options of each curve.
FAINT = {"alpha": 0.45}
DISTANCE, SPECTRA = "RMSE-CQT of what it plays, dB", "Distance of spectra"
TRAINING_PANELS: dict[str, tuple[tuple[str, str, str, dict[str, Any]], ...]] = {
    "Negative log likelihood, nats a sample": (
        ("train_nll", "training", BLUE, FAINT),
        ("valid_nll", "validation", BLUE, {}),
        ("dither_floor", "dither floor", INK, {"linestyle": "--", "marker": ""}),
    ),
    SPECTRA: (("train_distance", "training", BLUE, {}),),
    "Score gain (wrong minus right score), nats a sample": (("score_gain", "validation", GREEN, {}),),
    DISTANCE: (
        ("rmse_cqt_db", "floor at -80 dB", ORANGE, {}),
        ("rmse_cqt_50_db", "floor at -50 dB", ORANGE, FAINT),
        ("rmse_cqt_expectation_db", "mean as output", ORANGE, FAINT),
    ),
}


def plot_training(path: Path, rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Draw a run's metrics.jsonl, a panel for each kind of figure.

    Each row has "step" and any of the figures of `TRAINING_PANELS`, maybe as None. InputError where no row has any.
    """
    found = {name for row in rows for name, value in row.items() if value is not None}
    panels = {name: [curve for curve in curves if curve[0] in found] for name, curves in TRAINING_PANELS.items()}
    panels = {name: curves for name, curves in panels.items() if curves}
    if not panels:
        raise InputError(f"{path}: no training figures to draw")
    figure = new_figure(4.6, title)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (heading, curves) in zip(all_axes, panels.items(), strict=True):
        for name, label, colour, options in curves:
            points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            line = {"marker": "o", "markersize": 3.5, "linewidth": 1.8, **options}
            axes.plot(*zip(*points, strict=True), color=colour, label=label, **line)
        label_axes(axes, heading, "step")
        if heading == SPECTRA:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(LogFormatter())  # 6, not 6 x 10^0
            axes.yaxis.set_minor_formatter(LogFormatter())
        elif heading == DISTANCE:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.legend(**LEGEND, loc="lower left" if heading == DISTANCE else "best")
    save(figure, path)


def plot_networks(
    path: Path, runs: Sequence[Mapping[str, Any]], paper: Mapping[str, Mapping[str, Any]], title: str = ""
) -> None:
    """Draw the RMSE-CQT of networks as bars, a panel an instrument, with the paper's figures beside ours.

    Each run has "network", "instrument", "rmse_cqt_db" and "rmse_cqt_ci95_db" (mean over the evaluations during
    training, half a 95% interval or None), "final" (by instrument, with "rmse_cqt_expectation_db"). `paper` has by
    network and instrument [mean, half a 95% interval].
    """
    by_place = {(run["network"], run["instrument"]): run for run in runs}
    networks, instruments = (list(dict.fromkeys(column)) for column in zip(*by_place, strict=True))
    figure = new_figure(1.2 + len(instruments) * (0.9 + 0.36 * len(networks)), title)
    panels = figure.subplots(len(instruments), squeeze=False)[:, 0]
    height = 0.8 / 3
    for axes, instrument in zip(panels, instruments, strict=True):
        for place, network in enumerate(networks):
            bars: list[tuple[float, float | None, str, str]] = []
            if run := by_place.get((network, instrument)):
                bars.append((run["rmse_cqt_db"], run["rmse_cqt_ci95_db"], BLUE, "ours, mean over training"))
                if finals := [final["rmse_cqt_expectation_db"] for final in run["final"].values()]:
                    bars.append((float(np.mean(finals)), None, GREEN, "ours, at the end, mean output"))
            if theirs := paper.get(network, {}).get(instrument):
                bars.append((theirs[0], theirs[1], PAPER_COLOUR, "the paper's"))
            for number, (length, width, colour, label) in enumerate(bars):
                at = place + (number - 1) * height
                axes.barh(at, length, height * 0.92, xerr=width, color=colour, ecolor=INK, label=label)
        label_axes(axes, f"{instrument}: RMSE-CQT, dB (below 10 is a sample of reasonable quality)", grid=False)
        axes.set_yticks(range(len(networks)), networks)
        axes.invert_yaxis()
        axes.axvline(10, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xlim(left=0)  # two evaluations may be uncertain by more than their mean
    save_with_legend(figure, panels, path, 3)


def plot_learning(path: Path, runs: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Draw the curves of several networks, a row of panels an instrument: losses and RMSE-CQT over epochs and minutes.

    Each run has "network", "instrument", "epochs", "trained_s", "evaluations" (rows with "step", "valid_nll",
    "rmse_cqt_db", "score_gain") and "training_rows" (rows with "step", "train_nll"); epochs and seconds are
    proportional to steps.
    """
    instruments = list(dict.fromkeys(run["instrument"] for run in runs))
    networks = list(dict.fromkeys(run["network"] for run in runs))
    figure = new_figure(0.9 + 3.6 * len(instruments), title)
    grid = figure.subplots(len(instruments), 4, squeeze=False)
    for run in runs:
        panels = grid[instruments.index(run["instrument"])]
        last = run["evaluations"][-1]["step"]
        epochs, minutes = run["epochs"] / last, run["trained_s"] / last / 60
        line = {"color": COLOURS[networks.index(run["network"]) % len(COLOURS)], "linewidth": 1.6}
        faint, dotted = {**line, "alpha": 0.35}, {**line, "marker": "o", "markersize": 3, "label": run["network"]}
        for axes, figures, name, unit, options in (
            (panels[0], "training_rows", "train_nll", epochs, faint),
            (panels[0], "evaluations", "valid_nll", epochs, dotted),
            (panels[1], "evaluations", "score_gain", epochs, dotted),
            (panels[2], "evaluations", "rmse_cqt_db", epochs, dotted),
            (panels[3], "evaluations", "rmse_cqt_db", minutes, dotted),
        ):
            rows = run[figures]
            axes.plot([row["step"] * unit for row in rows], [row[name] for row in rows], **options)
    names = ("NLL, nats (faint: training)", "score gain, nats", "RMSE-CQT, dB", "RMSE-CQT, dB, by time")
    for panels, instrument in zip(grid, instruments, strict=True):
        for number, (axes, name) in enumerate(zip(panels, names, strict=True)):
            label_axes(axes, f"{instrument}: {name}", "minutes of training" if number == 3 else "epochs")
        for axes in panels[2:]:
            axes.axhline(10, color=GREY, linewidth=0.8, linestyle=":")
    save_with_legend(figure, grid[0, :1], path, 5)


def plot_players(
    path: Path,
    figures: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]],
    players: Sequence[str],
    title: str = "",
) -> None:
    """Draw the RMSE-CQT of instruments on the Prelude as bars, at -80 and at -50 dB, a colour a player.

    `figures` has by instrument and player {"prelude": {"rmse_cqt_db": ..., "rmse_cqt_50_db": ...}}.
    """
    figure = new_figure(7, title)
    panels = figure.subplots(2, sharex=True)
    width = 0.84 / len(players)
    for axes, key, floor in zip(panels, ("rmse_cqt_db", "rmse_cqt_50_db"), FLOORS_DB, strict=True):
        for number, player in enumerate(players):
            places = {place: of[player]["prelude"][key] for place, of in enumerate(figures.values()) if player in of}
            at = np.array(list(places)) + (number - (len(players) - 1) / 2) * width
            colour = BLUE if number == 0 else PALE[(number - 1) % len(PALE)]
            axes.bar(at, list(places.values()), 0.92 * width, color=colour, label=player)
        label_axes(axes, f"floor at {floor:g} dB")
        axes.set_xticks(range(len(figures)), list(figures), rotation=30 if len(figures) > 8 else 0)
    save_with_legend(figure, panels[:1], path, len(players))


def plot_listening(path: Path, found: Listening) -> None:
    """Draw a listening test: mean opinion scores beside the paper's and over RMSE-CQT; of ABX, the shares.

    Error bars are 95% intervals, cut off where the scale ends.
    """
    if found.identified:
        _plot_abx(path, found)
        return
    figure = new_figure(5, f"Listening test, {found.listeners} listeners")
    left, right = figure.subplots(1, 2)
    totals = {model: (one.mos, one.ci95) for (model, instrument), one in found.opinions.items() if instrument == ALL}
    paper = {f"paper: {name}": figures for name, figures in PAPER.items()}
    for place, (name, (mos, ci95)) in enumerate((totals | paper).items()):
        ends = np.minimum(ci95 or 0.0, [[mos - 1], [5 - mos]])
        left.barh(place, mos, xerr=ends, color=BLUE if name in totals else PAPER_COLOUR, ecolor=INK)
    left.set_yticks(range(len(totals | paper)), [*totals, *paper])
    left.invert_yaxis()
    left.set_xlim(1, 5.1)
    label_axes(left, "Mean opinion score, all instruments", "1 bad to 5 excellent", grid=False)
    for place, model in enumerate(totals):
        points = [
            (one.rmse_cqt_db, one.mos, instrument)
            for (who, instrument), one in found.opinions.items()
            if who == model and instrument != ALL and one.rmse_cqt_db is not None
        ]
        for x, y, name in points:
            right.annotate(name, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=8, color=GREY)
        if points:
            right.plot(*zip(*(point[:2] for point in points), strict=True), "o", color=COLOURS[place % 10], label=model)
            right.legend(**LEGEND)
    label_axes(right, "By model and instrument", "RMSE-CQT, dB (floor at -80 dB)")
    right.set_ylim(0.9, 5.1)
    save(figure, path)


def _plot_abx(path: Path, found: Listening) -> None:
    figure = new_figure(4.5, f"ABX, {found.listeners} listeners")
    axes = figure.subplots()
    bars = found.identified.values()
    ends = np.array([(one.share - one.low, one.high - one.share) for one in bars]).T
    axes.errorbar(range(len(bars)), [one.share for one in bars], yerr=ends, fmt="o", color=BLUE, capsize=4)
    axes.set_xticks(range(len(bars)), list(map(", ".join, found.identified)), rotation=30, ha="right")
    axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_ylim(0, 1.02)
    label_axes(axes, "Share of X known from the teacher, with its 95% interval; dotted: chance")
    save(figure, path)


def plot_key_answers(path: Path, found: KeyAnswers, title: str = "") -> None:
    """Draw the channels' answers to keys, sorted by their strongest key, and their similarity by interval."""
    figure = new_figure(7, title)
    left, right = figure.subplots(1, 2)
    strongest = np.abs(found.answers).argmax(axis=1)
    signs = np.sign(found.answers[np.arange(len(strongest)), strongest])
    rows = (signs[:, None] * found.answers)[np.argsort(strongest, kind="stable")]
    extent = (found.keys[0] - 0.5, found.keys[-1] + 0.5, len(rows), 0)
    colours = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}
    image = left.imshow(rows, aspect="auto", interpolation="nearest", extent=extent, **colours)
    figure.colorbar(image, ax=left, label="answer; norm of a channel 1", pad=0.01)
    label_axes(left, f"{len(rows)} channels by their strongest key", "MIDI key", grid=False)
    intervals = np.arange(1, len(found.similarity) + 1)
    right.fill_between(intervals, *found.chance, color="#dddddd", label="95% of shuffled keys")
    right.plot(intervals, found.similarity, marker="o", markersize=4, color=BLUE, label="answers to two keys")
    right.set_xticks([3 * k for k in range(9)])
    for octave in (12, 24):
        right.axvline(octave, color=GREY, linewidth=0.8, linestyle=":")
    label_axes(right, "Mean cosine by interval", "semitones between the keys")
    right.legend(**LEGEND)
    save(figure, path)


def plot_grams(path: Path, points: Sequence[Point], plane: np.ndarray, rows: Sequence[LayerDistances]) -> None:
    """Draw Gram matrices [N, 2] in the plane, layers in colour, timbres as shapes, and the distances by layer."""
    figure = new_figure(7, "Gram matrices of the layers' outputs")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for number, timbre in enumerate(dict.fromkeys(point.timbre for point in points)):
        mine = [n for n, point in enumerate(points) if point.timbre == timbre]
        layers = [points[n].layer for n in mine]
        style = {"marker": MARKERS[number % len(MARKERS)], "cmap": "viridis", "vmin": 1, "vmax": len(rows), "s": 42}
        image = left.scatter(*plane[mine].T, c=layers, label=timbre, edgecolors=INK, linewidths=0.4, **style)
    figure.colorbar(image, ax=left, label="layer", pad=0.01)
    left.legend(**LEGEND)
    label_axes(left, "t-SNE, all layers and timbres at once", grid=False)
    kinds = (("between", "timbres", BLUE), ("retrained", "trainings of one timbre", GREEN))
    for name, label, colour in (*kinds, ("within", "slices of one network", GREY)):
        heights = [getattr(row, name) for row in rows]
        if not np.isnan(heights).all():
            right.plot([row.layer for row in rows], heights, marker="o", markersize=4, color=colour, label=label)
    right.set_ylim(bottom=0)
    label_axes(right, "Mean distance of Gram matrices of norm 1", "layer")
    right.legend(**LEGEND)
    save(figure, path)
