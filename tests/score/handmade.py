"""MIDI files built by hand from hexadecimal, and their notes.

They have 500 ticks a beat: at the default tempo of 120 beats a minute a tick is a millisecond.
"""

from __future__ import annotations

import pytest

from synthnet.score.notes import Score, Track

END = "00 FF2F00"


def header(n_tracks: int, division: int = 500, smf_type: int = 1) -> bytes:
    """A header chunk."""
    return b"MThd" + bytes.fromhex(f"00000006 {smf_type:04X} {n_tracks:04X} {division & 0xFFFF:04X}")


def chunk(content: str, length: int | None = None, name: bytes = b"MTrk") -> bytes:
    """A chunk of content in hexadecimal, by default of its true length."""
    body = bytes.fromhex(content)
    return name + (len(body) if length is None else length).to_bytes(4, "big") + body


def smf(*tracks: str, division: int = 500, smf_type: int = 1) -> bytes:
    """A MIDI file from tracks in hexadecimal."""
    return header(len(tracks), division, smf_type) + b"".join(map(chunk, tracks))


def one_track(content: str) -> bytes:
    """A MIDI file of one track, whose end is added."""
    return smf(content + END)


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
