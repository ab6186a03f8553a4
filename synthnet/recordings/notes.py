"""Notes that a transcriber found, checked and made exact: onsets by averaging, ends and velocities by level."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from synthnet.recordings.averaging import average_onsets
from synthnet.recordings.sound import HOP_S, key_tones, tone_amplitudes
from synthnet.recordings.transcribe import Heard
from synthnet.score.notes import Note, in_order

WINDOW_S, PERIODS, PARTIALS = 0.023, 4, 6  # of the spectra; low keys need longer windows
JOINED_S, DIP_DB, LOOK_BACK_S, LOOK_ON_S = 0.05, 4.0, 0.3, 0.08  # a key struck again is softer just before
LEAST_CONFIDENCE, OCTAVE = 0.4, 12
SHORTEST_S = 0.03
FALL_DB, DECAY_DB_S = 6.0, 20.0  # of a note let go, and of one that dies away while it is held
LEVEL_FROM_S, LEVEL_TO_S = 0.03, 0.25  # after the onset
FEWEST, NEAR_KEYS, MIDDLE_VELOCITY = 5, 3, 80


@dataclass(frozen=True)
class Checked:
    """The notes, sorted by onset, then key, and how many were left out or joined, by reason."""

    notes: tuple[Note, ...]
    left_out: Mapping[str, int]


def check_notes(heard: Sequence[Heard], samples: np.ndarray, sample_rate_hz: int, cents: float = 0.0) -> Checked:
    """The notes of a recording, samples [n] tuned to so many cents, from what a transcriber heard in it.

    - A note that follows one of its key at once, and before which the key's level does not dip by 4 dB, is the same
      note going on.
    - Notes with a confidence below 0.4 are left out, and those more than an octave beyond the keys of 98% of all.
    - Onsets are moved, see `average_onsets`, and ends, see `fall_end_s`. No note goes on when its key is struck again.

    All have one velocity; `with_velocities` gives them theirs.
    """
    left_out: Counter[str] = Counter()
    sounding: defaultdict[int, list[Heard]] = defaultdict(list)  # by key
    for note in sorted(heard, key=lambda note: note.start_s):
        mine = sounding[note.pitch]
        if mine and _goes_on(mine[-1], note, samples, sample_rate_hz):
            mine[-1] = mine[-1]._replace(end_s=max(mine[-1].end_s, note.end_s))
            left_out["joined to the note before"] += 1
        else:
            mine.append(note)
    joined = list(itertools.chain(*sounding.values()))
    sure = [note for note in joined if note.confidence >= LEAST_CONFIDENCE]
    keys = sorted(note.pitch for note in sure)
    rare = len(keys) // 100
    inside = [note for note in sure if keys[rare] - OCTAVE <= note.pitch <= keys[-1 - rare] + OCTAVE]
    left_out |= Counter({"uncertain": len(joined) - len(sure), "out of range": len(sure) - len(inside)})
    if not inside:
        return Checked((), +left_out)
    pitch, starts_s = np.array([(note.pitch + cents / 100, note.start_s) for note in inside]).T
    starts_s = average_onsets(samples, sample_rate_hz, pitch, starts_s).start_s
    starts_s = starts_s.clip(0, len(samples) / sample_rate_hz - SHORTEST_S)
    struck: defaultdict[int, list[Note]] = defaultdict(list)  # by key
    for start_s, found in sorted(zip(starts_s.tolist(), inside, strict=True)):
        before = struck[found.pitch]
        if before and start_s - before[-1].start_s < SHORTEST_S:
            left_out["joined to the note before"] += 1
            continue
        if before:
            before[-1] = replace(before[-1], end_s=min(before[-1].end_s, start_s))
        end_s = fall_end_s(samples, sample_rate_hz, found.pitch + cents / 100, start_s, found.end_s)
        before.append(Note(found.pitch, MIDDLE_VELOCITY, start_s, max(end_s, start_s + SHORTEST_S)))
    return Checked(in_order(itertools.chain(*struck.values())), +left_out)


def _goes_on(before: Heard, note: Heard, samples: np.ndarray, rate: int) -> bool:
    """Whether a note is the one before it, of its key, going on."""
    if note.start_s - before.end_s > JOINED_S:
        return False
    start_s = max(before.start_s, note.start_s - LOOK_BACK_S)
    return dip_db(partial_level_db(samples, rate, note.pitch, start_s, note.start_s + LOOK_ON_S)[0]) < DIP_DB


def dip_db(level: np.ndarray) -> float:
    """How deep a valley the levels [n] go through, in dB below the lower of its two sides."""
    before, after = np.maximum.accumulate(level), np.maximum.accumulate(level[::-1])[::-1]
    return float((np.minimum(before, after) - level).max())


def fall_end_s(samples: np.ndarray, sample_rate_hz: int, pitch: float, start_s: float, end_s: float) -> float:
    """When a note is let go, at most `end_s`, where the transcriber hears it no more, be it for the room alone.

    From there on its level is 6 dB and more below the highest before, 20 dB a second granted to strings that die away.
    """
    level, time_s = partial_level_db(samples, sample_rate_hz, pitch, start_s, end_s)
    granted = DECAY_DB_S * (time_s - time_s[0])
    loud = level >= np.maximum.accumulate(level + granted) - granted - FALL_DB
    return float(time_s[np.flatnonzero(loud)[-1]])


def note_levels_db(samples: np.ndarray, sample_rate_hz: int, notes: Sequence[Note], cents: float = 0.0) -> np.ndarray:
    """Median level of each note's partials [N], 30 to 250 ms after its onset or to its end; `cents` is the tuning."""
    levels = []
    for note in notes:
        pitch, start_s = note.pitch + cents / 100, note.start_s + LEVEL_FROM_S
        stop_s = max(start_s + HOP_S, min(note.end_s, note.start_s + LEVEL_TO_S))
        levels.append(np.median(partial_level_db(samples, sample_rate_hz, pitch, start_s, stop_s)[0]))
    return np.array(levels)


