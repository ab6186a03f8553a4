"""RMSE-CQT against librosa on rendered music and a transform written out; the dither floor against draws; right
pitch, level, bursts and collapses on sounds made to have them."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.stats
import soxr

from synthnet.audio.mulaw import DITHER_WIDTH, decode_mu_law, dither, dither_floor_nats, encode_mu_law
from synthnet.corpus.corpus import FULL_SCALE, Corpus
from synthnet.evaluation.cqt import cqt_decibels, cqt_magnitudes, mean_and_ci95, rmse_cqt_db
from synthnet.evaluation.level import collapsed_seconds, level_difference_db, start_burst_db
from synthnet.evaluation.pitch import note_pitches
from synthnet.files import InputError
from synthnet.score.general_midi import find_instrument
from synthnet.score.roll import RollEvents, roll_events

RATE = 16_000
HOP = 512
Q = 1 / (2 ** (1 / 12) - 1)
BIN_HZ = 32.703 * 2 ** (np.arange(84) / 12)


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def written_out_cqt(x: np.ndarray, rate_hz: int, hop: int) -> np.ndarray:
    """The definition, one inner product after the other: |sum x[t + n] w[n] e^(-i w n)| / sum w * sqrt(length)."""
    magnitudes = np.zeros((84, 1 + len(x) // hop))
    for k, frequency_hz in enumerate(BIN_HZ):
        length = int(np.ceil(Q * rate_hz / frequency_hz))
        n = np.arange(length) - (length + 1) // 2
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        kernel = window / window.sum() * np.exp(-2j * np.pi * frequency_hz * n / rate_hz)
        reflected = np.pad(x.astype(np.float64), length, mode="reflect")
        for frame in range(magnitudes.shape[1]):
            there = reflected[frame * hop + length + n]
            magnitudes[k, frame] = abs(there @ kernel) * np.sqrt(length)
    return magnitudes


class TestCqtMagnitudes:
    @pytest.mark.parametrize(("rate_hz", "hop"), [(8_000, 256), (16_000, 512), (22_050, 706)])
    def test_against_the_definition(self, rate_hz: int, hop: int) -> None:
        x = noise(rate_hz)
        magnitudes = cqt_magnitudes(x, rate_hz)
        assert magnitudes.dtype == np.float32
        np.testing.assert_allclose(magnitudes, written_out_cqt(x, rate_hz, hop), rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("n", [1, 1_000, 8_192, 8_193, 16_000, 40_000])
    def test_any_length(self, n: int) -> None:
        magnitudes = cqt_magnitudes(noise(n), RATE)
        assert magnitudes.shape == (84, 1 + n // HOP)
        assert (magnitudes[48:] > 0).all()

    def test_a_sine_lights_its_bin(self) -> None:
        x = np.sin(2 * np.pi * BIN_HZ[45] * np.arange(RATE) / RATE).astype(np.float32)
        magnitudes = cqt_magnitudes(x, RATE)[:, 5:-5]
        assert (magnitudes.argmax(axis=0) == 45).all()
        length = np.ceil(Q * RATE / BIN_HZ[45])
        np.testing.assert_allclose(magnitudes[45], np.sqrt(length) / 2, rtol=0.01)

    def test_says_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cqt_magnitudes(noise(12_000), 12_000)  # a rate whose transform isn't cached yet
        assert capfd.readouterr() == ("", "")

    def test_too_low_a_rate(self) -> None:
        with pytest.raises(InputError, match="8000 Hz"):
            cqt_magnitudes(noise(7_000), 7_000)


@pytest.fixture(scope="module")
def synth() -> Iterator[Any]:
    """FluidSynth at 64 kHz with a General MIDI sound font, loaded once."""
    fluidsynth = pytest.importorskip("fluidsynth")
    soundfont = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
    if not soundfont.exists():
        package = importlib.util.find_spec("pretty_midi")
        assert package is not None
        assert package.origin is not None
        soundfont = Path(package.origin).with_name("TimGM6mb.sf2")
    synth = fluidsynth.Synth(gain=0.5, samplerate=64_000.0)
    synth.setting("synth.reverb.active", 0)
    synth.setting("synth.chorus.active", 0)
    synth.sfload(str(soundfont))
    yield synth
    synth.delete()


def render(synth: Any, program: int, pitches: list[int]) -> np.ndarray:
    """Notes of 0.25 s one after the other at 16 kHz, peak 0.9."""
    synth.system_reset()
    synth.program_change(0, program)
    blocks = []
    for pitch in pitches:
        synth.noteon(0, pitch, 90)
        blocks.append(synth.get_samples(16_000).reshape(-1, 2).mean(axis=1))
        synth.noteoff(0, pitch)
    samples = soxr.resample(np.concatenate(blocks), 64_000, RATE)
    return (0.9 * samples / np.abs(samples).max()).astype(np.float32)


PRELUDE = [43, 50, 59, 57, 59, 50, 59, 50, 43, 52, 60, 59]  # BWV 1007, the first notes


def librosa_rmse_db(reference: np.ndarray, test: np.ndarray) -> list[float]:
    """RMSE-CQT as metrics.py words it, on librosa's recursive transform."""

    def magnitudes(x: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # its lowest octave's frame is longer than the second
            return np.abs(
                librosa.cqt(x, sr=RATE, hop_length=HOP, fmin=32.703, n_bins=84, sparsity=0, pad_mode="reflect")
            )

    figures = []
    for start in range(0, len(reference) - RATE + 1, RATE):
        pair = magnitudes(reference[start : start + RATE]), magnitudes(test[start : start + RATE])
        first, second = (np.maximum(librosa.amplitude_to_db(m, ref=pair[0].max(), top_db=None), -80) for m in pair)
        figures.append(float(np.sqrt(np.mean((first - second) ** 2))))
    return figures


@pytest.mark.parametrize("program", [1, 42, 56, 80])
def test_against_librosa_on_music(synth: Any, program: int) -> None:
    target = render(synth, program, PRELUDE)
    tests = {
        "dithered and coded": decode_mu_law(encode_mu_law(target + dither(len(target), np.random.default_rng(0)))),
        "10 ms late": np.concatenate([np.zeros(160, np.float32), target[:-160]]),
        "other notes": render(synth, program, [pitch + 5 for pitch in PRELUDE]),
        "white noise": noise(len(target)),
    }
    means = {}
    for name, test in tests.items():
        figures = rmse_cqt_db(target, test, RATE)
        assert len(figures) == 3
        np.testing.assert_allclose(figures, librosa_rmse_db(target, test), atol=1)
        means[name] = figures.mean()
    assert means["dithered and coded"] < means["10 ms late"] < 10 < means["other notes"]
    assert means["white noise"] > 10


class TestRmseCqt:
    def test_equal_is_zero(self) -> None:
        x = noise(2 * RATE)
        assert rmse_cqt_db(x, x.copy(), RATE).tolist() == [0.0, 0.0]

    def test_half_the_level_is_six_decibels(self) -> None:
        x = noise(3 * RATE)  # white: every bin of it is far above the floor
        assert cqt_decibels(x, x, RATE)[0].min() > -70
        np.testing.assert_allclose(rmse_cqt_db(x, 0.5 * x, RATE), 20 * np.log10(2), atol=1e-5)
        np.testing.assert_allclose(rmse_cqt_db(x, 10 * x, RATE), 20, atol=1e-4)

    def test_both_stop_at_the_floor(self) -> None:
        x = noise(RATE)
        reference_db, test_db = cqt_decibels(x, np.zeros_like(x), RATE)
        assert reference_db.shape == test_db.shape == (84, 32)
        assert reference_db.max() == 0
        assert (test_db == -80).all()
        expected = np.sqrt(np.mean((reference_db + 80) ** 2))
        assert rmse_cqt_db(x, np.zeros_like(x), RATE) == [pytest.approx(expected)]
        assert (cqt_decibels(x, 1e-6 * x, RATE)[1] == -80).all()

    def test_hand_made_decibels(self) -> None:
        x = noise(RATE)
        magnitudes = written_out_cqt(x, RATE, HOP)
        expected = 20 * np.log10(magnitudes / magnitudes.max())
        reference_db, test_db = cqt_decibels(x, (0.01 * x).astype(np.float32), RATE)
        np.testing.assert_allclose(reference_db, expected, atol=0.05)
        np.testing.assert_allclose(test_db, np.maximum(expected - 40, -80), atol=0.05)

    def test_only_levels_relative_to_the_reference_count(self) -> None:
        a, b = noise(RATE, 1), noise(RATE, 2)
        assert rmse_cqt_db(a / 64, b / 64, RATE) == rmse_cqt_db(a, b, RATE)  # a power of two: exact
        assert rmse_cqt_db(a, b, RATE) != rmse_cqt_db(a, b / 64, RATE)

    def test_each_second_stands_alone(self) -> None:
        a, b = noise(2 * RATE, 3), noise(2 * RATE, 4)
        a[RATE:] /= 1000
        alone = [rmse_cqt_db(a[:RATE], b[:RATE], RATE)[0], rmse_cqt_db(a[RATE:], b[RATE:], RATE)[0]]
        assert rmse_cqt_db(a, b, RATE).tolist() == alone

    def test_remainders(self) -> None:
        a, b = noise(2 * RATE + RATE // 2, 5), noise(2 * RATE + RATE // 2, 6)
        assert (rmse_cqt_db(a, b, RATE) == rmse_cqt_db(a[: 2 * RATE], b[: 2 * RATE], RATE)).all()
        half, rest = RATE // 2, np.zeros(RATE - RATE // 2, np.float32)
        padded = rmse_cqt_db(np.concatenate([a[:half], rest]), np.concatenate([b[:half], rest]), RATE)
        assert rmse_cqt_db(a[:half], b[:half], RATE) == padded

    def test_silent_reference(self) -> None:
        silence = np.zeros(RATE, np.float32)
        assert rmse_cqt_db(silence, silence, RATE) == [0.0]
        assert 0 < rmse_cqt_db(silence, dither(RATE, np.random.default_rng(7)), RATE)[0] < 3
        low_c = np.sin(2 * np.pi * 32.703 * np.arange(RATE) / RATE).astype(np.float32)
        assert cqt_decibels(silence, low_c, RATE)[1][0, 16] == pytest.approx(0, abs=0.1)

    @pytest.mark.parametrize(("n_reference", "n_test"), [(RATE, RATE - 1), (0, 0), (0, 5)])
    def test_lengths(self, n_reference: int, n_test: int) -> None:
        with pytest.raises(InputError, match=f"not {n_reference} and {n_test}"):
            rmse_cqt_db(noise(n_reference), noise(n_test), RATE)


class TestMeanAndCi95:
    def test_by_hand(self) -> None:
        assert mean_and_ci95([1.0, 2.0, 3.0]) == (2.0, pytest.approx(4.302653 / np.sqrt(3), rel=1e-6))

    def test_against_scipy(self) -> None:
        values = np.random.default_rng(8).normal(5, 2, 17)
        mean, half_width = mean_and_ci95(values)
        low, high = scipy.stats.t.interval(0.95, 16, values.mean(), scipy.stats.sem(values))
        assert (mean - half_width, mean + half_width) == pytest.approx((low, high))

    def test_one_value_and_none(self) -> None:
        mean, half_width = mean_and_ci95([3.0])
        assert mean == 3.0
        assert np.isnan(half_width)
        with pytest.raises(ValueError, match="no values"):
            mean_and_ci95([])


class TestDitherFloor:
    def test_silence_in_closed_form(self) -> None:
        f = (2 * np.arange(1, 256) - 256) / 255
        boundary = np.concatenate([[-1], np.sign(f) * (256.0 ** np.abs(f) - 1) / 255, [1]])
        share = np.diff(scipy.stats.triang(0.5, loc=-DITHER_WIDTH, scale=2 * DITHER_WIDTH).cdf(boundary))
        share = share[share > 0]
        assert dither_floor_nats(np.zeros(1000, np.float32)) == pytest.approx(-(share @ np.log(share)))

    def test_against_draws(self) -> None:
        clean = np.array([0.0, 0.0004, -0.01, 0.03, -0.2, 0.7])
        rng, n = np.random.default_rng(9), 200_000
        entropies = [
            scipy.stats.entropy(np.bincount(encode_mu_law(value + dither(n, rng)), minlength=256)) for value in clean
        ]
        assert dither_floor_nats(clean) == pytest.approx(np.mean(entropies), abs=0.003)

    def test_every_sample_counts(self) -> None:
        quiet, loud = dither_floor_nats(np.zeros(1)), dither_floor_nats(np.array([0.7]))
        assert quiet > 2 > loud
        mixed = np.concatenate([np.zeros(30), np.full(10, 0.7)])
        assert dither_floor_nats(mixed) == pytest.approx((3 * quiet + loud) / 4)
        many = np.arange(-20_000, 20_000) / 32768  # more levels than are worked on at once
        single = [dither_floor_nats(many[start : start + 100]) for start in range(0, len(many), 100)]
        assert dither_floor_nats(many) == pytest.approx(np.mean(single))

    def test_clipped_sound_has_no_entropy(self) -> None:
        assert dither_floor_nats(np.array([-1.0, 1.0])) == 0.0

    def test_nothing(self) -> None:
        with pytest.raises(ValueError, match="no samples"):
            dither_floor_nats(np.zeros(0))


SPECTRA: dict[str, Callable[[int], float]] = {  # amplitude of harmonic h
    "sawtooth": lambda h: 1 / h,
    "sine": lambda h: float(h == 1),
    "odd harmonics": lambda h: (h % 2) / h,
    "fundamental 20 dB weaker": lambda h: 0.1 if h == 1 else 1 / h,
    "no fundamental": lambda h: float(2 <= h <= 12),
    "third strongest": lambda h: 1.0 if h == 3 else 0.4 / h,
}


def tone(pitch: float, n: int, spectrum: str = "sawtooth", partials: tuple[float, ...] = ()) -> np.ndarray:
    """Partials, those below 7.6 kHz, of a pitch that may lie between keys: float32 [n], peak at most 0.3."""
    frequency_hz = 440 * 2 ** ((pitch - 69) / 12)
    x = np.zeros(n)
    for order, ratio in enumerate(partials or range(1, 25), start=1):
        if ratio * frequency_hz < 0.475 * RATE:
            x += SPECTRA[spectrum](order) * np.sin(2 * np.pi * ratio * frequency_hz / RATE * np.arange(n) + order)
    return (0.3 * x / np.abs(x).max()).astype(np.float32)


def events_of(*notes: tuple[int, float, float]) -> RollEvents:
    """Of pitch, onset and release in seconds, sorted by onset."""
    pitch, onset, release = zip(*notes, strict=True)
    times = (np.round(np.array(times) * RATE).astype(int) for times in (onset, release))
    return RollEvents(np.array(pitch), *times, np.full(len(pitch), 100), RATE)


def scale(pitches: Sequence[int], seconds: float) -> RollEvents:
    """One note after the other."""
    return events_of(*((pitch, k * seconds, (k + 1) * seconds) for k, pitch in enumerate(pitches)))


class TestNotePitches:
    pitches = (36, 43, 55, 62, 67, 74, 84)

    @pytest.mark.parametrize("spectrum", SPECTRA)
    @pytest.mark.parametrize("seconds", [0.2, 0.5])
    def test_of_known_tones(self, spectrum: str, seconds: float) -> None:
        x = np.concatenate([tone(pitch, round(seconds * RATE), spectrum) for pitch in self.pitches])
        notes = note_pitches(x, scale(self.pitches, seconds))
        assert notes.share == 1, notes
        np.testing.assert_allclose(notes.found, self.pitches, atol=0.4)
        np.testing.assert_allclose(notes.start_s, seconds * np.arange(7))
        for wrong in (-12, -7, -1, 1, 7, 12):
            other = note_pitches(x, scale([pitch + wrong for pitch in self.pitches], seconds))
            assert not other.right.any(), wrong
            np.testing.assert_allclose(other.found, notes.found)

    @pytest.mark.parametrize(("cents", "right"), [(-60, 0), (-30, 1), (0, 1), (30, 1), (60, 0)])
    def test_a_quarter_tone_is_the_limit(self, cents: int, right: int) -> None:
        x = np.concatenate([tone(pitch + cents / 100, RATE // 4) for pitch in self.pitches])
        notes = note_pitches(x, scale(self.pitches, 0.25))
        assert notes.share == right
        np.testing.assert_allclose(notes.found - notes.expected, cents / 100, atol=0.18)

    def test_in_noise_10_decibels_below_the_tone(self) -> None:
        x = np.concatenate([tone(pitch, RATE // 4) for pitch in self.pitches])
        x += np.sqrt(0.1 * np.mean(x**2)) * noise(len(x)) / 0.1
        assert note_pitches(x, scale(self.pitches, 0.25)).share == 1
        assert note_pitches(noise(len(x)), scale(self.pitches, 0.25)).share < 0.5

    def test_chords(self) -> None:
        chord = [(48, 0.0, 1.0), (55, 0.0, 1.0), (64, 0.0, 1.0)]
        x = sum(tone(pitch, RATE) for pitch, _, _ in chord)
        assert note_pitches(x, events_of(*chord)).share == 1
        notes = note_pitches(x, events_of(*chord[:2], (65, 0.0, 1.0)))  # it plays E where the score says F
        assert notes.right.tolist() == [True, True, False]
        assert notes.found[2] == pytest.approx(64, abs=0.4)

    def test_a_bass_under_a_melody(self) -> None:
        """Two notes sound at a time, wherever they begin and end."""
        events = events_of((43, 0.0, 1.0), (62, 0.0, 0.25), (66, 0.25, 0.5), (69, 0.5, 0.75), (73, 0.75, 1.0))
        x = tone(43, RATE) + np.concatenate([tone(pitch, RATE // 4) for pitch in (62, 66, 69, 73)])
        assert note_pitches(x, events).share == 1
        silent_bass = np.concatenate([tone(pitch, RATE // 4) for pitch in (62, 66, 69, 73)])
        assert not note_pitches(silent_bass, events).right[0]

    def test_which_notes_are_judged(self) -> None:
        events = events_of((60, 0.0, 0.08), (60, 0.1, 0.181), (60, 0.3, 0.6), (60, 0.8, 1.01))
        notes = note_pitches(tone(60, RATE), events)  # too short; just long enough; long; past the end
        assert notes.start_s.tolist() == [0.1, 0.3]
        assert notes.share == 1
        assert np.isnan(note_pitches(tone(60, RATE), events_of((60, 0.0, 0.05))).share)

    def test_silence_has_no_pitch(self) -> None:
        notes = note_pitches(np.zeros(RATE, np.float32), scale([60, 21], 0.5))
        assert np.isnan(notes.found).all()
        assert notes.share == 0

    def test_a_bar_is_not_a_string(self) -> None:
        partials = find_instrument("glockenspiel").partials
        x = np.concatenate([tone(pitch, RATE // 4, "fundamental 20 dB weaker", partials) for pitch in (48, 55, 60, 67)])
        assert note_pitches(x, scale([48, 55, 60, 67], 0.25), partials).share == 1
        assert note_pitches(x, scale([48, 55, 60, 67], 0.25)).share == 0

    @pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
    def test_other_rates(self, rate: int) -> None:
        x = soxr.resample(np.concatenate([tone(pitch, RATE // 4) for pitch in self.pitches]), RATE, rate)
        n = np.arange(8) * (rate / 4)
        velocity = np.full(len(self.pitches), 100)
        events = RollEvents(np.array(self.pitches), n[:-1].astype(int), n[1:].astype(int), velocity, rate)
        assert note_pitches(x, events).share == 1

    def test_the_teacher_plays_what_the_score_says(self, tiny_corpus: Corpus) -> None:
        piece = tiny_corpus.split("valid")[0]
        samples = tiny_corpus.read_samples(piece).astype(np.float32) / FULL_SCALE
        events = roll_events(tiny_corpus.read_notes(piece), RATE)
        notes = note_pitches(samples, events)
        assert len(notes.right) >= 10
        assert notes.share == 1
        assert note_pitches(samples[::-1], events).share < 0.7  # the notes repeat a few pitches


class TestLevel:
    def test_known_decibels(self) -> None:
        x = noise(RATE)
        assert level_difference_db(x, x / 2) == pytest.approx(-6.0206, abs=1e-4)
        assert level_difference_db(x, 10 * x) == pytest.approx(20, abs=1e-4)

    def test_silence_is_90_decibels_down(self) -> None:
        silence, x = np.zeros(RATE, np.float32), np.ones(RATE, np.float32)
        assert level_difference_db(silence, silence) == 0
        assert level_difference_db(x, silence) == pytest.approx(-90)
        assert level_difference_db(silence[:0], silence[:0]) == 0


class TestStartBurst:
    music = np.concatenate([np.zeros(RATE // 2, np.float32), 0.5 * tone(60, 2 * RATE)])  # half a second of rest

    def test_none(self) -> None:
        assert start_burst_db(self.music, self.music, RATE // 2, RATE) <= 0
        assert start_burst_db(self.music, self.music / 4, RATE // 2, RATE) < 0

    def test_a_louder_attack(self) -> None:
        burst = self.music.copy()
        burst[RATE // 2 : RATE // 2 + RATE // 10] *= 4
        assert start_burst_db(self.music, burst, RATE // 2, RATE) == pytest.approx(12.04, abs=0.1)
        later = self.music.copy()
        later[2 * RATE :] *= 4
        assert start_burst_db(self.music, later, RATE // 2, RATE) < 1

    def test_noise_before_the_first_note(self) -> None:
        level = np.sqrt(np.mean(self.music**2))
        burst, hiss = self.music.copy(), self.music.copy()
        burst[: RATE // 4] = level * noise(RATE // 4) / 0.1
        hiss[: RATE // 4] = 0.03 * burst[: RATE // 4]
        assert start_burst_db(self.music, burst, RATE // 2, RATE) == pytest.approx(30, abs=1)  # 30 dB below counts as 0
        assert start_burst_db(self.music, hiss, RATE // 2, RATE) < 1

    def test_a_little_early_is_no_burst(self) -> None:
        early = np.roll(self.music, -RATE // 100)
        assert start_burst_db(self.music, early, RATE // 2, RATE) < 1

    def test_too_short(self) -> None:
        with pytest.raises(InputError, match="50 ms"):
            start_burst_db(self.music[:700], self.music[:700], 0, RATE)


class TestCollapse:
    def test_seconds_far_below_the_reference(self) -> None:
        x = noise(5 * RATE + 99)
        test = x.copy()
        test[RATE : 2 * RATE] = 0
        test[2 * RATE : 3 * RATE] *= 10 ** (-21 / 20)
        test[3 * RATE : 4 * RATE] *= 10 ** (-19 / 20)
        assert collapsed_seconds(x, test, RATE).tolist() == [1, 2]

    def test_a_rest_is_no_collapse(self) -> None:
        x = noise(3 * RATE)
        x[RATE : 2 * RATE] *= 10 ** (-35 / 20)
        test = x.copy()
        test[RATE : 2 * RATE] = 0
        assert collapsed_seconds(x, test, RATE).tolist() == []
        assert collapsed_seconds(0 * x, 0 * x, RATE).tolist() == []
