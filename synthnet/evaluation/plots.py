"""Figures as PNG files: a sound beside its reference, and how a training run went.

Drawn without pyplot, so that nothing global is touched and no display is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from synthnet.evaluation.cqt import BINS, FLOOR_DB, HOP_S, cqt_decibels, mean_and_ci95, rmse_cqt_db
from synthnet.files import InputError, atomic_write
from synthnet.score.notes import Note

LOWEST_PITCH = 24  # C1, the transform's first bin
WIDTH_IN, DPI = 14, 100  # 1400 pixels
DIFFERENCE_LIMIT_DB = 40
MOST_LABELS = 24  # figures of single seconds beside each other before they touch

INK, GREY = "#222222", "#8a8a8a"
BLUE, ORANGE, GREEN = "#2a6fbb", "#d9702b", "#3d8f5f"
COLOURS = (BLUE, ORANGE, GREEN, "#8a5fb0", "#c04a6b", "#a98a1f", "#3aa0a8", "#6b6b6b", "#20406b", "#000000")
STYLE: dict[str, Any] = {"fontsize": 11, "color": INK}


def plot_comparison(
    path: Path,
    reference: np.ndarray,
    test: np.ndarray,
    sample_rate_hz: int,
    title: str = "",
    notes: Iterable[Note] = (),
) -> None:
    """Draw the constant-Q spectrograms of samples [n] and [n], and their difference, one below the other.

    Decibels are relative to the reference's maximum over the whole passage, whereas the RMSE-CQT figures (mean
    with its 95% confidence interval in the heading, each second's above the difference) are relative to the
    reference's maximum within each second. `notes`, when given, are lines at their fundamentals in the
    difference.
    Raises InputError as `rmse_cqt_db` does, and for a name that doesn't end in .png.
    """
    rmse_db = rmse_cqt_db(reference, test, sample_rate_hz)
    reference_db, test_db = cqt_decibels(reference, test, sample_rate_hz)
    duration_s = len(reference) / sample_rate_hz

    mean, half_width = mean_and_ci95(rmse_db)
    spread = "" if np.isnan(half_width) else f" ± {half_width:.2f}"
    heading = f"RMSE-CQT {mean:.2f}{spread} dB"
    figure = new_figure(9, f"{title}   ·   {heading}" if title else heading)
    panels = figure.subplots(3, sharex=True, sharey=True)
    for axes, name, decibels in zip(panels, ("Reference", "Test"), (reference_db, test_db), strict=False):
        image = draw_spectrogram(axes, decibels, cmap="magma", vmin=FLOOR_DB, vmax=0)
        axes.set_title(name, loc="left", **STYLE)
    figure.colorbar(image, ax=list(panels[:2]), label="dB, 0 at the reference's maximum", pad=0.01, aspect=40)

    limit = DIFFERENCE_LIMIT_DB
    image = draw_spectrogram(panels[2], test_db - reference_db, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=panels[2], label="dB", pad=0.01, extend="both")
    panels[2].set_title("Test minus reference", loc="left", **STYLE)
    for note in notes:
        panels[2].hlines(note.pitch, note.start_s, note.end_s, colors=INK, linewidth=1.2)
    if len(rmse_db) <= MOST_LABELS and duration_s >= 1:
        seconds = np.arange(len(rmse_db))
        panels[2].vlines(seconds[1:], *panels[2].get_ylim(), colors=GREY, linewidth=0.6, linestyles=(0, (2, 4)))
        above = panels[2].secondary_xaxis("top")
        above.set_xticks(seconds + 0.5, [f"{figure_db:.1f}" for figure_db in rmse_db])
        above.tick_params(length=0, pad=1, labelsize=9, labelcolor=INK)
        panels[2].set_title("RMSE-CQT of each second, dB", loc="right", **STYLE)
    panels[2].set_xlim(0, duration_s)
    panels[2].set_xlabel("seconds", **STYLE)
    save(figure, path)


def draw_spectrogram(axes: Axes, decibels: np.ndarray, **colours: Any) -> AxesImage:
    """Draw decibels [84, frames] over seconds and MIDI pitch, the octaves named; the image, for a colour bar."""
    left, right = -HOP_S / 2, (decibels.shape[1] - 0.5) * HOP_S  # a frame is drawn around its centre
    bottom, top = LOWEST_PITCH - 0.5, LOWEST_PITCH + BINS - 0.5
    image = axes.imshow(
        decibels, origin="lower", aspect="auto", interpolation="nearest", extent=(left, right, bottom, top), **colours
    )
    octaves = range(BINS // 12)
    axes.set_yticks([LOWEST_PITCH + 12 * k for k in octaves], [f"C{k + 1}" for k in octaves])
    axes.tick_params(colors=INK, labelsize=10)
    return image


class Panel(NamedTuple):
    """A part of the picture of a training: curves by the names of their figures."""

    title: str
    curves: Mapping[str, tuple[str, str, Mapping[str, Any]]]  # label, colour, options
    from_zero: bool = False
    scale: str = "linear"


TRAINING_PANELS = (
    Panel(
        "Negative log likelihood, nats a sample",
        {
            "train_nll": ("training", BLUE, {"alpha": 0.45}),
            "valid_nll": ("validation", BLUE, {}),
            "dither_floor": ("dither floor", INK, {"linestyle": "--", "marker": ""}),
        },
    ),
    Panel("Distance of spectra", {"train_distance": ("training", BLUE, {})}, scale="log"),
    Panel("Score gain (wrong minus right score), nats a sample", {"score_gain": ("validation", GREEN, {})}),
    Panel(
        "RMSE-CQT of what it plays, dB",
        {
            "rmse_cqt_db": ("floor at -80 dB", ORANGE, {}),
            "rmse_cqt_50_db": ("floor at -50 dB", ORANGE, {"alpha": 0.45}),
            "rmse_cqt_expectation_db": ("mean as output", ORANGE, {"alpha": 0.45}),
        },
        from_zero=True,
    ),
)


def plot_training(path: Path, rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Draw a run's metrics.jsonl, a panel for each kind of figure.

    Each row has "step" and any of the figures of `TRAINING_PANELS`; what is missing or None in a row is left out.
    Raises InputError for no rows, or for a name that doesn't end in .png.
    """
    if not rows:
        raise InputError(f"{path}: no training figures to draw")
    told = {name for row in rows for name, value in row.items() if value is not None}
    panels = [panel for panel in TRAINING_PANELS if told & panel.curves.keys()]
    figure = new_figure(4.6, title)
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, max(1, len(panels)))), panels, strict=False):
        for name, (label, colour, options) in panel.curves.items():
            if name in told:
                draw_curve(axes, rows, name, label, colour, **options)
        axes.set_title(panel.title, loc="left", **STYLE)
        axes.set_xlabel("step", **STYLE)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=10)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_yscale(panel.scale)
        if panel.scale == "linear":
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if panel.from_zero else None)
        axes.legend(frameon=False, fontsize=10)
    save(figure, path)