def with_velocities(
    notes: Sequence[Note], level_db: np.ndarray, louder_db: np.ndarray | float = 0.0
) -> tuple[Note, ...]:
    """The notes with velocities from their levels [N].

    Velocity v = 80 is the median of the notes of a key or, where those are less than 5, of keys within 3 of it;
    40 log10(v / 80) dB is how far a note lies above it, which is the law of SoundFont 2.

    Args:
        level_db: of notes of several recordings, relative to the median of the note's own recording.
        louder_db: [N], how much louder that recording is than the others.
    """
    pitch, middle = np.array([note.pitch for note in notes]), np.zeros(len(notes))
    for key in np.unique(pitch):
        of_key = pitch == key
        near = of_key if of_key.sum() >= FEWEST else np.abs(pitch - key) <= NEAR_KEYS
        middle[of_key] = np.median(level_db[near])
    velocity = np.rint(MIDDLE_VELOCITY * 10 ** ((level_db - middle + louder_db) / 40))
    told = np.clip(velocity, 1, 127).astype(int).tolist()
    return tuple(replace(note, velocity=v) for note, v in zip(notes, told, strict=True))


def partial_level_db(
    samples: np.ndarray, sample_rate_hz: int, pitch: float, start_s: float, stop_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Level of the sum of a key's first six partials in dB of full scale, every 2 ms, and those times in seconds.

    Samples beyond the ends count as silence; the level is at least -100 dB.
    """
    hop = round(HOP_S * sample_rate_hz)
    n = max(1, round((stop_s - start_s) * sample_rate_hz) // hop)
    tones = key_tones(pitch, sample_rate_hz, PARTIALS, WINDOW_S, PERIODS)
    amplitude = tone_amplitudes(samples, sample_rate_hz, tones, start_s, n).sum(axis=1)
    return 20 * np.log10(amplitude + 1e-5), start_s + hop / sample_rate_hz * np.arange(n)
