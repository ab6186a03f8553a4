"""The player of harmonic instruments: its twin in torch, blocks and the whole, controllers, closed forms."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, small_weights
from scipy.signal import hilbert

from synthnet.generation.harmonic import (
    KEY_STRIDE,
    VIBRATO_FROM_S,
    VIBRATO_FULL_S,
    HarmonicPlayer,
    Part,
)
from synthnet.kernels.voices import TABLE_SAMPLES, Breakpoints
from synthnet.models import HarmonicInstrument, build_model
from synthnet.models.envelopes import (
    TABLE_SCALE,
    Notes,
    bent_time,
    linear_features,
    make_notes,
    note_features,
    time_features,
)
from synthnet.score.controllers import ChannelControllers, Controls

RATE_HZ = 8_000
MOVING = Controls(
    pitch=((0.05, 2.0), (0.3011, -1.0), (0.9, 0.5)),
    vibrato=((0.0, 0.2), (0.4, 1.0), (1.1, 0.0)),
    gain=((0.2, 0.5), (0.7, 1.2), (0.7003, 0.9)),
)


def notes(*rows: tuple[int, int, float, float], rate: int = RATE_HZ) -> Notes:
    """Notes of (pitch, velocity, onset in seconds, release in seconds)."""
    pitch, velocity, onset_s, release_s = np.array(rows, float).reshape(-1, 4).T
    return make_notes(pitch, velocity, np.round(onset_s * rate), np.round(release_s * rate), rate)


MUSIC = notes(
    (48, 60, 0.0, 1.3), (60, 90, 0.0101, 0.2), (64, 110, 0.2, 0.3507), (60, 70, 0.41, 0.42), (67, 127, 0.9, 1.11)
)  # fmt: skip


def player(seed: int = 0, rate: int = RATE_HZ) -> HarmonicPlayer:
    return HarmonicPlayer(SMALL, small_weights(), rate, seed=seed)


def pure(rate: int = RATE_HZ, **changes: np.ndarray) -> HarmonicPlayer:
    """A player whose notes are sines of amplitude 0.1, without noise."""
    weights = {name: np.zeros_like(value) for name, value in small_weights().items()}
    weights["out.bias"][:] = -40
    weights["out.bias"][0] = np.log(0.1)
    weights |= {"ratios": np.arange(1.0, 9.0), "nearest": np.arange(128), "release_s": np.full(128, 0.2), **changes}
    return HarmonicPlayer(SMALL, weights, rate)


def peak_hz(x: np.ndarray, rate: int) -> float:
    """Frequency of the highest peak of a spectrum."""
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), 1 << 18))
    at = int(spectrum.argmax())
    a, b, c = np.log(spectrum[at - 1 : at + 2])
    return (at + 0.5 * (a - c) / (a - 2 * b + c)) * rate / (1 << 18)


def cents(hz: float, reference_hz: float) -> float:
    return float(1200 * np.log2(hz / reference_hz))


def decibels(x: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(x.astype(np.float64) ** 2)))


def small_model() -> HarmonicInstrument:
    model = build_model(SMALL)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in small_weights().items()})
    return model


def test_log_amplitudes_are_those_of_the_networks_layers() -> None:
    """The formulas that the player and the model share, against torch's modules."""
    model, time_s = small_model(), np.linspace(0, 2.9, 35, dtype=np.float32).reshape(5, 7)
    release_s = time_s - 1
    with torch.no_grad():
        note = torch.cat([model.key(torch.from_numpy(MUSIC.pitch)), torch.from_numpy(note_features(MUSIC))], 1)
        times = torch.from_numpy(time_features(time_s, release_s, 3.0))
        level = model.out(model.hidden(torch.cat([note[:, None].expand(-1, 7, -1), times], -1)))
        level += model.slopes(torch.from_numpy(linear_features(MUSIC, time_s)))
        fall, gain = (table(torch.from_numpy(MUSIC.pitch))[:, None] for table in (model.fall, model.gain))
        expected = level + TABLE_SCALE * (gain + fall * torch.from_numpy(bent_time(time_s))[..., None])
        for network in (model, player()):
            found = torch.as_tensor(network.log_amplitudes(MUSIC, time_s, release_s))
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_player_is_the_model() -> None:
    model, mine, n = small_model(), player(), 7_900  # a single block
    positions = (mine.first_noise + KEY_STRIDE * MUSIC.pitch) % TABLE_SAMPLES
    with torch.no_grad():
        expected = model(MUSIC, np.zeros(len(MUSIC.pitch), np.int64), 1, n, RATE_HZ, positions)[0].numpy()
    played = mine.play(Part(MUSIC), 0, n)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(played, expected, atol=1e-5)


