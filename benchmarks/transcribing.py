"""How well notes are found in recordings: music whose notes are known, played by the sound font in a room.

The first minute of Bach's Prelude (BWV 1007) with a player's timing (a tempo that wanders between 0.7 and 1.4, onsets
15 ms beside it), velocities 50 to 110, tuned 17 cents sharp, a room that dies by 60 dB in 0.9 s at -10 dB, and noise. A
note counts as found if its key is right and its onset within 60 ms (maximum matching, as in mir_eval).

    python benchmarks/transcribing.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import soxr
from scipy.signal import fftconvolve
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from synthnet.corpus.build import DEFAULT_SCORES
from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.recordings.alignment import RATE_HZ as LOWER_RATE_HZ
from synthnet.recordings.alignment import tuning_cents
from synthnet.recordings.notes import check_notes, note_levels_db, with_velocities
from synthnet.recordings.transcribe import Heard, transcribe
from synthnet.score.midi import read_score
from synthnet.score.notes import Note

RATE_HZ, LENGTH_S, TOLERANCE_S = 44_100, 60.0, 0.06
PLAYERS = {
    "cello": (42, 0),
    "violin": (40, 24),
    "piano": (0, 12),
    "guitar": (24, 12),
    "flute": (73, 29),
}  # program, keys


def performance(transposed: int, rng: np.random.Generator) -> list[Note]:
    """The Prelude as a player may play it."""
    score = read_score(DEFAULT_SCORES / "bwv1007_1_prelude.mid").notes
    beats = np.arange(0, score[-1].end_s + 1, 0.5)
    tempo = np.clip(1 + np.cumsum(rng.normal(0, 0.03, len(beats))), 0.7, 1.4)
    played = np.r_[0, np.cumsum(0.5 / tempo[:-1])] + 0.5
    notes = []
    for note in score:
        start_s, end_s = np.interp([note.start_s, note.end_s], beats, played) + rng.normal(0, 0.015)
        notes.append(
            replace(
                note,
                pitch=note.pitch + transposed,
                velocity=int(rng.integers(50, 111)),
                start_s=float(start_s),
                end_s=float(max(end_s, start_s + 0.05)),
            )
        )
    return [note for note in notes if note.end_s < LENGTH_S]


def recording(notes: Sequence[Note], program: int, rng: np.random.Generator) -> np.ndarray:
    """Their sound in a room, float32 [n] at 44.1 kHz."""
    dry = Teacher(find_soundfont(), program, RATE_HZ).play(notes, LENGTH_S + 2)
    time_s = np.arange(round(0.9 * RATE_HZ)) / RATE_HZ
    room = rng.normal(size=len(time_s)) * 10 ** (-3 * time_s / 0.9)
    room *= 10 ** (-10 / 20) / np.sqrt((room**2).sum())
    wet = dry + np.r_[np.zeros(round(0.012 * RATE_HZ)), fftconvolve(dry, room)][: len(dry)]
    wet = 0.5 * wet / np.abs(wet).max() + rng.normal(0, 3e-4, len(wet))
    return soxr.resample(wet.astype(np.float32), round(RATE_HZ * 2 ** (17 / 1200)), RATE_HZ)


def matched(found: Sequence[Note | Heard], truth: Sequence[Note]) -> np.ndarray:
    """For each note found the number of its true one, or -1, int [N]."""
    mine, true = (np.array([(note.start_s, note.pitch) for note in notes]) for notes in (found, truth))
    near = np.abs(mine[:, None, 0] - true[:, 0]) <= TOLERANCE_S
    same = mine[:, None, 1] == true[:, 1]
    return maximum_bipartite_matching(csr_matrix(near & same), perm_type="column")


if __name__ == "__main__":
    print("             notes  F1 heard  F1 checked  onset ms: median, scatter 50% 90%  velocity: slope, r")
    for name, (program, transposed) in PLAYERS.items():
        rng = np.random.default_rng(0)
        truth = performance(transposed, rng)
        sound = recording(truth, program, rng)
        stretch = 2 ** (-17 / 1200)
        truth = [replace(n, start_s=n.start_s * stretch, end_s=n.end_s * stretch) for n in truth]
        heard, x = transcribe(sound, RATE_HZ), soxr.resample(sound, RATE_HZ, LOWER_RATE_HZ, "VHQ")
        cents = tuning_cents(x)
        notes = check_notes(heard, x, LOWER_RATE_HZ, cents).notes
        notes = with_velocities(notes, note_levels_db(sound, RATE_HZ, notes, cents))
        scores = [2 * (matched(some, truth) >= 0).sum() / (len(some) + len(truth)) for some in (heard, notes)]
        partner = matched(notes, truth)
        pairs = [(notes[i], truth[j]) for i, j in enumerate(partner) if j >= 0]
        late = 1e3 * np.array([mine.start_s - true.start_s for mine, true in pairs])
        scatter = np.percentile(np.abs(late - np.median(late)), [50, 90])
        levels = np.log([[true.velocity, mine.velocity] for mine, true in pairs]).T
        slope, r = np.polyfit(*levels, 1)[0], np.corrcoef(levels)[0, 1]
        print(
            f"{name:12} {len(truth):5}  {scores[0]:8.2f}  {scores[1]:10.2f}  {np.median(late):16.0f} "
            f"{scatter[0]:12.0f} {scatter[1]:3.0f} {slope:16.2f} {r:6.2f}"
        )
