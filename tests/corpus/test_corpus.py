"""Building a corpus from any history, and describing it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from conftest import contents, melody

from synthnet.audio.mulaw import dithered_class_probabilities
from synthnet.corpus import build as corpora
from synthnet.corpus.build import DEFAULT_SCORES, build_corpus, default_corpus
from synthnet.corpus.corpus import Corpus, corpus_info, read_corpus
from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.files import InputError
from synthnet.score.etudes import compose_etudes
from synthnet.score.general_midi import MidiInstrument, find_instrument
from synthnet.score.midi import read_score, write_midi
from synthnet.score.notes import Note, Score, Track

TRUMPET = find_instrument("trumpet")


def rewritten(folder: Path, build: Callable[[], object]) -> set[str]:
    """Names of the pieces of which `build` writes a file."""
    ages = {path: path.stat().st_ino for path in folder.glob("*/*")}
    build()
    return {path.stem for path in folder.glob("*/*") if ages.get(path) != path.stat().st_ino}


# ------------------------------------------------------------------------------------------ contents


def test_audio_and_notes_are_the_teachers(tiny_corpus: Corpus, tiny_scores: Path) -> None:
    teacher = Teacher(find_soundfont(), TRUMPET.program, 16_000)
    loudest = 0
    for piece in tiny_corpus.pieces:
        notes = teacher.snap(read_score(tiny_scores / piece.source).notes)
        assert tiny_corpus.read_notes(piece) == notes
        assert piece.n_samples == round((max(note.end_s for note in notes) + 0.5) * 16_000)
        played = teacher.play(notes, piece.n_samples / 16_000)
        assert piece.peak == np.abs(played).max()
        samples = tiny_corpus.read_samples(piece)
        assert samples.dtype == np.int16
        expected, _ = soundfile.read(tiny_corpus.audio_path(piece), dtype="float32")
        np.testing.assert_array_equal(tiny_corpus.read_audio(piece), expected, strict=True)
        assert np.abs(samples - played * tiny_corpus.gain * 32768).max() < 0.51
        file = soundfile.info(tiny_corpus.audio_path(piece))
        assert (file.samplerate, file.channels, file.subtype) == (16_000, 1, "PCM_16")
        loudest = max(loudest, int(np.abs(samples.astype(int)).max()))
    assert loudest == round(0.9 * 32768)


def test_a_note_has_one_level_in_all_pieces(tmp_path: Path) -> None:
    note = Note(60, 60, 0.1, 0.4)
    write_midi(Score((Track((note,)),)), tmp_path / "soft.mid")
    write_midi(Score((Track((note, Note(60, 127, 1.0, 1.3))),)), tmp_path / "loud.mid")
    corpus = build_corpus(tmp_path / "corpus", TRUMPET, [tmp_path])
    loud, soft = (corpus.read_samples(piece) for piece in corpus.pieces)
    np.testing.assert_array_equal(loud[:10_000], soft[:10_000])


def test_reading_gives_what_building_gave(tiny_corpus: Corpus) -> None:
    assert read_corpus(tiny_corpus.folder) == tiny_corpus
    assert [piece.name for piece in tiny_corpus.split("train")] == ["tiny_gigue"]
    assert [piece.name for piece in tiny_corpus.split("valid")] == ["tiny_prelude"]


def test_default_scores_hold_out_the_prelude() -> None:
    names = [path.name for path in DEFAULT_SCORES.glob("*.mid")]
    assert len(names) == 7
    assert [name for name in names if "prelude" in name] == ["bwv1007_1_prelude.mid"]


# ---------------------------------------------------------------------------------------- any history


def test_a_second_build_writes_no_piece(scores: Path, built: Path) -> None:
    before = contents(built)
    assert rewritten(built, lambda: build_corpus(built, TRUMPET, [scores])) == set()
    assert contents(built) == before


def test_only_a_changed_score_is_rendered_again(scores: Path, built: Path, tmp_path: Path) -> None:
    softer = Score((Track((Note(60, 60, 0.1, 0.5),)),))
    quiet = min(read_corpus(built).pieces, key=lambda piece: piece.peak)  # the loudest one sets the gain
    write_midi(softer, scores / quiet.source)
    assert rewritten(built, lambda: build_corpus(built, TRUMPET, [scores])) == {quiet.name}
    build_corpus(tmp_path / "fresh", TRUMPET, [scores])
    assert contents(built) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("file", ["audio/tiny_gigue.flac", "scores/tiny_gigue.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_only_a_damaged_piece_is_rendered_again(file: str, damage: str, scores: Path, built: Path) -> None:
    before = contents(built)
    content = bytearray((built / file).read_bytes())
    content[len(content) // 2] ^= 1
    (built / file).unlink()
    if damage != "missing":
        (built / file).write_bytes(content if damage == "flip" else content[:-10])
    assert rewritten(built, lambda: build_corpus(built, TRUMPET, [scores])) == {"tiny_gigue"}
    assert contents(built) == before


def test_a_louder_piece_lowers_the_gain_of_all(scores: Path, built: Path, tmp_path: Path) -> None:
    gain, before = read_corpus(built).gain, contents(built)
    chord = tuple(Note(pitch, 127, 0.1, 0.5) for pitch in (48, 55, 60, 64))
    write_midi(Score((Track(chord),)), scores / "chord.mid")
    all_three = {"chord", "tiny_gigue", "tiny_prelude"}
    assert rewritten(built, lambda: build_corpus(built, TRUMPET, [scores])) == all_three
    assert read_corpus(built).gain < 0.5 * gain
    build_corpus(tmp_path / "fresh", TRUMPET, [scores])
    assert contents(built) == contents(tmp_path / "fresh")
    (scores / "chord.mid").unlink()
    build_corpus(built, TRUMPET, [scores])  # back again; the stale piece is gone
    assert contents(built) == before


def test_another_rate_instrument_or_version_renders_everything(scores: Path, built: Path, tmp_path: Path) -> None:
    flute = find_instrument("flute")
    everything = {"tiny_gigue", "tiny_prelude"}
    assert rewritten(built, lambda: build_corpus(built, TRUMPET, [scores], sample_rate_hz=8_000)) == everything
    assert rewritten(built, lambda: build_corpus(built, flute, [scores], sample_rate_hz=8_000)) == everything
    manifest = json.loads((built / "manifest.json").read_text())
    (built / "manifest.json").write_text(json.dumps({**manifest, "fluidsynth": "1.0"}))
    assert rewritten(built, lambda: build_corpus(built, flute, [scores], sample_rate_hz=8_000)) == everything
    build_corpus(tmp_path / "fresh", flute, [scores], sample_rate_hz=8_000)
    assert contents(built) == contents(tmp_path / "fresh")


def test_an_interrupted_build_is_made_good(scores: Path, built: Path, tmp_path: Path) -> None:
    write_midi(Score((Track((Note(60, 127, 0.1, 0.5),)),)), scores / "loud.mid")

    def interrupt(line: str) -> None:
        if line.startswith("tiny_gigue: rendered"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(built, TRUMPET, [scores], report=interrupt)
    corpus = read_corpus(built)  # the manifest is still the old one, one audio file the new one's
    with pytest.raises(InputError, match="half rebuilt"):
        corpus.read_samples(corpus.split("train")[0])
    build_corpus(built, TRUMPET, [scores])
    build_corpus(tmp_path / "fresh", TRUMPET, [scores])
    assert contents(built) == contents(tmp_path / "fresh")


def test_the_order_and_place_of_scores_do_not_matter(scores: Path, built: Path, tmp_path: Path) -> None:
    files = sorted(scores.iterdir(), reverse=True)
    build_corpus(tmp_path / "other", TRUMPET, [*files, scores])  # each twice: counted once
    assert contents(tmp_path / "other") == contents(built)


def test_another_piece_may_be_held_out(scores: Path, built: Path) -> None:
    corpora = []
    assert rewritten(built, lambda: corpora.append(build_corpus(built, TRUMPET, [scores], valid=["GIGUE"]))) == set()
    assert [piece.split for piece in corpora[0].pieces] == ["valid", "train"]
    assert read_corpus(built) == corpora[0]


def test_report_tells_what_is_done_and_left_out(scores: Path, built: Path) -> None:
    notes = (Note(20, 80, 0.0, 0.2), Note(60, 80, 0.0, 0.2))
    write_midi(Score((Track(notes),)), scores / "low.mid")
    midi = mido.MidiFile(scores / "low.mid")
    midi.tracks[1].insert(0, mido.Message("pitchwheel", pitch=4096))
    midi.save(scores / "low.mid")
    (scores / "tiny_prelude.mid").unlink()
    lines: list[str] = []
    build_corpus(built, TRUMPET, [scores], report=lines.append)
    assert lines == [
        f"{scores / 'low.mid'}: left out: 1 pitch bend",
        f"{scores / 'low.mid'}: 1 note outside the range of the trumpet, 36 to 86",
        "low: level measured",
        *(line for line in lines if line.startswith(("low: rendered", "tiny_gigue: "))),
        "tiny_prelude: removed, its score is no longer given",
        "no validation piece: none has 'prelude' in its name",
    ]


# -------------------------------------------------------------------------------------------- études


@pytest.fixture(scope="module")
def etudes() -> dict[str, Score]:
    return compose_etudes(TRUMPET, 0.2)


@pytest.fixture(scope="module")
def corpus_with_etudes(etudes: dict[str, Score], tiny_scores: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return build_corpus(tmp_path_factory.mktemp("with_etudes"), TRUMPET, [tiny_scores], etudes=etudes)


@pytest.fixture
def with_etudes(corpus_with_etudes: Corpus, tmp_path: Path) -> Path:
    """A copy of the corpus of the two scores and études, to be changed."""
    return Path(shutil.copytree(corpus_with_etudes.folder, tmp_path / "with_etudes"))


def test_etudes_are_pieces_to_train_on(corpus_with_etudes: Corpus, etudes: dict[str, Score]) -> None:
    assert [piece.name for piece in corpus_with_etudes.split("train")] == [*etudes, "tiny_gigue"]
    assert [piece.name for piece in corpus_with_etudes.split("valid")] == ["tiny_prelude"]
    assert read_corpus(corpus_with_etudes.folder) == corpus_with_etudes
    for piece in corpus_with_etudes.pieces[:5]:
        assert corpus_with_etudes.read_notes(piece) == etudes[piece.name].notes  # 1 ms is the teacher's grid
        kept = corpus_with_etudes.folder / "etudes" / f"{piece.name}.mid"
        assert hashlib.sha256(kept.read_bytes()).hexdigest() == piece.source_sha256
        assert read_score(kept) == etudes[piece.name]


def test_the_same_etudes_change_nothing_and_others_replace_them(
    scores: Path, with_etudes: Path, etudes: dict[str, Score], tmp_path: Path
) -> None:
    before = contents(with_etudes)
    assert rewritten(with_etudes, lambda: build_corpus(with_etudes, TRUMPET, [scores], etudes=etudes)) == set()
    (with_etudes / "etudes" / "etude_2_leaps.mid").write_text("damaged")
    again = rewritten(with_etudes, lambda: build_corpus(with_etudes, TRUMPET, [scores], etudes=etudes))
    assert again == {"etude_2_leaps"}
    assert contents(with_etudes) == before
    others = {"etude_9_other": compose_etudes(TRUMPET, 0.2, 1)["etude_1_scales"]}
    build_corpus(with_etudes, TRUMPET, [scores], etudes=others)
    build_corpus(tmp_path / "fresh", TRUMPET, [scores], etudes=others)
    assert contents(with_etudes) == contents(tmp_path / "fresh")


def test_etudes_leave_with_all_their_files(scores: Path, built: Path, with_etudes: Path) -> None:
    build_corpus(with_etudes, TRUMPET, [scores])
    assert contents(with_etudes) == contents(built)
    assert not (with_etudes / "etudes").exists()


def test_the_etudes_of_a_corpus_can_be_its_scores(scores: Path, with_etudes: Path, etudes: dict[str, Score]) -> None:
    given = [scores, with_etudes / "etudes"]
    assert rewritten(with_etudes, lambda: build_corpus(with_etudes, TRUMPET, given)) == set()
    assert rewritten(with_etudes, lambda: build_corpus(with_etudes, TRUMPET, given, etudes=etudes)) == set()


def test_an_error_beside_etudes_is_told_before_anything_is_written(
    scores: Path, etudes: dict[str, Score], tmp_path: Path
) -> None:
    write_midi(melody(4), scores / "etude_1_scales.mid")
    with pytest.raises(InputError, match=r"etude_1_scales\.mid: has the same name as"):
        build_corpus(tmp_path / "corpus", TRUMPET, [scores], etudes=etudes)
    assert not (tmp_path / "corpus").exists()


# ---------------------------------------------------------------------------------------- description


def test_info_counts_and_measures(tiny_corpus: Corpus) -> None:
    info = corpus_info(tiny_corpus)
    for split in ("train", "valid"):
        (piece,) = tiny_corpus.split(split)
        clean = tiny_corpus.read_samples(piece) / 32768
        figures = info.as_dict()["splits"][split]
        assert figures["pieces"] == {piece.name: len(clean) / 16_000}
        assert figures["seconds"] == len(clean) / 16_000
        assert figures["notes"] == 14
        assert figures["peak_dbfs"] == pytest.approx(20 * np.log10(np.abs(clean).max()), abs=1e-4)
        assert figures["rms_dbfs"] == pytest.approx(10 * np.log10(np.mean(clean**2)), abs=1e-4)
        some = clean[::7]
        p = dithered_class_probabilities(some)
        entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1)
        assert figures["dither_floor_nats"] == pytest.approx(entropy.mean(), abs=0.03)
    pitches = [note.pitch for piece in tiny_corpus.pieces for note in tiny_corpus.read_notes(piece)]
    assert info.notes_by_pitch == {pitch: pitches.count(pitch) for pitch in sorted(set(pitches))}
    assert json.loads(json.dumps(info.as_dict()))["splits"] == info.as_dict()["splits"]


def test_a_default_corpus_is_named_by_rate_and_velocities_and_built_once(
    tiny_scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def etudes(instrument: MidiInstrument, minutes: float, *, wide: bool) -> dict[str, Score]:
        asked.append(wide)
        return {"etude_1_made": melody(3)}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpora, "DEFAULT_SCORES", tiny_scores)
    monkeypatch.setattr(corpora, "compose_etudes", etudes)
    flute = find_instrument("flute")
    narrow, wide = default_corpus(flute, 8_000, False), default_corpus(flute, 16_000, True)
    assert (narrow.folder, wide.folder) == (
        Path("data/corpora/flute-8000-narrow"),
        Path("data/corpora/flute-16000-wide"),
    )
    assert [piece.name for piece in narrow.pieces] == ["tiny_gigue", "tiny_prelude"]
    assert [piece.name for piece in wide.pieces] == ["etude_1_made", "tiny_gigue", "tiny_prelude"]
    assert (narrow.sample_rate_hz, wide.sample_rate_hz) == (8_000, 16_000)
    lines: list[str] = []
    assert default_corpus(flute, 16_000, True, lines.append) == wide
    assert (asked, lines) == ([True], [])
