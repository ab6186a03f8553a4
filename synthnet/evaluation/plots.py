"""Figures as PNG or SVG files: a sound beside its reference, how trainings went, and networks beside each other.

They are drawn without pyplot, so that nothing global is touched and no display is needed. All raise InputError for a
name that ends in neither .png nor .svg.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from synthnet.evaluation.cqt import BINS, FLOORS_DB, HOP_S, cqt_decibels, mean_and_ci95, rmse_cqt_at_floors, with_ci95
from synthnet.evaluation.layers import KeyAnswers, LayerDistances, Point
from synthnet.evaluation.level import level_db
from synthnet.files import InputError, atomic_write
from synthnet.score.general_midi import pitch_name
from synthnet.score.notes import Note

LOWEST_PITCH = 24  # C1, the transform's first bin
WIDTH_IN, DPI = 14, 100  # 1400 pixels
DIFFERENCE_LIMIT_DB = 40
LEVEL_WINDOW_S = 0.05
FORMATS = (".png", ".svg")
MOST_LABELS = 24  # figures of single seconds beside each other before they touch

INK, GREY = "#222222", "#8a8a8a"
BLUE, ORANGE, GREEN = "#2a6fbb", "#d9702b", "#3d8f5f"
COLOURS = (BLUE, ORANGE, GREEN, "#8a5fb0", "#c04a6b", "#a98a1f", "#3aa0a8", "#6b6b6b", "#20406b", "#000000")
MARKERS = "osD^vP*Xhp"
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
    figure = _new_figure(11, f"{title}   ·   {heading}" if title else heading)
    *panels, strip = figure.subplots(4, sharex=True, height_ratios=(3, 3, 3, 2))
    below = panels[2]
    sounds = {"cmap": "magma", "vmin": floor_db, "vmax": 0}
    limits = {"cmap": "RdBu_r", "vmin": -DIFFERENCE_LIMIT_DB, "vmax": DIFFERENCE_LIMIT_DB}
    for axes, decibels, name in zip(panels, (reference_db, test_db), names, strict=False):
        image = _draw_spectrogram(axes, decibels, name, sounds)
        draw_outlines(axes, notes)
    figure.colorbar(image, ax=panels[:2], label="dB, 0 at the reference's maximum", pad=0.01, aspect=40)
    image = _draw_spectrogram(below, test_db - reference_db, "Test minus reference", limits)
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
    _label(strip, "Level, dB of full scale", "seconds")
    strip.legend(frameon=False, fontsize=10, ncols=2, loc="lower right")
    strip.set_xlim(0, len(reference) / sample_rate_hz)
    save(figure, path)


def plot_triptych(
    path: Path,
    sounds: Mapping[str, np.ndarray],
    sample_rate_hz: int,
    title: str = "",
    notes: Sequence[Note] = (),
) -> None:
    """Draw sounds [n] side by side, by name, the reference first: the waveform above the constant-Q spectrogram.

    Decibels are relative to the reference's maximum. Captions have RMSE-CQT at both floors; that of silence stands
    under the reference. The score lies over the spectrograms. Raises InputError as `rmse_cqt_at_floors` does, too.
    """
    figure = _new_figure(7, title)
    above, below = figure.subplots(2, len(sounds), sharex=True, sharey="row", height_ratios=(1, 3), squeeze=False)
    reference = next(iter(sounds.values()))
    for number, (name, samples) in enumerate(sounds.items()):
        time_s = np.arange(len(samples)) / sample_rate_hz
        above[0, number].plot(time_s, samples, color=BLUE if number else ORANGE, linewidth=0.5)
        _label(above[0, number], name, grid=False)
        decibels = cqt_decibels(reference, samples, sample_rate_hz)[1]
        colours = {"cmap": "magma", "vmin": FLOORS_DB[0], "vmax": 0}
        image = _draw_spectrogram(below[0, number], decibels, "", colours)
        draw_outlines(below[0, number], notes)
        test = samples if number else np.zeros_like(samples)
        at_80, at_50 = rmse_cqt_at_floors(reference, test, sample_rate_hz).mean(axis=1)
        caption = f"RMSE-CQT {at_80:.2f} / {at_50:.2f} dB"
        below[0, number].set_xlabel(f"seconds\n{caption if number else f'silence: {caption}'}", **STYLE)
    below[0, 0].set_xlim(0, len(reference) / sample_rate_hz)
    figure.colorbar(image, ax=list(below[0]), label="dB, 0 at the reference's maximum", pad=0.01, aspect=40)
    save(figure, path)


def plot_roll(path: Path, notes: Sequence[Note], title: str = "") -> None:
    """Draw notes as a piano roll, those of high velocity darker, and their velocities below."""
    figure = _new_figure(7, title)
    above, below = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    draw_notes(above, notes, BLUE)
    pitches = [note.pitch for note in notes]
    low, high = min(pitches) - 2, max(pitches) + 3
    ticks = range(low, high) if high - low < 13 else range(low + -low % 12, high, 12)
    above.set_yticks(ticks, [pitch_name(key) for key in ticks])
    above.set_ylim(low, high)
    _label(above, f"{len(notes)} notes")
    below.vlines([note.start_s for note in notes], 0, [note.velocity for note in notes], colors=BLUE, linewidth=1.2)
    below.set_ylim(0, 127)
    _label(below, "Velocity", "seconds")
    below.set_xlim(0, max(note.end_s for note in notes))
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
    figure = _new_figure(8, title)
    above, below = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    decibels = cqt_decibels(samples, samples, sample_rate_hz)[0]
    image = _draw_spectrogram(above, decibels, "Score over spectrogram", {"cmap": "gray_r", "vmin": -80, "vmax": 0})
    figure.colorbar(image, ax=above, label="dB, 0 at the maximum", pad=0.01, aspect=40)
    for number, notes in enumerate(parts):
        draw_notes(above, notes, COLOURS[number % len(COLOURS)])
    levels = {"this": (samples, BLUE)} | ({} if reference is None else {"reference": (reference, ORANGE)})
    for label, (sound, colour) in levels.items():
        draw_level(below, sound, sample_rate_hz, label, colour)
    _label(below, "Level, dB of full scale", "seconds")
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


def _draw_spectrogram(axes: Axes, decibels: np.ndarray, title: str, colours: Mapping[str, Any]) -> AxesImage:
    """Draw decibels [84, frames] over seconds and MIDI pitch, the octaves named."""
    left, right = -HOP_S / 2, (decibels.shape[1] - 0.5) * HOP_S  # a frame is drawn around its centre
    extent = (left, right, LOWEST_PITCH - 0.5, LOWEST_PITCH + BINS - 0.5)
    image = axes.imshow(decibels, origin="lower", aspect="auto", interpolation="nearest", extent=extent, **colours)
    octaves = range(BINS // 12)
    axes.set_yticks([LOWEST_PITCH + 12 * k for k in octaves], [f"C{k + 1}" for k in octaves])
    axes.tick_params(colors=INK, labelsize=10)
    axes.set_title(title, loc="left", **STYLE)
    return image


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
    figure = _new_figure(4.6, title)
    all_axes = np.atleast_1d(figure.subplots(1, max(1, len(panels))))
    for axes, (heading, curves) in zip(all_axes, panels.items(), strict=False):
        for name, label, colour, options in curves:
            points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            line = {"marker": "o", "markersize": 3.5, "linewidth": 1.8, **options}
            axes.plot(*zip(*points, strict=True), color=colour, label=label, **line)
        _label(axes, heading, "step")
        axes.set_yscale("log" if heading == SPECTRA else "linear")
        if heading != SPECTRA:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if heading == DISTANCE else None)
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
    by_place = {(run["network"], run["instrument"]): run for run in runs}
    networks, instruments = (list(dict.fromkeys(column)) for column in zip(*by_place, strict=True))
    figure = _new_figure(1.2 + len(instruments) * (0.9 + 0.36 * len(networks)), title)
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
        _label(axes, f"{instrument}: RMSE-CQT, dB (below 10 is a sample of reasonable quality)", grid=False)
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
    figure = _new_figure(0.9 + 3.6 * len(instruments), title)
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
            _label(axes, f"{instrument}: {name}", "minutes of training" if number == 3 else "epochs")
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
    figure = _new_figure(7, title)
    panels = figure.subplots(2, sharex=True)
    width = 0.84 / len(players)
    for axes, key, floor in zip(panels, ("rmse_cqt_db", "rmse_cqt_50_db"), FLOORS_DB, strict=True):
        for number, player in enumerate(players):
            places = {place: of[player]["prelude"][key] for place, of in enumerate(figures.values()) if player in of}
            at = np.array(list(places)) + (number - (len(players) - 1) / 2) * width
            colour = BLUE if number == 0 else ("#b8c7d9", "#d8b48f", "#8a8a8a")[(number - 1) % 3]
            axes.bar(at, list(places.values()), 0.92 * width, color=colour, label=player)
        _label(axes, f"floor at {floor:g} dB")
        axes.set_xticks(range(len(figures)), list(figures), rotation=30 if len(figures) > 8 else 0)
    _save_with_legend(figure, panels[:1], path, len(players))


def plot_key_answers(path: Path, found: KeyAnswers, title: str = "") -> None:
    """Draw the channels' answers to keys, sorted by their strongest key, and their similarity by interval."""
    figure = _new_figure(7, title)
    left, right = figure.subplots(1, 2)
    strongest = np.abs(found.answers).argmax(axis=1)
    signs = np.sign(found.answers[np.arange(len(strongest)), strongest])
    rows = (signs[:, None] * found.answers)[np.argsort(strongest, kind="stable")]
    extent = (found.keys[0] - 0.5, found.keys[-1] + 0.5, len(rows), 0)
    colours = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}
    image = left.imshow(rows, aspect="auto", interpolation="nearest", extent=extent, **colours)
    figure.colorbar(image, ax=left, label="answer; norm of a channel 1", pad=0.01)
    _label(left, f"{len(rows)} channels by their strongest key", "MIDI key", grid=False)
    intervals = np.arange(1, len(found.similarity) + 1)
    right.fill_between(intervals, *found.chance, color="#dddddd", label="95% of shuffled keys")
    right.plot(intervals, found.similarity, marker="o", markersize=4, color=BLUE, label="answers to two keys")
    right.set_xticks([3 * k for k in range(9)])
    for octave in (12, 24):
        right.axvline(octave, color=GREY, linewidth=0.8, linestyle=":")
    _label(right, "Mean cosine by interval", "semitones between the keys")
    right.legend(frameon=False, fontsize=10)
    save(figure, path)


