"""A corpus from recordings whose notes are known, and the command that learns from them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from synthnet.audio.files import read_audio
from synthnet.corpus.corpus import compass, read_corpus
from synthnet.files import InputError
from synthnet.recordings import build
from synthnet.recordings.build import corpus_from_recordings, rest_s
from synthnet.recordings.pairs import Take
from synthnet.recordings.transcribe import Heard
from synthnet.score.midi import read_score
from synthnet.score.notes import Note
from tests.conftest import fault

RATE = 16_000
N, STEP_S, HELD_S, FIRST_S = 80, 0.5, 0.4, 1.0


def played(rng):
    """Notes of 0.4 s every 0.5 s, with a rest of a second before number 64, and their sound at 16 kHz."""
    starts = FIRST_S + STEP_S * np.arange(N) + (np.arange(N) >= 64)
    pitches = rng.choice([57, 60, 64, 69], N)
    x = rng.normal(0, 1e-4, round((starts[-1] + 4) * RATE))
    t = np.arange(round(HELD_S * RATE)) / RATE
    for pitch, start in zip(pitches, starts, strict=True):
        f0 = 442 * 2 ** ((pitch - 69) / 12)
        sound = sum(np.sin(2 * np.pi * f0 * h * t) / h for h in range(1, 7)) * np.clip(t / 0.01, 0, 1)
        x[round(start * RATE) :][: len(t)] += 0.1 * sound * np.clip((HELD_S - t) / 0.01, 0, 1)
    return x, [Heard(int(p), s + 0.02, s + HELD_S, 0.8) for p, s in zip(pitches, starts, strict=True)]


@pytest.fixture
def takes(tmp_path, monkeypatch):
    """Two takes; the second is the first half of the first. Their notes come as a transcriber hears them."""
    x, heard = played(np.random.default_rng(0))
    half = round(20 * RATE)
    soundfile.write(tmp_path / "long.wav", x, RATE)
    soundfile.write(tmp_path / "half.wav", x[:half], RATE)
    monkeypatch.setattr(
        build, "transcribe", lambda samples, rate: [n for n in heard if n.end_s < len(samples) / rate - 0.1]
    )
    return [Take(path.stem, path) for path in (tmp_path / "long.wav", tmp_path / "half.wav")]


def test_the_corpus_holds_what_was_played(takes, tmp_path):
    lines = []
    corpus, reports = corpus_from_recordings(tmp_path / "corpus", "mine", 40, takes, report=lines.append)
    assert read_corpus(tmp_path / "corpus") == corpus
    assert [(p.name, p.split, p.source) for p in corpus.pieces] == [
        ("half", "train", "half.wav"),
        ("long", "train", "long.wav"),
        ("long-valid", "valid", "long.wav"),
    ]
    assert (corpus.soundfont, corpus.sample_rate_hz, corpus.program) == ("", 44_100, 40)
    *_, train, valid = (corpus.read_notes(piece) for piece in corpus.pieces)
    assert (len(train), len(valid)) == (64, N - 64)
    assert train[0].start_s == pytest.approx(0.5, abs=0.02)  # the lead; it began at 1 s
    assert valid[0].start_s == pytest.approx(0.01, abs=1e-3)
    # The sound of each note is where the note is.
    samples = corpus.read_samples(corpus.pieces[2]) / 32768
    for note in valid:
        before, after = (samples[round((note.start_s + t) * 44_100) :][:400] for t in (-0.005, 0.05))
        assert np.abs(after).max() > 5 * np.abs(before).max()
    peaks = [np.abs(corpus.read_samples(piece)).max() / 32768 for piece in corpus.pieces]
    assert max(peaks) == pytest.approx(0.9, abs=1e-3)
    assert reports[0].notes == N
    assert reports[0].a4_hz == pytest.approx(442, abs=0.5)
    assert (reports[0].pitches[0], reports[0].pitches[-1]) == (57, 69)
    assert any("resampled" in line for line in lines)


def test_a_note_that_crosses_the_cut_ends_with_the_piece():
    notes = [Note(60, 80, 0.9999999, 3.0), Note(62, 80, 1.2, 3.9), Note(64, 80, 2.00001, 3.0)]
    for stop_s in np.linspace(2.0002, 2.5, 50):  # between samples, too
        kept = list(build._part(notes, RATE, round(stop_s * RATE), RATE).values())
        length_s = (round(stop_s * RATE) - RATE) / RATE
        assert [note.pitch for note in kept] == [60, 62, 64]
        assert all(0 <= note.start_s < note.end_s <= length_s for note in kept)
        assert kept[0].end_s == length_s


def test_stray_notes_do_not_widen_the_range():
    keys = {20: 1, 30: 1, 55: 300, 60: 95, 90: 2, 100: 1}
    assert compass(keys, transcribed=False) == (20, 100)
    assert compass(keys, transcribed=True) == (55, 90)  # of 400 notes, two at each end may be stray


def test_a_recording_of_one_note_is_not_cut(tmp_path, monkeypatch):
    x, heard = played(np.random.default_rng(0))
    for number in range(30):
        first_s = heard[number].start_s - 0.1
        soundfile.write(tmp_path / f"{number}.wav", x[round(first_s * RATE) : round((first_s + 0.5) * RATE) + 1], RATE)
    monkeypatch.setattr(build, "transcribe", lambda samples, rate: [Heard(60, 0.1, 0.45, 0.8)])
    monkeypatch.setattr(build, "LEAST_S", 1.0)
    takes = [Take(str(number), tmp_path / f"{number}.wav") for number in range(30)]
    corpus, _ = corpus_from_recordings(tmp_path / "corpus", "mine", 40, takes)
    assert len(corpus.split("train")) == 30


def test_the_same_bytes_again(takes, tmp_path):
    files = []
    for name in ("a", "b"):
        corpus_from_recordings(tmp_path / name, "mine", 40, takes)
        files.append({p.name: p.read_bytes() for p in sorted((tmp_path / name).rglob("*")) if p.is_file()})
    assert files[0] == files[1]


def test_too_little_or_twice_the_same_name_is_an_error_and_writes_nothing(takes, tmp_path):
    with pytest.raises(InputError, match="too little to learn from"):
        corpus_from_recordings(tmp_path / "corpus", "mine", 40, takes[1:])
    (tmp_path / "other").mkdir()
    soundfile.write(tmp_path / "other" / "half.flac", np.full(RATE, 0.1), RATE)
    soundfile.write(tmp_path / "half-valid.wav", np.full(RATE, 0.1), RATE)
    for other in ("other/half.flac", "half-valid.wav"):
        path = tmp_path / other
        with pytest.raises(InputError, match="would have its name"):
            corpus_from_recordings(tmp_path / "corpus", "mine", 40, [takes[1], Take(path.stem, path)])
    assert not (tmp_path / "corpus").exists()


def test_the_cut_is_in_the_longest_rest_of_the_last_third():
    notes = [Note(60, 80, float(i), i + 0.9) for i in range(10)]
    notes[4] = Note(60, 80, 4.0, 4.2)  # a longer rest, but too early
    notes[7] = Note(60, 80, 7.0, 7.5)
    assert rest_s(notes) == pytest.approx(8.0 - 0.01)
    assert rest_s([Note(60, 80, 0.0, 1.0), Note(60, 80, 1.0, 10.0)]) == pytest.approx(0.99)


def test_learn_makes_an_instrument(takes, tmp_path, run):
    result = run("learn", *(take.path for take in takes), "--name", "my-violin", "--minutes", "0.01", "--json")
    assert result.status == 0
    told = json.loads(result.out)
    assert told == json.loads((tmp_path / "runs/my-violin/report.json").read_text())
    assert told["program"] == 40
    assert told["recordings"][0]["notes"] == N
    assert set(told["held_out"]) == {"network", "static partials", "sampler"}
    assert np.isfinite(told["held_out"]["network"]["rmse_cqt_db"])
    assert len(read_score(tmp_path / "runs/my-violin/proof.mid").notes) == N - 64
    assert np.abs(read_audio(tmp_path / "runs/my-violin/proof.wav").samples).max() > 0.01
    fault(run("learn", takes[0].path, "--name", "my-violin"), "runs/my-violin: holds a run already")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["{}", "--name", "mine"], "--program is needed"),
        (["{}", "--name", "violin"], "take another name"),
        (["{}", "--name", "my-violin", "--channel", "left"], "1 channel"),
        (["no.wav", "--name", "my-violin"], "no.wav: No such file"),
        ([__file__, "--name", "my-violin"], "not a readable sound file"),
    ],
)
def test_errors_of_learn_are_one_line(takes, tmp_path, run, arguments, error):
    result = run("learn", *(word.format(takes[0].path) for word in arguments))
    fault(result, error)
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "data").exists()
