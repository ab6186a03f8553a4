"""What the figures show, read back from the figure itself and from the PNG's header."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from synthnet.evaluation import charts, plots
from synthnet.evaluation.charts import plot_listening, plot_training
from synthnet.evaluation.cqt import cqt_decibels, mean_and_ci95, rmse_cqt_at_floors
from synthnet.evaluation.opinions import ALL, Listening, Opinion
from synthnet.evaluation.plots import plot_comparison, plot_song
from synthnet.files import InputError
from synthnet.score.notes import Note

RATE = 16_000
ROWS = [
    {
        "step": step,
        "train_nll": 5 - step / 1000,
        "valid_nll": 5.1 - step / 1000,
        "dither_floor": 2.4,
        "score_gain": step / 2000,
        "rmse_cqt_db": 20 - step / 500,
        "rmse_cqt_expectation_db": 19 - step / 500 if step % 200 == 0 else None,
    }
    for step in range(100, 1001, 100)
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures saved during the test."""
    figures: list[Figure] = []
    for module in (charts, plots):
        monkeypatch.setattr(module, "save", lambda figure, path: figures.append(figure))
    return figures


def tone(seconds: float, frequency_hz: float = 440.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32)


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


class TestPlotComparison:
    def test_writes_a_png_for_a_readme(self, tmp_path: Path) -> None:
        path = tmp_path / "made" / "a.png"
        plot_comparison(path, tone(2), tone(2, 445), RATE, "Title", [Note(69, 64, 0.0, 2.0)])
        assert png_size(path) == (1400, 1100)
        assert [file.name for file in path.parent.iterdir()] == ["a.png"]

    def test_shows_both_sounds_and_their_difference(self, drawn: list[Figure]) -> None:
        reference, test = tone(3), 0.3 * tone(3, 1000)
        plot_comparison(Path("a.png"), reference, test, RATE)
        reference_db, test_db = cqt_decibels(reference, test, RATE)
        for axes, expected in zip(drawn[0].axes, (reference_db, test_db, test_db - reference_db), strict=False):
            assert (axes.images[0].get_array() == expected).all()

    def test_axes_are_notes_and_seconds(self, drawn: list[Figure]) -> None:
        plot_comparison(Path("a.png"), tone(3), tone(3), RATE)
        axes = drawn[0].axes[0]
        labels = {
            label.get_text(): float(place)
            for label, place in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
        }
        assert labels == {"C1": 24, "C2": 36, "C3": 48, "C4": 60, "C5": 72, "C6": 84, "C7": 96}
        left, right, bottom, top = axes.images[0].get_extent()
        rows, columns = axes.images[0].get_array().shape
        brightest_row = axes.images[0].get_array()[:, columns // 2].argmax()
        assert bottom + (brightest_row + 0.5) * (top - bottom) / rows == 69  # A4, where 440 Hz belongs
        assert left + 0.5 * (right - left) / columns == pytest.approx(0)  # a frame is centred on its time
        assert (right - left) / columns == pytest.approx(0.032)
        assert axes.get_xlim() == (0, 3)

    def test_figures_are_written_beside_their_seconds(self, drawn: list[Figure]) -> None:
        reference, test = tone(3), tone(3, 450) * np.repeat([1, 0.5, 0.1], RATE).astype(np.float32)
        rmse_db = rmse_cqt_at_floors(reference, test, RATE)[0]
        mean, half_width = mean_and_ci95(rmse_db)
        plot_comparison(Path("a.png"), reference, test, RATE, "Trumpet")
        assert drawn[0].get_suptitle() == f"Trumpet   ·   RMSE-CQT {mean:.2f} ± {half_width:.2f} dB"
        (above,) = drawn[0].axes[2].child_axes
        assert above.get_xticks().tolist() == [0.5, 1.5, 2.5]
        assert [label.get_text() for label in above.get_xticklabels()] == [f"{value:.1f}" for value in rmse_db]

    @pytest.mark.parametrize("seconds", [0.4, 30])
    def test_too_short_or_too_long_for_single_seconds(self, drawn: list[Figure], seconds: float) -> None:
        plot_comparison(Path("a.png"), tone(seconds), tone(seconds), RATE)
        assert not drawn[0].axes[2].child_axes
        assert drawn[0].get_suptitle() == f"RMSE-CQT 0.00{'' if seconds < 1 else ' ± 0.00'} dB"

    def test_notes_lie_at_their_fundamentals(self, drawn: list[Figure]) -> None:
        notes = [Note(69, 64, 0.25, 0.5), Note(48, 64, 0.75, 1.5)]
        plot_comparison(Path("a.png"), tone(1), tone(1), RATE, notes=notes)
        lines = [collection.get_segments()[0].tolist() for collection in drawn[0].axes[2].collections[:2]]
        assert lines == [[[0.25, 69], [0.5, 69]], [[0.75, 48], [1.5, 48]]]

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="one length"):
            plot_comparison(tmp_path / "a.png", tone(1), tone(2), RATE)
        with pytest.raises(InputError, match=r"a\.jpg: .*\.png"):
            plot_comparison(tmp_path / "a.jpg", tone(1), tone(1), RATE)
        assert not list(tmp_path.iterdir())

    def test_a_full_disk_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(figure: Figure, path: Path, **options: object) -> None:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Figure, "savefig", refuse)
        with pytest.raises(OSError, match="No space left"):
            plot_comparison(tmp_path / "a.png", tone(1), tone(1), RATE)
        assert not list(tmp_path.iterdir())


