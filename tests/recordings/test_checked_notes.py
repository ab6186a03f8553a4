"""Notes checked against tones whose onsets, ends and levels are known."""

from __future__ import annotations

import numpy as np
import pytest

from synthnet.recordings.notes import (
    check_notes,
    dip_db,
    fall_end_s,
    note_levels_db,
    partial_level_db,
    with_velocities,
)
from synthnet.recordings.transcribe import Heard
from synthnet.score.notes import Note

RATE = 16_000


def tone(pitch, start_s, end_s, amplitude=0.1, dying=0.0, total_s=3.0):
    """Six equal harmonics with a linear attack of 20 ms and a release of 10 ms, dying by so many nepers a second."""
    t = np.arange(round(total_s * RATE)) / RATE
    f0 = 440 * 2 ** ((pitch - 69) / 12)
    envelope = np.clip((t - start_s) / 0.02, 0, 1) * np.clip((end_s + 0.01 - t) / 0.01, 0, 1)
    envelope *= np.exp(-dying * np.clip(t - start_s, 0, None))
    return (amplitude * envelope * sum(np.sin(2 * np.pi * f0 * h * t) for h in range(1, 7))).astype(np.float32)


def test_level_of_partials_is_the_sum_of_their_amplitudes():
    level, times = partial_level_db(tone(69, 0.5, 2.5), RATE, 69, 1.0, 1.1)
    assert level == pytest.approx(20 * np.log10(0.6), abs=0.1)
    assert times[0] == pytest.approx(1.0, abs=1e-3)
    assert np.diff(times) == pytest.approx(0.002)


def test_an_end_is_where_the_room_alone_goes_on():
    dying = 10 ** (-60 * np.clip(np.arange(3 * RATE) / RATE - 1.5, 0, None) / 20)  # 60 dB a second
    sound = tone(69, 0.5, 1.5) + tone(69, 0.5, 2.9, amplitude=0.04) * dying.astype(np.float32)
    assert fall_end_s(sound, RATE, 69, 0.5, 2.3) == pytest.approx(1.5, abs=0.02)
    decaying = tone(69, 0.5, 2.5) * 10 ** (-15 * np.arange(3 * RATE) / RATE / 20).astype(np.float32)
    assert fall_end_s(decaying, RATE, 69, 0.5, 2.4) == pytest.approx(2.4, abs=0.01)


def test_dip():
    assert dip_db(np.array([-30.0, -20, -26, -22, -40])) == 4.0
    assert dip_db(np.array([-30.0, -20, -10])) == 0.0


def test_one_tone_heard_twice_is_one_note_and_two_are_two():
    heard = [Heard(69, 0.52, 1.0, 0.8), Heard(69, 1.0, 2.0, 0.8)]
    (note,) = check_notes(heard, tone(69, 0.5, 2.0), RATE).notes
    assert (note.start_s, note.end_s) == pytest.approx((0.5, 2.0), abs=0.02)
    struck = tone(69, 0.5, 0.95, dying=5) + tone(69, 0.99, 2.0, dying=5)
    assert [n.start_s for n in check_notes(heard, struck, RATE).notes] == pytest.approx([0.5, 0.99], abs=0.02)


def test_uncertain_notes_and_keys_far_away_are_left_out():
    heard = [Heard(60 + i % 5, 0.2 * i, 0.2 * i + 0.1, 0.8) for i in range(110)]
    odd = [Heard(70, 1.03, 1.2, 0.39), Heard(77, 1.03, 1.2, 0.9), Heard(48, 1.03, 1.2, 0.9)]
    checked = check_notes([*heard, *odd], np.zeros(23 * RATE, np.float32), RATE)
    assert [note.pitch for note in checked.notes if not 60 <= note.pitch <= 64] == [48]
    assert len(checked.notes) == 111
    assert checked.left_out == {"uncertain": 1, "out of range": 1}
    assert check_notes([], np.zeros(RATE, np.float32), RATE).notes == ()


def test_velocities_follow_the_law_of_soundfonts():
    pitch, level = np.array([60] * 5 + [80] * 3), np.array([-20, -12.04, -24.08, -60, 0, -40, -46.02, -33.98])
    notes = with_velocities([Note(key, 1, 0.0, 1.0) for key in pitch.tolist()], level)
    assert [note.velocity for note in notes] == [80, 126, 63, 8, 127, 80, 57, 113]


def test_velocities_of_played_levels():
    sound, heard = np.zeros(3 * RATE, np.float32), []
    for i, gain_db in enumerate([0, -6, 6, 0, -3]):
        sound += tone(64, 0.2 + 0.5 * i, 0.55 + 0.5 * i, 0.05 * 10 ** (gain_db / 20))
        heard.append(Heard(64, 0.2 + 0.5 * i, 0.55 + 0.5 * i, 0.8))
    notes = check_notes(heard, sound, RATE).notes
    found = [note.velocity for note in with_velocities(notes, note_levels_db(sound, RATE, notes))]
    assert found == [round(80 * 10 ** ((g + 0) / 40)) for g in (0, -6, 6, 0, -3)]
