"""A recording's notes by Basic Pitch's network, without a score.

Bittner et al., "A lightweight instrument-agnostic model for polyphonic note transcription and multipitch estimation",
ICASSP 2022. `basic_pitch.onnx` is the network of the package basic-pitch 0.4.0 (Spotify AB, Apache License 2.0, see
basic_pitch.LICENSE). It is run by onnxruntime, the extra "transcribe". `notes_from` finds notes as that package's
`note_creation.py` does, but from 70 ms on, not 140: `notes.py` joins what is too short. Frame times are exact here; the
package comes near them by a constant.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr
from scipy.signal import argrelmax

from synthnet.files import InputError

MODEL = Path(__file__).parent / "basic_pitch.onnx"
INPUT = "serving_default_input_2:0"
OUTPUTS = ["StatefulPartitionedCall:1", "StatefulPartitionedCall:2"]  # whether a key sounds, and whether it begins
MODEL_RATE_HZ, HOP, WINDOW = 22_050, 256, 2 * 22_050 - 256  # samples
CUT = 15  # frames at each end of a window, which overlap with its neighbours
STEP = WINDOW - 2 * CUT * HOP  # samples from window to window
LOWEST_KEY, N_KEYS = 21, 88
ONSET, SOUNDING = 0.5, 0.3  # probabilities from which there is an onset, and from which a note sounds
SHORTEST, PATIENCE = 5, 11  # frames (11.6 ms): a note has more; so many below `SOUNDING` end it


class Heard(NamedTuple):
    """A note found: MIDI key, start and end in seconds, mean probability that it sounds."""

    pitch: int
    start_s: float
    end_s: float
    confidence: float


def transcribe(samples: np.ndarray, sample_rate_hz: int) -> list[Heard]:
    """The notes of samples [n], by start, then key.

    Raises:
        InputError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("transcribing needs onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1  # by itself it complains where a process may not use all
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    x = soxr.resample(samples, sample_rate_hz, MODEL_RATE_HZ, "VHQ").astype(np.float32)
    frames, times = [], []
    for start, window in windows(x):
        outputs = session.run(OUTPUTS, {INPUT: window[None, :, None]})
        frames.append(np.stack([output[0, CUT:-CUT] for output in outputs]))  # [2, frames, 88]
        times.append((start + np.arange(frames[-1].shape[1]) * HOP) / MODEL_RATE_HZ)
    time_s, (sounding, onsets) = np.concatenate(times), np.concatenate(frames, axis=1)
    inside = time_s < len(x) / MODEL_RATE_HZ
    found = [
        Heard(key + LOWEST_KEY, float(time_s[start]), float(time_s[stop]), confidence)
        for start, stop, key, confidence in notes_from(sounding[inside], onsets[inside])
    ]
    return sorted(found, key=lambda note: (note.start_s, note.pitch))


def windows(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The sample at which the kept part of each window starts, and the window [WINDOW], padded with silence."""
    padded = np.pad(x, (CUT * HOP, WINDOW))
    for start in range(0, len(x), STEP):
        yield start, padded[start : start + WINDOW]


def notes_from(sounding: np.ndarray, onsets: np.ndarray) -> list[tuple[int, int, int, float]]:
    """Notes (first frame, frame of the end, key, mean probability) from the probabilities [frames, keys].

    First each onset, the last one first, is followed until the key is silent. Then what still sounds is followed both
    ways from where it is most probable.
    """
    n = len(sounding)
    if n <= 2:
        return []
    onsets = np.maximum(onsets, _rises(sounding) * onsets.max(initial=0))
    left, found = sounding.copy(), []

    def take(start: int, stop: int, key: int) -> None:
        left[start:stop, max(0, key - 1) : key + 2] = 0

    peaks = np.zeros(onsets.shape, bool)
    peaks[argrelmax(onsets, axis=0)] = True
    for start, key in np.argwhere(peaks & (onsets >= ONSET))[::-1].tolist():
        if start < n - 1:
            stop, _ = _followed(left[:, key], start, 1)
            if stop - start > SHORTEST:
                take(start, stop, key)
                found.append((start, stop, key, float(sounding[start:stop, key].mean())))
    while left.max() > SOUNDING:
        middle, key = map(int, np.unravel_index(left.argmax(), left.shape))
        left[middle, key] = 0
        (stop, last), (start, first) = _followed(left[:, key], middle, 1), _followed(left[:, key], middle, -1)
        take(first + 1, middle, key)
        take(middle + 1, last, key)
        start, stop = start + 1, stop - 1
        if stop - start > SHORTEST:
            found.append((start, stop, key, float(sounding[start:stop, key].mean())))
    return found


def _rises(sounding: np.ndarray) -> np.ndarray:
    """By how much a key became more probable within each of the last two frames, as a share of the largest."""
    before = np.pad(sounding, ((2, 0), (0, 0)))
    rise = np.minimum(sounding - before[1:-1], sounding - before[:-2]).clip(0)
    rise[:2] = 0
    return rise / max(rise.max(initial=0), 1e-9)


def _followed(probability: np.ndarray, start: int, step: int) -> tuple[int, int]:
    """Where a note that sounds in frame `start` has ended, going on by `step`, 1 or -1, and the last frame looked at.

    The end is the frame after the last one in which it is probable.
    """
    i, silent = start + step, 0
    while 0 < i < len(probability) - (step > 0) and silent < PATIENCE:
        silent = silent + 1 if probability[i] < SOUNDING else 0
        i += step
    return i - step * silent, i
