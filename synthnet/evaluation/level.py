"""Level, as root mean square in dB of full scale: difference, burst at the start, collapse, and fitting.

Levels are at least -90 dB, which is below one step of 16 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthnet.files import InputError
from synthnet.score.roll import to_samples

SILENCE_DB = -90.0
BURST_WINDOW_S = 0.05  # three periods of the lowest note: shorter windows beat with the waveform
BURST_SPAN_S = 0.5  # after the first onset
SOUNDING_DB = -30.0  # relative to the level of the whole reference: below it, the reference counts as silent
COLLAPSE_DB = -20.0  # relative to the reference


def level_db(samples: np.ndarray, lowest_db: float = SILENCE_DB) -> Any:
    """Level of samples [..., n] in dB of full scale: float64 [...], at least `lowest_db`."""
    power = np.mean(np.square(samples, dtype=np.float64), axis=-1) if samples.shape[-1] else np.float64(0)
    return 10 * np.log10(np.maximum(power, 10 ** (lowest_db / 10)))


def level_difference_db(reference: np.ndarray, test: np.ndarray) -> float:
    """How much louder the test [n] is than the reference [n], in dB."""
    return float(level_db(test) - level_db(reference))


def start_burst_db(reference: np.ndarray, test: np.ndarray, first_onset: int, sample_rate_hz: int) -> float:
    """How much the test rises above the reference at its start, in dB, in the worst window of 50 ms.

    Windows overlap by half and end half a second after the first onset (a sample). The reference is the loudest of a
    window and its two neighbours, so that an attack a little early is no burst, and at least 30 dB below its level over
    all samples, so that a faint hiss before the first note is none either.

    Raises:
        InputError: less than 50 ms.
    """
    length = int(to_samples(BURST_WINDOW_S, sample_rate_hz))
    if min(len(reference), len(test)) < length:
        raise InputError(f"a start needs at least {BURST_WINDOW_S * 1000:g} ms")
    stop = max(length, first_onset + int(to_samples(BURST_SPAN_S, sample_rate_hz)))
    theirs, mine = (
        level_db(np.lib.stride_tricks.sliding_window_view(samples[:stop], length)[:: length // 2])
        for samples in (reference, test)
    )
    padded = np.pad(theirs, 1, mode="edge")
    nearby = np.max([padded[:-2], theirs, padded[2:]], axis=0)
    return float(np.max(mine - np.maximum(nearby, level_db(reference) + SOUNDING_DB)))


def collapsed_seconds(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The whole seconds (int64) in which the reference [n] sounds and the test [n] is more than 20 dB below it.

    The reference sounds where it is at most 30 dB below its level over all samples.
    """
    n = len(reference) // sample_rate_hz
    theirs, mine = (level_db(samples[: n * sample_rate_hz].reshape(n, sample_rate_hz)) for samples in (reference, test))
    sounds = (theirs > SILENCE_DB) & (theirs >= level_db(reference) + SOUNDING_DB)
    return np.flatnonzero(sounds & (mine < theirs + COLLAPSE_DB))


def fitted_level(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The test [n] at the root mean square of the reference [n]; silence stays silent."""
    mine, theirs = (float(np.mean(np.square(samples, dtype=np.float64))) for samples in (test, reference))
    return test * np.float32(np.sqrt(theirs / mine)) if mine else test


def faded_out(samples: np.ndarray, n_faded: int) -> np.ndarray:
    """Samples [n], the last ones falling to 0."""
    n_faded = min(n_faded, len(samples))
    gain = np.concatenate([np.ones(len(samples) - n_faded), np.linspace(1, 0, n_faded)])
    return samples * gain.astype(np.float32)
