"""Pictures of sounds and scores as PNG or SVG files: spectrograms, levels, notes. `charts.py` draws figures.

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

from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.cqt import (
    BINS,
    FLOORS_DB,
    HOP_S,
    cqt_decibels,
    mean_and_ci95,
    rmse_cqt_at_floors,
    with_ci95,
)
from synthnet.evaluation.level import level_db
from synthnet.files import InputError, atomic_write
from synthnet.score.general_midi import pitch_name
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
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 10}


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
    spectra_db = [x.clip(floor_db) for x in cqt_decibels(reference, test, sample_rate_hz)]
    heading = f"RMSE-CQT {with_ci95(*mean_and_ci95(rmse_db))} dB"
    heading += "" if floor_db == FLOORS_DB[0] else f", floor at {floor_db:g} dB"
    figure = new_figure(11, f"{title}   ·   {heading}" if title else heading)
    *panels, below, strip = figure.subplots(4, sharex=True, height_ratios=(3, 3, 3, 2))
    for axes, decibels, name in zip(panels, spectra_db, names, strict=True):
        image = draw_spectrogram(axes, decibels, name, low_db=floor_db)
        draw_outlines(axes, notes)
    figure.colorbar(image, ax=panels, label="dB, 0 at the reference's maximum", pad=0.01, aspect=40)
    limits = -DIFFERENCE_LIMIT_DB, DIFFERENCE_LIMIT_DB
    image = draw_spectrogram(below, spectra_db[1] - spectra_db[0], "Test minus reference", "RdBu_r", *limits)
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
    draw_levels(strip, {names[0]: (reference, ORANGE), names[1]: (test, BLUE)}, sample_rate_hz)
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
    image = draw_spectrogram(above, decibels, "Score over spectrogram", "gray_r")
    figure.colorbar(image, ax=above, label="dB, 0 at the maximum", pad=0.01, aspect=40)
    for number, notes in enumerate(parts):
        draw_notes(above, notes, COLOURS[number % len(COLOURS)])
    sounds = {"this": (samples, BLUE)} | ({} if reference is None else {"reference": (reference, ORANGE)})
    draw_levels(below, sounds, sample_rate_hz)
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
    figure = new_figure(7, title)
    above, below = figure.subplots(2, len(sounds), sharex=True, sharey="row", height_ratios=(1, 3), squeeze=False)
    reference = next(iter(sounds.values()))
    for number, (name, samples) in enumerate(sounds.items()):
        time_s = np.arange(len(samples)) / sample_rate_hz
        above[number].plot(time_s, samples, color=BLUE if number else ORANGE, linewidth=0.5)
        label_axes(above[number], name, grid=False)
        decibels = cqt_decibels(reference, samples, sample_rate_hz)[1]
        image = draw_spectrogram(below[number], decibels, "")
        draw_outlines(below[number], notes)
        test = samples if number else np.zeros_like(samples)
        at_80, at_50 = rmse_cqt_at_floors(reference, test, sample_rate_hz).mean(axis=1)
        caption = f"RMSE-CQT {at_80:.2f} / {at_50:.2f} dB"
        below[number].set_xlabel(f"seconds\n{caption if number else f'silence: {caption}'}", **STYLE)
    below[0].set_xlim(0, len(reference) / sample_rate_hz)
    figure.colorbar(image, ax=list(below), label="dB, 0 at the reference's maximum", pad=0.01, aspect=40)
    save(figure, path)


def plot_roll(path: Path, notes: Sequence[Note], title: str = "") -> None:
    """Draw notes as a piano roll, those of high velocity darker, and their velocities below."""
    figure = new_figure(7, title)
    above, below = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    draw_notes(above, notes, BLUE)
    pitches = [note.pitch for note in notes]
    low, high = min(pitches) - 2, max(pitches) + 3
    ticks = range(low, high) if high - low < 13 else range(low + -low % 12, high, 12)
    above.set_yticks(ticks, [pitch_name(key) for key in ticks])
    above.set_ylim(low, high)
    label_axes(above, f"{len(notes)} notes")
    below.vlines([note.start_s for note in notes], 0, [note.velocity for note in notes], colors=BLUE, linewidth=1.2)
    below.set_ylim(0, 127)
    label_axes(below, "Velocity", "seconds")
    end_s = max(note.end_s for note in notes)
    below.set_xlim(-0.01 * end_s, 1.01 * end_s)  # the first velocity stands beside the axis
    save(figure, path)


def plot_alignment(path: Path, corpus: Corpus) -> None:
    """Draw the constant-Q spectrograms of a corpus's pieces, their notes on them, and what is left out hatched.

    Notes that were found are lines of one colour, lost ones of another. At most 12 pieces are drawn.
    """
    pieces = corpus.pieces[:MOST_PIECES]
    figure = new_figure(1 + 2.6 * len(pieces), f"{corpus.instrument}: notes found and lost, hatched: left out")
    panels = figure.subplots(len(pieces), squeeze=False)[:, 0]
    for axes, piece in zip(panels, pieces, strict=True):
        sound = corpus.read_audio(piece)
        decibels = cqt_decibels(sound, sound, corpus.sample_rate_hz)[0]
        draw_spectrogram(axes, decibels, f"{piece.name} ({piece.split})", "Greys")
        notes, found = corpus.read_notes(piece), corpus.read_found(piece)
        for there, colour, label in ((True, BLUE, "found"), (False, ORANGE, "not found")):
            drawn = [note for note, one in zip(notes, found, strict=True) if one == there]
            at = ([n.pitch for n in drawn], [n.start_s for n in drawn], [n.end_s for n in drawn])
            axes.hlines(*at, colors=colour, linewidth=1.6, label=label)
        for start, stop in piece.left_out:
            axes.axvspan(start / corpus.sample_rate_hz, stop / corpus.sample_rate_hz, hatch="//", fill=False, color=INK)
        axes.set_xlim(0, piece.n_samples / corpus.sample_rate_hz)
    panels[-1].set_xlabel("seconds", **STYLE)
    save_with_legend(figure, panels, path, 2)


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


def draw_levels(axes: Axes, sounds: Mapping[str, tuple[np.ndarray, str]], sample_rate_hz: int) -> None:
    """Draw the levels of sounds [n], each with a colour, over all their seconds, in windows of 50 ms."""
    window = round(LEVEL_WINDOW_S * sample_rate_hz)
    for label, (samples, colour) in sounds.items():
        levels_db = level_db(samples[: len(samples) // window * window].reshape(-1, window))
        time_s = (np.arange(len(levels_db)) + 0.5) * LEVEL_WINDOW_S
        axes.plot(time_s, levels_db, color=colour, linewidth=1.2, label=label)
        axes.set_xlim(0, len(samples) / sample_rate_hz)
    label_axes(axes, "Level, dB of full scale", "seconds")
    axes.legend(**LEGEND, ncols=2, loc="lower right")


def draw_spectrogram(
    axes: Axes,
    decibels: np.ndarray,
    title: str,
    colours: str = "magma",
    low_db: float = FLOORS_DB[0],
    high_db: float = 0.0,
) -> AxesImage:
    """Draw decibels [84, frames] over seconds and MIDI pitch, the octaves named; `colours` is a colour map."""
    left, right = -HOP_S / 2, (decibels.shape[1] - 0.5) * HOP_S  # a frame is drawn around its centre
    extent = (left, right, LOWEST_PITCH - 0.5, LOWEST_PITCH + BINS - 0.5)
    scale: dict[str, Any] = {"cmap": colours, "vmin": low_db, "vmax": high_db}
    image = axes.imshow(decibels, origin="lower", aspect="auto", interpolation="nearest", extent=extent, **scale)
    octaves = range(BINS // 12)
    axes.set_yticks([LOWEST_PITCH + 12 * k for k in octaves], [f"C{k + 1}" for k in octaves])
    axes.tick_params(colors=INK, labelsize=10)
    axes.set_title(title, loc="left", **STYLE)
    return image


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


def save_with_legend(figure: Figure, panels: Iterable[Axes], path: Path, columns: int) -> None:
    """Save a figure with one legend below it, each label of the panels once."""
    pairs = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in pairs}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, **LEGEND)
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
