"""An instrument that is played as it sounds: notes go on and off, audio comes out block by block.

Latency is one block: what is played now is heard in the block that is read next, at the sample asked for (frame t of
the roll acts on sample t + 1). A block of 256 samples at 16 kHz is 16 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from synthnet.checkpoint import Checkpoint
from synthnet.generation.rendering import TAIL_S
from synthnet.generation.streams import Generator, Stream
from synthnet.roll import RESTRIKE_GAP_S, RollEvents, roll_events, to_samples
from synthnet.score import Score

HELD = np.iinfo(np.int64).max // 2  # the release of a key that is still down


def play_score(checkpoint: Checkpoint, score: Score, **options: Any) -> Iterator[np.ndarray]:
    """Blocks of a score, float32, as `LiveInstrument` with these options gives them; all tracks on one instrument.

    Ends with the block in which half a second has passed after the last note.
    """
    live = LiveInstrument(checkpoint, **options)
    events = roll_events(score.notes, live.sample_rate_hz)
    columns = events.onset, events.pitch, events.release, events.velocity
    live.notes = list(zip(*(column.tolist() for column in columns), strict=True))
    stop = events.n_samples + int(to_samples(TAIL_S, live.sample_rate_hz))
    while live.position < stop:
        yield live.read()


class LiveInstrument:
    """Play a checkpoint from a keyboard.

    Args:
        checkpoint: what to play.
        instrument: of a network that learned several; default its first.
        block_samples: samples in each block that `read` gives.
        expectation: as of a `Stream`.

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
        self.network = checkpoint.build()
        self.notes: list[tuple[int, int, int, int]] = []  # onset, pitch, release, velocity, as they sound or will
        silence = Stream(self.events(), (seed,), checkpoint.voice(instrument).style, expectation)
        self.generator = Generator(self.network, [silence], temperature=temperature, engine=engine)

    @property
    def position(self) -> int:
        """The first sample of the block that `read` gives next."""
        return self.generator.position

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
        self.notes.append((max([at, *(release + gap for release in released)]), pitch, HELD, velocity))

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
        unheard = self.position - self.network.config.receptive_field
        self.notes = [note for note in self.notes if note[2] > unheard]
        return self.generator.advance([self.events()], self.block_samples)[0]

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

    def events(self) -> RollEvents:
        onset, pitch, release, velocity = np.array(sorted(self.notes), dtype=np.int64).reshape(-1, 4).T
        return RollEvents(pitch, onset, release, velocity, self.sample_rate_hz)
