"""A sound font plays what no network learned: drums, and General MIDI's percussion and sound effects.

FluidSynth plays each track alone, in stereo, at the rate of the mix, with reverb and chorus off. Notes start where a
block of 64 samples begins, at most 1.5 ms off at 44.1 kHz. Volume and pan are the mixer's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synthnet.corpus.teacher import BLOCK, find_soundfont, fluidsynth_version, open_synth, render_events
from synthnet.files import InputError
from synthnet.score.general_midi import UNPITCHED
from synthnet.score.notes import Score, Track
from synthnet.score.roll import roll_events

DRUM_BANK, STANDARD_KIT = 128, 0
PREROLL_S = 10.0  # notes that began earlier than this before the start are not played


def soundfont_for(score: Score) -> tuple[Path | None, str]:
    """The sound font for a score's drums, percussion and effects, None if it has none; and why it is missing, or ""."""
    if not any(part.drums or part.program in UNPITCHED for part in score.parts):
        return None, ""
    try:
        fluidsynth_version()
        return find_soundfont(), ""
    except InputError as error:
        return None, f" (no sound font plays: {error})"


def play_soundfont(soundfont: Path, track: Track, samples: range, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """The `samples` of a track in blocks of about a second, float32 [n, 2], in FluidSynth's unit.

    Raises InputError when the sound font is unreadable or lacks the preset.
    """
    kits = [(DRUM_BANK, track.program), (DRUM_BANK, STANDARD_KIT)]
    synth = open_synth(soundfont, sample_rate_hz, kits if track.drums else [(0, track.program)])
    try:
        roll = roll_events(track.notes, sample_rate_hz)
        first = (roll.onset + BLOCK // 2) // BLOCK
        last = np.maximum(first + 1, (roll.release + BLOCK // 2) // BLOCK)
        now = max(0, samples.start - round(PREROLL_S * sample_rate_hz)) // BLOCK
        rows = np.stack([first, last, roll.velocity, roll.pitch], axis=1)[first >= now].tolist()
        strikes = [(at, velocity, key) for at, _, velocity, key in rows]
        releases = [(at, 0, key) for _, at, _, key in rows]
        events = deque(sorted(strikes + releases))
        while now * BLOCK < samples.stop:
            stereo = np.zeros((sample_rate_hz // BLOCK * BLOCK, 2), np.float32)
            render_events(synth, events, now, stereo)
            begin, now = now * BLOCK, now + len(stereo) // BLOCK
            yield stereo[max(0, samples.start - begin) : max(0, samples.stop - begin)]
    finally:
        synth.delete()