def plot_networks(
    path: Path, runs: Sequence[Mapping[str, Any]], paper: Mapping[str, Mapping[str, Any]], title: str = ""
) -> None:
    """Draw the RMSE-CQT of networks as bars, a panel an instrument, with the paper's figures beside ours.

    Each run has "network", "instrument", "rmse_cqt_db" and "rmse_cqt_ci95_db" (mean over the evaluations during
    training, half a 95% interval or None), "final" (by instrument, with "rmse_cqt_expectation_db"). `paper` has by
    network and instrument [mean, half a 95% interval].
    """
    instruments = list(dict.fromkeys(run["instrument"] for run in runs))
    networks = list(dict.fromkeys(run["network"] for run in runs))
    figure = new_figure(1.2 + len(instruments) * (0.9 + 0.36 * len(networks)), title)
    panels = figure.subplots(len(instruments), squeeze=False)[:, 0]
    for axes, instrument in zip(panels, instruments, strict=True):
        for place, network in enumerate(networks):
            run = next((run for run in runs if (run["network"], run["instrument"]) == (network, instrument)), None)
            bars: list[tuple[float, float | None, str, str]] = []
            if run is not None:
                bars.append((run["rmse_cqt_db"], run["rmse_cqt_ci95_db"], BLUE, "ours, mean over training"))
                finals = [final["rmse_cqt_expectation_db"] for final in run["final"].values()]
                if finals:
                    bars.append((float(np.mean(finals)), None, GREEN, "ours, at the end, expectation"))
            said = paper.get(network, {}).get(instrument)
            if said is not None:
                bars.append((said[0], said[1], "#b8b8b8", "the paper's"))
            for number, (length, width, colour, label) in enumerate(bars):
                height = 0.8 / 3
                at = place + (number - 1) * height
                axes.barh(at, length, height * 0.92, xerr=width, color=colour, ecolor=INK, label=label)
        axes.set_yticks(range(len(networks)), networks)
        axes.invert_yaxis()
        axes.set_title(f"{instrument}: RMSE-CQT, dB (below 10 is a sample of reasonable quality)", loc="left", **STYLE)
        axes.axvline(10, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xlim(left=0)  # two evaluations may be uncertain by more than their mean
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=10)
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    save(figure, path)


def plot_learning(path: Path, runs: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Draw the curves of several networks, a row of panels an instrument: losses and RMSE-CQT over epochs and minutes.

    Each run has "network", "instrument", "epochs", "trained_s", "evaluations" (rows with "step", "valid_nll",
    "rmse_cqt_db", "score_gain") and "training_rows" (rows with "step", "train_nll"); epochs and seconds are
    proportional to steps.
    """
    instruments = list(dict.fromkeys(run["instrument"] for run in runs))
    networks = list(dict.fromkeys(run["network"] for run in runs))
    colour_of = {network: COLOURS[place % len(COLOURS)] for place, network in enumerate(networks)}
    figure = new_figure(0.9 + 3.6 * len(instruments), title)
    rows = figure.subplots(len(instruments), 4, squeeze=False)
    for panels, instrument in zip(rows, instruments, strict=True):
        for run in (run for run in runs if run["instrument"] == instrument):
            last = run["evaluations"][-1]["step"]
            epochs, minutes = run["epochs"] / last, run["trained_s"] / last / 60
            colour = colour_of[run["network"]]
            line: dict[str, Any] = {"color": colour, "linewidth": 1.6, "marker": "o", "markersize": 3}

            def draw(axes: Axes, key: str, unit: float, rows: Sequence[Mapping[str, Any]], **line: Any) -> None:
                axes.plot([row["step"] * unit for row in rows], [row[key] for row in rows], **line)

            faint = {**line, "marker": "", "alpha": 0.35}
            draw(panels[0], "train_nll", epochs, run["training_rows"], **faint)
            draw(panels[0], "valid_nll", epochs, run["evaluations"], **line, label=run["network"])
            draw(panels[1], "score_gain", epochs, run["evaluations"], **line)
            draw(panels[2], "rmse_cqt_db", epochs, run["evaluations"], **line)
            draw(panels[3], "rmse_cqt_db", minutes, run["evaluations"], **line)
        names = ("NLL, nats (faint: training)", "score gain, nats", "RMSE-CQT, dB", "RMSE-CQT, dB, by time")
        units = ("epochs", "epochs", "epochs", "minutes of training")
        for axes, name, unit in zip(panels, names, units, strict=True):
            axes.set_title(f"{instrument}: {name}", loc="left", **STYLE)
            axes.set_xlabel(unit, **STYLE)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(colors=INK, labelsize=10)
            axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        for axes in panels[2:]:
            axes.axhline(10, color=GREY, linewidth=0.8, linestyle=":")
    handles, labels = rows[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=10)
    save(figure, path)


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
    for axes, key, floor in zip(panels, ("rmse_cqt_db", "rmse_cqt_50_db"), ("-80", "-50"), strict=True):
        for number, player in enumerate(players):
            bars = [
                (place, by_player[player]["prelude"][key])
                for place, by_player in enumerate(figures.values())
                if player in by_player
            ]
            at = [place + (number - (len(players) - 1) / 2) * width for place, _ in bars]
            colour = BLUE if number == 0 else ("#b8c7d9", "#d8b48f", "#8a8a8a")[(number - 1) % 3]
            axes.bar(at, [height for _, height in bars], 0.92 * width, color=colour, label=player)
        axes.set_title(f"floor at {floor} dB", loc="left", **STYLE)
        axes.set_xticks(range(len(figures)), list(figures), rotation=30 if len(figures) > 8 else 0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=10)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(players), frameon=False, fontsize=10)
    save(figure, path)


def draw_curve(axes: Axes, rows: Iterable[Mapping[str, Any]], key: str, label: str, colour: str, **line: Any) -> None:
    """Draw a figure over the steps of the rows that have it; nothing, not even a label, if none has."""
    points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    if points:
        line = {"marker": "o", "markersize": 3.5, "linewidth": 1.8, **line}
        axes.plot(*zip(*points, strict=True), color=colour, label=label, **line)


def new_figure(height_in: float, heading: str) -> Figure:
    """An empty figure, 1400 pixels wide."""
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    figure.suptitle(heading, fontsize=15, color=INK, weight="bold")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, whole or not at all."""
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: the name of a figure must end in .png")
    with atomic_write(path) as beside:
        figure.savefig(beside, format="png")
