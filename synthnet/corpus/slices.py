"""Training slices: audio and notes of a corpus, aligned to the sample.

Times are samples. Slice i of a dataset depends on its seed and on i alone: any number of workers, and a run resumed
at slice i, see the same slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from synthnet.audio.mulaw import dither, encode_mu_law
from synthnet.corpus.corpus import FULL_SCALE, Corpus, Piece
from synthnet.files import InputError
from synthnet.kernels.voices import TABLE_SAMPLES
from synthnet.models.envelopes import LONGEST_RELEASE_S, N_KEYS, Notes, notes_of
from synthnet.score.roll import RollEvents, rasterise, roll_events

COLD_START_SHARE = 0.02  # of the slices begin in the silence before a piece


@dataclass(frozen=True)
class Recording:
    """A piece in memory: int16 [n_samples], shared with forked workers, its events and the index of its corpus.

    `starts` are the ranges [first, stop) of samples at which a slice may begin, and a cold start begins before `cold`.
    """

    samples: np.ndarray
    events: RollEvents
    instrument: int
    starts: tuple[tuple[int, int], ...]
    cold: int

    def clean(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start], full scale +-1; silence before the piece and after it."""
        inside = self.samples[max(start, 0) : max(stop, 0)].astype(np.float32) / FULL_SCALE
        before = min(max(-start, 0), stop - start)
        return np.pad(inside, (before, stop - start - before - len(inside)))


