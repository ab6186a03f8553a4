"""Notes, tracks and scores, in seconds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter

from synthnet.files import InputError
from synthnet.score.controllers import Controls


@dataclass(frozen=True, slots=True)
class Note:
    """A note: MIDI key 0 to 127, velocity 1 to 127, onset and end in seconds."""

    pitch: int
    velocity: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Track:
    """The notes of a part, sorted by onset, then pitch; its 0-based General MIDI program, name and controls.

    Tracks of one MIDI channel share one `Controls` object. The keys of `drums` are drums, and the program is a kit.
    """

    notes: tuple[Note, ...]
    program: int = 0
    name: str = ""
    controls: Controls = field(default_factory=Controls)
    drums: bool = False


@dataclass(frozen=True)
class Score:
    """The pitched tracks of a piece, its drums, and counts of what was left out, by kind, named in the plural."""

    tracks: tuple[Track, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    drums: tuple[Track, ...] = ()

    @property
    def parts(self) -> tuple[Track, ...]:
        """The pitched tracks, then the drums."""
        return self.tracks + self.drums

    @property
    def notes(self) -> tuple[Note, ...]:
        """The notes of all pitched tracks, sorted by onset, then pitch."""
        return in_order(note for track in self.tracks for note in track.notes)

    @property
    def end_s(self) -> float:
        """The end of the last pitched note in seconds, 0.0 if there are none."""
        return max((note.end_s for track in self.tracks for note in track.notes), default=0.0)

    def excerpt(self, start_s: float, duration_s: float | None = None) -> Score:
        """The part of the score in a window (to its end, if no duration is given), shifted to time 0.

        Notes and controls are cut at both ends of the window. Tracks that are silent in it are dropped. `left_out`
        and the counts of controls stay those of the whole score. Raises InputError for a start that is negative, not
        a number or at or beyond the end of the score, and for a duration that is not positive.
        """
        if not start_s >= 0.0:
            raise InputError(f"excerpt: the start must be 0 s or later, not {start_s:g} s")
        if duration_s is not None and not duration_s > 0.0:
            raise InputError(f"excerpt: the duration must be above 0 s, not {duration_s:g} s")
        if start_s >= self.end_s and start_s > 0.0:
            raise InputError(f"excerpt: the start, {start_s:g} s, is beyond the end of the score, {self.end_s:g} s")
        stop_s = math.inf if duration_s is None else start_s + duration_s
        controls = {id(track.controls): track.controls.excerpt(start_s, stop_s) for track in self.parts}
        tracks = []
        for track in self.parts:
            notes = in_order(
                replace(note, start_s=max(note.start_s, start_s) - start_s, end_s=min(note.end_s, stop_s) - start_s)
                for note in track.notes
                if note.start_s < stop_s and note.end_s > start_s
            )
            if notes:
                tracks.append(replace(track, notes=notes, controls=controls[id(track.controls)]))
        pitched, drums = (tuple(track for track in tracks if track.drums == wanted) for wanted in (False, True))
        return replace(self, tracks=pitched, drums=drums)

    def left_out_line(
        self,
        without_controls: Iterable[Track] = (),
        one_velocity: Iterable[Track] = (),
        unplayed: Iterable[Track] | None = None,
    ) -> str | None:
        """One line, such as "left out: 12 drum notes, 1 pitch bend"; None if nothing was left out.

        The controls of the tracks `without_controls` count as left out; so do the velocities of the tracks
        `one_velocity`, where they differ, and the notes of the tracks `unplayed`, by default the drums.
        """
        counts = Counter[str]()
        for track in self.drums if unplayed is None else unplayed:
            counts["drum notes" if track.drums else "effect notes"] += len(track.notes)
        counts.update(self.left_out)
        for controls in {id(track.controls): track.controls for track in without_controls}.values():
            counts.update(dict(controls.counts))
        kinds = [f"{n} {kind.removesuffix('s') if n == 1 else kind}" for kind, n in counts.items()]
        velocities = [note.velocity for track in one_velocity for note in track.notes]
        if len(set(velocities)) > 1:
            kinds.append(f"velocities of {len(velocities)} notes")
        return f"left out: {', '.join(kinds)}" if kinds else None


def in_order(notes: Iterable[Note]) -> tuple[Note, ...]:
    """The notes sorted by onset, then pitch."""
    return tuple(sorted(notes, key=attrgetter("start_s", "pitch")))
