"""Alignment against music whose truth is known, and its path against librosa's."""

from __future__ import annotations

from dataclasses import replace

import librosa
import numpy as np
import pytest

from synthnet.files import InputError
from synthnet.recordings.alignment import RATE_HZ, align, place, tuning_cents, warp
from synthnet.recordings.averaging import foot_of
from synthnet.score.notes import Note
from tests.recordings.measured import measured
from tests.recordings.standin import CENTS, risen_s, stand_in


@pytest.mark.parametrize(("rows", "columns"), [(1, 4), (5, 7), (60, 30), (40, 90)])
def test_the_path_costs_what_librosa_finds(rows, columns):
    cost = np.random.default_rng(rows).random((rows, columns))
    least, first, last = warp(cost.ravel(), np.zeros(rows, int), np.full(rows, columns))
    steps = {"step_sizes_sigma": np.array([[1, 1], [1, 0], [0, 1]]), "weights_mul": np.array([1.5, 1.0, 1.0])}
    total, path = librosa.sequence.dtw(C=cost, weights_add=np.zeros(3), **steps)
    assert least == pytest.approx(total[-1, -1], abs=1e-9)
    assert [[i, j] for i in range(rows) for j in range(first[i], last[i] + 1)] == path[::-1].tolist()


def test_a_band_is_a_matrix_that_is_infinite_outside():
    cost = np.random.default_rng(0).random((50, 60))
    low = np.clip(np.arange(50) - 8, 0, None)
    high = np.clip(np.arange(50) + 15, None, 60)
    high[-1] = 60
    inside = (np.arange(60) >= low[:, None]) & (np.arange(60) < high[:, None])
    whole = warp(np.where(inside, cost, np.inf).ravel(), np.zeros(50, int), np.full(50, 60))
    band = warp(cost[inside], low, high)
    assert band[0] == pytest.approx(whole[0], abs=1e-12)
    assert np.array_equal(band[1:], whole[1:])
    assert not np.isfinite(warp(np.full(4, np.inf), np.zeros(2, int), np.full(2, 2))[0])


@pytest.fixture(scope="module")
def piano():
    return stand_in("piano", seed=2)


@pytest.fixture(scope="module")
def violin():
    return stand_in("violin", seed=0)


def test_a_struck_instrument(piano):
    aligned = align(piano.score, piano.samples, piano.sample_rate_hz)
    m = measured(piano, aligned)
    assert aligned.struck
    assert aligned.tuning_cents == pytest.approx(CENTS, abs=3)
    assert (aligned.offset_s, aligned.drift_ppm) == (0, 0)
    assert len(aligned.notes) == len(piano.score)
    assert list(aligned.notes) == sorted(aligned.notes, key=lambda note: (note.start_s, note.pitch))
    assert np.percentile(m.scatter_s(), 90) < 0.005
    assert -0.010 < np.median(m.late_s) < 0
    _counted(m)
    _ends(m)
    _velocities(m)
    assert any(reason.endswith("notes not found") for _, _, reason in aligned.left_out)


def test_a_bowed_instrument(violin):
    aligned = align(violin.score, violin.samples, violin.sample_rate_hz)
    m = measured(violin, aligned)
    assert not aligned.struck
    assert np.percentile(m.scatter_s(by_key=True), 50) < 0.005
    assert np.percentile(m.scatter_s(by_key=True), 80) < 0.020
    rises = risen_s("violin", m.pitch.tolist())
    after_s = m.late_s - np.array([rises[key] for key in m.pitch.tolist()])
    assert np.percentile(after_s[m.found], 95) < 0.005
    _counted(m)
    _ends(m)
    _velocities(m)


def _counted(m):
    """What is not played is reported, what is played is found, the first note and the last are where they are."""
    good = np.abs(m.late_s - np.median(m.late_s)) < 0.05
    assert m.found[good].mean() > 0.95
    assert m.reported.mean() > 0.75  # the missing bar's first notes are those of the bar after it
    assert np.abs(m.late_s[[m.true_s.argmin(), m.true_s.argmax()]]).max() < 0.02


def _ends(m):
    assert np.median(np.abs(m.end_late_s[m.found])) < 0.03


def _velocities(m):
    truth, mine = np.log(m.velocities[:, m.found])
    assert 0.85 < np.polyfit(truth, mine, 1)[0] < 1.15
    assert np.corrcoef(truth, mine)[0, 1] > 0.9


