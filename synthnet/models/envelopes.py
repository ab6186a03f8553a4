"""The network of a harmonic instrument, on the arrays of any library: notes and times to amplitudes.

`synthnet.models.harmonic` trains it in torch and `synthnet.generation.harmonic` plays it in numpy; here torch is not
imported.
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from synthnet.kernels.voices import Breakpoints, Voices, find_breakpoints, noise_tables
from synthnet.models.config import LONGEST_RELEASE_S, RELEASE_BUMPS, TIME_BUMPS, HarmonicConfig
from synthnet.score.roll import RollEvents

N_KEYS = 128
EARLIEST_S = 0.002  # where the logarithmic scales of time begin
TABLE_SCALE = 3.0  # of the values in tables by key: they learn that much faster than weights
LEGATO_S = 0.1  # a gap of this length between two notes is hardly legato any more
BENT_S = 4.0
WOBBLE_S = 2.0  # the end of the longest note, which is repeated in longer ones
FADE_SHARE = 0.2  # of the time after a release: at its end the note fades to nothing


class Notes(NamedTuple):
    """N notes, arrays [N].

    Attributes:
        pitch, velocity: MIDI key 0 to 127, velocity 1 to 127.
        onset, release: in samples.
        touch: 1 if another note is held at the onset, less the longer ago the last one was released.
        step: semitones from the note struck before.
    """

    pitch: np.ndarray
    velocity: np.ndarray
    onset: np.ndarray
    release: np.ndarray
    touch: np.ndarray
    step: np.ndarray

    def take(self, which: np.ndarray, start: int = 0) -> Notes:
        """Some of the notes, with times counted from `start`."""
        chosen = Notes(*(column[which] for column in self))
        return chosen._replace(onset=chosen.onset - start, release=chosen.release - start)

    def sounding(self, start: int, stop: int, tails: np.ndarray) -> np.ndarray:
        """Indices of the notes that sound in samples `start` to `stop`; `tails` [128], samples after the release."""
        return np.flatnonzero((self.onset < stop) & (self.release + tails[self.pitch] > start))


def make_notes(
    pitch: np.ndarray, velocity: np.ndarray, onset: np.ndarray, release: np.ndarray, sample_rate_hz: int
) -> Notes:
    """Notes sorted by onset and pitch, with touch and step; both depend only on notes struck before."""
    order = np.lexsort((pitch, onset))
    pitch, velocity, onset, release = (np.asarray(x)[order].astype(np.int64) for x in (pitch, velocity, onset, release))
    touch, step = np.zeros(len(pitch), np.float32), np.zeros(len(pitch), np.float32)
    chord = np.searchsorted(onset, onset)  # the first note struck at the same time
    later, last = chord > 0, chord[chord > 0] - 1
    gap = np.maximum(0, onset[later] - np.maximum.accumulate(release)[last])
    touch[later] = np.exp(-gap / sample_rate_hz / LEGATO_S)
    step[later] = pitch[later] - pitch[last]
    return Notes(pitch, velocity, onset, release, touch, step)


def notes_of(events: RollEvents) -> Notes:
    """The notes of a score's events: keys struck again are released 5 ms before, as networks learned them."""
    return make_notes(events.pitch, events.velocity, events.onset, events.release, events.sample_rate_hz)


def note_features(notes: Notes) -> np.ndarray:
    """Inputs of the network for each note, without its key's embedding, float32 [N, 6]."""
    v = notes.velocity / 127
    columns = [(notes.pitch - 64) / 24, np.log(v), v, v * v, notes.touch, notes.touch * np.clip(notes.step / 12, -2, 2)]
    return np.stack(columns, axis=1).astype(np.float32)


def time_features(time_s: np.ndarray, release_s: np.ndarray, longest_s: float) -> np.ndarray:
    """Inputs for times since onset and release (negative: held), [N, K] each to float32 [N, K, 32]."""
    gone = (release_s >= 0)[..., None].astype(np.float32)
    columns = [
        _bumps(time_s, TIME_BUMPS, longest_s),
        bent_time(time_s)[..., None] / BENT_S,
        _bumps(release_s, RELEASE_BUMPS, LONGEST_RELEASE_S) * gone,
        gone,
    ]
    return np.concatenate(columns, axis=-1).astype(np.float32)


def _bumps(time_s: np.ndarray, n: int, longest_s: float) -> np.ndarray:
    """Gaussians [..., n] evenly spaced on a logarithmic scale of time."""
    centres = _centres(n, longest_s)
    log = np.log(np.maximum(time_s, np.float32(1e-4)))[..., None]
    return np.exp(-0.5 * ((log - centres) / (centres[1] - centres[0])) ** 2)


@functools.lru_cache(maxsize=16)
def _centres(n: int, longest_s: float) -> np.ndarray:
    return np.linspace(math.log(EARLIEST_S), math.log(longest_s), n, dtype=np.float32)


def linear_features(notes: Notes, time_s: np.ndarray) -> np.ndarray:
    """Log velocity, velocity and bent time, which also reach the outputs directly, float32 [N, K, 3]."""
    v = (notes.velocity / 127).astype(np.float32)[:, None]
    return np.stack(np.broadcast_arrays(np.log(v), v, bent_time(time_s)), axis=-1)


def bent_time(time_s: np.ndarray) -> np.ndarray:
    """Time that slows down after some seconds, so that a fall linear in it stays bounded in a long note."""
    return (BENT_S * (1 - np.exp(-time_s / BENT_S))).astype(np.float32)


