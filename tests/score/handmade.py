"""MIDI files built by hand from hexadecimal, and their notes.

They have 500 ticks a beat: at the default tempo of 120 beats a minute a tick is a millisecond.
"""

from __future__ import annotations

import pytest

from synthnet.score.notes import Score, Track

END = "00 FF2F00"


def smf(*tracks: str, division: int = 500, smf_type: int = 1) -> bytes:
    """A MIDI file from tracks in hexadecimal."""
    chunks = b"".join(b"MTrk" + len(body).to_bytes(4, "big") + body for body in map(bytes.fromhex, tracks))
    return b"MThd" + bytes.fromhex(f"00000006 {smf_type:04X} {len(tracks):04X} {division & 0xFFFF:04X}") + chunks


def delta(ticks: int) -> str:
    """A variable-length quantity in hexadecimal."""
    groups = [ticks & 0x7F]
    while ticks := ticks >> 7:
        groups.append(ticks & 0x7F | 0x80)
    return bytes(reversed(groups)).hex()


MS_100, MS_200, MS_500 = delta(100), delta(200), delta(500)


def assert_same_notes(track: Track, other: Track, within_s: float = 1e-9) -> None:
    assert [(n.pitch, n.velocity) for n in track.notes] == [(n.pitch, n.velocity) for n in other.notes]
    for note, same in zip(track.notes, other.notes, strict=True):
        assert (note.start_s, note.end_s) == pytest.approx((same.start_s, same.end_s), abs=within_s)


def pitches_and_times(score: Score) -> list[tuple[int, float, float]]:
    return [(note.pitch, note.start_s, note.end_s) for note in score.notes]
