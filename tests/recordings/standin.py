"""A recording whose notes are known: the sound font plays a score as a player might, in a room.

The Prelude of the suite BWV 1007, a minute long. A tempo that wanders between 0.7 and 1.4, onsets 15 ms beside it,
velocities 50 to 110, tuned 17 cents sharp, vibrato in long notes of bowed and blown instruments, a room that dies by
60 dB in 0.9 s at -10 dB, hiss at -60 dB, 1.2 s of digital silence in front. The score has a bar that is not played, and
one note in a hundred twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import soxr
from scipy.ndimage import map_coordinates
from scipy.signal import fftconvolve

from synthnet.corpus.build import DEFAULT_SCORES
from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.score.midi import read_score
from synthnet.score.notes import Note, in_order

SILENCE_S, CENTS, BAR = 1.2, 17.0, 12  # the bar is left out by the player
VIBRATO_HZ, VIBRATO_CENTS, VIBRATO_FROM_S, VIBRATO_LEAST_S = 5.5, 20.0, 0.25, 0.4
PLAYERS = {
    "piano": (0, 12),
    "guitar": (24, 12),
    "violin": (40, 24),
    "cello": (42, 0),
    "flute": (73, 29),
}  # program, keys


@dataclass(frozen=True)
class StandIn:
    """A score, its recording, and the truth.

    Attributes:
        score: notes at even tempo and one velocity, sorted.
        truth: each of them as it is heard, seconds in the recording; None where it is not played.
        samples: float32 [n].
    """

    score: tuple[Note, ...]
    truth: tuple[Note | None, ...]
    samples: np.ndarray
    sample_rate_hz: int

    @property
    def played(self) -> tuple[Note, ...]:
        """The notes that are heard."""
        return in_order(note for note in self.truth if note)


def stand_in(player: str, seconds: float = 60.0, rate_hz: int = 44_100, seed: int = 0, flaws: bool = True) -> StandIn:
    """A seeded performance by one of `PLAYERS`; without `flaws` nothing is missing and nothing doubled."""
    rng = np.random.default_rng(seed)
    program, keys = PLAYERS[player]
    source = read_score(DEFAULT_SCORES / "bwv1007_1_prelude.mid").notes
    beats = np.arange(0, source[-1].end_s + 1, 0.5)
    tempo = np.clip(1 + np.cumsum(rng.normal(0, 0.03, len(beats))), 0.7, 1.4)
    bar_s = 4.0
    first, last = (BAR * bar_s - 0.01, (BAR + 1) * bar_s - 0.01) if flaws and seconds > 55 else (0.0, 0.0)
    clock = np.r_[0, np.cumsum(np.where((beats >= first) & (beats < last), 0, 0.5) / tempo)][:-1]
    score, truth = [], []
    for note in source:
        note = replace(note, pitch=note.pitch + keys, velocity=80)
        start_s, end_s = np.interp([note.start_s, note.end_s], beats, clock) + rng.normal(0, 0.015)
        if end_s > seconds:
            break
        played = Note(note.pitch, int(rng.integers(50, 111)), max(0.0, start_s), max(end_s, start_s + 0.05))
        score.append(note)
        truth.append(None if first <= note.start_s < last else played)
    if flaws:
        for i in range(50, len(score), 100):
            middle_s = (score[i].start_s + score[i].end_s) / 2
            score.append(replace(score[i], start_s=middle_s))
            truth.append(None)
            score[i] = replace(score[i], end_s=middle_s)
    order = sorted(range(len(score)), key=lambda i: (score[i].start_s, score[i].pitch))
    teacher = Teacher(find_soundfont(), program, rate_hz)
    heard = [None if note is None else teacher.snap([note])[0] for note in truth]
    samples = teacher.play([note for note in heard if note], max(note.end_s for note in heard if note) + 2)
    if program >= 40:
        samples = _with_vibrato(samples, [note for note in heard if note], rate_hz)
    ratio = 2 ** (CENTS / 1200)
    samples = soxr.resample(samples, rate_hz * ratio, rate_hz, "VHQ")
    samples = _in_a_room(samples, rate_hz, rng)
    at = [
        note and replace(note, start_s=note.start_s / ratio + SILENCE_S, end_s=note.end_s / ratio + SILENCE_S)
        for note in heard
    ]
    return StandIn(tuple(score[i] for i in order), tuple(at[i] for i in order), samples, rate_hz)


def risen_s(player: str, pitches: Iterable[int], rate_hz: int = 44_100) -> dict[int, float]:
    """When each key, struck alone, has risen to a tenth of its highest sample within half a second."""
    teacher, found = Teacher(find_soundfont(), PLAYERS[player][0], rate_hz), {}
    for pitch in sorted(set(pitches)):
        sound = np.abs(teacher.play([Note(pitch, 80, 0.0, 0.5)], 0.5))
        found[pitch] = float((sound > 0.1 * sound.max()).argmax() / rate_hz)
    return found


def _with_vibrato(samples: np.ndarray, notes: list[Note], rate_hz: int) -> np.ndarray:
    """Vibrato as a delay that swings, by at most a third of a millisecond."""
    delay = np.zeros(len(samples))
    for note in notes:
        if note.end_s - note.start_s > VIBRATO_LEAST_S:
            start, stop = round((note.start_s + VIBRATO_FROM_S) * rate_hz), round(note.end_s * rate_hz)
            t = np.arange(stop - start) / rate_hz
            depth = (2 ** (VIBRATO_CENTS / 1200) - 1) / (2 * np.pi * VIBRATO_HZ) * np.clip(t / 0.05, 0, 1)
            delay[start:stop] = depth * np.sin(2 * np.pi * VIBRATO_HZ * t) * np.clip((t[-1] - t) / 0.02, 0, 1)
    return map_coordinates(samples, [np.arange(len(samples)) - delay * rate_hz], order=3, mode="nearest")


def _in_a_room(samples: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """With reverberation, hiss and the silence in front."""
    time_s = np.arange(round(0.9 * rate_hz)) / rate_hz
    room = rng.normal(size=len(time_s)) * 10 ** (-3 * time_s / 0.9)
    room *= 10 ** (-10 / 20) / np.sqrt((room**2).sum())
    late = np.r_[np.zeros(round(0.012 * rate_hz)), fftconvolve(samples, room)][: len(samples)]
    wet = samples + late
    wet = 0.5 * wet / np.abs(wet).max() + rng.normal(0, 0.5e-3, len(wet))
    return np.r_[np.zeros(round(SILENCE_S * rate_hz)), wet].astype(np.float32)
