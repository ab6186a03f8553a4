"""Right pitch on sounds of known pitch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import soxr

from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.pitch import note_pitches
from synthnet.score.general_midi import find_instrument
from synthnet.score.roll import RollEvents, roll_events

RATE = 16_000


def noise(n: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(n)).astype(np.float32)


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
    def test_of_known_tones(self, spectrum: str) -> None:
        seconds = 0.2
        x = np.concatenate([tone(pitch, round(seconds * RATE), spectrum) for pitch in self.pitches])
        notes = note_pitches(x, scale(self.pitches, seconds))
        assert notes.share == 1, notes
        np.testing.assert_allclose(notes.found, self.pitches, atol=0.4)
        np.testing.assert_allclose(notes.start_s, seconds * np.arange(7))
        for wrong in (-12, -7, -1, 1, 7, 12):
            other = note_pitches(x, scale([pitch + wrong for pitch in self.pitches], seconds))
            assert not other.right.any(), wrong
            np.testing.assert_allclose(other.found, notes.found)

    @pytest.mark.parametrize(("cents", "right"), [(-60, 0), (-30, 1), (30, 1), (60, 0)])
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

    @pytest.mark.parametrize("rate", [8_000, 44_100])
    def test_other_rates(self, rate: int) -> None:
        x = soxr.resample(np.concatenate([tone(pitch, RATE // 4) for pitch in self.pitches]), RATE, rate)
        n = np.arange(8) * (rate / 4)
        velocity = np.full(len(self.pitches), 100)
        events = RollEvents(np.array(self.pitches), n[:-1].astype(int), n[1:].astype(int), velocity, rate)
        assert note_pitches(x, events).share == 1

    def test_the_teacher_plays_what_the_score_says(self, tiny_corpus: Corpus) -> None:
        piece = tiny_corpus.split("valid")[0]
        samples = tiny_corpus.read_audio(piece)
        events = roll_events(tiny_corpus.read_notes(piece), RATE)
        notes = note_pitches(samples, events)
        assert len(notes.right) >= 10
        assert notes.share == 1
        assert note_pitches(samples[::-1], events).share < 0.7  # the notes repeat a few pitches
