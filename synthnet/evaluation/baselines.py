"""What a learned instrument must beat: a sampler cut from its corpus, and its own partials held still.

`static_play` takes time and noise away from a harmonic instrument: each note has the partials of its 300th millisecond
from its onset to 20 ms after its release. What the instrument is nearer is what its envelopes and noise are worth.

Of the sampler: every training note is a sample. A note of a score is played by the sample that is nearest in key,
velocity and length and sounds most nearly alone; it is repitched by resampling where the key differs, and scaled by
the corpus's own law of level and velocity. A note that ends earlier than its sample goes on with a release that is cut
out of the recordings. A note longer than all samples near it ends with its sample: nothing is looped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from synthnet.corpus.corpus import FULL_SCALE, Corpus
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

BEFORE_S, AFTER_S = 0.02, 0.2  # around an onset: what still rings before it, and the note
LONGEST_RELEASE_S = 2.0
FINISHED = 0.1  # of its amplitude is left where a release is as good as over
FADE_S = 0.005
LEVEL_S = 0.5  # of the beginning of a sample, whose level is measured
# How far a sample is from a note, in steps of velocity: a semitone, all of its length missing, a
# second note all along, a release that is cut off at once.
SEMITONE, MISSING, DISTURBED, UNFINISHED = 30.0, 300.0, 180.0, 60.0
GENERAL_MIDI_POWER = 2.0  # amplitude = (velocity / 127)^2


@dataclass(frozen=True)
class Samples:
    """M notes of recordings, [M] each.

    Attributes:
        audio: int16 from each onset to the end of its release, `held` samples of it with the key down.
        disturbed: share of the held time in which other keys are down, added up over them; and a third of
            what still rings before the onset, as a share of the note's amplitude: it dies away.
        unfinished: amplitude where the recording of the release ends, as a share of that where it begins;
            1 for a note that had died away before.
    """

    pitch: np.ndarray
    velocity: np.ndarray
    held: np.ndarray
    disturbed: np.ndarray
    unfinished: np.ndarray
    audio: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Sampler:
    """Plays recorded notes; `power` is that of velocity in the amplitude."""

    samples: Samples
    power: float
    sample_rate_hz: int

    @classmethod
    def from_corpus(cls, corpus: Corpus) -> Sampler:
        """Cut all notes of the training split.

        Raises:
            InputError: a file is damaged, or there is no note.
        """
        rate = corpus.sample_rate_hz
        columns: list[tuple[int, int, int, float, float]] = []
        audio: list[np.ndarray] = []
        for piece in corpus.split("train"):
            recording, notes = corpus.read_samples(piece), corpus.read_notes(piece)
            onset, release = (
                to_samples(np.array([getattr(n, at) for n in notes]), rate) for at in ("start_s", "end_s")
            )
            before, after, longest = (int(to_samples(s, rate)) for s in (BEFORE_S, AFTER_S, LONGEST_RELEASE_S))
            for number, note in enumerate(notes):
                start, stop = int(onset[number]), min(int(release[number]), len(recording))
                others = np.arange(len(notes)) != number
                shared = np.minimum(release, stop) - np.maximum(onset, start)
                held_here = max(1, stop - start)
                # A release is alone from where nothing else is held until the next onset.
                later = onset[others & (release > stop)].min(initial=len(recording))
                alone = int(min(max(later - stop, 0), longest, len(recording) - stop))
                loud = _level(recording[start : min(stop, start + after)]) + 1
                rings = _level(recording[max(0, start - before) : start]) / loud
                share = float(shared[others].clip(0).sum()) / held_here + rings / 3
                audio.append(recording[start : stop + alone])
                at_release = _level(recording[max(start, stop - before) : stop])
                left = _level(audio[-1][-before:]) / at_release if at_release > FINISHED * loud else 1.0
                columns.append((note.pitch, note.velocity, held_here, share, left))
        if not audio:
            raise InputError(f"{corpus.folder}: no notes to cut samples from")
        pitch, velocity, held, disturbed, unfinished = (np.array(column) for column in zip(*columns, strict=True))
        samples = Samples(pitch, velocity, held, disturbed, unfinished, tuple(audio))
        return cls(samples, _velocity_power(samples, rate), rate)

    def play(self, notes: Sequence[Note], n_samples: int, sample_rate_hz: int | None = None) -> np.ndarray:
        """Audio of the notes from 0 on: float32 [n_samples], at the corpus's rate.

        Raises:
            InputError: another sample rate is asked for.
        """
        if sample_rate_hz not in (None, self.sample_rate_hz):
            raise InputError(f"a sampler of {self.sample_rate_hz} Hz cannot play at {sample_rate_hz} Hz")
        mix = np.zeros(n_samples, np.float32)
        for note in notes:
            start, stop = to_samples(np.array([note.start_s, note.end_s]), self.sample_rate_hz).tolist()
            sound = self.play_note(note.pitch, note.velocity, max(1, stop - start))[: max(0, n_samples - start)]
            mix[start : start + len(sound)] += sound
        return mix

    def play_note(self, pitch: int, velocity: int, length: int) -> np.ndarray:
        """A note held for `length` samples, with its release: float32 [n], n of the recordings."""
        samples, fade = self.samples, int(to_samples(FADE_S, self.sample_rate_hz))
        far = SEMITONE * np.abs(samples.pitch - pitch) + np.abs(samples.velocity - velocity)
        missing = MISSING * (1 - samples.held / length).clip(0) + DISTURBED * samples.disturbed
        best = int(np.argmin(far + missing + 1e-3 * np.abs(samples.held / length - 1)))
        sound = self._voice(best, pitch, velocity)
        held = round(samples.held[best] * len(sound) / len(samples.audio[best]))
        if held == length and samples.unfinished[best] < FINISHED:
            return _faded(sound, fade)
        sound = sound[: min(held, length)]
        best = int(np.argmin(far + DISTURBED * samples.disturbed + UNFINISHED * samples.unfinished))
        release = self._voice(best, pitch, velocity)
        cut = round(samples.held[best] * len(release) / len(samples.audio[best]))
        overlap = min(fade, cut, len(sound))
        before = min(4 * fade, cut, len(sound))
        gain = _level(sound[-before:]) / max(_level(release[cut - before : cut]), 1e-9)
        tail = release[cut - overlap :] * np.float32(min(gain, 4.0))
        rise = np.linspace(0, 1, overlap, dtype=np.float32)
        joint = sound[len(sound) - overlap :] * (1 - rise) + tail[:overlap] * rise
        return _faded(np.concatenate([sound[: len(sound) - overlap], joint, tail[overlap:]]), fade)

    def _voice(self, number: int, pitch: int, velocity: int) -> np.ndarray:
        """A sample at another pitch and velocity: float32, its release included."""
        samples = self.samples
        sound = samples.audio[number].astype(np.float32) / FULL_SCALE
        if steps := pitch - int(samples.pitch[number]):
            sound = soxr.resample(sound, self.sample_rate_hz * 2 ** (steps / 12), self.sample_rate_hz)
        return sound * np.float32((velocity / samples.velocity[number]) ** self.power)


def _velocity_power(samples: Samples, rate: int) -> float:
    """The power of velocity in the amplitude, by least squares over all samples, each key by itself."""
    first = int(to_samples(LEVEL_S, rate))
    levels = np.array(
        [
            _level(audio[: min(held, first)] / FULL_SCALE)
            for audio, held in zip(samples.audio, samples.held, strict=True)
        ]
    )
    alone = (samples.disturbed < 0.2) & (levels > 0)
    alone = alone if alone.any() else levels > 0
    x, y, keys = np.log(samples.velocity[alone]), np.log(levels[alone]), samples.pitch[alone]
    for values in (x, y):
        for key in np.unique(keys):
            values[keys == key] -= values[keys == key].mean()
    spread = float(x @ x)
    return float(x @ y) / spread if spread > 1e-6 else GENERAL_MIDI_POWER


def _level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def _faded(sound: np.ndarray, fade: int) -> np.ndarray:
    """The sound with its last samples faded to 0."""
    fade = min(fade, len(sound))
    faded = sound.copy()
    faded[len(sound) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return faded


class StaticPlayer(HarmonicPlayer):
    """A harmonic instrument without time and without noise."""

    def __init__(self, config: HarmonicConfig, weights: Mapping[str, np.ndarray], sample_rate_hz: int) -> None:
        super().__init__(config, {**weights, "release_s": np.full(N_KEYS, STATIC_RELEASE_S)}, sample_rate_hz)

    def log_amplitudes(self, notes: Notes, time_s: np.ndarray, release_s: np.ndarray) -> np.ndarray:
        """Those of one moment of a held note, whatever the times."""
        level = super().log_amplitudes(notes, np.full_like(time_s, STATIC_S), np.full_like(release_s, -1.0))
        level[..., self.config.partials :] = SILENT_LOG
        return level


def harmonic_play(checkpoint: Checkpoint, kind: type[HarmonicPlayer] = HarmonicPlayer) -> Play:
    """A harmonic instrument at the level of its corpus."""

    config = checkpoint.config
    assert isinstance(config, HarmonicConfig)

    def play(notes: Sequence[Note], n_samples: int, sample_rate_hz: int) -> np.ndarray:
        player = kind(config, checkpoint.weights, sample_rate_hz)
        return player.play(Part(notes_of(roll_events(notes, sample_rate_hz))), 0, n_samples)

    return play


def static_play(checkpoint: Checkpoint) -> Play:
    """The instrument's partials held still."""
    return harmonic_play(checkpoint, StaticPlayer)
