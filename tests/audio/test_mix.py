"""The mixer against closed forms: pan at constant power, volume, rates, stems, loudness and true peak of the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
from scipy.signal import resample_poly

from synthnet.audio.mix import Mixer, Source, Strip, _even_blocks, mix_in_memory, pan_gains, write_mix
from synthnet.score.controllers import ChannelControllers, Controls
from synthnet.score.notes import Note
from synthnet.score.roll import roll_events

RATE = 8_000
NOTES = roll_events([Note(60, 90, 0.0, 3.0)], RATE)


def mixer(sounds: np.ndarray, *controls: Controls, mono: bool = False, level: float = 1.0) -> Mixer:
    """Of sounds [T, n] or [T, n, 2], in uneven blocks."""
    blocks = iter(np.array_split(sounds.astype(np.float32), 7, axis=1))
    strips = [Strip(level, how, NOTES) for how in controls or [Controls()] * len(sounds)]
    return Mixer([Source(range(len(sounds)), blocks, RATE)], strips, range(sounds.shape[1]), RATE, mono)


def sine(hz: float, seconds: float = 3.0) -> np.ndarray:
    return 0.2 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def panned(value: int) -> Controls:
    channel = ChannelControllers()
    channel.receive(10, value, 0.0)
    return channel.controls()


def test_pan_has_constant_power_and_the_angles_of_rp_036() -> None:
    sound, gains = sine(440), []
    for value in range(128):
        audio = mix_in_memory(mixer(sound[None, :800], panned(value))).samples
        gains.append(audio[1:].T @ sound[1:800] / (sound[1:800] @ sound[1:800]))
    left, right = np.array(gains).T
    np.testing.assert_allclose(left**2 + right**2, 2, rtol=1e-5)
    angle = np.pi / 2 * np.maximum(0, np.arange(128) - 1) / 126
    np.testing.assert_allclose(left, np.sqrt(2) * np.cos(angle), atol=1e-5)
    np.testing.assert_allclose([left[64], right[64], left[0], right[127]], [1, 1, 2**0.5, 2**0.5], rtol=1e-5)
    np.testing.assert_allclose(pan_gains(0.5), 1, rtol=1e-6)


def test_a_sound_goes_from_side_to_side_at_constant_power() -> None:
    """From the left to the right at 0.05 s; the way takes 10 ms, on the angle."""
    moving = Controls(pan=((0.0, 0.0), (0.05, 1.0)))
    left, right = mix_in_memory(mixer(np.full((1, 800), 0.1), moving)).samples.T
    np.testing.assert_allclose(left**2 + right**2, 2 * 0.1**2, rtol=1e-4)
    np.testing.assert_allclose(right[[0, 400, 440, 480, 799]], 0.1 * np.sqrt([0, 0, 1, 2, 2]), atol=1e-6)


def test_stereo_sounds_keep_their_sides_and_are_balanced() -> None:
    both = np.stack([sine(440), 0.5 * sine(660)], axis=1)[None]
    np.testing.assert_allclose(mix_in_memory(mixer(both)).samples, both[0], rtol=1e-5)
    left = mix_in_memory(mixer(both, panned(0))).samples
    np.testing.assert_allclose(left, both[0] * [2**0.5, 0], atol=1e-6)
    mono = mix_in_memory(mixer(both, panned(0), mono=True)).samples
    np.testing.assert_allclose(mono, both[0].mean(axis=1), atol=1e-6)


def test_volume_and_level_are_factors_and_mono_is_the_centre() -> None:
    loud = ChannelControllers()
    loud.receive(7, 80, 0.0)
    loud.receive(11, 90, 0.0)
    sounds = np.stack([sine(440), sine(550)])
    stereo, mono = (mix_in_memory(mixer(sounds, *[loud.controls()] * 2, mono=m, level=0.5)) for m in (False, True))
    factor = 0.5 * (80 / 100 * 90 / 127) ** 2
    np.testing.assert_allclose(mono.samples, factor * sounds.sum(axis=0), atol=1e-6)
    np.testing.assert_allclose(stereo.samples, np.stack([mono.samples] * 2, axis=1), atol=1e-6)


@pytest.mark.parametrize("mono", [False, True])
def test_stems_add_up_to_the_mix(tmp_path: Path, mono: bool) -> None:
    sounds = np.stack([sine(440), 3 * sine(660), sine(880)])
    stems = {n: tmp_path / f"{n}.wav" for n in (0, 1, 2)}
    controls = [panned(10), panned(64), panned(127)]
    made = write_mix(mixer(sounds, *controls, mono=mono), tmp_path / "mix.wav", stems, bits=24)
    mix, *parts = (soundfile.read(path, always_2d=True)[0] for path in (tmp_path / "mix.wav", *stems.values()))
    assert mix.shape == (3 * RATE, 1 if mono else 2)
    np.testing.assert_allclose(mix, sum(parts), atol=1e-6)
    np.testing.assert_allclose(parts[1][:, 0], made.gain * sounds[1], atol=1e-6)


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg"])
def test_no_file_exceeds_1_db_below_full_scale_between_its_samples(tmp_path: Path, ending: str) -> None:
    """The second track is louder than the mix, which is 45 degrees off a quarter of the rate."""
    quarter = np.hanning(2 * RATE) * np.sin(np.pi / 2 * np.arange(2 * RATE) + np.pi / 4)
    sounds = np.stack([-1.5 * quarter, 3 * quarter])
    files = [tmp_path / f"{name}{ending}" for name in ("mix", "a", "b")]
    made = write_mix(mixer(sounds), files[0], dict(enumerate(files[1:])))
    peaks = []
    for file in files:
        between = resample_poly(soundfile.read(file)[0], 4, 1, axis=0, window=("kaiser", 12.0))
        peaks.append(20 * np.log10(np.abs(between).max()))
    assert max(peaks) <= -1
    assert peaks[2] == pytest.approx(-1.04, abs=0.3 if ending == ".ogg" else 0.05)
    assert peaks[0] == pytest.approx(20 * np.log10(made.true_peak), abs=0.1)
    assert made.gain < 1 / 3


@pytest.mark.parametrize(("lufs", "mono"), [(-16, False), (-30, True)])
def test_a_mix_is_brought_to_a_loudness(tmp_path: Path, lufs: float, mono: bool) -> None:
    sounds = np.stack([sine(440), sine(1_000) * np.linspace(0, 1, 3 * RATE)])
    made = write_mix(mixer(sounds, panned(0), panned(100), mono=mono), tmp_path / "a.wav", {}, lufs=lufs)
    heard = pyloudnorm.Meter(RATE).integrated_loudness(soundfile.read(tmp_path / "a.wav")[0])
    assert heard == pytest.approx(lufs, abs=0.1)
    assert made.loudness_lufs == pytest.approx(heard, abs=0.1)


def test_the_true_peak_comes_before_the_loudness(tmp_path: Path) -> None:
    clicks = np.zeros((1, 3 * RATE))
    clicks[0, ::800] = 0.5
    made = write_mix(mixer(clicks), tmp_path / "a.wav", {}, lufs=-5.0)
    heard, _ = soundfile.read(tmp_path / "a.wav")
    assert made.loudness_lufs == pytest.approx(pyloudnorm.Meter(RATE).integrated_loudness(heard), abs=0.1)
    assert made.loudness_lufs < -10
    assert 20 * np.log10(made.true_peak) == pytest.approx(-1.04, abs=0.01)
    silent = write_mix(mixer(np.zeros((1, RATE))), tmp_path / "silent.wav", {}, lufs=-16.0)
    assert (silent.gain, silent.true_peak, silent.loudness_lufs) == (1.0, 0.0, None)


def test_one_dither_for_each_channel(tmp_path: Path) -> None:
    write_mix(mixer(np.zeros((1, 3 * RATE))), tmp_path / "a.wav", {}, seed=1)
    left, right = soundfile.read(tmp_path / "a.wav", dtype="int16")[0].T
    assert set(np.unique(left)) == {-1, 0, 1}
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.05
    write_mix(mixer(np.zeros((1, 3 * RATE))), tmp_path / "b.wav", {}, bits="float")
    assert not soundfile.read(tmp_path / "b.wav")[0].any()


def test_no_samples_are_no_error(tmp_path: Path) -> None:
    assert mix_in_memory(mixer(np.zeros((1, 0)))).samples.shape == (0, 2)
    assert write_mix(mixer(np.zeros((1, 0))), tmp_path / "a.wav", {}, lufs=-16).n_samples == 0


def test_even_blocks_are_the_same_audio_and_are_read_no_further_than_needed() -> None:
    audio, taken = np.arange(40.0).reshape(2, 20), 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal taken
        for length in (7, 0, 1, 12):
            yield audio[:, taken : taken + length]
            taken += length

    made = []
    for block in _even_blocks(blocks(), 3):
        made.append(block)
        assert taken <= 3 * len(made)
    assert [block.shape[1] for block in made] == [3] * 6 + [2]
    np.testing.assert_array_equal(np.concatenate(made, axis=1), audio)
