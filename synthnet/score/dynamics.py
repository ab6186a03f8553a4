"""Dynamics for a plain score: the velocities that a player might choose, by a seeded generator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from synthnet.score.notes import Score

PHRASE_S = 3.0, 7.0
ACCENT_SHARE, ACCENT, UNEVENNESS = 0.1, 0.2, 0.04  # the last two as shares of the range of velocities


def add_dynamics(score: Score, seed: int = 0, lowest: int = 40, highest: int = 115) -> Score:
    """The score with new velocities, `lowest` to `highest`, whatever its own are.

    Phrases of 3 to 7 s rise to a peak and fall. A tenth of the notes has an accent, and each is a little uneven.
    Raises ValueError if the velocities do not rise within 1 to 127.
    """
    if not 1 <= lowest < highest <= 127:
        raise ValueError(f"velocities {lowest} to {highest}: must rise within 1 to 127")
    tracks = []
    for number, track in enumerate(score.tracks):
        onsets_s = np.array([note.start_s for note in track.notes])
        heights = _phrases(onsets_s, np.random.default_rng((seed, number)))
        velocities = np.round(lowest + (highest - lowest) * heights).astype(int).tolist()
        notes = (replace(note, velocity=v) for note, v in zip(track.notes, velocities, strict=True))
        tracks.append(replace(track, notes=tuple(notes)))
    return replace(score, tracks=tuple(tracks))


def _phrases(onsets_s: np.ndarray, rng: Generator) -> np.ndarray:
    """Heights [N], 0 to 1, of notes with these onsets [N]: half a cosine between breakpoints, then accents."""
    end_s = float(onsets_s.max(initial=0.0))
    times_s, heights = [0.0], [rng.uniform(0.1, 0.5)]
    while times_s[-1] <= end_s:
        length_s, peak = rng.uniform(*PHRASE_S), rng.uniform(0.4, 0.7)
        times_s += [times_s[-1] + peak * length_s, times_s[-1] + length_s]
        heights += [rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.45)]
    place = np.interp(onsets_s, times_s, np.arange(len(times_s)))
    below = np.minimum(place.astype(int), len(times_s) - 2)
    share = 0.5 - 0.5 * np.cos(np.pi * (place - below))
    curve = np.array(heights)[below] * (1 - share) + np.array(heights)[below + 1] * share
    accents = ACCENT * (rng.random(len(onsets_s)) < ACCENT_SHARE)
    return np.clip(curve + accents + UNEVENNESS * rng.standard_normal(len(onsets_s)), 0.0, 1.0)
