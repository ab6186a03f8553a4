"""Notes from probabilities, worked out by hand; windows; and, where onnxruntime is there, the network on tones."""

from __future__ import annotations

import numpy as np
import pytest

from synthnet.recordings.transcribe import CUT, HOP, STEP, WINDOW, notes_from, transcribe, windows

FRAMES, KEYS = 100, 12


def silence():
    return np.zeros((FRAMES, KEYS), np.float32), np.zeros((FRAMES, KEYS), np.float32)


def test_a_note_from_its_onset_to_its_last_probable_frame():
    sounding, onsets = silence()
    sounding[10:40, 5] = 0.8
    onsets[10, 5] = 0.9
    ((start, stop, key, confidence),) = notes_from(sounding, onsets)
    assert (start, stop, key) == (10, 40, 5)
    assert confidence == pytest.approx(0.8)


def test_a_short_gap_is_bridged_and_a_repeated_note_is_two():
    sounding, onsets = silence()
    sounding[10:60, 5] = 0.8
    sounding[30:40, 5] = 0.29  # 9 frames after 30; 11 end a note
    sounding[30, 5] = 0.7  # so that the rise at the end of the gap is less than half of the greatest, and no onset
    sounding[40:43, 5] = 0.4, 0.5, 0.6
    onsets[10, 5] = 0.9
    assert [note[:3] for note in notes_from(sounding, onsets)] == [(10, 60, 5)]
    onsets[39, 5] = 0.9
    assert sorted(note[:3] for note in notes_from(sounding, onsets)) == [(10, 31, 5), (39, 60, 5)]


def test_what_is_too_short_or_beside_a_note_is_none():
    sounding, onsets = silence()
    sounding[10:40, 5], sounding[10:40, 6], sounding[60:65, 2] = 0.8, 0.4, 0.8
    onsets[10, 5] = onsets[60, 2] = 0.9
    assert [note[:3] for note in notes_from(sounding, onsets)] == [(10, 40, 5)]


def test_a_note_without_an_onset_is_found_from_its_middle():
    sounding, onsets = silence()
    sounding[20:51, 7] = np.r_[np.linspace(0.31, 0.9, 16), np.linspace(0.9, 0.31, 15)]
    # The end is one frame short, as in the reference.
    assert [note[:3] for note in notes_from(sounding, onsets)] == [(20, 50, 7)]


def test_nothing():
    assert notes_from(*silence()) == []
    assert notes_from(np.zeros((1, KEYS)), np.zeros((1, KEYS))) == []


def test_windows_follow_each_other_without_a_gap():
    x = np.arange(1, 2 * STEP + 10, dtype=np.float32)
    parts = list(windows(x))
    assert [start for start, _ in parts] == [0, STEP, 2 * STEP]
    for start, window in parts:
        assert len(window) == WINDOW
        assert window[CUT * HOP] == x[start]


def test_tones_are_found():
    pytest.importorskip("onnxruntime", reason="the extra transcribe")
    rate, rng = 16_000, np.random.default_rng(0)
    wanted, x = [(60, 0.5), (64, 1.2), (67, 1.2), (57, 2.1)], rng.normal(0, 1e-4, 3 * rate)
    for pitch, start in wanted:
        t = np.arange(round(0.6 * rate)) / rate
        tone = sum(np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * h * t) / h**2 for h in range(1, 8))
        x[round(start * rate) :][: len(t)] += 0.1 * tone * np.exp(-4 * t)
    found = transcribe(x.astype(np.float32), rate)
    assert [note.pitch for note in found] == [pitch for pitch, _ in wanted]
    assert np.abs([note.start_s - start for note, (_, start) in zip(found, wanted, strict=True)]).max() < 0.03
