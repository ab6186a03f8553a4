"""RMSE-CQT against librosa on rendered music, and against a transform written out."""

from __future__ import annotations

import warnings

import librosa
import numpy as np
import pytest
import scipy.stats
import soxr

from synthnet.audio.mulaw import decode_mu_law, dither, encode_mu_law
from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.evaluation.cqt import FLOORS_DB, cqt_decibels, cqt_magnitudes, mean_and_ci95, rmse_cqt_at_floors
from synthnet.files import InputError
from synthnet.score.notes import Note

RATE = 16_000
HOP = 512
Q = 1 / (2 ** (1 / 12) - 1)
BIN_HZ = 32.703 * 2 ** (np.arange(84) / 12)
PRELUDE = [43, 50, 59, 57, 59, 50, 59, 50, 43, 52, 60, 59]  # BWV 1007, the first notes


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def rmse_db(reference: np.ndarray, test: np.ndarray, rate: int) -> np.ndarray:
    """At the floor of the paper."""
    return rmse_cqt_at_floors(reference, test, rate)[0]


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

    @pytest.mark.parametrize("n", [1, 8_192, 8_193, 40_000])
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


def render(program: int, pitches: list[int]) -> np.ndarray:
    """Notes of 0.25 s one after the other at 16 kHz, peak 0.9."""
    notes = [Note(pitch, 90, 0.25 * k, 0.25 * (k + 1)) for k, pitch in enumerate(pitches)]
    samples = Teacher(find_soundfont(), program, RATE).play(notes, 0.25 * len(pitches))
    return (0.9 * samples / np.abs(samples).max()).astype(np.float32)


