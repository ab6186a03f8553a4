"""Baselines that a learned instrument must beat: a sampler cut from its corpus, and its own partials held still.

The sampler plays a note by the training note that is nearest in key, velocity and length and sounds most nearly alone.
Another key is repitched by resampling, another velocity scaled by the corpus's law of level and velocity. A note that
ends before its sample goes on with a release cut out of the recordings; one that lasts longer ends with its sample.

Static partials are the instrument without noise and without time: each note has the partials of its 300th millisecond
from its onset to 20 ms after its release.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import soxr

from synthnet.corpus.corpus import FULL_SCALE, Corpus
from synthnet.evaluation.level import faded_out
from synthnet.files import InputError
from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.models import HarmonicConfig
from synthnet.models.checkpoint import Checkpoint
from synthnet.models.envelopes import N_KEYS, Notes, notes_of
from synthnet.score.notes import Note
from synthnet.score.roll import roll_events, to_samples

Play = Callable[[Sequence[Note], int, int], np.ndarray]
"""An instrument: notes, number of samples and sample rate in Hz to float32 audio [n_samples]."""

STATIC_S = 0.3  # after the onset
STATIC_RELEASE_S = 0.02
SILENT_LOG = -30.0

BEFORE_S, AFTER_S, LONGEST_RELEASE_S = 0.02, 0.2, 2.0  # what rings before an onset, the note, its release
FINISHED = 0.1  # of its amplitude is left where a release is as good as over
FADE_S = 0.005
LEVEL_S = 0.5  # beginning of a sample, whose level is measured
# Distance of a sample from a note, in steps of velocity: a semitone, all of its length missing, a second note all
# along, a release that is cut off at once.
SEMITONE, MISSING, DISTURBED, UNFINISHED = 30.0, 300.0, 180.0, 60.0
GENERAL_MIDI_POWER = 2.0  # amplitude = (velocity / 127)^2


@dataclass(frozen=True)
class Sampler:
    """Plays M recorded notes ([M] each).

    `disturbed` is the share of the held time in which other keys are down, added up over them, plus a third of what
    still rings before the onset, as a share of the note's amplitude: it dies away. `unfinished` is the amplitude where
    the recording of the release ends, as a share of that where it begins; 1 for a note that had died away before.
    """

    pitch: np.ndarray
    velocity: np.ndarray
    held: np.ndarray  # samples with the key down
    disturbed: np.ndarray
    unfinished: np.ndarray
    audio: tuple[np.ndarray, ...]  # int16, from the onset to the end of the release
    sample_rate_hz: int

    @classmethod
    def from_corpus(cls, corpus: Corpus) -> Sampler:
        """Cut all notes of the training split that are not left out.

        Raises:
            InputError: a file is damaged, or there is no note.
        """
        rate = corpus.sample_rate_hz
        before, after, longest = (int(to_samples(s, rate)) for s in (BEFORE_S, AFTER_S, LONGEST_RELEASE_S))
        samples = []
        for piece in corpus.split("train"):
            recording, notes = corpus.read_samples(piece), corpus.read_notes(piece)
            onset, release = to_samples(np.array([(note.start_s, note.end_s) for note in notes]).T, rate)
            for number, note in enumerate(notes):
                start, stop = int(onset[number]), min(int(release[number]), len(recording))
                if piece.leaves_out(start, stop):
                    continue
                others = np.arange(len(notes)) != number
                shared = (np.minimum(release, stop) - np.maximum(onset, start))[others].clip(0).sum()
                held = max(1, stop - start)
                # A release is alone from where nothing else is held until the next onset.
                left_out = min((first for first, _ in piece.left_out if first >= stop), default=len(recording))
                later = onset[others & (release > stop)].min(initial=left_out)
                alone = int(min(max(later - stop, 0), longest, len(recording) - stop))
                loud = _rms(recording[start : min(stop, start + after)]) + 1
                rings = _rms(recording[max(0, start - before) : start]) / loud
                audio = recording[start : stop + alone]
                at_release = _rms(recording[max(start, stop - before) : stop])
                left = _rms(audio[-before:]) / at_release if at_release > FINISHED * loud else 1.0
                samples.append((note.pitch, note.velocity, held, shared / held + rings / 3, left, audio))
        if not samples:
            raise InputError(f"{corpus.folder}: no notes to cut samples from")
        *columns, sounds = zip(*samples, strict=True)
        pitch, velocity, held_samples, disturbed, unfinished = (np.array(column) for column in columns)
        return cls(pitch, velocity, held_samples, disturbed, unfinished, sounds, rate)

    @functools.cached_property
    def power(self) -> float:
        """Power of velocity in the amplitude, by least squares over all samples, each key relative to its mean."""
        first = int(to_samples(LEVEL_S, self.sample_rate_hz))
        pairs = zip(self.audio, self.held, strict=True)
        levels = np.array([_rms(audio[: min(held, first)] / FULL_SCALE) for audio, held in pairs])
        alone = (self.disturbed < 0.2) & (levels > 0)
        alone = alone if alone.any() else levels > 0
        x, y, keys = np.log(self.velocity[alone]), np.log(levels[alone]), self.pitch[alone]
        for values in (x, y):
            for key in np.unique(keys):
                values[keys == key] -= values[keys == key].mean()
        spread = float(x @ x)
        return float(x @ y) / spread if spread > 1e-6 else GENERAL_MIDI_POWER

    def play(self, notes: Sequence[Note], n_samples: int, sample_rate_hz: int) -> np.ndarray:
        """Audio of the notes from 0 on: float32 [n_samples].

        Raises:
            InputError: the rate is not the corpus's.
        """
        if sample_rate_hz != self.sample_rate_hz:
            raise InputError(f"a sampler of {self.sample_rate_hz} Hz cannot play at {sample_rate_hz} Hz")
        mix = np.zeros(n_samples, np.float32)
        for note in notes:
            start, stop = to_samples(np.array([note.start_s, note.end_s]), sample_rate_hz).tolist()
            sound = self.play_note(note.pitch, note.velocity, max(1, stop - start))[: max(0, n_samples - start)]
            mix[start : start + len(sound)] += sound
        return mix

    def play_note(self, pitch: int, velocity: int, length: int) -> np.ndarray:
        """A note held for `length` samples, with its release: float32 [n], n as long as the recordings allow."""
        fade = int(to_samples(FADE_S, self.sample_rate_hz))
        far = SEMITONE * np.abs(self.pitch - pitch) + np.abs(self.velocity - velocity) + DISTURBED * self.disturbed
        missing = MISSING * (1 - self.held / length).clip(0) + 1e-3 * np.abs(self.held / length - 1)
        best = int(np.argmin(far + missing))
        sound, held = self._voice(best, pitch, velocity)
        if held == length and self.unfinished[best] < FINISHED:
            return faded_out(sound, fade)
        sound = sound[: min(held, length)]
        release, cut = self._voice(int(np.argmin(far + UNFINISHED * self.unfinished)), pitch, velocity)
        overlap, before = (min(n, cut, len(sound)) for n in (fade, 4 * fade))
        gain = _rms(sound[-before:]) / max(_rms(release[cut - before : cut]), 1e-9)
        tail = release[cut - overlap :] * np.float32(min(gain, 4.0))
        rise = np.linspace(0, 1, overlap, dtype=np.float32)
        joint = sound[len(sound) - overlap :] * (1 - rise) + tail[:overlap] * rise
        return faded_out(np.concatenate([sound[: len(sound) - overlap], joint, tail[overlap:]]), fade)

    def _voice(self, number: int, pitch: int, velocity: int) -> tuple[np.ndarray, int]:
        """A sample at another pitch and velocity, float32 with its release, and how long its key is down."""
        sound = self.audio[number].astype(np.float32) / FULL_SCALE
        if steps := pitch - int(self.pitch[number]):
            sound = soxr.resample(sound, self.sample_rate_hz * 2 ** (steps / 12), self.sample_rate_hz)
        held = round(self.held[number] * len(sound) / len(self.audio[number]))
        return sound * np.float32((velocity / self.velocity[number]) ** self.power), held


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


class StaticPlayer(HarmonicPlayer):
    """A harmonic instrument without time and without noise."""

    def __init__(self, config: HarmonicConfig, weights: Mapping[str, np.ndarray], sample_rate_hz: int) -> None:
        super().__init__(config, {**weights, "release_s": np.full(N_KEYS, STATIC_RELEASE_S)}, sample_rate_hz)

    def log_amplitudes(self, notes: Notes, time_s: np.ndarray, release_s: np.ndarray) -> np.ndarray:
        """Log amplitudes 0.3 s after the onset of a held note, at any time."""
        level = super().log_amplitudes(notes, np.full_like(time_s, STATIC_S), np.full_like(release_s, -1.0))
        level[..., self.config.partials :] = SILENT_LOG
        return level


def simple_baselines(reference: np.ndarray, sample_rate_hz: int) -> dict[str, np.ndarray]:
    """Sounds that lie farther from a reference [n] than a good test: silence, and the reference moved by half of it."""
    shift = len(reference) // sample_rate_hz // 2 * sample_rate_hz
    return {"silence": np.zeros_like(reference)} | (
        {"other seconds of the reference": np.roll(reference, shift)} if shift else {}
    )


def harmonic_play(checkpoint: Checkpoint, kind: type[HarmonicPlayer] = HarmonicPlayer) -> Play:
    """A harmonic instrument at the level of its corpus."""

    def play(notes: Sequence[Note], n_samples: int, sample_rate_hz: int) -> np.ndarray:
        player = kind(cast(HarmonicConfig, checkpoint.config), checkpoint.weights, sample_rate_hz)
        return player.play(Part(notes_of(roll_events(notes, sample_rate_hz))), 0, n_samples)

    return play


def harmonic_players(checkpoint: Checkpoint, corpus: Corpus) -> dict[str, Play]:
    """A harmonic instrument and its two baselines, by name; InputError if the corpus has no notes for the sampler."""
    return {
        "network": harmonic_play(checkpoint),
        "static partials": harmonic_play(checkpoint, StaticPlayer),
        "sampler": Sampler.from_corpus(corpus).play,
    }
