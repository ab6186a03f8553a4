"""The sampler against the recordings it was cut from, and against the teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synthnet.corpus.build import build_corpus
from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.baselines import FADE_S, Sampler
from synthnet.evaluation.level import level_db
from synthnet.evaluation.measure import teacher_of
from synthnet.files import InputError
from synthnet.score.general_midi import find_instrument
from synthnet.score.midi import write_midi
from synthnet.score.notes import Note, Score, Track
from synthnet.score.roll import to_samples

RATE = 16_000
HELD_S, EVERY_S = 0.8, 2.0
FADE = round(FADE_S * RATE)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Keys 60 and 64 of the trumpet at velocities 60 and 100, each alone; then a chord."""
    folder = tmp_path_factory.mktemp("lone_notes")
    played = [(60, 60), (60, 100), (64, 60), (64, 100)]
    notes = [Note(key, v, 0.1 + EVERY_S * i, 0.1 + HELD_S + EVERY_S * i) for i, (key, v) in enumerate(played)]
    chord = [Note(key, 90, 9.0, 10.0) for key in (55, 60, 64)]
    write_midi(Score((Track((*notes, *chord)),)), folder / "lone.mid")
    write_midi(Score((Track((Note(60, 40, 0.1, 0.5),)),)), folder / "prelude.mid")  # to validate
    return build_corpus(folder / "corpus", find_instrument("trumpet"), [folder / "lone.mid", folder / "prelude.mid"])


@pytest.fixture(scope="module")
def sampler(corpus: Corpus) -> Sampler:
    return Sampler.from_corpus(corpus)


def test_a_note_of_the_corpus_is_the_recording(corpus: Corpus, sampler: Sampler) -> None:
    (piece,) = corpus.split("train")
    recording = corpus.read_audio(piece)
    for note in corpus.read_notes(piece)[:4]:
        start, stop = to_samples(np.array([note.start_s, note.start_s + EVERY_S]), RATE).tolist()
        played = sampler.play([note], stop, RATE)
        assert not played[:start].any()
        np.testing.assert_array_equal(played[start : stop - FADE], recording[start : stop - FADE])


def test_a_shorter_note_ends_with_a_release(corpus: Corpus, sampler: Sampler) -> None:
    length = RATE // 4
    short = sampler.play_note(60, 100, length)
    whole = sampler.play_note(60, 100, round(HELD_S * RATE))
    np.testing.assert_array_equal(short[: length - FADE], whole[: length - FADE])
    assert len(short) > length + RATE // 2
    _, teacher = teacher_of(corpus)
    theirs = teacher([Note(60, 100, 0.0, 0.25)], RATE, RATE)
    at_end = slice(length, length + RATE // 20)
    assert level_db(short[at_end]) == pytest.approx(level_db(theirs[at_end]), abs=3)
    assert level_db(short[2 * length :]) < level_db(short[:length]) - 30


def test_velocities_between_those_of_the_corpus_have_the_teacher_s_level(corpus: Corpus, sampler: Sampler) -> None:
    _, teacher = teacher_of(corpus)
    for velocity in (50, 80, 115):
        note = Note(60, velocity, 0.0, HELD_S)
        levels = [level_db(play([note], round(HELD_S * RATE), RATE)) for play in (sampler.play, teacher)]
        assert levels[0] == pytest.approx(levels[1], abs=1.5)


def test_a_missing_key_is_the_nearest_one_at_its_own_pitch(sampler: Sampler) -> None:
    sound = sampler.play_note(67, 100, round(HELD_S * RATE))[: round(HELD_S * RATE)]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 8 * len(sound)))
    near = np.arange(len(spectrum)) * RATE / (8 * len(sound))
    band = (near > 330) & (near < 460)
    assert near[band][spectrum[band].argmax()] == pytest.approx(440 * 2 ** (-2 / 12), rel=0.01)


def test_notes_that_sound_alone_are_preferred(sampler: Sampler) -> None:
    disturbed = sampler.disturbed
    assert disturbed[:4].max() < 1e-3
    assert disturbed[4:] == pytest.approx([2, 2, 2], abs=0.01)
    np.testing.assert_array_equal(sampler.play_note(60, 90, 8000)[:4000], sampler._voice(1, 60, 90)[0][:4000])


def test_the_law_of_velocity_is_measured() -> None:
    rng = np.random.default_rng(0)
    velocity, pitch = rng.integers(20, 128, 40), rng.integers(60, 64, 40)
    loud = (velocity / 127) ** 1.7 * 10 ** (-(pitch - 60) / 10)
    wave = np.sin(np.arange(1600) / 3)
    audio = tuple((20_000 * amplitude * wave).astype(np.int16) for amplitude in loud)
    held, none = np.full(40, 1600), np.zeros(40)
    assert Sampler(pitch, velocity, held, none, none, audio, RATE).power == pytest.approx(1.7, abs=0.01)
    assert Sampler(pitch, np.full(40, 100), held, none, none, audio, RATE).power == 2.0


def test_a_sampler_plays_at_its_own_rate(sampler: Sampler) -> None:
    with pytest.raises(InputError, match="16000 Hz"):
        sampler.play([], 100, 44_100)


def test_a_corpus_without_notes_is_refused(tmp_path: Path) -> None:
    empty = Corpus(tmp_path, 1, "trumpet", 56, RATE, "", "", "", 1.0, ())
    with pytest.raises(InputError, match="no notes"):
        Sampler.from_corpus(empty)
