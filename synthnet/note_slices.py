"""Training slices of a harmonic instrument: clean audio and the notes that sound in it.

Times are samples. Slice i depends on the seed and on i alone, as in `synthnet.dataset`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from synthnet.corpus import FULL_SCALE, Corpus, Piece
from synthnet.files import InputError
from synthnet.kernels.voices import TABLE_SAMPLES
from synthnet.models.envelopes import LONGEST_RELEASE_S, N_KEYS, Notes, notes_of
from synthnet.roll import roll_events


class NoteSlices(Dataset[dict[str, Tensor]]):
    """An endless map from i = 0, 1, ... to random slices of one split of a corpus, in which notes sound.

    Raises:
        InputError: no piece in the split, or none as long as a slice.
    """

    def __init__(self, corpus: Corpus, split: str, n_samples: int, seed: int) -> None:
        self.n_samples, self.seed, self.sample_rate_hz = n_samples, seed, corpus.sample_rate_hz
        self.tails = np.full(N_KEYS, round(LONGEST_RELEASE_S * corpus.sample_rate_hz))
        self.recordings = [recording for recording in recordings_of(corpus, split) if len(recording[0]) >= n_samples]
        if not self.recordings:
            raise InputError(f"{corpus.folder}: no piece of at least {n_samples} samples in the {split} split")
        lengths = np.array([len(samples) for samples, _ in self.recordings], dtype=np.float64)
        self.shares = lengths / lengths.sum()

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        """Slice i: "audio" float32 [T], full scale +-1, and "notes", the columns of `Notes` as float64 [6, N]."""
        rng = np.random.default_rng((self.seed, i))
        while True:
            samples, notes = self.recordings[rng.choice(len(self.recordings), p=self.shares)]
            start = int(rng.integers(len(samples) - self.n_samples + 1))
            sounding = notes.sounding(start, start + self.n_samples, self.tails)
            if len(sounding):
                break
        audio = samples[start : start + self.n_samples].astype(np.float32) / FULL_SCALE
        chosen = np.stack(notes.take(sounding, start)).astype(np.float64)
        noise = rng.integers(TABLE_SAMPLES, size=len(sounding))
        return {
            "audio": torch.from_numpy(audio),
            "notes": torch.from_numpy(chosen),
            "noise": torch.from_numpy(noise),
            "sample_rate_hz": torch.tensor(self.sample_rate_hz),
        }

    @staticmethod
    def collate(slices: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """A batch: "audio" [R, T]; "notes" [6, N], "noise" [N], "row" [N], the slice of each note; the rate [R]."""
        counts = [one["notes"].shape[1] for one in slices]
        return {
            "audio": torch.stack([one["audio"] for one in slices]),
            "notes": torch.cat([one["notes"] for one in slices], dim=1),
            "noise": torch.cat([one["noise"] for one in slices]),
            "sample_rate_hz": torch.stack([one["sample_rate_hz"] for one in slices]),
            "row": torch.repeat_interleave(torch.arange(len(slices)), torch.tensor(counts)),
        }


def recordings_of(corpus: Corpus, split: str) -> list[tuple[np.ndarray, Notes]]:
    """Samples, int16 [n], and notes of each piece of a split."""
    rate = corpus.sample_rate_hz
    return [(corpus.read_samples(piece), piece_notes(corpus, piece, rate)) for piece in corpus.split(split)]


def piece_notes(corpus: Corpus, piece: Piece, sample_rate_hz: int) -> Notes:
    """The notes of a piece at some sample rate."""
    return notes_of(roll_events(corpus.read_notes(piece), sample_rate_hz))