@pytest.mark.parametrize("controls", [Controls(), MOVING], ids=["still", "moving"])
@pytest.mark.parametrize("size", [40, 137, 3_001, 12_000])
def test_blocks_are_the_whole(size: int, controls: Controls) -> None:
    mine, part = player(), Part(MUSIC, controls)
    whole = mine.play(part, 0, 12_000)
    blocks = [mine.play(part, start, min(start + size, 12_000)) for start in range(0, 12_000, size)]
    assert np.abs(whole).max() > 0.1
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)


def test_controls_that_change_nothing_change_nothing() -> None:
    still, wheel = player().play(Part(MUSIC), 0, 9_000), Controls(pitch=((20.0, 1.0),), gain=((20.0, 0.1),))
    np.testing.assert_allclose(player().play(Part(MUSIC, wheel), 0, 9_000), still, atol=3e-5)


def test_a_note_begins_at_its_sample_and_ends_with_its_release() -> None:
    audio = player().play(Part(notes((60, 100, 0.2, 0.5))), 0, RATE_HZ)
    onset, end = round(0.2 * RATE_HZ), round((0.5 + small_weights()["release_s"][60]) * RATE_HZ)
    assert not audio[:onset].any()
    assert audio[onset : onset + 20].all()
    assert audio[end - 40 : end].any()
    assert not audio[end + 1 :].any()


def test_silence_is_zeros() -> None:
    assert not player().play(Part(notes()), 0, 5_000).any()
    assert not player().play(Part(notes((60, 100, 1.0, 2.0))), 0, RATE_HZ).any()
    assert not player().play(Part(notes((60, 100, 1.0, 2.0))), 3 * RATE_HZ, 4 * RATE_HZ).any()
    assert player().play(Part(MUSIC), 5, 5).shape == (0,)


def test_levels_beyond_the_longest_note_go_on_as_they_tend() -> None:
    """What fell over the last 2 s falls by as much every 2 s; what rose or stayed keeps within its range."""
    mine, one = player(), notes((60, 100, 0.0, 100.0))

    def levels(times_s: np.ndarray) -> np.ndarray:
        times = times_s.astype(np.float32)[None]
        held = Breakpoints(np.zeros(times.shape, int), times, np.full_like(times, -1), np.ones_like(times))
        return np.log(mine.amplitudes(one, held, np.full(1, 0.2))[0])

    last, later = levels(np.linspace(1, 3, 201)), levels(np.linspace(3, 20, 1701))
    slope = last[-1] - last[0]
    falling = slope < 0
    assert 0 < falling.sum() < len(falling)
    for periods in range(1, 8):
        expected = last[-1] + periods * np.minimum(slope, 0) + (~falling) * (periods % 2) * (last[0] - last[-1])
        np.testing.assert_allclose(levels(np.array([3.0 + 2 * periods]))[0], expected, atol=1e-3)
    assert (later[:, ~falling] <= last[:, ~falling].max(axis=0) + 1e-4).all()
    assert (later[:, ~falling] >= last[:, ~falling].min(axis=0) - 1e-4).all()
    steepest = np.abs(np.diff(last, axis=0)).max()
    assert np.abs(np.diff(levels(np.linspace(2.9, 9, 611)), axis=0)).max() < 3 * steepest  # no jump


def test_a_sine_has_the_frequency_of_its_key() -> None:
    audio = pure(cents=np.full(128, 7.0)).play(Part(notes((69, 100, 0.0, 1.0))), 0, RATE_HZ)
    expected = 0.1 * np.sin(2 * np.pi * 440 * 2 ** (7 / 1200) * np.arange(RATE_HZ) / RATE_HZ)
    np.testing.assert_allclose(audio, expected, atol=1e-5)


