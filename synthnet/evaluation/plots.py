"""Figures as PNG or SVG files: a sound beside its reference, how trainings went, and networks beside each other.

They are drawn without pyplot, so that nothing global is touched and no display is needed. All raise InputError for a
name that ends in neither .png nor .svg.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogFormatter

from synthnet.corpus.corpus import FULL_SCALE, Corpus
from synthnet.evaluation.cqt import (
    BINS,
    FLOORS_DB,
    HIGHEST_RATE_HZ,
    HOP_S,
    cqt_decibels,
    mean_and_ci95,
    rmse_cqt_at_floors,
    with_ci95,
)
from synthnet.evaluation.level import level_db
from synthnet.evaluation.opinions import ALL, PAPER, Listening
from synthnet.files import InputError, atomic_write
from synthnet.score.notes import Note

LOWEST_PITCH = 24  # C1, the transform's first bin
WIDTH_IN, DPI = 14, 100  # 1400 pixels
DIFFERENCE_LIMIT_DB = 40
MOST_PIECES = 12  # under each other
LEVEL_WINDOW_S = 0.05
FORMATS = (".png", ".svg")
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
    notes: Sequence[Note] = (),
    names: tuple[str, str] = ("Reference", "Test"),
    floor_db: float = FLOORS_DB[0],
) -> None:
    """Draw the constant-Q spectrograms of samples [n] and [n], their difference and their levels, one below the other.

    Decibels are relative to the reference's maximum over the whole passage. RMSE-CQT is relative to that of each
    second; its mean is in the heading, each second's figure above the difference. `notes` are outlines in the
    spectrograms and lines at their fundamentals in the difference. `floor_db` is one of `FLOORS_DB`. Raises InputError
    as `rmse_cqt_at_floors` does, too.
    """
    rmse_db = rmse_cqt_at_floors(reference, test, sample_rate_hz)[FLOORS_DB.index(floor_db)]
    reference_db, test_db = (x.clip(floor_db) for x in cqt_decibels(reference, test, sample_rate_hz))
    heading = f"RMSE-CQT {with_ci95(*mean_and_ci95(rmse_db))} dB"
    heading += "" if floor_db == FLOORS_DB[0] else f", floor at {floor_db:g} dB"
    figure = new_figure(11, f"{title}   ·   {heading}" if title else heading)
    *panels, strip = figure.subplots(4, sharex=True, height_ratios=(3, 3, 3, 2))
    below = panels[2]
    sounds = {"cmap": "magma", "vmin": floor_db, "vmax": 0}
    limits = {"cmap": "RdBu_r", "vmin": -DIFFERENCE_LIMIT_DB, "vmax": DIFFERENCE_LIMIT_DB}
    for axes, decibels, name in zip(panels, (reference_db, test_db), names, strict=False):
        image = draw_spectrogram(axes, decibels, name, sounds)
        draw_outlines(axes, notes)
    figure.colorbar(image, ax=panels[:2], label="dB, 0 at the reference's maximum", pad=0.01, aspect=40)
    image = draw_spectrogram(below, test_db - reference_db, "Test minus reference", limits)
    figure.colorbar(image, ax=below, label="dB", pad=0.01, extend="both")
    for note in notes:
        below.hlines(note.pitch, note.start_s, note.end_s, colors=INK, linewidth=1.2)
    if len(rmse_db) <= MOST_LABELS and len(reference) >= sample_rate_hz:
        seconds = np.arange(len(rmse_db))
        below.vlines(seconds[1:], *below.get_ylim(), colors=GREY, linewidth=0.6, linestyles=(0, (2, 4)))
        above = below.secondary_xaxis("top")
        above.set_xticks(seconds + 0.5, [f"{figure_db:.1f}" for figure_db in rmse_db])
        above.tick_params(length=0, pad=1, labelsize=9, labelcolor=INK)
        below.set_title("RMSE-CQT of each second, dB", loc="right", **STYLE)
    for samples, name, colour in zip((reference, test), names, (ORANGE, BLUE), strict=True):
        draw_level(strip, samples, sample_rate_hz, name, colour)
    label_axes(strip, "Level, dB of full scale", "seconds")
    strip.legend(frameon=False, fontsize=10, ncols=2, loc="lower right")
    strip.set_xlim(0, len(reference) / sample_rate_hz)
    save(figure, path)


def plot_song(
    path: Path,
    samples: np.ndarray,
    sample_rate_hz: int,
    parts: Sequence[Iterable[Note]],
    title: str = "",
    reference: np.ndarray | None = None,
) -> None:
    """Draw the constant-Q spectrogram of samples [n] under the notes of a score's parts, and the level below.

    Decibels are relative to the maximum. Each part has a colour. The level of a `reference` [n] is drawn, too.
    """
    figure = new_figure(8, title)
    above, below = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    decibels = cqt_decibels(samples, samples, sample_rate_hz)[0]
    image = draw_spectrogram(above, decibels, "Score over spectrogram", {"cmap": "gray_r", "vmin": -80, "vmax": 0})
    figure.colorbar(image, ax=above, label="dB, 0 at the maximum", pad=0.01, aspect=40)
    for number, notes in enumerate(parts):
        draw_notes(above, notes, COLOURS[number % len(COLOURS)])
    levels = {"this": (samples, BLUE)} | ({} if reference is None else {"reference": (reference, ORANGE)})
    for label, (sound, colour) in levels.items():
        draw_level(below, sound, sample_rate_hz, label, colour)
    label_axes(below, "Level, dB of full scale", "seconds")
    below.legend(frameon=False, fontsize=10, ncols=2, loc="lower right")
    below.set_xlim(0, len(samples) / sample_rate_hz)
    save(figure, path)


def draw_notes(axes: Axes, notes: Iterable[Note], colour: str) -> None:
    """Draw notes as bars over seconds and MIDI pitch; those of high velocity are darker."""
    for note in notes:
        box = (note.start_s, note.pitch - 0.4), note.end_s - note.start_s, 0.8
        axes.add_patch(Rectangle(*box, facecolor=colour, alpha=0.25 + 0.5 * note.velocity / 127, linewidth=0))


def draw_outlines(axes: Axes, notes: Iterable[Note]) -> None:
    """Draw notes as outlines over a dark spectrogram."""
    for note in notes:
        box = (note.start_s, note.pitch - 0.5), note.end_s - note.start_s, 1.0
        axes.add_patch(Rectangle(*box, fill=False, edgecolor="#ffffff", alpha=0.8, linewidth=0.8))


def draw_level(axes: Axes, samples: np.ndarray, sample_rate_hz: int, label: str, colour: str) -> None:
    """Draw the level of samples [n] over seconds, in windows of 50 ms."""
    window = round(LEVEL_WINDOW_S * sample_rate_hz)
    levels_db = level_db(samples[: len(samples) // window * window].reshape(-1, window))
    axes.plot((np.arange(len(levels_db)) + 0.5) * LEVEL_WINDOW_S, levels_db, color=colour, linewidth=1.2, label=label)


def draw_spectrogram(axes: Axes, decibels: np.ndarray, title: str, colours: Mapping[str, Any]) -> AxesImage:
    """Draw decibels [84, frames] over seconds and MIDI pitch, the octaves named."""
    left, right = -HOP_S / 2, (decibels.shape[1] - 0.5) * HOP_S  # a frame is drawn around its centre
    extent = (left, right, LOWEST_PITCH - 0.5, LOWEST_PITCH + BINS - 0.5)
    image = axes.imshow(decibels, origin="lower", aspect="auto", interpolation="nearest", extent=extent, **colours)
    octaves = range(BINS // 12)
    axes.set_yticks([LOWEST_PITCH + 12 * k for k in octaves], [f"C{k + 1}" for k in octaves])
    axes.tick_params(colors=INK, labelsize=10)
    axes.set_title(title, loc="left", **STYLE)
    return image


def plot_alignment(path: Path, corpus: Corpus) -> None:
    """Draw the constant-Q spectrograms of a corpus's pieces, their notes on them, and what is left out hatched.

    Notes that were found are lines of one colour, lost ones of another. At most 12 pieces are drawn.
    """
    pieces = corpus.pieces[:MOST_PIECES]
    figure = new_figure(1 + 2.6 * len(pieces), f"{corpus.instrument}: notes found and lost, hatched: left out")
    sounds = {"cmap": "Greys", "vmin": FLOORS_DB[0], "vmax": 0}
    panels = figure.subplots(len(pieces), squeeze=False)[:, 0]
    for axes, piece in zip(panels, pieces, strict=True):
        rate = min(corpus.sample_rate_hz, HIGHEST_RATE_HZ)
        samples = corpus.read_samples(piece).astype(np.float32) / FULL_SCALE
        sound = soxr.resample(samples, corpus.sample_rate_hz, rate)
        draw_spectrogram(axes, cqt_decibels(sound, sound, rate)[0], f"{piece.name} ({piece.split})", sounds)
        notes, found = corpus.read_notes(piece), corpus.read_found(piece)
        for there, colour, label in ((True, BLUE, "found"), (False, ORANGE, "not found")):
            drawn = [note for note, one in zip(notes, found, strict=True) if one == there]
            at = ([n.pitch for n in drawn], [n.start_s for n in drawn], [n.end_s for n in drawn])
            axes.hlines(*at, colors=colour, linewidth=1.6, label=label)
        for start, stop in piece.left_out:
            axes.axvspan(start / corpus.sample_rate_hz, stop / corpus.sample_rate_hz, hatch="//", fill=False, color=INK)
        axes.set_xlim(0, piece.n_samples / corpus.sample_rate_hz)
    panels[-1].set_xlabel("seconds", **STYLE)
    _save_with_legend(figure, panels, path, 2)


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

    Each row has "step" and any of the figures of `TRAINING_PANELS`, maybe as None. InputError for no rows.
    """
    if not rows:
        raise InputError(f"{path}: no training figures to draw")
    found = {name for row in rows for name, value in row.items() if value is not None}
    panels = {name: [curve for curve in curves if curve[0] in found] for name, curves in TRAINING_PANELS.items()}
    panels = {name: curves for name, curves in panels.items() if curves}
    figure = new_figure(4.6, title)
    all_axes = np.atleast_1d(figure.subplots(1, max(1, len(panels))))
    for axes, (heading, curves) in zip(all_axes, panels.items(), strict=False):
        for name, label, colour, options in curves:
            points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            line = {"marker": "o", "markersize": 3.5, "linewidth": 1.8, **options}
            axes.plot(*zip(*points, strict=True), color=colour, label=label, **line)
        label_axes(axes, heading, "step")
        if heading == SPECTRA:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(LogFormatter())  # 6, not 6 x 10^0
            axes.yaxis.set_minor_formatter(LogFormatter())
        else:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if heading == DISTANCE else None)
        axes.legend(frameon=False, fontsize=10, loc="lower left" if heading == DISTANCE else "best")
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
                bars.append((theirs[0], theirs[1], "#b8b8b8", "the paper's"))
            for number, (length, width, colour, label) in enumerate(bars):
                at = place + (number - 1) * height
                axes.barh(at, length, height * 0.92, xerr=width, color=colour, ecolor=INK, label=label)
        label_axes(axes, f"{instrument}: RMSE-CQT, dB (below 10 is a sample of reasonable quality)", grid=False)
        axes.set_yticks(range(len(networks)), networks)
        axes.invert_yaxis()
        axes.axvline(10, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xlim(left=0)  # two evaluations may be uncertain by more than their mean
    _save_with_legend(figure, panels, path, 3)


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
        faint, dotted = {**line, "alpha": 0.35}, {**line, "marker": "o", "markersize": 3}
        for axes, figures, name, unit, options in (
            (panels[0], "training_rows", "train_nll", epochs, faint),
            (panels[0], "evaluations", "valid_nll", epochs, {**dotted, "label": run["network"]}),
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
    _save_with_legend(figure, grid[0, :1], path, 5)


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
            colour = BLUE if number == 0 else ("#b8c7d9", "#d8b48f", "#8a8a8a")[(number - 1) % 3]
            axes.bar(at, list(places.values()), 0.92 * width, color=colour, label=player)
        label_axes(axes, f"floor at {floor:g} dB")
        axes.set_xticks(range(len(figures)), list(figures), rotation=30 if len(figures) > 8 else 0)
    _save_with_legend(figure, panels[:1], path, len(players))


def plot_listening(path: Path, found: Listening) -> None:
    """Draw a listening test: mean opinion scores beside the paper's and over RMSE-CQT; of ABX, the shares."""
    if found.identified:
        figure = new_figure(4.5, f"ABX, {found.listeners} listeners")
        axes = figure.subplots()
        bars = {f"{model}, {instrument}": one for (model, instrument), one in found.identified.items()}
        shares = np.array([[one.share, one.share - one.low, one.high - one.share] for one in bars.values()]).T
        axes.errorbar(range(len(bars)), shares[0], yerr=shares[1:], fmt="o", color=BLUE, capsize=4)
        axes.set_xticks(range(len(bars)), list(bars), rotation=30, ha="right")
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_ylim(0, 1.02)
        label_axes(axes, "Share of X known from the teacher, with its 95% interval; dotted: chance")
        save(figure, path)
        return
    figure = new_figure(5, f"Listening test, {found.listeners} listeners")
    left, right = figure.subplots(1, 2)
    totals = {model: (one.mos, one.ci95) for (model, instrument), one in found.opinions.items() if instrument == ALL}
    paper = {f"paper: {name}": figures for name, figures in PAPER.items()}
    for place, (name, (mos, ci95)) in enumerate((totals | paper).items()):
        left.barh(place, mos, xerr=ci95 or 0.0, color=BLUE if name in totals else "#b8b8b8", ecolor=INK)
    left.set_yticks(range(len(totals | paper)), [*totals, *paper])
    left.invert_yaxis()
    left.set_xlim(1, 5.1)
    label_axes(left, "Mean opinion score, all instruments", "1 bad to 5 excellent", grid=False)
    for place, model in enumerate(totals):
        of_model = {name: one for (who, name), one in found.opinions.items() if who == model and name != ALL}
        points = [(one.rmse_cqt_db, one.mos, name) for name, one in of_model.items() if one.rmse_cqt_db is not None]
        for x, y, name in points:
            right.annotate(name, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=8, color=GREY)
        if points:
            right.plot(*zip(*(point[:2] for point in points), strict=True), "o", color=COLOURS[place % 10], label=model)
            right.legend(frameon=False, fontsize=10)
    label_axes(right, "By model and instrument", "RMSE-CQT, dB (floor at -80 dB)")
    right.set_ylim(0.9, 5.1)
    save(figure, path)


def label_axes(axes: Axes, title: str, x_label: str = "", grid: bool = True) -> None:
    axes.set_title(title, loc="left", **STYLE)
    axes.set_xlabel(x_label, **STYLE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=10)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)


def new_figure(height_in: float, heading: str) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    figure.suptitle(heading, fontsize=15, color=INK, weight="bold")
    return figure


def _save_with_legend(figure: Figure, panels: Iterable[Axes], path: Path, columns: int) -> None:
    """Save a figure with one legend below it, each label of the panels once."""
    pairs = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in pairs}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=10
    )
    save(figure, path)


def check_picture(path: Path) -> None:
    """Raise InputError for a name that ends in neither .png nor .svg."""
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"{path}: the name of a figure must end in {' or '.join(FORMATS)}")


def save(figure: Figure, path: Path) -> None:
    """Write a figure with an atomic write, in the format that its name's ending tells."""
    check_picture(path)
    form = Path(path).suffix.lower()[1:]
    with atomic_write(path) as beside:
        figure.savefig(beside, format=form, metadata={"Date": None} if form == "svg" else None)
