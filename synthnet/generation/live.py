"""An instrument that is played while it sounds: notes go on and off, audio comes out block by block.

Latency is one block: a note sounds in the block that is read next, at the sample asked for (in the paper's networks
frame t of the roll acts on sample t + 1). `synthnet.generation.stage` plays instruments by MIDI messages.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthnet.files import InputError
from synthnet.generation.harmonic import PITCH_STEP_S, HarmonicPlayer, Part
from synthnet.models import HarmonicConfig, ModelConfig
from synthnet.models.checkpoint import Checkpoint, CheckpointHeader, Voice
from synthnet.models.envelopes import LEGATO_S, N_KEYS, Notes, notes_of
from synthnet.score.controllers import SMOOTH_S, Controls
from synthnet.score.notes import Score
from synthnet.score.roll import RESTRIKE_GAP_S, RollEvents, roll_events, to_samples

HELD = 1 << 62  # the release of a key that is still down
TAIL_S = 0.5  # of a score, after its last note at least


def play_score(checkpoint: Checkpoint, score: Score, **options: Any) -> Iterator[np.ndarray]:
    """Blocks of a score, float32, as `LiveInstrument` with these options gives them; all tracks on one instrument.

    Ends with the block in which the last note has died away, half a second after it at least.
    """
    live = LiveInstrument(checkpoint, **options)
    notes = notes_of(roll_events(score.notes, live.sample_rate_hz))
    rows = zip(*(column.tolist() for column in (*notes, notes.onset)), strict=True)
    live.struck = [Struck(*row) for row in rows]
    tail = int(to_samples(TAIL_S, live.sample_rate_hz))
    stop = int((notes.release + np.maximum(live.player.tails[notes.pitch], tail)).max(initial=0))
    while live.position < stop:
        yield live.read()


class LivePlayer(HarmonicPlayer):
    """A harmonic player of blocks in order of time: the audio of `HarmonicPlayer` for less work.

    Breakpoints are up to 40 ms apart, so that a block of 5 ms needs those that the block before needed, most of the
    time: each is computed once. The phase of a bent note is summed from the block before, not from the onset.
    """

    polyphonic = True  # each note costs time and can be faded out alone; without notes there is silence
    memory = 0  # samples after a note has died away in which it is needed

    def __init__(self, checkpoint: Checkpoint, sample_rate_hz: int, voice: Voice, seed: int, **_: Any) -> None:
        assert isinstance(checkpoint.config, HarmonicConfig)
        super().__init__(checkpoint.config, checkpoint.weights, sample_rate_hz, seed=seed)
        # Of this block and the one before: log amplitudes by their inputs; phases by onset, frequency, and number of
        # the cell of 5 ms since the onset.
        self._rows: tuple[dict[bytes, NDArray], ...] = ({}, {})
        self._phases: tuple[dict[tuple[int, float, int], float], ...] = ({}, {})
        self.fade(set(), 0)

    def next_block(self) -> None:
        """Forget what the last block did not need."""
        self._rows, self._phases = ({}, self._rows[0]), ({}, self._phases[0])

    def fade(self, names: set[tuple[int, int]], start: int) -> None:
        """Fade out notes, by pitch and onset, within 10 ms from a sample on."""
        self._fading, self._fade_start = names, start

    def _sounds(self, notes: Notes, controls: Controls, begin: int, n: int) -> NDArray[np.float32]:
        """As in `HarmonicPlayer`, with fades."""
        sounds = super()._sounds(notes, controls, begin, n)
        if self._fading:
            since = begin - self._fade_start + np.arange(n)
            fade = np.clip(1 - since / (SMOOTH_S * self.sample_rate_hz), 0, 1).astype(np.float32)
            for number, name in enumerate(zip(notes.pitch.tolist(), (notes.onset + begin).tolist(), strict=True)):
                if name in self._fading:
                    sounds[number] *= fade
        return sounds

    def log_amplitudes(self, notes: Notes, time_s: NDArray, release_s: NDArray) -> NDArray:
        """As in `EnvelopeNetwork`."""
        inputs = np.empty((*time_s.shape, 6), np.float32)
        columns = (notes.pitch, notes.velocity, notes.touch, notes.step)
        for number, column in enumerate((*(one[:, None] for one in columns), time_s, release_s)):
            inputs[..., number] = column
        names = inputs.view("V24").ravel().tolist()
        rows, before = self._rows
        new: dict[bytes, int] = {}
        for number, name in enumerate(names):
            if name not in rows:
                if name in before:
                    rows[name] = before[name]
                else:
                    new[name] = number
        if new:
            note, point = np.divmod(list(new.values()), time_s.shape[1])
            made = super().log_amplitudes(notes.take(note), time_s[note, point, None], release_s[note, point, None])
            rows.update(zip(new, made[:, 0], strict=True))
        return np.array([rows[name] for name in names]).reshape(*time_s.shape, -1)

    def _phase_before(self, onset: NDArray, cycles: NDArray, first: NDArray) -> NDArray:
        """As in `HarmonicPlayer`, from the block before; a note that is not known has not been bent so far."""
        names = zip(onset.tolist(), cycles.tolist(), first.tolist(), strict=True)
        unbent = (round(PITCH_STEP_S * self.sample_rate_hz) * first * cycles).tolist()
        so_far = self._phases[1] | self._phases[0]
        return np.array([so_far.get(name, start) for name, start in zip(names, unbent, strict=True)])

    def _keep_phase(self, onset: NDArray, cycles: NDArray, last: NDArray, phase: NDArray) -> None:
        """Keep phases for the block after, whose first cells are the `last` ones."""
        names = zip(onset.tolist(), cycles.tolist(), last.tolist(), strict=True)
        self._phases[0].update(zip(names, phase.tolist(), strict=True))


class NetworkPlayer:
    """One of the paper's networks: all notes are one roll, and time goes on in rests, too. Controls are left out."""

    polyphonic = False

    def __init__(
        self, checkpoint: Checkpoint, sample_rate_hz: int, voice: Voice, seed: int, mean: bool, **options: Any
    ) -> None:
        from synthnet.generation.streams import Generator, Stream  # loads torch

        if sample_rate_hz != checkpoint.sample_rate_hz:
            raise InputError(f"{voice.name} plays at {checkpoint.sample_rate_hz} Hz live, not at {sample_rate_hz} Hz")
        network, self._rate = checkpoint.build(), sample_rate_hz
        self.tails, self.memory = np.zeros(N_KEYS, np.int64), network.config.receptive_field
        silence = Stream(roll_events((), self._rate), (seed,), voice.style, mean)
        self._generator = Generator(network, [silence], **options)

    def play(self, part: Part, start: int, stop: int) -> NDArray[np.float32]:
        """The next samples, float32 [stop - start]."""
        notes = part.notes
        roll = RollEvents(notes.pitch, notes.onset, notes.release, notes.velocity, self._rate)
        audio: NDArray[np.float32] = self._generator.advance([roll], stop - start)[0]
        return audio

    def next_block(self) -> None:
        """Nothing: the generator keeps its own past."""

    def fade(self, names: set[tuple[int, int]], start: int) -> None:
        """Nothing: a roll is no louder for its many notes, and none of them fades alone."""