class SliceDataset(Dataset[dict[str, Tensor]]):
    """An endless map from i = 0, 1, ... to random slices of one split ("train" or "valid") of the corpora.

    A slice predicts the T = `n_predicted` samples from s on: at step t a network is given x[t - 1] and roll[t - 1], and
    predicts x[t] and roll[t]. The start s is uniform over -T to n - T for all pieces, n samples long, together; for
    `cold_start_share` of the slices over -T to 0, with pieces in proportion to their lengths. No sample that a piece
    leaves out is predicted. Generation begins in
    silence, and a network that has never seen a piece begin answers with a burst of noise. The dither is drawn anew for
    each slice, or left out without `dithered` (the paper's control). With `velocity` the input roll carries velocities.

    Raises InputError when the corpora have different sample rates, or one has no piece in the split.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        split: str,
        *,
        n_predicted: int,
        n_context: int,
        seed: int,
        cold_start_share: float = COLD_START_SHARE,
        dithered: bool = True,
        velocity: bool = False,
    ) -> None:
        rates = {corpus.sample_rate_hz for corpus in corpora}
        if len(rates) > 1:
            raise InputError(f"corpora of different sample rates: {', '.join(map(str, sorted(rates)))} Hz")
        self.n_predicted, self.n_context, self.seed = n_predicted, n_context, seed
        self.cold_start_share, self.dithered, self.velocity = cold_start_share, dithered, velocity
        self.recordings = []
        for index, corpus in enumerate(corpora):
            pieces = corpus.split(split)
            if not pieces:
                raise InputError(f"{corpus.folder}: no piece in the {split} split")
            for piece in pieces:
                events = roll_events(corpus.read_notes(piece), corpus.sample_rate_hz)
                edges = [-n_predicted, *(edge for span in piece.left_out for edge in span), piece.n_samples]
                kept = ((first, stop - n_predicted + 1) for first, stop in zip(edges[::2], edges[1::2], strict=True))
                starts = tuple((first, stop) for first, stop in kept if first < stop)
                cold = min(1, edges[1] - n_predicted + 1) if piece.left_out else 1
                self.recordings.append(Recording(corpus.read_samples(piece), events, index, starts, cold))
        # The starts of all recordings numbered one after another, range by range; each range's last number, plus 1.
        self.ranges = [(place, *span) for place, recording in enumerate(self.recordings) for span in recording.starts]
        self.numbered = np.cumsum([stop - first for _, first, stop in self.ranges])

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        """Slice i, with C = `n_context`.

        "x" int64 [C + T], mu-law classes of the samples s - 1 - C to s + T - 2; "roll" [128, C + T], see `rasterise`,
        for the same samples; "style" int64 [], the index of the corpus. For the samples s to s + T - 1 "target_x" int64
        [T] and "target_roll" uint8 [128, T], 0 or 1.
        """
        rng = np.random.default_rng((self.seed, i))
        number = int(rng.integers(self.numbered[-1]))
        index = int(np.searchsorted(self.numbered, number, side="right"))
        place, _, stop = self.ranges[index]
        recording = self.recordings[place]
        start = stop - int(self.numbered[index]) + number
        if rng.random() < self.cold_start_share:
            start = int(rng.integers(-self.n_predicted, recording.cold))
        begin, end = start - 1 - self.n_context, start + self.n_predicted
        samples = recording.clean(begin, end)
        if self.dithered:
            samples = samples + dither(end - begin, rng)
        classes = torch.from_numpy(encode_mu_law(samples).astype(np.int64))  # [C + T + 1]
        return {
            "x": classes[:-1],
            "roll": torch.from_numpy(rasterise(recording.events, begin, end - 1, self.velocity)),
            "style": torch.tensor(recording.instrument),
            "target_x": classes[self.n_context + 1 :],
            "target_roll": torch.from_numpy(rasterise(recording.events, start, end)),
        }


class NoteSlices(Dataset[dict[str, Tensor]]):
    """An endless map from i = 0, 1, ... to random slices of one split of a corpus, in which notes sound.

    No slice holds a sample that its piece leaves out. Raises InputError when no piece of the split is as long as a
    slice, or none has so much in one span that is kept and in which notes sound.
    """

    def __init__(self, corpus: Corpus, split: str, n_samples: int, seed: int) -> None:
        self.n_samples, self.seed, self.sample_rate_hz = n_samples, seed, corpus.sample_rate_hz
        self.tails = np.full(N_KEYS, round(LONGEST_RELEASE_S * corpus.sample_rate_hz))
        self.spans = []  # samples and notes of a piece, and where a span of it begins and stops
        for piece in corpus.split(split):
            samples, notes = corpus.read_samples(piece), piece_notes(corpus, piece, corpus.sample_rate_hz)
            for first, stop in piece.kept:
                if stop - first >= n_samples and len(notes.sounding(first, stop, self.tails)):
                    self.spans.append((samples, notes, first, stop))
        if not self.spans:
            raise InputError(f"{corpus.folder}: no piece of at least {n_samples} samples in the {split} split")
        lengths = np.array([stop - first for _, _, first, stop in self.spans], dtype=np.float64)
        self.shares = lengths / lengths.sum()

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        """Slice i with N notes.

        "audio" float32 [T], full scale +-1; "notes" float64 [6, N], the columns of `Notes`; "noise" int64 [N], where
        the noise of each note begins in its table; "sample_rate_hz" int64 [].
        """
        rng = np.random.default_rng((self.seed, i))
        while True:
            samples, notes, first, stop = self.spans[rng.choice(len(self.spans), p=self.shares)]
            start = first + int(rng.integers(stop - first - self.n_samples + 1))
            sounding = notes.sounding(start, start + self.n_samples, self.tails)
            if len(sounding):
                break
        return {
            "audio": torch.from_numpy(samples[start : start + self.n_samples].astype(np.float32) / FULL_SCALE),
            "notes": torch.from_numpy(np.stack(notes.take(sounding, start)).astype(np.float64)),
            "noise": torch.from_numpy(rng.integers(TABLE_SAMPLES, size=len(sounding))),
            "sample_rate_hz": torch.tensor(self.sample_rate_hz),
        }

    @staticmethod
    def collate(slices: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """A batch: "audio" [R, T]; "notes" [6, N], "noise" [N], "row" [N], the slice of each note; the rate [R]."""
        batch = {name: torch.stack([one[name] for one in slices]) for name in ("audio", "sample_rate_hz")}
        batch |= {name: torch.cat([one[name] for one in slices], dim=-1) for name in ("notes", "noise")}
        counts = torch.tensor([len(one["noise"]) for one in slices])
        return {**batch, "row": torch.repeat_interleave(torch.arange(len(slices)), counts)}


def recordings_of(corpus: Corpus, split: str) -> list[tuple[np.ndarray, Notes]]:
    """Samples, int16 [n], and notes of each piece of a split, without the notes of what is left out."""
    found = []
    for piece in corpus.split(split):
        notes = piece_notes(corpus, piece, corpus.sample_rate_hz)
        kept = [not piece.leaves_out(*span) for span in zip(notes.onset, notes.release, strict=True)]
        found.append((corpus.read_samples(piece), notes.take(np.flatnonzero(kept), 0)))
    return found


def piece_notes(corpus: Corpus, piece: Piece, sample_rate_hz: int) -> Notes:
    """The notes of a piece at some sample rate."""
    return notes_of(roll_events(corpus.read_notes(piece), sample_rate_hz))
