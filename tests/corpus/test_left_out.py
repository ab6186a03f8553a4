"""What a piece leaves out is never a target of training: pieces whose samples there are loud."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthnet.audio.mulaw import decode_mu_law
from synthnet.corpus.corpus import FULL_SCALE, Corpus, Piece, read_corpus, write_manifest
from synthnet.corpus.slices import NoteSlices, SliceDataset, recordings_of
from synthnet.files import InputError
from synthnet.score.notes import Note

RATE = 8_000
SPANS = ((1_000, 1_500), (4_000, 4_100), (9_000, 12_000))


class Loud(Corpus):
    """Half a full scale where a piece leaves out, else silence; a note of 50 ms every 100 ms."""

    def read_samples(self, piece: Piece) -> np.ndarray:
        samples = np.zeros(piece.n_samples, np.int16)
        for start, stop in piece.left_out:
            samples[start:stop] = FULL_SCALE // 2
        return samples

    def read_notes(self, piece: Piece) -> tuple[Note, ...]:
        return tuple(Note(60, 80, at / RATE, at / RATE + 0.05) for at in range(0, piece.n_samples - 400, 800))


def loud(*spans: tuple[tuple[int, int], ...], n: int = 12_000) -> Loud:
    pieces = tuple(Piece(f"p{i}", "train", n, 1.0, "", "", "", "", left_out) for i, left_out in enumerate(spans))
    return Loud(Path("loud"), 1, "loud", 0, RATE, "", "", "", 1.0, pieces)


def test_spans_that_are_kept() -> None:
    (piece,) = loud(SPANS).pieces
    assert piece.kept == ((0, 1_000), (1_500, 4_000), (4_100, 9_000))
    assert [piece.leaves_out(*span) for span in ((0, 1_000), (999, 1_001), (1_499, 1_500), (1_500, 4_000))] == [
        False, True, True, False,
    ]  # fmt: skip
    assert piece.measured(np.arange(12_000), 2_500).tolist() == [*range(5_000, 7_500)]
    with pytest.raises(InputError, match="nothing is left to measure"):
        piece.measured(np.arange(12_000), 5_000)


@pytest.mark.parametrize(
    "spans", [3, [3], [[1, 2, 3]], [[2, 1]], [[0, 5], [4, 6]], [[-1, 2]], [[0, 101]], [[0, 1.0]], [["a", "b"]], [[]]]
)
def test_other_spans_are_an_error(spans: object) -> None:
    with pytest.raises(InputError, match="left_out must be rising"):
        Piece("a", "train", 100, 1.0, "", "", "", "", spans)  # type: ignore[arg-type]


def test_a_manifest_keeps_spans_and_those_before_had_none(tiny_corpus: Corpus, tmp_path: Path) -> None:
    corpus = replace(tiny_corpus, folder=Path(shutil.copytree(tiny_corpus.folder, tmp_path / "corpus")))
    first, second = corpus.pieces
    changed = replace(
        corpus, pieces=(replace(first, left_out=((5, 9), (20, 30)), labels="score"), second), credit="Ann"
    )
    write_manifest(changed)
    assert read_corpus(corpus.folder) == changed
    path = corpus.folder / "manifest.json"
    content = json.loads(path.read_text())
    for piece in content["pieces"]:
        del piece["left_out"], piece["labels"]
    del content["credit"]
    path.write_text(json.dumps(content))
    assert read_corpus(corpus.folder) == corpus
    assert corpus.read_found(first).all()


def test_slices_of_a_paper_network_never_predict_what_is_left_out() -> None:
    slices = SliceDataset([loud(SPANS, ())], "train", n_predicted=300, n_context=50, seed=0, cold_start_share=0.2)
    heard = 0
    for i in range(300):
        item = slices[i]
        assert (decode_mu_law(item["target_x"].numpy()) < 0.1).all()
        heard += (decode_mu_law(item["x"].numpy()) > 0.1).any()
    assert heard > 0  # it may come before a slice


def test_every_other_start_comes_as_often() -> None:
    slices = SliceDataset([loud(((3, 5),), n=8)], "train", n_predicted=2, n_context=0, seed=0, cold_start_share=0.0)
    starts = [(-2, 2), (5, 7)]  # to before
    assert [(first, stop) for _, first, stop in slices.ranges] == starts
    one = SliceDataset([loud((), n=8)], "train", n_predicted=2, n_context=0, seed=0)
    assert [(first, stop) for _, first, stop in one.ranges] == [(-2, 7)]


def test_slices_of_notes_never_hold_what_is_left_out() -> None:
    slices = NoteSlices(loud(SPANS, ((0, 100),)), "train", 900, seed=0)
    assert [(first, stop) for _, _, first, stop in slices.spans] == [
        (0, 1_000),
        (1_500, 4_000),
        (4_100, 9_000),
        (100, 12_000),
    ]
    assert slices.shares == pytest.approx(np.array([1_000, 2_500, 4_900, 11_900]) / 20_300)
    for i in range(100):
        assert not slices[i]["audio"].any()
    with pytest.raises(InputError, match="no piece of at least 5000 samples"):
        NoteSlices(loud(SPANS), "train", 5_000, seed=0)


def test_notes_that_are_left_out_are_not_measured() -> None:
    ((_, notes),) = recordings_of(loud(SPANS), "train")
    assert notes.onset.tolist() == [0, 1_600, 2_400, 3_200, 4_800, 5_600, 6_400, 7_200, 8_000]
