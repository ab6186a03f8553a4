"""Scores and corpora that cannot be used: refused in one line, or left out when asked."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import contents, melody

from synthnet.corpus.build import build_corpus
from synthnet.corpus.corpus import corpus_info, read_corpus
from synthnet.files import InputError
from synthnet.score.general_midi import find_instrument
from synthnet.score.midi import write_midi
from synthnet.score.notes import Note, Score, Track

TRUMPET = find_instrument("trumpet")


def test_all_unusable_scores_are_listed_and_nothing_is_written(scores: Path, tmp_path: Path) -> None:
    (scores / "garbage.mid").write_bytes(b"garbage")
    (scores / "empty.midi").write_bytes(b"")
    write_midi(Score(()), scores / "silent.mid")
    (scores / "deeper").mkdir()
    write_midi(melody(4), scores / "deeper" / "tiny_gigue.MID")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError) as caught:
        build_corpus(tmp_path / "corpus", TRUMPET, [scores, tmp_path / "nothing", tmp_path / "missing.mid"])
    head, *errors = str(caught.value).splitlines()
    assert head == "6 of 8 scores cannot be used:"
    named = {"garbage.mid", "empty.midi", "silent.mid", "nothing", "missing.mid", "tiny_gigue.mid"}
    assert {Path(error.split(": ")[0]).name for error in errors} == named
    assert not (tmp_path / "corpus").exists()


def test_a_piece_the_sound_font_cannot_play_is_listed(scores: Path, tmp_path: Path) -> None:
    write_midi(Score((Track((Note(127, 90, 0.0, 0.2),)),)), scores / "bats.mid")  # the trumpet ends at 108
    with pytest.raises(InputError, match="no sound for its notes"):
        build_corpus(tmp_path / "corpus", TRUMPET, [scores])
    assert not (tmp_path / "corpus").exists()


def test_unusable_scores_are_left_out_when_asked(scores: Path, tmp_path: Path) -> None:
    (scores / "garbage.mid").write_bytes(b"garbage")
    write_midi(Score((Track((Note(127, 90, 0.0, 0.2),)),)), scores / "bats.mid")
    lines: list[str] = []
    corpus = build_corpus(tmp_path / "corpus", TRUMPET, [scores], report=lines.append, skip_bad=True)
    assert [piece.name for piece in corpus.pieces] == ["tiny_gigue", "tiny_prelude"]
    told = sorted(Path(line.split(": ")[1]).name for line in lines if line.startswith("left out: "))
    assert told == ["bats.mid", "garbage.mid"]
    with pytest.raises(InputError, match=r"garbage\.mid"):
        build_corpus(tmp_path / "none", TRUMPET, [scores / "garbage.mid"], skip_bad=True)


@pytest.mark.parametrize(("rests", "cut_s"), [([3.0, 7.5], 7.6), ([3.0], 8.0)])
def test_the_only_piece_validates_on_its_last_fifth(tmp_path: Path, rests: list[float], cut_s: float) -> None:
    """Notes of half a second; those at `rests` begin 0.2 s later. Only a late rest counts, else 80%."""
    starts = [0.5 * n for n in range(20)]
    notes = tuple(Note(60, 90, at + 0.2 * (at in rests), at + 0.5) for at in starts)
    write_midi(Score((Track(notes),)), tmp_path / "song.mid")
    corpus = build_corpus(tmp_path / "corpus", TRUMPET, [tmp_path / "song.mid"])
    (train,), (valid,) = corpus.split("train"), corpus.split("valid")
    assert (train.name, valid.name) == ("song", "song-end")
    n_before = sum(note.end_s <= cut_s for note in notes)
    assert len(corpus.read_notes(train)) == n_before
    assert len(corpus.read_notes(valid)) == len(notes) - n_before
    first_s = min(note.start_s for note in notes if note.start_s >= cut_s) - cut_s
    assert corpus.read_notes(valid)[0].start_s == pytest.approx(first_s, abs=2e-3)
    again = contents(corpus.folder)
    build_corpus(tmp_path / "corpus", TRUMPET, [tmp_path / "song.mid"])
    assert contents(corpus.folder) == again


def test_a_corpus_needs_a_piece_to_train_on(scores: Path, tmp_path: Path) -> None:
    for given, valid, error in [
        ([], [], "no scores given"),
        ([scores / "tiny_prelude.mid"], ["prelude"], "left to train on"),
        ([scores], ["tiny"], "left to train on"),
        ([scores], ["gigue", "prelude"], "all 2 have 'gigue' or 'prelude'"),
        ([scores], ["gigue", "sarabande"], "sarabande: no score has this"),
    ]:
        with pytest.raises(InputError, match=error):
            build_corpus(tmp_path / "corpus", TRUMPET, given, valid=valid)


def test_a_folder_that_cannot_be_written_is_named(scores: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        build_corpus(tmp_path / "corpus", TRUMPET, [scores])


def test_a_folder_is_built_by_one_process_at_a_time(scores: Path, built: Path, tmp_path: Path) -> None:
    before = contents(built)
    script = "import sys, pathlib; from synthnet.files import only_one\n"
    script += "with only_one(pathlib.Path(sys.argv[1])): print('mine', flush=True); input()"
    words = [sys.executable, "-c", script, built]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(InputError, match="another process"):
            build_corpus(built, TRUMPET, [scores], 8_000)
        assert contents(built) == before
        other.kill()
    build_corpus(built, TRUMPET, [scores])
    assert contents(built) == before


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a corpus"):
        read_corpus(tmp_path)
    with pytest.raises(InputError, match="not a corpus"):
        read_corpus(tmp_path / "missing")


def manifest_errors(good: dict) -> dict[str, object]:
    piece = good["pieces"][0]
    return {
        "version": {**good, "version": 99},
        "a list": [good],
        "no pieces": {**good, "pieces": []},
        "pieces a number": {**good, "pieces": 3},
        "a piece of text": {**good, "pieces": ["text"]},
        "no gain": {key: value for key, value in good.items() if key != "gain"},
        "gain a text": {**good, "gain": "1.0"},
        "a name of an instrument that leads out": {**good, "instrument": "../../evil"},
        "a name that a terminal obeys": {**good, "instrument": "a\x1b[31m"},
        "program 128": {**good, "program": 128},
        "rate 0": {**good, "sample_rate_hz": 0},
        "no finite gain": {**good, "gain": float("inf")},
        "more samples than any": {**good, "pieces": [{**piece, "n_samples": 10**15}]},
        "one key too many": {**good, "colour": "red"},
        "unknown split": {**good, "pieces": [{**piece, "split": "test"}]},
        "a name that leads out of the folder": {**good, "pieces": [{**piece, "name": "../../secret"}]},
    }


def test_a_damaged_manifest_is_one_line(built: Path, scores: Path) -> None:
    path = built / "manifest.json"
    good = path.read_text()
    texts = {name: json.dumps(content) for name, content in manifest_errors(json.loads(good)).items()}
    texts |= {"cut short": good[:-40], "empty": ""}
    for name, text in texts.items():
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            read_corpus(built)
        assert str(caught.value).startswith(f"{path}: "), name
        assert "\n" not in str(caught.value), name
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not JSON"):
        read_corpus(built)
    build_corpus(built, TRUMPET, [scores])
    assert path.read_text() == good


def test_missing_and_damaged_files_are_named(built: Path) -> None:
    corpus = read_corpus(built)
    piece = corpus.pieces[0]
    for path, read in ((corpus.audio_path(piece), corpus.read_samples), (corpus.score_path(piece), corpus.read_notes)):
        good = path.read_bytes()
        path.write_bytes(good[:-1])
        with pytest.raises(InputError, match="damaged"):
            read(piece)
        path.unlink()
        with pytest.raises(InputError, match=f"{path}: missing"):
            read(piece)
        path.write_bytes(good)


def test_scores_that_are_none_are_one_line(built: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    path = built / "scores" / f"{manifest['pieces'][0]['name']}.json"
    good = json.loads(path.read_text())
    texts = [
        json.dumps({**good, name: change(good[name])})
        for name, change in (
            ("pitch", lambda column: [200, *column[1:]]),
            ("pitch", lambda column: column[:-1]),
            ("pitch", lambda column: [60.5, *column[1:]]),
            ("velocity", lambda column: [True, *column[1:]]),
            ("start_s", lambda column: ["0", *column[1:-1], "x"]),
            ("end_s", lambda column: [float("nan"), *column[1:]]),
            ("end_s", lambda column: [1e9, *column[1:]]),
            ("start_s", lambda column: 3),
        )
    ]
    for text in (*texts, "[]", "{}", "[" * 100_000, json.dumps({key: [] for key in good})):
        path.write_text(text)
        manifest["pieces"][0]["score_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        (built / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(InputError, match=re.escape(f"{path}: ")) as caught:
            corpus_info(read_corpus(built))
        assert "\n" not in str(caught.value)


def test_a_manifest_that_does_not_fit_its_audio_is_refused(built: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    manifest["pieces"][0]["n_samples"] += 1
    (built / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"flac: has another length or sample rate than the manifest says"):
        corpus_info(read_corpus(built))