def by_librosa(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """RMSE-CQT at both floors on librosa's recursive transform: [2, W]."""
    figures = []
    for start in range(0, len(reference) - RATE + 1, RATE):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # its lowest octave's frame is longer than the second
            theirs, mine = (
                np.abs(librosa.cqt(x, sr=RATE, hop_length=HOP, fmin=32.703, n_bins=84, sparsity=0, pad_mode="reflect"))
                for x in (reference[start : start + RATE], test[start : start + RATE])
            )
        theirs, mine = (librosa.amplitude_to_db(m, ref=theirs.max(), top_db=None) for m in (theirs, mine))
        both = [[np.maximum(x, floor) for x in (theirs, mine)] for floor in FLOORS_DB]
        figures.append([np.sqrt(np.mean((a - b) ** 2)) for a, b in both])
    return np.array(figures).T


@pytest.mark.parametrize("program", [1, 56])
def test_agrees_with_librosa_on_music_at_both_floors(program: int) -> None:
    target = render(program, PRELUDE)
    tests = {
        "dithered and coded": decode_mu_law(encode_mu_law(target + dither(len(target), np.random.default_rng(0)))),
        "10 ms late": np.concatenate([np.zeros(160, np.float32), target[:-160]]),
        "other notes": render(program, [pitch + 5 for pitch in PRELUDE]),
        "white noise": noise(len(target)),
    }
    means = {}
    for name, test in tests.items():
        figures = rmse_cqt_at_floors(target, test, RATE)
        assert figures.shape == (2, 3)
        np.testing.assert_allclose(figures, by_librosa(target, test), atol=1)
        assert (figures[1] < figures[0]).all()
        means[name] = figures[0].mean()
    assert means["dithered and coded"] < means["10 ms late"] < 10 < means["other notes"]
    assert means["white noise"] > 10


class TestRmseCqt:
    def test_equal_is_zero(self) -> None:
        x = noise(2 * RATE)
        assert rmse_db(x, x.copy(), RATE).tolist() == [0.0, 0.0]

    def test_half_the_level_is_six_decibels(self) -> None:
        x = noise(3 * RATE)  # white: every bin of it is far above the floor
        assert cqt_decibels(x, x, RATE)[0].min() > -70
        half_at_80, half_at_50 = rmse_cqt_at_floors(x, 0.5 * x, RATE)
        np.testing.assert_allclose(half_at_80, 20 * np.log10(2), atol=1e-5)
        assert (half_at_50 <= half_at_80).all()
        np.testing.assert_allclose(rmse_db(x, 10 * x, RATE), 20, atol=1e-4)

    def test_both_stop_at_the_floor(self) -> None:
        x = noise(RATE)
        reference_db, test_db = cqt_decibels(x, np.zeros_like(x), RATE)
        assert reference_db.shape == test_db.shape == (84, 32)
        assert reference_db.max() == 0
        assert (test_db == -80).all()
        expected = np.sqrt(np.mean((reference_db + 80) ** 2))
        assert rmse_db(x, np.zeros_like(x), RATE) == [pytest.approx(expected)]
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
        assert rmse_db(a / 64, b / 64, RATE) == rmse_db(a, b, RATE)  # a power of two: exact
        assert rmse_db(a, b, RATE) != rmse_db(a, b / 64, RATE)

    def test_each_second_stands_alone(self) -> None:
        a, b = noise(2 * RATE, 3), noise(2 * RATE, 4)
        a[RATE:] /= 100
        alone = [rmse_db(a[:RATE], b[:RATE], RATE)[0], rmse_db(a[RATE:], b[RATE:], RATE)[0]]
        assert rmse_db(a, b, RATE).tolist() == alone

    def test_remainders(self) -> None:
        a, b = noise(2 * RATE + RATE // 2, 5), noise(2 * RATE + RATE // 2, 6)
        assert (rmse_db(a, b, RATE) == rmse_db(a[: 2 * RATE], b[: 2 * RATE], RATE)).all()
        half, rest = RATE // 2, np.zeros(RATE - RATE // 2, np.float32)
        padded = rmse_db(np.concatenate([a[:half], rest]), np.concatenate([b[:half], rest]), RATE)
        assert rmse_db(a[:half], b[:half], RATE) == padded

    def test_silent_reference(self) -> None:
        silence = np.zeros(RATE, np.float32)
        assert rmse_db(silence, silence, RATE) == [0.0]
        assert 0 < rmse_db(silence, dither(RATE, np.random.default_rng(7)), RATE)[0] < 3
        low_c = np.sin(2 * np.pi * 32.703 * np.arange(RATE) / RATE).astype(np.float32)
        assert cqt_decibels(silence, low_c, RATE)[1][0, 16] == pytest.approx(0, abs=0.1)

    def test_what_sounds_in_a_silent_second_of_the_reference_counts(self) -> None:
        """The second is measured as it would be beside the reference's maximum, which is in the first."""
        tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)
        reference = 0.1 * tone * np.repeat([1, 0], RATE).astype(np.float32)
        quiet, loud = (
            rmse_db(reference, reference + level * (tone - 10 * reference), RATE)[1] for level in (1e-3, 1e-2)
        )
        magnitudes = written_out_cqt(0.01 * tone[RATE:], RATE, HOP)
        top = written_out_cqt(reference[:RATE], RATE, HOP).max()
        decibels = 20 * np.log10(np.maximum(magnitudes / top, 1e-4))
        assert loud == pytest.approx(np.sqrt(np.mean((decibels + 80) ** 2)), abs=0.1)
        assert loud > quiet > 5

    def test_higher_rates_give_the_figures_of_16_khz(self) -> None:
        reference, test = render(56, PRELUDE), render(56, [pitch + 5 for pitch in PRELUDE])
        high = [soxr.resample(x, RATE, 44_100, quality="VHQ") for x in (reference, test)]
        at_44_100, at_16_000 = rmse_cqt_at_floors(*high, 44_100), rmse_cqt_at_floors(reference, test, RATE)
        assert at_44_100 == pytest.approx(at_16_000, abs=0.2)

    @pytest.mark.parametrize(("n_reference", "n_test"), [(RATE, RATE - 1), (0, 0), (0, 5)])
    def test_lengths(self, n_reference: int, n_test: int) -> None:
        with pytest.raises(InputError, match=f"not {n_reference} and {n_test}"):
            rmse_db(noise(n_reference), noise(n_test), RATE)


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
