"""An instrument that is played as it sounds: notes go on and off, audio comes out block by block.

Latency is one block: what is played now is heard in the block that is read next, at the sample asked for (in the
paper's networks frame t of the roll acts on sample t + 1). A block of 256 samples at 44.1 kHz is 6 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.generation.render import Seat, rendering_samples
from synthnet.models import HarmonicConfig
from synthnet.models.checkpoint import Checkpoint
from synthnet.models.envelopes import Notes, legato
from synthnet.score.notes import Score
from synthnet.score.roll import RESTRIKE_GAP_S, RollEvents, roll_events, to_samples

HELD = np.iinfo(np.int64).max // 2  # the release of a key that is still down

LiveNote = tuple[int, int, int, int]
"""Onset, pitch, release and velocity; times in samples."""


class _Source(Protocol):
    """What makes the blocks; `reach` samples after its release a note is not heard any more."""

    @property
    def position(self) -> int:
        """The next sample."""

    @property
    def reach(self) -> int:
        """In samples."""

    def struck(self, note: LiveNote, notes: Sequence[LiveNote]) -> None:
        """Take notice of a note that was struck after others."""

    def advance(self, notes: Sequence[LiveNote], n_samples: int) -> np.ndarray:
        """The next samples, float32 [n_samples]."""


class _Harmonic:
    """Blocks of a harmonic instrument."""

    def __init__(self, checkpoint: Checkpoint, seed: int) -> None:
        assert isinstance(checkpoint.config, HarmonicConfig)
        self.player = HarmonicPlayer(checkpoint.config, checkpoint.weights, checkpoint.sample_rate_hz, seed=seed)
        self.position, self.reach = 0, int(self.player.tails.max())
        self.slurs: dict[
            tuple[int, int, int], tuple[float, float]
        ] = {}  # touch and step, as they were when it was struck

    def struck(self, note: LiveNote, notes: Sequence[LiveNote]) -> None:
        before = [other for other in notes if other[0] < note[0]]
        latest = max((release for _, _, release, _ in before), default=None)
        last = max(before, default=None)
        self.slurs[note[0], note[1], note[3]] = legato(
            note[0], note[1], latest, last and last[1], self.player.sample_rate_hz
        )

    def advance(self, notes: Sequence[LiveNote], n_samples: int) -> np.ndarray:
        keys = [(onset, pitch, velocity) for onset, pitch, _, velocity in notes]
        self.slurs = {key: self.slurs[key] for key in keys}
        onset, pitch, release, velocity = np.array(notes, dtype=np.int64).reshape(-1, 4).T
        touch, step = np.array([self.slurs[key] for key in keys], dtype=np.float32).reshape(-1, 2).T
        part = Part(Notes(pitch, velocity, onset, release, touch, step))
        start, self.position = self.position, self.position + n_samples
        return self.player.play(part, start, self.position)


class _Autoregressive:
    """Blocks of one of the paper's networks."""

    def __init__(
        self, checkpoint: Checkpoint, instrument: str | None, seed: int, expectation: bool, **options: Any
    ) -> None:
        from synthnet.generation.streams import Generator, Stream

        network, self.rate = checkpoint.build(), checkpoint.sample_rate_hz
        self.reach = network.config.receptive_field
        silence = Stream(self.events(()), (seed,), checkpoint.voice(instrument).style, expectation)
        self.generator = Generator(network, [silence], **options)

    @property
    def position(self) -> int:
        return self.generator.position

    def struck(self, note: LiveNote, notes: Sequence[LiveNote]) -> None:
        """It knows of notes by the roll."""

    def advance(self, notes: Sequence[LiveNote], n_samples: int) -> np.ndarray:
        return self.generator.advance([self.events(notes)], n_samples)[0]

    def events(self, notes: Sequence[LiveNote]) -> RollEvents:
        onset, pitch, release, velocity = np.array(sorted(notes), dtype=np.int64).reshape(-1, 4).T
        return RollEvents(pitch, onset, release, velocity, self.rate)