class TestPlotTraining:
    def test_writes_a_png_for_a_readme(self, tmp_path: Path) -> None:
        plot_training(tmp_path / "a.png", ROWS, "Trumpet")
        assert png_size(tmp_path / "a.png") == (1400, 460)

    def test_curves_are_the_figures(self, drawn: list[Figure]) -> None:
        plot_training(Path("a.png"), ROWS)
        likelihood, gain, distance = drawn[0].axes
        for axes, keys in (
            (likelihood, ("train_nll", "valid_nll", "dither_floor")),
            (gain, ("score_gain",)),
            (distance, ("rmse_cqt_db", "rmse_cqt_expectation_db")),
        ):
            for line, key in zip(axes.lines, keys, strict=False):
                points = [(row["step"], row[key]) for row in ROWS if row[key] is not None]
                assert line.get_xydata().tolist() == [list(point) for point in points]
        assert [text.get_text() for text in likelihood.get_legend().get_texts()] == [
            "training",
            "validation",
            "dither floor",
        ]

    def test_distances_of_spectra_are_labelled_by_plain_figures(self, drawn: list[Figure]) -> None:
        plot_training(Path("a.png"), [{"step": n, "train_distance": 7.0 / n} for n in (1, 2, 3)])
        axis = drawn[0].axes[0].yaxis
        drawn[0].draw_without_rendering()
        labels = [tick.label1.get_text() for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())]
        assert {"3", "4", "6"} <= set(labels)

    def test_rows_may_lack_figures(self, tmp_path: Path) -> None:
        plot_training(tmp_path / "a.png", [{"step": 10, "train_nll": 4.0}, {"step": 20, "score_gain": 0.1}])
        assert png_size(tmp_path / "a.png") == (1400, 460)

    def test_no_rows(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"a\.png: no training figures"):
            plot_training(tmp_path / "a.png", [])


class TestPlotSong:
    def test_notes_lie_over_the_spectrogram_and_levels_below(self, drawn: list[Figure], tmp_path: Path) -> None:
        parts = [[Note(69, 127, 0.0, 1.0), Note(72, 1, 1.0, 1.5)], [Note(45, 64, 0.5, 2.0)]]
        sound = tone(2) * np.repeat([1.0, 0.1], RATE).astype(np.float32)
        plot_song(tmp_path / "song.png", sound, RATE, parts, "Song", 0.5 * sound)
        above, below, *_ = drawn[0].axes
        boxes = [(box.get_x(), box.get_y() + 0.4, box.get_width()) for box in above.patches]
        assert boxes == [(0.0, 69.0, 1.0), (1.0, 72.0, 0.5), (0.5, 45.0, 1.5)]
        assert above.patches[0].get_alpha() > above.patches[1].get_alpha()
        assert above.patches[0].get_facecolor()[:3] != above.patches[2].get_facecolor()[:3]
        mine, theirs = (line.get_ydata() for line in below.lines)
        np.testing.assert_allclose(
            mine, np.repeat([20 * np.log10(0.5 / 2**0.5), 20 * np.log10(0.05 / 2**0.5)], 20), atol=0.05
        )
        np.testing.assert_allclose(theirs - mine, 20 * np.log10(0.5), atol=1e-3)


def test_error_bars_of_opinions_end_with_the_scale(drawn: list[Figure]) -> None:
    opinions = {
        (model, ALL): Opinion(mos, ci95, 9, None, None)
        for model, mos, ci95 in (("high", 4.9, 0.3), ("low", 1.1, 0.4), ("between", 3.0, 0.5), ("single", 2.0, None))
    }
    plot_listening(Path("a.png"), Listening("rating", 3, opinions, {}, {}, {}))
    bars = [
        container.errorbar.lines[2][0].get_segments()[0][:, 0].tolist()
        for container in drawn[0].axes[0].containers[1::2]
    ]
    assert bars[:4] == [pytest.approx(ends) for ends in ([4.6, 5], [1, 1.5], [2.5, 3.5], [2, 2])]
