"""Meters of a sound that comes in blocks: true peak and loudness, as ITU-R BS.1770-4 has them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import soxr

OVERSAMPLING = 4
HOP_S, HOPS_PER_BLOCK = 0.1, 4  # gating blocks of 400 ms overlap by three quarters
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0


class TruePeak:
    """The largest absolute value of a sound between its samples, too: Annex 2, oversampled four times (soxr, HQ)."""

    def __init__(self, sample_rate_hz: int, channels: int) -> None:
        self._oversampler = soxr.ResampleStream(
            sample_rate_hz, OVERSAMPLING * sample_rate_hz, channels, dtype="float32", quality="HQ"
        )
        self._peak, self._end = 0.0, np.zeros((0, channels), np.float32)
        self._ended = False

    def add(self, block: np.ndarray) -> None:
        """Take in samples [n, channels], float32."""
        between = self._oversampler.resample_chunk(np.ascontiguousarray(block, np.float32), last=self._ended)
        self._peak = max(self._peak, *(float(np.abs(samples).max(initial=0.0)) for samples in (block, between)))

    def read(self) -> float:
        """The true peak; no more samples can be added."""
        if not self._ended:
            self._ended = True
            self.add(self._end)
        return self._peak


def true_peak(blocks: Iterable[np.ndarray], sample_rate_hz: int, channels: int) -> float:
    """The true peak of blocks [n, channels]."""
    meter = TruePeak(sample_rate_hz, channels)
    for block in blocks:
        meter.add(block)
    return meter.read()


class Loudness:
    """The integrated loudness of a sound: Annex 1, K-weighted (pyloudnorm's filters) and gated, in LUFS."""

    def __init__(self, sample_rate_hz: int, channels: int) -> None:
        # Only here: SciPy's filters take a second to load.
        from pyloudnorm import IIRfilter
        from scipy.signal import sosfilt

        shelf = IIRfilter(4.0, 1 / math.sqrt(2), 1500.0, sample_rate_hz, "high_shelf")
        high_pass = IIRfilter(0.0, 0.5, 38.0, sample_rate_hz, "high_pass")
        self._sections = np.array([[*stage.b, *stage.a] for stage in (shelf, high_pass)])
        self._filter, self._state = sosfilt, np.zeros((len(self._sections), 2, channels))
        self._hop, self._waiting = round(HOP_S * sample_rate_hz), np.zeros(0)
        self._powers: list[np.ndarray] = []  # mean squares of each tenth of a second, summed over the channels

    def add(self, block: np.ndarray) -> None:
        """Take in samples [n, channels]."""
        weighted, self._state = self._filter(self._sections, block, axis=0, zi=self._state)
        squares = np.concatenate([self._waiting, np.square(weighted).sum(axis=1)])
        whole = len(squares) // self._hop * self._hop
        self._powers.append(squares[:whole].reshape(-1, self._hop).mean(axis=1))
        self._waiting = squares[whole:]

    def read(self) -> float:
        """The loudness so far in LUFS; -inf for what is silent or shorter than 400 ms."""
        hops = np.concatenate([np.zeros(0), *self._powers])
        if len(hops) < HOPS_PER_BLOCK:
            return -math.inf
        blocks = np.convolve(hops, np.full(HOPS_PER_BLOCK, 1 / HOPS_PER_BLOCK), "valid")
        gate = ABSOLUTE_GATE_LUFS
        for _ in range(2):
            blocks = blocks[blocks > _power(gate)]
            if not len(blocks):
                return -math.inf
            loudness = -0.691 + 10 * math.log10(blocks.mean())
            gate = loudness + RELATIVE_GATE_LU
        return loudness


def _power(lufs: float) -> float:
    return 10 ** ((lufs + 0.691) / 10)
