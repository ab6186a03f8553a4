"""More figures, drawn as those of `plots.py`: sounds side by side, scores, and what layers know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synthnet.evaluation.cqt import FLOORS_DB, cqt_decibels, rmse_cqt_at_floors
from synthnet.evaluation.layers import KeyAnswers, LayerDistances, Point
from synthnet.evaluation.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    STYLE,
    draw_notes,
    draw_outlines,
    draw_spectrogram,
    label_axes,
    new_figure,
    save,
)
from synthnet.score.general_midi import pitch_name
from synthnet.score.notes import Note

MARKERS = "osD^vP*Xhp"


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
        colours = {"cmap": "magma", "vmin": FLOORS_DB[0], "vmax": 0}
        image = draw_spectrogram(below[number], decibels, "", colours)
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
    right.legend(frameon=False, fontsize=10)
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
    left.legend(frameon=False, fontsize=10)
    label_axes(left, "t-SNE, all layers and timbres at once", grid=False)
    kinds = (("between", "timbres", BLUE), ("retrained", "trainings of one timbre", GREEN))
    for name, label, colour in (*kinds, ("within", "slices of one network", GREY)):
        heights = [getattr(row, name) for row in rows]
        if not np.isnan(heights).all():
            right.plot([row.layer for row in rows], heights, marker="o", markersize=4, color=colour, label=label)
    right.set_ylim(bottom=0)
    label_axes(right, "Mean distance of Gram matrices of norm 1", "layer")
    right.legend(frameon=False, fontsize=10)
    save(figure, path)