def plot_grams(path: Path, points: Sequence[Point], plane: np.ndarray, rows: Sequence[LayerDistances]) -> None:
    """Draw Gram matrices [N, 2] in the plane, layers in colour, timbres as shapes, and the distances by layer."""
    figure = _new_figure(7, "Gram matrices of the layers' outputs")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for number, timbre in enumerate(dict.fromkeys(point.timbre for point in points)):
        mine = [n for n, point in enumerate(points) if point.timbre == timbre]
        layers = [points[n].layer for n in mine]
        style = {"marker": MARKERS[number % len(MARKERS)], "cmap": "viridis", "vmin": 1, "vmax": len(rows), "s": 42}
        image = left.scatter(*plane[mine].T, c=layers, label=timbre, edgecolors=INK, linewidths=0.4, **style)
    figure.colorbar(image, ax=left, label="layer", pad=0.01)
    left.legend(frameon=False, fontsize=10)
    _label(left, "t-SNE, all layers and timbres at once", grid=False)
    kinds = (("between", "timbres", BLUE), ("retrained", "trainings of one timbre", GREEN))
    for name, label, colour in (*kinds, ("within", "slices of one network", GREY)):
        heights = [getattr(row, name) for row in rows]
        if not np.isnan(heights).all():
            right.plot([row.layer for row in rows], heights, marker="o", markersize=4, color=colour, label=label)
    right.set_ylim(bottom=0)
    _label(right, "Mean distance of Gram matrices of norm 1", "layer")
    right.legend(frameon=False, fontsize=10)
    save(figure, path)


def _label(axes: Axes, title: str, x_label: str = "", grid: bool = True) -> None:
    axes.set_title(title, loc="left", **STYLE)
    axes.set_xlabel(x_label, **STYLE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=10)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)


def _new_figure(height_in: float, heading: str) -> Figure:
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
