"""Sums of sinusoids, compiled: what the partials of a note add to the arrays of a slice.

numpy's sines of all partials of all notes that ring took longer than a training step. Here phases are computed in
double precision, everything else in single precision and in vectors, block after block that stays in a core's cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthnet.fastmath import COMPILE, exp, sine_and_cosine

Floats = NDArray[np.float32]

BLOCK = 512  # samples


@njit(**COMPILE)
def add_tones(
    waves: Floats, at: int, amplitudes: Floats, cycles: NDArray[np.float64], phases: NDArray[np.float64], age: int
) -> None:
    """Add a note's sines and cosines to waves [E, 2, H, N] from sample `at` on, once with each of its envelopes.

    Args:
        amplitudes: [E, n].
        cycles, phases: of its partials [H], turns a sample and turns at the onset; 0 cycles: not heard.
        age: samples from the onset to the first of the n.
    """
    envelopes, n = amplitudes.shape
    sines, cosines = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for start in range(0, n, BLOCK):
        count = min(BLOCK, n - start)
        for partial in range(waves.shape[2]):
            if cycles[partial] == 0.0:
                continue
            for i in range(count):
                sines[i], cosines[i] = sine_and_cosine(phases[partial] + cycles[partial] * (age + start + i))
            for envelope in range(envelopes):
                amplitude = amplitudes[envelope, start : start + count]
                sine_row = waves[envelope, 0, partial, at + start : at + start + count]
                cosine_row = waves[envelope, 1, partial, at + start : at + start + count]
                for i in range(count):
                    sine_row[i] += amplitude[i] * sines[i]
                    cosine_row[i] += amplitude[i] * cosines[i]


@njit(forceinline=True, **COMPILE)
def level_between(levels: Floats, knot: int, along: np.float32, lowest: np.float32) -> np.float32:
    """In a line from a knot of levels [J] to the next; after the last, what falls goes on to fall, to the lowest."""
    rise = levels[knot + 1] - levels[knot]
    if rise >= np.float32(0.0):
        along = min(along, np.float32(1.0))
    return max(levels[knot] + along * rise, lowest)


@njit(**COMPILE)
def levels_between(levels: Floats, knots: NDArray[np.int64], along: Floats, lowest: np.float32) -> Floats:
    """`level_between` of levels [H, J], at n places between their knots: [H, n]."""
    found = np.empty((levels.shape[0], len(knots)), np.float32)
    for partial in range(levels.shape[0]):
        for i in range(len(knots)):
            found[partial, i] = level_between(levels[partial], knots[i], along[i], lowest)
    return found


@njit(**COMPILE)
def add_partials(
    total: Floats, at: int, amplitude: Floats, cycles: NDArray[np.float64], phases: NDArray[np.float64], age: int,
    levels: Floats, knots: NDArray[np.int64], along: Floats, lowest: np.float32,
) -> None:  # fmt: skip
    """Add a note's partials, sines at their levels [H, J] in nats, to total [N] from sample `at` on.

    Args:
        amplitude: [n], besides.
        cycles, phases, age: as in `add_tones`.
        knots, along, lowest: as in `levels_between`, at each of the n. Where a partial stays below the lowest level for
            a block it is left out.
    """
    nats, together = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for start in range(0, len(amplitude), BLOCK):
        count = min(BLOCK, len(amplitude) - start)
        loudest = amplitude[start : start + count].max()
        if loudest <= np.float32(0.0):
            continue
        quiet = lowest - np.log(loudest)
        together[:] = np.float32(0.0)
        for partial in range(levels.shape[0]):
            if cycles[partial] == 0.0:
                continue
            for i in range(count):
                nats[i] = level_between(levels[partial], knots[start + i], along[start + i], lowest)
            if nats[:count].max() <= quiet:
                continue
            for i in range(count):
                sine, _ = sine_and_cosine(phases[partial] + cycles[partial] * (age + start + i))
                together[i] += exp(nats[i]) * sine
        for i in range(count):
            total[at + start + i] += amplitude[start + i] * together[i]