def fold(time_s: np.ndarray, longest_s: float) -> np.ndarray:
    """Times beyond the longest note reflected to and fro within its last 2 s, so that a wobble goes on."""
    beyond = time_s - longest_s
    folded = longest_s - WOBBLE_S + np.abs(np.mod(beyond, 2 * WOBBLE_S) - WOBBLE_S)
    return np.where(beyond > 0, folded, time_s).astype(np.float32)


def fade(points: Breakpoints, end_s: np.ndarray) -> np.ndarray:
    """Factor [N, K] that brings a note to nothing at `end_s` [N] after its release."""
    end_s = end_s.astype(np.float32)[:, None]
    return np.clip((end_s - points.release_s) / (FADE_SHARE * end_s), 0, 1)


def frequencies_of(
    pitch: np.ndarray, cents: np.ndarray, stretch: np.ndarray, ratios: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """f0_hz, float64 [N], and the partials' frequencies relative to it, float64 [N, H].

    `cents` [128], `stretch` [128] and `ratios` [H] are those of `synthnet.models.measuring`.
    """
    f0_hz = 440.0 * 2.0 ** ((pitch - 69 + cents[pitch].astype(np.float64) / 100) / 12)
    r, b = ratios.astype(np.float64), stretch.astype(np.float64)[pitch][:, None]
    return f0_hz, r * np.sqrt((1 + b * r * r) / (1 + b))


def _times(x: Any, weight: Any) -> Any:
    """[N, K, I] times [O, I], as one product: numpy would multiply the matrices of each note alone."""
    return (x.reshape(-1, x.shape[-1]) @ weight.T).reshape(*x.shape[:-1], -1)


class EnvelopeNetwork(abc.ABC):
    """A harmonic instrument up to its voices, on arrays of the library `xp`, numpy or torch."""

    xp: Any
    config: HarmonicConfig

    @property
    @abc.abstractmethod
    def arrays(self) -> Mapping[str, Any]:
        """The weights by name, arrays of `xp` in single precision; see `synthnet.models.harmonic`."""

    def voices(self, notes: Notes, n_samples: int, sample_rate_hz: int, positions: np.ndarray) -> tuple[Any, Voices]:
        """Amplitudes [N, K, H + B] and voices of notes [N], whose times count from the beginning of a block.

        `positions`, int64 [N], is where in the tables of noise each note's sample 0 is read.
        """
        arrays = self.arrays
        tail_s, cents, stretch, ratios = (
            np.asarray(arrays[name]) for name in ("release_s", "cents", "stretch", "ratios")
        )
        release_s = tail_s[notes.pitch]
        points = find_breakpoints(notes.onset, notes.release, release_s, n_samples, sample_rate_hz)
        f0_hz, ratios = frequencies_of(notes.pitch, cents, stretch, ratios)
        cycles = np.repeat((f0_hz / sample_rate_hz)[:, None], points.at.shape[1], axis=1)
        tables = noise_tables(self.config.bands, sample_rate_hz)
        voices = Voices(notes.onset, points.at, points.at * cycles, cycles, ratios, tables, positions)
        return self.amplitudes(notes, points, release_s), voices

    def log_amplitudes(self, notes: Notes, time_s: np.ndarray, release_s: np.ndarray) -> Any:
        """Log amplitudes [N, K, H + B] of notes [N] at times since onset and release (negative: held), [N, K]."""
        xp, w = self.xp, self.arrays
        key = w["nearest"][notes.pitch]
        note = xp.concatenate([w["key.weight"][key], xp.asarray(note_features(notes))], axis=1)
        of_note, of_time = w["hidden.0.weight"][:, : note.shape[1]], w["hidden.0.weight"][:, note.shape[1] :]
        x = _times(xp.asarray(time_features(time_s, release_s, self.config.longest_s)), of_time)
        x += (note @ of_note.T + w["hidden.0.bias"])[:, None]
        for name in ("hidden.2", "hidden.4", "out"):
            x = _times(xp.maximum(x, 0.1 * x), w[f"{name}.weight"]) + w[f"{name}.bias"]
        x += _times(xp.asarray(linear_features(notes, time_s)), w["slopes.weight"])
        x += TABLE_SCALE * w["gain.weight"][key][:, None]
        x += TABLE_SCALE * w["fall.weight"][key][:, None] * xp.asarray(bent_time(time_s))[..., None]
        return x

    def amplitudes(self, notes: Notes, points: Breakpoints, release_s: np.ndarray) -> Any:
        """Amplitudes of partials and noise bands at the breakpoints, [N, K, H + B]; `release_s` [N] ends each note."""
        xp, longest_s = self.xp, self.config.longest_s
        folded = fold(points.time_s, longest_s)
        level = self.log_amplitudes(notes, folded, points.release_s)
        if (points.time_s > longest_s).any():  # what fell at the end of the longest note goes on falling
            ends = np.tile(np.array([longest_s - WOBBLE_S, longest_s], np.float32), (len(notes.pitch), 1))
            tips = self.log_amplitudes(notes, ends, np.full_like(ends, -1))
            slope = ((tips[:, 1:] - tips[:, :1]) / WOBBLE_S).clip(max=0)
            level += slope * xp.asarray(points.time_s - folded)[..., None]
        amplitudes = xp.exp(level.clip(max=0)) * xp.asarray(fade(points, release_s))[..., None]
        # A release cuts the held envelope on the straight line between two breakpoints.
        note, at = np.nonzero(points.share < 1)
        before, share = amplitudes[note, at - 1], xp.asarray(points.share[note, at])[:, None]
        amplitudes[note, at] = before + share * (amplitudes[note, at] - before)
        return amplitudes
