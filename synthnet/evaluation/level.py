"""Levels over time: difference, bursts, collapse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from synthnet.files import InputError
from synthnet.score.roll import to_samples

BURST_WINDOW_S = 0.05  # three periods of the lowest note: shorter windows beat with the waveform

BURST_SPAN_S = 0.5  # after the first onset

SOUNDING_DB = -30.0  # relative to the piece's level: below it the reference counts as silent

COLLAPSE_DB = -20.0  # relative to the reference


_SILENCE_DB = -90.0  # below one step of 16 bits


def level_difference_db(reference: np.ndarray, test: np.ndarray) -> float:
    """How much louder test [n] is than reference [n], in dB of root mean squares, each at least -90 dBFS."""
    return float(_decibels(test) - _decibels(reference))


def _decibels(samples: np.ndarray) -> Any:
    """Level of samples [..., n] in dBFS, [...]; at least -90."""
    power = np.mean(np.square(samples, dtype=np.float64), axis=-1) if samples.shape[-1] else np.zeros(())
    return 10 * np.log10(np.maximum(power, 10 ** (_SILENCE_DB / 10)))


def start_burst_db(reference: np.ndarray, test: np.ndarray, first_onset: int, sample_rate_hz: int) -> float:
    """How much louder than the reference the test gets at its start, in dB, in the worst window of 50 ms.

    From the beginning to half a second after the first onset (a sample), in windows that overlap by half. The reference
    is taken as the loudest of a window and its two neighbours, so that an attack a little early is no burst, and as at
    least 30 dB below the level of the whole of it, so that a faint hiss before the first note is none either.
    Raises InputError for less than 50 ms.
    """
    length = int(to_samples(BURST_WINDOW_S, sample_rate_hz))
    if min(len(reference), len(test)) < length:
        raise InputError(f"a start needs at least {BURST_WINDOW_S * 1000:g} ms")
    stop = max(length, first_onset + int(to_samples(BURST_SPAN_S, sample_rate_hz)))
    theirs, mine = (
        _decibels(np.lib.stride_tricks.sliding_window_view(samples[:stop], length)[:: length // 2])
        for samples in (reference, test)
    )
    padded = np.pad(theirs, 1, mode="edge")
    nearby = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return float(np.max(mine - np.maximum(nearby, _decibels(reference) + SOUNDING_DB)))


def collapsed_seconds(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The whole seconds (int64) in which the reference [n] sounds and the test [n] is more than 20 dB below it.

    The reference sounds where it is not more than 30 dB below its level over all samples.
    """
    n = len(reference) // sample_rate_hz
    theirs, mine = (
        _decibels(samples[: n * sample_rate_hz].reshape(n, sample_rate_hz)) for samples in (reference, test)
    )
    sounds = (theirs > _SILENCE_DB) & (theirs >= _decibels(reference) + SOUNDING_DB)
    return np.flatnonzero(sounds & (mine < theirs + COLLAPSE_DB))


def fitted_level(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The test [n] with one gain, so that its root mean square is the reference's; silence stays as it is."""
    power = float(np.mean(np.square(test, dtype=np.float64)))
    if power == 0.0:
        return test
    return test * np.float32(math.sqrt(float(np.mean(np.square(reference, dtype=np.float64))) / power))
