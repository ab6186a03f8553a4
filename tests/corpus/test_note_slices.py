"""Slices of notes and audio against recordings whose every sample says which key sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synthnet.corpus.corpus import FULL_SCALE, Corpus, Piece
from synthnet.corpus.slices import NoteSlices, recordings_of
from synthnet.files import InputError
from synthnet.kernels.voices import TABLE_SAMPLES
from synthnet.models.envelopes import Notes
from synthnet.score.notes import Note

RATE_HZ = 1_000


class Steps(Corpus):
    """A made-up recording: a note of 300 ms every 500 ms, one key above another; a sample is 100 times its key."""

    def read_notes(self, piece: Piece) -> tuple[Note, ...]:
        return tuple(Note(40 + k, 50 + k, 0.5 * k, 0.5 * k + 0.3) for k in range(piece.n_samples // 500))

    def read_samples(self, piece: Piece) -> np.ndarray:
        at = np.arange(piece.n_samples)
        return np.where(at % 500 < 300, 100 * (40 + at // 500), 0).astype(np.int16)


def corpus(n_samples: int = 12_000) -> Steps:
    piece = Piece("steps", "train", n_samples, 1.0, "steps.mid", "", "", "")
    return Steps(Path("steps"), 1, "steps", 0, RATE_HZ, "", "", "", 1.0, (piece,))


def notes_of(item: dict[str, torch.Tensor]) -> Notes:
    return Notes(*item["notes"].numpy())


def test_notes_are_where_the_audio_says() -> None:
    slices = NoteSlices(corpus(), "train", 2_000, seed=0)
    for i in range(30):
        keys = slices[i]["audio"].numpy() * FULL_SCALE / 100
        notes = notes_of(slices[i])
        heard = np.zeros(2_000)
        for pitch, velocity, onset, release in zip(*notes[:4], strict=True):
            heard[max(int(onset), 0) : max(int(release), 0)] = pitch
            assert velocity == pitch + 10
        np.testing.assert_allclose(keys, heard, atol=1e-3)
        assert (notes.release + 3_000 > 0).all()  # long gone notes are left out
        assert (notes.onset < 2_000).all()


def test_shapes_and_types() -> None:
    item = NoteSlices(corpus(), "train", 700, seed=0)[3]
    assert (item["audio"].shape, item["audio"].dtype) == ((700,), torch.float32)
    assert (len(item["notes"]), item["notes"].dtype) == (6, torch.float64)
    assert item["noise"].shape == item["notes"].shape[1:]
    assert 0 <= item["noise"].min() <= item["noise"].max() < TABLE_SAMPLES
    assert item["sample_rate_hz"] == RATE_HZ


def test_a_slice_depends_on_seed_and_number_alone() -> None:
    first, again, other = (NoteSlices(corpus(), "train", 700, seed=seed) for seed in (5, 5, 6))
    backwards = [again[i] for i in reversed(range(4))][::-1]
    for i in range(4):
        assert all(torch.equal(value, backwards[i][name]) for name, value in first[i].items())
        assert not torch.equal(first[i]["audio"], other[i]["audio"])
    assert not torch.equal(first[0]["audio"], first[1]["audio"])


def test_a_batch_says_whose_notes_are_whose() -> None:
    slices = NoteSlices(corpus(), "train", 700, seed=0)
    items = [slices[i] for i in range(3)]
    batch = NoteSlices.collate(items)
    assert batch["audio"].shape == (3, 700)
    assert batch["sample_rate_hz"].tolist() == [RATE_HZ] * 3
    for number, item in enumerate(items):
        mine = batch["row"] == number
        assert torch.equal(batch["audio"][number], item["audio"])
        assert torch.equal(batch["notes"][:, mine], item["notes"])
        assert torch.equal(batch["noise"][mine], item["noise"])


def test_a_piece_of_the_slices_length_is_long_enough_and_no_shorter_one() -> None:
    whole = NoteSlices(corpus(2_000), "train", 2_000, seed=0)[0]["audio"].numpy()
    np.testing.assert_allclose(whole * FULL_SCALE, recordings_of(corpus(2_000), "train")[0][0], atol=1e-2)
    with pytest.raises(InputError, match="steps: no piece of at least 2001 samples in the train split"):
        NoteSlices(corpus(2_000), "train", 2_001, seed=0)
    with pytest.raises(InputError, match="in the valid split"):
        NoteSlices(corpus(), "valid", 100, seed=0)