@pytest.mark.parametrize("semitones", [2.0, -2.0, 0.37])
def test_bends(semitones: float) -> None:
    part = Part(notes((69, 100, 0.0, 1.0)), Controls(pitch=((0.0, semitones),)))
    audio = pure().play(part, 0, RATE_HZ)
    assert cents(peak_hz(audio, RATE_HZ), 440) == pytest.approx(100 * semitones, abs=2)


def test_a_bend_leaves_no_click() -> None:
    part = Part(notes((69, 100, 0.0, 1.0)), Controls(pitch=((0.3, 2.0),)))
    audio = pure().play(part, 0, RATE_HZ)
    assert np.abs(np.diff(audio)).max() < 0.1 * 2 * np.pi * 440 * 2 ** (2 / 12) / RATE_HZ * 1.01
    assert cents(peak_hz(audio[: round(0.3 * RATE_HZ)], RATE_HZ), 440) == pytest.approx(0, abs=2)
    assert cents(peak_hz(audio[round(0.31 * RATE_HZ) :], RATE_HZ), 440) == pytest.approx(200, abs=2)


def test_vibrato() -> None:
    rate = 16_000
    part = Part(notes((81, 100, 0.0, 3.0), rate=rate), Controls(vibrato=((0.0, 1.0),)))
    audio = pure(rate).play(part, 0, 3 * rate)
    phase = np.unwrap(np.angle(hilbert(audio.astype(np.float64))))[rate // 2 : -rate // 2]  # 2 s, eleven cycles
    moved = 1200 * np.log2(np.diff(phase) * rate / (2 * np.pi) / 880)
    spectrum = np.abs(np.fft.rfft(moved)) / len(moved) * 2
    assert spectrum[1:60].argmax() + 1 == 11
    assert spectrum[11] == pytest.approx(50, abs=1)
    assert moved.mean() == pytest.approx(0, abs=1)


def vibrating(rate: int, hz: float = 6.0, depth: float = 30.0) -> HarmonicPlayer:
    mine = pure(rate)
    mine.config = replace(SMALL, vibrato_hz=hz, vibrato_cents=depth)
    return mine


def test_held_notes_have_the_players_vibrato() -> None:
    rate = 16_000
    one = Part(notes((81, 100, 0.5, 3.0), rate=rate))
    audio = vibrating(rate).play(one, 0, 3 * rate)[rate // 2 :]
    phase = np.unwrap(np.angle(hilbert(audio.astype(np.float64))))[: 2 * rate]
    moved = 1200 / np.log(2) * (np.diff(phase) * rate / (2 * np.pi) / 880 - 1)
    time_s = np.arange(len(moved)) / rate
    growth = np.clip((time_s - VIBRATO_FROM_S) / (VIBRATO_FULL_S - VIBRATO_FROM_S), 0, 1)
    expected = 30 * growth * np.sin(2 * np.pi * 6 * (time_s - VIBRATO_FROM_S))
    inside = slice(rate // 50, -rate // 50)
    smooth = np.convolve(moved, np.full(80, 1 / 80), "same")  # over a step of 5 ms
    np.testing.assert_allclose(smooth[inside], expected[inside], atol=4)


def test_a_release_ends_the_growth_of_a_vibrato_and_no_note_changes_before_it() -> None:
    part, longer = (Part(notes((69, 100, 0.1, end_s))) for end_s in (0.24, 2.0))
    short, held = (vibrating(RATE_HZ).play(one, 0, RATE_HZ) for one in (part, longer))
    np.testing.assert_allclose(short[: round(0.24 * RATE_HZ)], held[: round(0.24 * RATE_HZ)], atol=1e-6)
    brief = Part(notes((69, 100, 0.0, 0.05), (72, 100, 0.2, 0.25)))
    still, moving = (player.play(brief, 0, RATE_HZ) for player in (pure(), vibrating(RATE_HZ)))
    np.testing.assert_allclose(moving, still, atol=1e-5)


@pytest.mark.parametrize("size", [137, 3_001])
def test_blocks_of_a_vibrato_are_the_whole(size: int) -> None:
    mine = player()
    mine.config = replace(SMALL, vibrato_cents=25.0)
    for controls in (Controls(), MOVING):
        whole = mine.play(Part(MUSIC, controls), 0, 12_000)
        blocks = [mine.play(Part(MUSIC, controls), at, min(at + size, 12_000)) for at in range(0, 12_000, size)]
        np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-5)
        assert np.abs(whole - player().play(Part(MUSIC, controls), 0, 12_000)).max() > 1e-2


def controls_of(*changes: tuple[int, int]) -> Controls:
    channel = ChannelControllers()
    for control, value in changes:
        channel.receive(control, value, 0.0)
    return channel.controls()


def test_volume_and_expression_are_general_midis_gains() -> None:
    one = notes((69, 100, 0.1, 1.0))

    def level(*changes: tuple[int, int]) -> float:
        return decibels(pure().play(Part(one, controls_of(*changes)), RATE_HZ // 4, RATE_HZ))

    assert level((7, 64)) - level((7, 100)) == pytest.approx(40 * np.log10(64 / 100), abs=0.01)
    assert level((11, 50)) - level((11, 127)) == pytest.approx(40 * np.log10(50 / 127), abs=0.01)
    assert level((7, 80), (11, 90)) - level() == pytest.approx(40 * np.log10(80 / 100 * 90 / 127), abs=0.01)


def test_gains_are_smoothed_over_10_ms() -> None:
    controls = Controls(gain=((0.1, 0.5), (0.3, 1.5)))
    gain = controls.smoothed("gain", 0, RATE_HZ, RATE_HZ)
    assert isinstance(gain, np.ndarray)
    np.testing.assert_allclose(gain[[0, 800, 840, 880, 2_400, 2_440, 2_480, -1]], [1, 1, 0.75, 0.5, 0.5, 1, 1.5, 1.5])
    always = Controls(gain=((0.0, 0.25), (0.5, 1.0))).smoothed("gain", 0, RATE_HZ // 4, RATE_HZ)
    np.testing.assert_allclose(always, 0.25, rtol=1e-6)  # what is set at the beginning has always been there
    one = notes((69, 100, 0.0, 1.0))
    played, still = (pure().play(Part(one, how), 0, RATE_HZ) for how in (controls, Controls()))
    np.testing.assert_allclose(played, gain * still, atol=1e-6)


def test_the_same_seed_is_the_same_audio() -> None:
    whole = player().play(Part(MUSIC), 0, 9_000)
    np.testing.assert_array_equal(player().play(Part(MUSIC), 0, 9_000), whole)
    assert np.abs(player(seed=1).play(Part(MUSIC), 0, 9_000) - whole).max() > 1e-3


def test_pitch_and_level_are_those_of_any_rate() -> None:
    found = []
    for rate in (16_000, 44_100):
        audio = pure(rate).play(Part(notes((69, 100, 0.0, 1.0), rate=rate)), 0, rate)
        found.append((peak_hz(audio, rate), decibels(audio)))
    assert cents(found[0][0], found[1][0]) == pytest.approx(0, abs=1)
    assert found[0][1] == pytest.approx(found[1][1], abs=0.05)


def test_what_is_below_100_db_is_left_out_and_not_missed() -> None:
    def with_others_at(level_db: float) -> np.ndarray:
        bias = np.full(12, level_db / 20 * np.log(10), np.float32)
        bias[:4], bias[8:] = np.log(0.1), -40
        return pure(**{"out.bias": bias}).play(Part(notes((50, 100, 0.0, 1.0))), 0, RATE_HZ)

    np.testing.assert_array_equal(with_others_at(-100.5), with_others_at(-300))
    assert np.abs(with_others_at(-99) - with_others_at(-300)).max() > 1e-5


PLAY = """
import sys
from synthnet.generation.library import SHIPPED
from synthnet.models.checkpoint import load_checkpoint
from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.models.envelopes import make_notes

checkpoint = load_checkpoint(SHIPPED / "trumpet.safetensors")
player = HarmonicPlayer(checkpoint.config, checkpoint.weights, 8_000)
assert player.play(Part(make_notes([60], [90], [0], [3_000], 8_000)), 0, 4_000).any()
print("torch" in sys.modules)
"""


def test_torch_is_not_imported_to_play() -> None:
    here = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", PLAY], cwd=here, capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr
