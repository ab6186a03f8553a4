"""Recordings with their notes become a corpus: what it holds, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from synthnet.corpus import corpus
from synthnet.corpus.corpus import read_corpus
from synthnet.files import InputError
from synthnet.models.checkpoint import CheckpointHeader, credit_of
from synthnet.recordings import build
from synthnet.recordings.alignment import Aligned
from synthnet.recordings.report import read_reports
from synthnet.score.midi import write_midi
from synthnet.score.notes import Note, Score, Track
from synthnet.training.run import provenance
from tests.conftest import SMALL, fault

RATE = 8_000
STEP_S, HELD_S, FIRST_S = 0.5, 0.4, 1.0
IMPORT = ("corpus", "import", "takes", "--instrument", "mine", "--program", "40", "--rate", RATE, "--out", "corpus")


def played(n, gain=0.1, seed=0):
    """n notes of 0.4 s every 0.5 s from 1 s on, and their sound, over a faint noise."""
    rng = np.random.default_rng(seed)
    pitches = rng.choice([57, 60, 64, 69], n)
    x = rng.normal(0, 1e-4, round((FIRST_S + STEP_S * n + 3) * RATE))
    t = np.arange(round(HELD_S * RATE)) / RATE
    notes = [Note(int(p), 64, FIRST_S + STEP_S * i, FIRST_S + STEP_S * i + HELD_S) for i, p in enumerate(pitches)]
    for note in notes:
        f0 = 440 * 2 ** ((note.pitch - 69) / 12)
        sound = sum(np.sin(2 * np.pi * f0 * h * t) / h for h in range(1, 5))
        x[round(note.start_s * RATE) :][: len(t)] += gain * sound * np.clip((HELD_S - t) / 0.01, 0, 1)
    return x, notes


def as_csv(notes, velocity=False):
    rows = [f"{n.start_s},{n.end_s},{n.pitch}" + (f",{n.velocity}" if velocity else "") for n in notes]
    return "\n".join(["start_s,end_s,pitch" + (",velocity" if velocity else ""), *rows]) + "\n"


@pytest.fixture
def takes(tmp_path):
    """A folder with two recordings of 70 and 64 notes, the second 20 dB softer, and their notes."""
    folder = tmp_path / "takes"
    folder.mkdir()
    for name, n, gain in (("a", 70, 0.1), ("b", 64, 0.01)):
        x, notes = played(n, gain)
        soundfile.write(folder / f"{name}.wav", x, RATE)
        (folder / f"{name}.csv").write_text(as_csv(notes))
    return folder


@pytest.fixture
def unmoved(monkeypatch):
    """Notes are taken as they are, as `align` takes exact ones, but without looking at the sound."""

    def align(notes, samples, rate, *args):
        ones = np.ones(len(notes))
        return Aligned(tuple(notes), ones > 0, ones, (), 0.0, 0.0, 0.0, True)

    monkeypatch.setattr(build, "align", align)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_exact_labels_come_back_to_the_sample(takes, tmp_path, run):
    assert run(*IMPORT, "--valid", "b", "--credit", "Ann, CC BY 4.0").status == 0
    corpus = read_corpus(tmp_path / "corpus")
    assert [(p.name, p.split, p.labels) for p in corpus.pieces] == [("a", "train", "exact"), ("b", "valid", "exact")]
    assert (corpus.soundfont, corpus.sample_rate_hz, corpus.credit) == ("", RATE, "Ann, CC BY 4.0")
    for piece, n in zip(corpus.pieces, (70, 64), strict=True):
        notes, given = corpus.read_notes(piece), played(n)[1]
        lead = round(0.5 * RATE)  # before the first note
        assert [round(note.start_s * RATE) - lead for note in notes] == [
            round((note.start_s - FIRST_S) * RATE) for note in given
        ]
        assert [note.pitch for note in notes] == [note.pitch for note in given]
        assert np.std([note.velocity for note in notes]) < 3  # all are equally loud
        assert corpus.read_found(piece).all()
        assert piece.left_out == ()
        sound = corpus.read_samples(piece) / 32768 / corpus.gain
        assert np.abs(sound - played(n, 0.1 if n == 70 else 0.01)[0][lead : lead + len(sound)]).max() < 2e-4
    facts = json.loads(json.dumps(provenance([corpus])))  # as a checkpoint keeps them
    assert credit_of(CheckpointHeader(SMALL, RATE, ("mine",), facts)) == "Ann, CC BY 4.0"
    assert credit_of(CheckpointHeader(SMALL, RATE, ("mine",), {"credits": 3})) == ""


def test_the_last_fifth_of_the_longest_validates_and_equal_levels(takes, tmp_path, run, unmoved):
    result = run(*IMPORT)
    assert "a.wav is 20 dB louder than b.wav" in result.err
    corpus = read_corpus(tmp_path / "corpus")
    assert [(p.name, p.split) for p in corpus.pieces] == [("a", "train"), ("a-valid", "valid"), ("b", "train")]
    assert "louder" not in run(*IMPORT, "--level", "each").err
    peaks = [np.abs(corpus.read_samples(piece)).max() for piece in read_corpus(tmp_path / "corpus").pieces]
    assert min(peaks) > 0.95 * max(peaks)


def test_velocities_of_all_recordings_are_relative_to_the_same_level(takes, tmp_path, run, unmoved):
    def velocities():
        corpus = read_corpus(tmp_path / "corpus")
        return [np.median([note.velocity for note in corpus.read_notes(piece)]) for piece in corpus.pieces]

    run(*IMPORT, "--valid", "b")
    loud, soft = velocities()
    assert soft / loud == pytest.approx(10 ** (-20 / 40), abs=0.02)  # it is 20 dB softer
    run(*IMPORT, "--valid", "b", "--level", "each")
    loud, soft = velocities()
    assert soft / loud == pytest.approx(1, abs=0.02)


def test_a_prelude_validates(takes, tmp_path, run, unmoved):
    for path in takes.glob("b.*"):
        path.rename(path.with_stem("Prelude 2"))
    run(*IMPORT)
    assert [p.name for p in read_corpus(tmp_path / "corpus").split("valid")] == ["Prelude 2"]


def test_given_velocities_stay_and_a_single_one_counts_as_none(takes, tmp_path, run):
    _, notes = played(70)
    given = [replace(note, velocity=20 + i) for i, note in enumerate(notes)]
    (takes / "a.csv").write_text(as_csv(given, velocity=True))
    (takes / "b.csv").write_text(as_csv(played(64)[1], velocity=True))
    run(*IMPORT, "--valid", "b")
    corpus = read_corpus(tmp_path / "corpus")
    first, second = ([note.velocity for note in corpus.read_notes(piece)] for piece in corpus.pieces)
    assert first == [note.velocity for note in given]
    assert set(second) != {64}


def test_clipping_and_digital_silence_are_left_out(takes, tmp_path, run, unmoved):
    x, _ = played(70)
    x[round(3.5 * RATE) :][:5] = 0.99
    x[round(5.0 * RATE) - 800 : round(5.0 * RATE)] = 0  # before a note
    soundfile.write(takes / "a.wav", x, RATE)
    run(*IMPORT, "--valid", "b")
    corpus = read_corpus(tmp_path / "corpus")
    spans = np.array(corpus.pieces[0].left_out) / RATE + 0.5
    assert spans == pytest.approx(np.array([[3.48, 3.5206], [4.9, 5.0]]), abs=1e-3)
    assert corpus.pieces[1].left_out == ()
    report = run("corpus", "report", "corpus")
    assert "at 0:03 (3.48 s): clipped" in report.out
    assert "at 0:05 (4.90 s): digital silence" in report.out
    assert "left out of training and of figures: 0.1 s" in run("corpus", "info", "corpus").out


def test_a_recording_with_many_lost_notes_is_left_out(takes, tmp_path, run, monkeypatch, unmoved):
    aligned, lost = build.align, {70: 0.3, 64: 0.1}

    def lossy(notes, *args):
        found = aligned(notes, *args)
        return replace(found, found=np.arange(len(notes)) >= lost[len(notes)] * len(notes))

    monkeypatch.setattr(build, "align", lossy)
    lost[70] = 0.1
    run(*IMPORT, "--valid", "b")
    corpus = read_corpus(tmp_path / "corpus")
    assert [corpus.read_found(piece).sum() for piece in corpus.pieces] == [63, 57]
    assert "14 of 134 notes not found" in run("corpus", "report", "corpus").out
    lost[70] = 0.3
    result = run(*IMPORT)
    assert result.status == 0
    assert "21 of them not found" in result.err
    assert "1 of 2 recordings" in result.err
    assert {piece.source for piece in read_corpus(tmp_path / "corpus").pieces} == {"b.wav"}
    assert [one.used for one in read_reports(tmp_path / "corpus")] == [False, True]
    assert not (tmp_path / "corpus/audio/a.flac").exists()  # of the import before
    lost[64] = 0.3
    fault(run(*IMPORT, "--click", "clicks"), "does the score have the repeats that were played?")
    assert [path.name for path in sorted((tmp_path / "clicks").iterdir())] == ["a.wav", "b.wav"]  # for ears


def test_clicks_are_at_the_notes(takes, tmp_path, run, unmoved):
    assert run(*IMPORT, "--click", "clicks").status == 0
    both, rate = soundfile.read(tmp_path / "clicks/a.wav")
    x, notes = played(70)
    assert rate == RATE
    assert np.abs(both[:, 0] - x).max() < 1e-3
    starts = np.flatnonzero((np.abs(both[1:, 1]) > 1e-3) & (np.abs(both[:-1, 1]) < 1e-4))
    near = [np.abs(starts - round(note.start_s * RATE)).min() for note in notes]
    assert max(near) <= 2
    fault(run(*IMPORT, "--click", "clicks.wav"), "clicks.wav: a folder is needed")


def test_report_as_text_json_and_picture(takes, tmp_path, run):
    run(*IMPORT)
    text = run("corpus", "report", "corpus", "--plot", "p.png").out
    assert "a.wav: 0:39, 70 notes, A3 to A4" in text
    assert "all of 134 notes found" in text
    assert "keys never heard: A#3, B3, C#4" in text
    told = json.loads(run("corpus", "report", "corpus", "--json").out)
    assert (told["notes"], told["found"], len(told["recordings"])) == (134, 134, 2)
    assert told["recordings"][1]["a4_hz"] == pytest.approx(440, abs=1)
    assert (tmp_path / "p.png").stat().st_size > 10_000
    assert "may not agree" not in text
    reports = read_reports(tmp_path / "corpus")
    assert "confidence 0.44: the notes and the recording may not agree" in replace(reports[0], confidence=0.44).text()
    fault(run("corpus", "report", "takes"), "takes: no alignment.json")
    (tmp_path / "corpus/alignment.json").write_text("[3]")
    fault(run("corpus", "report", "corpus"), "alignment.json: damaged")


def test_a_corpus_that_another_process_is_at_is_left_alone(takes, tmp_path, run, unmoved):
    assert run(*IMPORT).status == 0
    before = files(tmp_path / "corpus")
    script = "import sys, pathlib; from synthnet.files import only_one\n"
    script += "with only_one(pathlib.Path('corpus')): print('mine', flush=True); input()"
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "mine\n"
        fault(run(*IMPORT, "--level", "each"), "corpus: another process is at it")
        other.kill()
    assert files(tmp_path / "corpus") == before


def test_a_killed_import_begun_again_gives_the_same_bytes(takes, tmp_path, run, monkeypatch, unmoved):
    assert run(*IMPORT[:-1], "fresh").status == 0
    for path in takes.glob("a.*"):
        shutil.copy(path, path.with_stem("c"))
    assert run(*IMPORT).status == 0  # something else was there
    assert {"audio/c.flac", "scores/c.json", "alignment/c.csv"} < files(tmp_path / "corpus").keys()
    for path in takes.glob("c.*"):
        path.unlink()
    write, calls = build.write_piece, []

    def killed(*args):
        calls.append(args)
        if len(args) == 1 or len(calls) > stop_at:  # the manifest, or the piece
            (tmp_path / "corpus/audio/.a.123.part.flac").write_bytes(b"half")
            raise KeyboardInterrupt
        return write(*args)

    for stop_at in range(4):
        calls.clear()
        for name in ("write_piece", "write_manifest"):
            monkeypatch.setattr(build, name, killed)
        assert run(*IMPORT).status == 130
        assert len(calls) == stop_at + 1
    for name in ("write_piece", "write_manifest"):
        monkeypatch.setattr(build, name, getattr(corpus, name))
    assert run(*IMPORT).status == 0
    assert files(tmp_path / "corpus") == files(tmp_path / "fresh")


def hopeless(takes):
    """Damage by name: what is done to the folder of takes, and what is said."""
    x, notes = played(70)
    late = [replace(note, start_s=note.start_s + 30, end_s=note.end_s + 30) for note in notes]
    samples = [replace(note, start_s=note.start_s * 44_100, end_s=note.end_s * 44_100) for note in notes]
    return {
        "no pair": (lambda: [path.unlink() for path in takes.glob("*.csv")], "no sound file with a"),
        "empty sound": (lambda: soundfile.write(takes / "a.wav", x[:0], RATE), "a.wav: "),
        "no sound file": (lambda: (takes / "a.wav").write_text("text"), "a.wav: not a readable sound file"),
        "slow": (lambda: soundfile.write(takes / "a.wav", x, 7_000), "7000 samples a second"),
        "silence": (lambda: soundfile.write(takes / "a.wav", 0 * x, RATE), "silence"),
        "no notes": (lambda: (takes / "a.csv").write_text("start_s,end_s,pitch\n"), "a.csv: no rows"),
        "late": (lambda: (takes / "a.csv").write_text(as_csv(late)), "lasts 39.0 s, its notes 65.9 s"),
        "samples": (lambda: (takes / "a.csv").write_text(as_csv(samples)), "are they in samples?"),
        "key 128": (lambda: (takes / "a.csv").write_text("start_s,end_s,pitch\n0,1,128\n"), "line 2: pitch"),
        "columns": (lambda: (takes / "a.csv").write_text("start,end,pitch\n0,1,60\n"), "line 1: no column start_s"),
        "anchors": (lambda: (takes / "a.anchors.csv").write_text("score_s,audio_s\n1,2\n2,1\n"), "line 3: both times"),
        "damaged MIDI": (lambda: (takes / "b.csv").rename(takes / "b.mid"), "b.mid: "),
        "clipped": (
            lambda: soundfile.write(takes / "a.wav", np.clip(30 * x, -1, 1), RATE),
            "--keep-clipped takes it so",
        ),
        "short": (
            lambda: (takes / "a.csv").write_text(as_csv(notes[:9])) and (takes / "b.wav").unlink(),
            "are too little to learn from",
        ),
    }


@pytest.mark.parametrize("name", hopeless(None))
def test_hopeless_input_is_one_line_and_nothing_is_written(name, takes, tmp_path, run, unmoved):
    damage, error = hopeless(takes)[name]
    damage()
    result = run(*IMPORT)
    fault(result, error)
    assert not (tmp_path / "corpus").exists()


def test_a_score_four_times_as_long_and_other_options(takes, tmp_path, run, unmoved):
    long = Score((Track((Note(60, 80, 0.0, 1.0), Note(60, 80, 200.0, 201.0)), 40),))
    write_midi(long, takes / "c.mid")
    soundfile.write(takes / "c.wav", played(64)[0], RATE)
    fault(run(*IMPORT), "is this the right score?")
    for path in takes.glob("c.*"):
        path.unlink()
    for options, error in (
        (("--valid", "nobody"), "nobody: no recording has this in its name"),
        (("--valid", "a", "--valid", "b"), "no recording is left to train on"),
        (("--pieces", "a,c"), "takes: no piece c in it"),
        (("--pieces", "a", "--valid", "b"), "b: no recording has this"),
        (("--sample-rate", "100"), "--sample-rate 100"),
        (("--format", "musicnet"), "musicnet_metadata.csv: No such file"),
        (("--channel", "left"), "1 channel"),
    ):
        fault(run(*IMPORT, *options), error)
    fault(run(*IMPORT[:3], "--instrument", "cello", "--program", "42"), "take another name")
    assert not (tmp_path / "corpus").exists()


def test_a_sound_fonts_corpus_is_not_overwritten(takes, tmp_path, tiny_corpus):
    with pytest.raises(InputError, match="that a sound font played"):
        build.corpus_from_recordings(tiny_corpus.folder, "mine", 40, [])