PLAYERS: dict[str, type[LivePlayer | NetworkPlayer]] = {
    HarmonicConfig.kind: LivePlayer,
    ModelConfig.kind: NetworkPlayer,
}


def plays_voices(checkpoint: CheckpointHeader) -> bool:
    """Whether each note is a voice, at any rate; else all notes are one roll, at the checkpoint's rate."""
    return PLAYERS[checkpoint.config.kind].polyphonic


@dataclass(slots=True)
class Struck:
    """A note that sounds or will; a row of `Notes`, and the sample `asked` for, which may be before its onset."""

    pitch: int
    velocity: int
    onset: int
    release: int
    touch: float
    step: float
    asked: int


def _order(note: Struck) -> tuple[int, int]:
    return note.onset, note.pitch


class LiveInstrument:
    """Play a checkpoint from a keyboard, in one thread. `synthnet.generation.stage.Stage` has more: MIDI, many threads.

    Args:
        instrument: of a network that learned several; by default its first.
        sample_rate_hz: by default the checkpoint's, which is the only one of the paper's networks.
        block_samples: samples in each block that `read` gives.
        temperature, mean, engine: of the paper's networks, see `synthnet.generation.streams`.

    Attributes:
        struck: the notes that sound or will, sorted by onset and pitch.
        controls: of all notes; what they say of samples that have been read does not count any more. The paper's
            networks leave them out.
        position: the first sample of the block that `read` gives next.

    Raises:
        InputError: the network does not play that instrument, or not at that rate.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        instrument: str | Voice | None = None,
        sample_rate_hz: int | None = None,
        block_samples: int = 256,
        seed: int = 0,
        temperature: float = 1.0,
        mean: bool = True,
        engine: str = "auto",
    ) -> None:
        self.sample_rate_hz = rate = sample_rate_hz or checkpoint.sample_rate_hz
        self.block_samples, self.position = block_samples, 0
        voice = instrument if isinstance(instrument, Voice) else checkpoint.voice(instrument)
        self.player = PLAYERS[checkpoint.config.kind](
            checkpoint, rate, voice, seed, mean=mean, temperature=temperature, engine=engine
        )
        self.struck: list[Struck] = []
        self.controls = Controls()
        self._stolen: list[Struck] = []  # those that fade out
        self._faded = 0.0  # the sample at which they have
        # Of notes that have died away: onset and pitch of the last one, if any, and the last release.
        self._last: list[tuple[int, int]] = []
        self._released = 0

    @property
    def notes(self) -> Notes:
        """The notes that sound or will, sorted by onset and pitch."""
        return _columns(self.struck)

    @property
    def sounding(self) -> list[Struck]:
        """The notes that count as voices: none of the paper's networks."""
        return self.struck if self.player.polyphonic else []

    @property
    def silent(self) -> bool:
        """Whether `read` need not be called: nothing sounds or will, and time passes without it."""
        return self.player.polyphonic and not self.struck and not self._stolen

    def note_on(self, pitch: int, at: int | None = None, velocity: int = 100) -> None:
        """Press a key at a sample not yet read, by default the next; velocity 1 to 127.

        A key that is down then, or was less than 5 ms before, is struck 5 ms after its release, as in the rolls that
        networks learn from. If it is struck once more until then, the last time counts.

        Raises:
            ValueError: the pitch is not 0 to 127, the velocity not 1 to 127, or the sample has been read already.
        """
        if not 1 <= velocity <= 127:
            raise ValueError(f"velocity {velocity} is not within 1 to 127")
        at = self._not_yet_read(pitch, at)
        self.note_off(pitch, at)
        self.struck = [note for note in self.struck if note.pitch != pitch or not note.asked <= at < note.onset]
        gap = int(to_samples(RESTRIKE_GAP_S, self.sample_rate_hz))
        onset = max([at, *(note.release + gap for note in self.struck if note.pitch == pitch and note.asked <= at)])
        # Touch and step, as `make_notes` has them, stay as they are now, whatever becomes of the notes before.
        before, touch, step = [note for note in self.struck if note.onset < onset], 0.0, 0
        if last := max([*map(_order, before[-1:]), *self._last], default=None):
            up = max(0, onset - max([self._released, *(note.release for note in before)]))
            touch, step = math.exp(-up / self.sample_rate_hz / LEGATO_S), pitch - last[1]
        insort(self.struck, Struck(pitch, velocity, onset, HELD, touch, step, at), key=_order)

    def note_off(self, pitch: int, at: int | None = None) -> None:
        """Release a key at a sample not yet read, by default the next; nothing happens if it is up then.

        Raises:
            ValueError: as for `note_on`.
        """
        at = self._not_yet_read(pitch, at)
        for note in self.struck:
            if note.pitch == pitch and note.asked <= at < note.release:
                note.release = max(at, note.onset + 1)

    def steal(self, n: int) -> None:
        """Fade the n oldest notes out within 10 ms from the next sample on; nothing happens while others fade."""
        if not self._stolen:
            self._stolen, self.struck = self.struck[:n], self.struck[n:]
            self._remember(self._stolen)
            self._faded = self.position + SMOOTH_S * self.sample_rate_hz
            self.player.fade({(note.pitch, note.onset) for note in self._stolen}, self.position)

    def drop(self, n: int) -> None:
        """End the n oldest notes without a fade."""
        self._remember(self.struck[:n])
        self.struck = self.struck[n:]

    def read(self) -> np.ndarray:
        """The next block, float32 [block_samples], full scale +-1; loud chords of a harmonic instrument exceed it."""
        start, stop = self.position, self.position + self.block_samples
        tails = self.player.tails
        ended = [note for note in self.struck if note.release + tails[note.pitch] + self.player.memory <= start]
        if ended:
            self._remember(ended)
            self.struck = [note for note in self.struck if note not in ended]
        if self._stolen and self._faded <= start:
            self._stolen = []
            self.player.fade(set(), start)
        self.position = stop
        if self.silent:
            return np.zeros(self.block_samples, np.float32)
        self.player.next_block()
        return self.player.play(Part(_columns(self.struck + self._stolen), self.controls), start, stop)

    def _remember(self, ended: list[Struck]) -> None:
        """Keep what later notes need to know of those that are gone."""
        self._last = [max([*map(_order, ended), *self._last])]
        self._released = max([self._released, *(min(note.release, self.position) for note in ended)])

    def _not_yet_read(self, pitch: int, at: int | None) -> int:
        if not 0 <= pitch <= 127:
            raise ValueError(f"pitch {pitch} is not within 0 to 127")
        if at is None:
            return self.position
        if at < self.position:
            raise ValueError(f"sample {at} has been read already; the next is {self.position}")
        return at


def _columns(struck: list[Struck]) -> Notes:
    rows = [(note.pitch, note.velocity, note.onset, note.release, note.touch, note.step) for note in struck]
    columns = np.array(rows, np.float64).reshape(-1, 6).T
    return Notes(*columns[:4].astype(np.int64), *columns[4:].astype(np.float32))
