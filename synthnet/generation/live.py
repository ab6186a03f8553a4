"""An instrument that is played while it sounds: notes go on and off, audio comes out block by block.

Latency is one block: a note sounds in the block that is read next, at the sample asked for (in the paper's networks
frame t of the roll acts on sample t + 1). A block of 256 samples at 44.1 kHz is 6 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.generation.render import Seat, Settings, rendering_samples
from synthnet.models import HarmonicConfig
from synthnet.models.checkpoint import Checkpoint
from synthnet.models.envelopes import Notes, make_notes, notes_of
from synthnet.score.notes import Score
from synthnet.score.roll import RESTRIKE_GAP_S, RollEvents, roll_events, to_samples

HELD = np.iinfo(np.int64).max // 2  # the release of a key that is still down


def play_score(checkpoint: Checkpoint, score: Score, **options: Any) -> Iterator[np.ndarray]:
    """Blocks of a score, float32, as `LiveInstrument` with these options gives them; all tracks on one instrument.

    Ends with the block in which the last note has died away, half a second after it at least.
    """
    live = LiveInstrument(checkpoint, **options)
    live.notes = notes_of(roll_events(score.notes, live.sample_rate_hz))
    seats = [Seat(checkpoint, checkpoint.voice(options.get("instrument")))] * len(score.tracks)
    stop = rendering_samples(score, seats, Settings(live.sample_rate_hz)).stop
    while live.position < stop:
        yield live.read()


class LiveInstrument:
    """Play a checkpoint from a keyboard, at its sample rate.

    Args:
        instrument: of a network that learned several; by default its first.
        block_samples: samples in each block that `read` gives.
        temperature, mean, engine: of the paper's networks, see `synthnet.generation.streams`.

    Attributes:
        notes: those that sound or will, sorted by onset.
        position: the first sample of the block that `read` gives next.

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
        mean: bool = True,
        engine: str = "auto",
    ) -> None:
        self.sample_rate_hz, self.block_samples, self.position = checkpoint.sample_rate_hz, block_samples, 0
        nothing = np.zeros(0, np.int64)
        self.notes = make_notes(nothing, nothing, nothing, nothing, self.sample_rate_hz)
        self._delayed: dict[tuple[int, int], int] = {}  # key and onset -> sample at which the key was struck before
        self._play: Callable[[Notes, int, int], np.ndarray]  # audio from one sample to another, block after block
        self._reach: int  # samples after its release in which a note may be heard
        if isinstance(checkpoint.config, HarmonicConfig):
            player = HarmonicPlayer(checkpoint.config, checkpoint.weights, self.sample_rate_hz, seed=seed)
            self._reach = int(player.tails.max())
            self._play = lambda notes, start, stop: player.play(Part(notes), start, stop)
        else:  # torch is loaded only here
            from synthnet.generation.streams import Generator, Stream

            network, style = checkpoint.build(), checkpoint.voice(instrument).style
            self._reach = network.config.receptive_field
            silence = Stream(self._events(self.notes), (seed,), style, mean)
            generator = Generator(network, [silence], temperature=temperature, engine=engine)
            self._play = lambda notes, start, stop: generator.advance([self._events(notes)], stop - start)[0]

    def _events(self, notes: Notes) -> RollEvents:
        return RollEvents(notes.pitch, notes.onset, notes.release, notes.velocity, self.sample_rate_hz)

    def note_on(self, pitch: int, at: int | None = None, velocity: int = 100) -> None:
        """Press a key at a sample not yet read, by default the next; velocity 1 to 127.

        A key that is down then, or was less than 5 ms before, is struck 5 ms after its release, as in the rolls that
        networks learn from.

        Raises:
            ValueError: the pitch is not 0 to 127, the velocity not 1 to 127, or the sample has been read already.
        """
        if not 1 <= velocity <= 127:
            raise ValueError(f"velocity {velocity} is not within 1 to 127")
        at = self._not_yet_read(pitch, at)
        self.note_off(pitch, at)
        same = self._struck_until(pitch, at)
        gap = int(to_samples(RESTRIKE_GAP_S, self.sample_rate_hz))
        onset = max(at, int(self.notes.release[same].max(initial=-gap)) + gap)
        if onset > at:
            self._delayed[pitch, onset] = at
        # Touch and step stay as they are now, whatever becomes of the notes before.
        before = self.notes.take(np.flatnonzero(self.notes.onset < onset))
        struck = zip(before[:4], (pitch, velocity, onset, HELD), strict=True)
        columns = [np.append(column, value) for column, value in struck]
        new = make_notes(columns[0], columns[1], columns[2], columns[3], self.sample_rate_hz)
        notes = Notes(*(np.append(column, added[-1]) for column, added in zip(self.notes, new, strict=True)))
        self.notes = notes.take(np.lexsort((notes.pitch, notes.onset)))

    def note_off(self, pitch: int, at: int | None = None) -> None:
        """Release a key at a sample not yet read, by default the next; nothing happens if it is up then.

        Raises:
            ValueError: as for `note_on`.
        """
        at = self._not_yet_read(pitch, at)
        _, _, onset, release, *_ = self.notes
        down = self._struck_until(pitch, at) & (at < release)
        self.notes = self.notes._replace(release=np.where(down, np.maximum(at, onset + 1), release))

    def read(self) -> np.ndarray:
        """The next block, float32 [block_samples], full scale +-1; loud chords of a harmonic instrument exceed it."""
        start, self.position = self.position, self.position + self.block_samples
        self._delayed = {key: at for key, at in self._delayed.items() if key[1] >= start}
        self.notes = self.notes.take(np.flatnonzero(self.notes.release > start - self._reach))
        return self._play(self.notes, start, self.position)

    def _struck_until(self, pitch: int, at: int) -> np.ndarray:
        """Whether each note, bool [N], is of this key and was struck until then, though it may sound 5 ms later."""
        struck = [self._delayed.get((pitch, onset), onset) for onset in self.notes.onset.tolist()]
        found: np.ndarray = (self.notes.pitch == pitch) & (np.array(struck, np.int64) <= at)
        return found

    def _not_yet_read(self, pitch: int, at: int | None) -> int:
        if not 0 <= pitch <= 127:
            raise ValueError(f"pitch {pitch} is not within 0 to 127")
        if at is None:
            return self.position
        if at < self.position:
            raise ValueError(f"sample {at} has been read already; the next is {self.position}")
        return at
