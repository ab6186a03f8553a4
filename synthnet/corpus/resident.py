"""Training slices drawn in the memory of the device that trains: int16 audio, runs of equal roll windows, dither there.

Slice number i is a function of the seed and of i alone, the same on every device: random numbers come from a hash of
seed, i and position (SplitMix64; Steele, Lea, Flood 2014). It is drawn by the rule of `SliceDataset`, but is another
slice than its number i. All shapes are constant, so that drawing can be part of a CUDA graph.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from synthnet.audio.mulaw import CLASS_BOUNDARIES, DITHER_WIDTH
from synthnet.corpus.corpus import FULL_SCALE
from synthnet.corpus.slices import SliceDataset
from synthnet.models.time_major import Slice
from synthnet.score.roll import N_KEYS, RollEvents, events_from

EVENT_COLUMNS = ("pitch", "onset", "release", "velocity")
GOLDEN = -7046029254386353131  # 2^64 / golden ratio, as int64


def mixed(key: Tensor) -> Tensor:
    """Well distributed bits, int64, of keys: the finaliser of SplitMix64."""
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685), (31, 1)):
        key = (key ^ ((key >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return key


def uniform(bits: Tensor) -> Tensor:
    """float32 in 0 to 1 without 1, of random bits."""
    return ((bits >> 40) & 0xFFFFFF).float() * 2.0**-24


def runs_of(events: RollEvents, n_samples: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The runs of equal roll windows at the inputs 0 to n_samples - 1.

    Returns:
        starts: int64 [R], the first input of each run.
        windows: uint8 [R, 128, F + 1]: velocities, 0 while a key is up, at the last F inputs and the next sample.
    """
    changes = np.unique(np.concatenate([events.onset, events.release]))
    states = np.zeros((len(changes) + 1, N_KEYS), np.uint8)  # row i + 1 holds from change i on
    first, last = (np.searchsorted(changes, times) + 1 for times in (events.onset, events.release))
    for key, begin, end, velocity in zip(events.pitch, first, last, events.velocity, strict=True):
        states[begin:end, key] = velocity
    near = (changes[:, None] + np.arange(-1, width)).ravel()  # where a window has another state at one of its ends
    starts = np.unique(np.concatenate([[0], near[(near >= 0) & (near < n_samples)]]))
    frames = [states[np.searchsorted(changes, starts + back, side="right")] for back in range(1 - width, 2)]
    return starts, np.stack(frames, axis=2)


class ResidentSlices:
    """The recordings of a dataset on a device: slices number 0, 1, ... of the dataset's lengths, as `Slice`."""

    def __init__(self, dataset: SliceDataset, width: int, device: torch.device) -> None:
        recordings, self.dataset = dataset.recordings, dataset
        self.n_inputs = dataset.n_context + dataset.n_predicted
        lead = self.n_inputs + 1  # silence before each recording: a slice may begin there
        ends = list(accumulate(len(recording.samples) + lead for recording in recordings))
        zeros = [end - len(recording.samples) for end, recording in zip(ends, recordings, strict=True)]
        audio = np.zeros(ends[-1], np.int16)
        for zero, recording in zip(zeros, recordings, strict=True):
            audio[zero : zero + len(recording.samples)] = recording.samples
        moved = [events_from(recording.events, -zero) for zero, recording in zip(zeros, recordings, strict=True)]
        columns = {name: np.concatenate([getattr(one, name) for one in moved]) for name in EVENT_COLUMNS}
        events = RollEvents(**columns, sample_rate_hz=moved[0].sample_rate_hz)
        starts, windows = runs_of(events, len(audio), width)
        runs = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(audio)))
        most_runs = int((runs[self.n_inputs - 1 :] - runs[: 1 - self.n_inputs]).max()) + 1
        self.most_runs = -(-most_runs // 8) * 8  # rows of 16 bytes in half precision, as tensor cores want them

        def put(values: np.ndarray | list[int] | int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.as_tensor(values, dtype=dtype).to(device)

        self.positions, self.rows = torch.arange(lead, device=device), torch.arange(self.most_runs, device=device)
        self.audio, self.runs, self.windows = put(audio, torch.int16), put(runs, torch.int32), put(windows, torch.uint8)
        self.numbered = put(dataset.numbered)
        spans = zip(dataset.ranges, dataset.numbered, strict=True)
        self.shifts = put([zeros[place] + stop - last for (place, _, stop), last in spans])  # of numbers to places
        owners = [recordings[place] for place, _, _ in dataset.ranges]
        self.zeros = put([zeros[place] for place, _, _ in dataset.ranges])
        self.cold, self.instruments = put([one.cold for one in owners]), put([one.instrument for one in owners])
        self.boundaries, self.seed = put(CLASS_BOUNDARIES, torch.float32), mixed(put(dataset.seed))
        self.counters = torch.arange(3 + 2 * lead, device=device) * GOLDEN

    def draw(self, number: Tensor) -> Slice:
        """Slice of a number, int64 []."""
        dataset = self.dataset
        bits = mixed(mixed(self.seed + number * GOLDEN) + self.counters)
        chosen, early = (bits[place : place + 1] & (2**63 - 1) for place in (0, 1))
        chosen = chosen % self.numbered[-1]
        span = torch.searchsorted(self.numbered, chosen, right=True)
        zero, cold = self.zeros.index_select(0, span), self.cold.index_select(0, span)
        start = chosen + self.shifts.index_select(0, span)
        cold_start = zero - dataset.n_predicted + early % (cold + dataset.n_predicted)
        start = torch.where(uniform(bits[2]) < dataset.cold_start_share, cold_start, start)
        at = start - 1 - dataset.n_context + self.positions
        samples = self.audio.index_select(0, at).float() / FULL_SCALE
        if dataset.dithered:
            one, other = uniform(bits[3:]).chunk(2)
            samples = samples + (one - other) * DITHER_WIDTH
        runs = self.runs.index_select(0, at[:-1]).long()
        rows = (runs[:1] + self.rows).clamp(max=len(self.windows) - 1)
        windows = self.windows.index_select(0, rows).float()
        return Slice(
            torch.bucketize(samples, self.boundaries, right=True),
            runs - runs[:1],
            windows / 127 if dataset.velocity else (windows > 0).float(),
            self.instruments.index_select(0, span)[0],
        )