def play_score(checkpoint: Checkpoint, score: Score, **options: Any) -> Iterator[np.ndarray]:
    """Blocks of a score, float32, as `LiveInstrument` with these options gives them; all tracks on one instrument.

    Ends with the block in which the last note has died away, half a second after it at least.
    """
    live = LiveInstrument(checkpoint, **options)
    events = roll_events(score.notes, live.sample_rate_hz)
    columns = events.onset, events.pitch, events.release, events.velocity
    for note in sorted(zip(*(column.tolist() for column in columns), strict=True)):
        live.add(note)
    seats = [Seat(checkpoint, checkpoint.voice(options.get("instrument")))] * len(score.tracks)
    stop = rendering_samples(score, seats, live.sample_rate_hz, None)
    while live.position < stop:
        yield live.read()


class LiveInstrument:
    """Play a checkpoint from a keyboard, at its sample rate.

    Args:
        checkpoint: what to play.
        instrument: of a network that learned several; default its first.
        block_samples: samples in each block that `read` gives.
        temperature, expectation, engine: of the paper's networks, see `synthnet.generation.streams`.

    Raises:
        InputError: the network does not play that instrument.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        instrument: str | None = None,
        block_samples: int = 256,
        seed: int = 0,
        temperature: float = 1.0,
        expectation: bool = True,
        engine: str = "auto",
    ) -> None:
        self.sample_rate_hz = checkpoint.sample_rate_hz
        self.block_samples = block_samples
        self.notes: list[LiveNote] = []  # as they sound or will
        self.source: _Source = (
            _Harmonic(checkpoint, seed)
            if isinstance(checkpoint.config, HarmonicConfig)
            else _Autoregressive(checkpoint, instrument, seed, expectation, temperature=temperature, engine=engine)
        )

    @property
    def position(self) -> int:
        """The first sample of the block that `read` gives next."""
        return self.source.position

    def note_on(self, pitch: int, at: int | None = None, velocity: int = 100) -> None:
        """Press a key at a sample not yet read, by default the next; velocity 1 to 127.

        A key that is down then, or was less than 5 ms before, is struck 5 ms after its release, as in the rolls that
        networks learn from.

        Raises:
            ValueError: the pitch is not 0 to 127, the velocity not 1 to 127, or the sample has been read already.
        """
        if not 1 <= velocity <= 127:
            raise ValueError(f"velocity {velocity} is not within 1 to 127")
        at = self.not_yet_read(pitch, at)
        self.note_off(pitch, at)
        gap = int(to_samples(RESTRIKE_GAP_S, self.sample_rate_hz))
        released = [release for onset, key, release, _ in self.notes if key == pitch and onset < at]
        self.add((max([at, *(release + gap for release in released)]), pitch, HELD, velocity))

    def add(self, note: LiveNote) -> None:
        """A note whose release may be known; notes come in the order of their onsets."""
        self.source.struck(note, self.notes)
        self.notes.append(note)

    def note_off(self, pitch: int, at: int | None = None) -> None:
        """Release a key at a sample not yet read, by default the next; nothing happens if it is up then.

        Raises:
            ValueError: as for `note_on`.
        """
        at = self.not_yet_read(pitch, at)
        self.notes = [
            (onset, key, max(at, onset + 1) if key == pitch and onset <= at < release else release, velocity)
            for onset, key, release, velocity in self.notes
        ]

    def read(self) -> np.ndarray:
        """The next block, float32 [block_samples] in [-1, 1]."""
        unheard = self.position - self.source.reach
        self.notes = [note for note in self.notes if note[2] > unheard]
        return self.source.advance(self.notes, self.block_samples)

    def blocks(self) -> Iterator[np.ndarray]:
        """Blocks without end."""
        while True:
            yield self.read()

    def not_yet_read(self, pitch: int, at: int | None) -> int:
        if not 0 <= pitch <= 127:
            raise ValueError(f"pitch {pitch} is not within 0 to 127")
        if at is None:
            return self.position
        if at < self.position:
            raise ValueError(f"sample {at} has been read already; the next is {self.position}")
        return at
