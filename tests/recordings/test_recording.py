"""Reading a recording: channels, clipping, rumble, rates."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from synthnet.files import InputError
from synthnet.recordings.report import levels
from synthnet.recordings.sound import clipped_runs, read_recording, softest
from synthnet.score.notes import Note

RATE = 8_000


def tone(hz=440.0, seconds=1.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def written(path, samples, rate=RATE):
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def remarks_of(recording):
    """All but one: these tones hold nothing in the highest frequencies."""
    return [line for line in recording.remarks if "nothing above" not in line]


def test_a_clean_mono_file_comes_back_as_it_is(tmp_path):
    x = tone().astype(np.float32)
    found = read_recording(written(tmp_path / "a.wav", x), RATE)
    assert np.array_equal(found.samples, x)
    assert found.left_out == ()
    assert remarks_of(found) == []


def test_channels(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.01, (2, RATE))
    path = written(tmp_path / "a.wav", np.stack([tone() + noise[0], noise[1]], axis=1))
    assert np.allclose(read_recording(path, RATE, "left").samples, tone() + noise[0], atol=1e-6)
    assert np.allclose(read_recording(path, RATE, "right").samples, noise[1], atol=1e-6)
    (remark,) = remarks_of(read_recording(path, RATE))
    assert "comb" in remark
    against = written(tmp_path / "b.wav", np.stack([tone(), -0.9 * tone()], axis=1))
    with pytest.raises(InputError, match=r"b\.wav: left and right cancel"):
        read_recording(against, RATE)
    with pytest.raises(InputError, match="1 channel"):
        read_recording(written(tmp_path / "c.wav", tone()), RATE, "left")


def test_clipping_is_counted_and_too_much_of_it_refused(tmp_path):
    assert clipped_runs(np.array([0.1, 0.95, 0.95, 0.95, 0.2, -0.95, -0.95, 0.1])).tolist() == [[1, 4]]
    assert len(clipped_runs(np.full(10, 0.5))) == 0  # a flat top below full scale is not clipping
    loud = written(tmp_path / "a.wav", np.clip(3 * tone(), -1, 1))
    with pytest.raises(InputError, match=r"% of its samples are clipped"):
        read_recording(loud, RATE)
    assert len(read_recording(loud, RATE, keep_clipped=True).left_out) == 880  # each half wave
    once = tone()
    once[400:404] = 0.95
    found = read_recording(written(tmp_path / "b.wav", once), RATE)
    assert "4 samples are clipped" in remarks_of(found)[0]
    assert found.left_out == ((pytest.approx(0.03), pytest.approx(0.0705), "clipped"),)


def test_rumble_and_offset_are_taken_out_and_the_music_stays(tmp_path):
    found = read_recording(written(tmp_path / "a.wav", tone(seconds=4) + 0.1 + tone(5, 4, 0.1)), RATE)
    middle = slice(RATE, 3 * RATE)
    assert np.abs(found.samples - tone(seconds=4))[middle].max() < 0.01
    assert len(remarks_of(found)) == 1


def test_other_rates(tmp_path):
    found = read_recording(written(tmp_path / "a.wav", tone()), 2 * RATE)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / (2 * RATE))
    assert np.abs(found.samples - wanted)[1000:-1000].max() < 1e-3
    with pytest.raises(InputError, match="7999 samples a second"):
        read_recording(written(tmp_path / "b.wav", tone(), 7_999), RATE)
    with pytest.raises(InputError, match="silence"):
        read_recording(written(tmp_path / "c.wav", np.zeros(RATE)), RATE)


def test_floor():
    assert softest(np.r_[np.full(RATE, 0.5), np.full(RATE, 0.005), np.zeros(RATE)], RATE) == pytest.approx(0.005)


def test_the_floor_of_music_is_that_of_its_rests():
    hiss = np.random.default_rng(0).choice([-0.001, 0.001], 6 * RATE)
    sound = hiss + np.r_[tone(seconds=1), tone(seconds=3, amplitude=0.005), np.zeros(2 * RATE)]
    notes = [Note(69, 80, 0.0, 1.0), Note(69, 80, 1.0, 4.0)]
    level_dbfs, peak_dbfs, floor_db = levels(sound, notes, RATE)
    assert level_dbfs == pytest.approx(10 * np.log10((0.5**2 + 3 * 0.005**2) / 8 + 1e-6), abs=0.01)
    assert peak_dbfs == pytest.approx(20 * np.log10(0.501), abs=0.05)
    assert floor_db == pytest.approx(level_dbfs + 60, abs=0.01)
    assert levels(sound[: 5 * RATE], notes, RATE)[2] is None  # the last note may still ring
    silent = np.r_[sound[: 4 * RATE], np.zeros(3 * RATE)]
    assert levels(silent, notes, RATE)[2] is None  # digital silence is no floor


def test_digital_silence_beside_a_noise_floor_is_left_out(tmp_path):
    quiet = np.zeros(RATE // 2)
    noisy = np.random.default_rng(0).normal(0, 1e-3, RATE)
    found = read_recording(written(tmp_path / "a.wav", np.r_[quiet, noisy, quiet[: RATE // 25], noisy]), RATE)
    assert found.left_out == ((0.0, pytest.approx(0.5, abs=1e-3), "digital silence"),)  # 40 ms are too short
    dying = np.exp(-10 * np.arange(2 * RATE) / RATE)  # a synthesizer's silence is all there is
    assert read_recording(written(tmp_path / "b.wav", np.r_[quiet, tone(seconds=2) * dying]), RATE).left_out == ()


def test_a_part_of_a_file_is_read(tmp_path):
    path = written(tmp_path / "a.wav", np.r_[np.zeros(RATE), tone(seconds=2), np.zeros(RATE)])
    assert np.allclose(read_recording(path, RATE, span_s=(1.0, 3.0)).samples, tone(seconds=2), atol=1e-6)
    with pytest.raises(InputError, match="silence"):
        read_recording(path, RATE, span_s=(9.0, None))


def test_where_the_sound_ends_is_said(tmp_path):
    (remark, resampled) = read_recording(written(tmp_path / "a.wav", tone()), 44_100).remarks
    assert "nothing above" in remark
    assert "resampled" in resampled