def test_a_performance_from_another_clock(piano):
    lag_s, drift = 0.12, 80e-6
    labels = [
        replace(n, start_s=(n.start_s - lag_s) / (1 + drift), end_s=(n.end_s - lag_s) / (1 + drift))
        for n in piano.played
    ]
    aligned = align(labels, piano.samples, piano.sample_rate_hz, labels="performed")
    assert aligned.offset_s == pytest.approx(lag_s, abs=0.002)
    assert aligned.drift_ppm == pytest.approx(1e6 * drift, abs=5)
    late = np.array([mine.start_s - true.start_s for mine, true in zip(aligned.notes, piano.played, strict=True)])
    assert np.percentile(np.abs(late - np.median(late)), 90) < 0.005
    assert [note.velocity for note in aligned.notes] == [note.velocity for note in piano.played]


def test_exact_labels_come_back_as_they_are(piano):
    late = [replace(note, start_s=note.start_s + 0.01, end_s=note.end_s + 0.01) for note in piano.played]
    aligned = align(late, piano.samples, piano.sample_rate_hz, labels="exact")
    assert aligned.notes == tuple(late)
    assert aligned.offset_s == pytest.approx(-0.01, abs=0.003)
    assert aligned.drift_ppm == 0
    assert aligned.found.mean() > 0.95


def tones(starts_s, pitches, total_s, held_s=0.45):
    """Six harmonics for each note, 5 ms of attack, dying."""
    x, t = np.zeros(round(total_s * RATE_HZ), np.float32), np.arange(round(held_s * RATE_HZ)) / RATE_HZ
    for start, pitch in zip(starts_s, pitches, strict=True):
        hz = 440 * 2 ** ((pitch - 69) / 12)
        sound = sum(np.sin(2 * np.pi * hz * h * t) / h for h in range(1, 7))
        sound *= np.clip(t / 0.005, 0, 1) * np.exp(-4 * t) * np.clip((held_s - t) / 0.01, 0, 1)
        x[round(start * RATE_HZ) :][: len(t)] += 0.1 * sound
    return x


def test_applause_is_left_out_and_silence_at_the_ends_holds_no_notes():
    pitches = [60, 64, 67, 72, 65, 69] * 6
    starts = 3.0 + 0.5 * np.arange(len(pitches))
    x = tones(starts, pitches, 30.0)
    x[25 * RATE_HZ : 27 * RATE_HZ] += np.random.default_rng(0).normal(0, 0.05, 2 * RATE_HZ).astype(np.float32)
    score = [Note(p, 64, 0.3 * i, 0.3 * i + 0.28) for i, p in enumerate(pitches)]
    aligned = align(score, x, RATE_HZ)
    assert [note.start_s for note in aligned.notes] == pytest.approx(list(starts), abs=0.02)
    assert aligned.found.all()
    ((first, last, reason),) = aligned.left_out
    assert (first, last) == pytest.approx((25, 27), abs=0.11)
    assert reason == "sound where the score is silent"


def test_the_path_goes_through_anchors():
    pitches = [60] * 12  # nothing but the anchors tells which is which
    starts = np.r_[1.0 + 0.5 * np.arange(6), 6.0 + 0.5 * np.arange(6)]
    x, score = tones(starts, pitches, 10), [Note(60, 64, 0.5 * i, 0.5 * i + 0.4) for i in range(12)]
    anchors = [(0.5 * i, float(starts[i])) for i in (0, 5, 6, 11)]
    found = place(score, x, 0.0, anchors)[0]
    assert found[[0, 5, 6, 11]] == pytest.approx(starts[[0, 5, 6, 11]], abs=0.03)
    moved = place(score, x, 0.0, [(2.5, 6.5)])[0]
    assert moved[5] == pytest.approx(6.5, abs=0.03)
    with pytest.raises(InputError, match="anchors"):
        place(score, x, 0.0, [(1.0, 5.0), (4.0, 2.0)])


def test_tuning_of_a_piece():
    x = tones(0.5 * np.arange(8), 57 + np.arange(8) - 0.31, 5.0)
    assert tuning_cents(x) == pytest.approx(-31, abs=1)


def test_the_foot_of_a_rise():
    curve = np.r_[np.linspace(0.5, 0, 120), np.linspace(0, 1, 21), np.linspace(1, 0.2, 69)]
    foot, rise = foot_of(curve)
    assert foot == pytest.approx(120 + 0.08 * 20, abs=0.2)
    assert rise == pytest.approx(0.87 * 20, abs=0.2)
