"""Files paired by name; notes and anchors in CSV files."""

from __future__ import annotations

import unicodedata

import pytest

from synthnet.files import InputError
from synthnet.recordings.pairs import anchors_in, find_pairs, notes_in
from synthnet.score.midi import write_midi
from synthnet.score.notes import Note, Score, Track

CSV = "start_s,end_s,pitch\n0.5,1,60\n1,2,62\n"
NOTES = (Note(60, 64, 0.5, 1.0), Note(62, 64, 1.0, 2.0))


def put(folder, **files):
    """Write texts, or scores, into files of these names; sound files are not read here."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_midi(content, path) if isinstance(content, Score) else path.write_text(content)


def score(*programs):
    return Score(tuple(Track((Note(60 + n, 80, 0.0, 1.0),), program) for n, program in enumerate(programs)))


def test_pairs_by_folder_case_and_unicode(tmp_path):
    put(tmp_path, A_WAV="", a_csv=CSV, b__x_flac="", b__x_mid=score(40), c__x_ogg="", c__x_csv=CSV, c__x_MIDI=score(1))
    (tmp_path / (unicodedata.normalize("NFD", "é") + ".mp3")).write_text("")
    (tmp_path / (unicodedata.normalize("NFC", "É") + ".csv")).write_text(CSV)
    takes, lines = find_pairs(tmp_path)
    assert {(unicodedata.normalize("NFC", take.name), take.labels) for take in takes} == {
        ("A", "exact"), ("b-x", "score"), ("c-x", "exact"), ("é", "exact"),
    }  # fmt: skip
    assert lines == [f"{tmp_path / 'c' / 'x.MIDI'}: passed over, x.csv counts"]
    assert takes[0].notes == NOTES
    assert {take.labels for take in find_pairs(tmp_path, labels="performed")[0]} == {"performed"}


def test_files_without_a_partner_are_listed_and_hidden_ones_passed_over(tmp_path):
    put(
        tmp_path,
        a_wav="",
        a_csv=CSV,
        b_wav="",
        c_mid=score(40),
        d__a_csv=CSV,
        a_anchors_csv="score_s,audio_s\n0,1\n2,3\n",
    )
    put(tmp_path, **{"._a_wav": "", "_git__x_wav": "", "notes_txt": ""})
    (take,), lines = find_pairs(tmp_path)
    assert take.anchors == ((0.0, 1.0), (2.0, 3.0))
    assert lines == [
        f"{tmp_path / 'b.wav'}: no b.mid or .csv beside it",
        f"{tmp_path / 'c.mid'}: no recording of this name",
        f"{tmp_path / 'd' / 'a.csv'}: no recording of this name",
    ]


def test_scores_elsewhere(tmp_path):
    put(tmp_path, takes__x__a_wav="", takes__a_mid=score(1, 2), scores__deep__a_mid=score(40))
    (take,), lines = find_pairs(tmp_path / "takes", tmp_path / "scores")
    assert (take.name, take.notes[0].pitch, lines) == ("x-a", 60, [])


def test_no_pair_and_two_of_one_name(tmp_path):
    put(tmp_path, a_wav="")
    with pytest.raises(InputError, match="synthnet learn takes recordings without a score"):
        find_pairs(tmp_path)
    put(tmp_path, A_flac="", a_csv=CSV)
    with pytest.raises(InputError, match="has the same name as"):
        find_pairs(tmp_path)
    for missing in ((tmp_path / "no", None), (tmp_path, tmp_path / "no")):
        with pytest.raises(InputError, match="no: no such folder"):
            find_pairs(*missing)


def test_tracks_of_one_program_and_of_several(tmp_path):
    put(tmp_path, a_wav="", a_mid=score(1, 1))
    assert len(find_pairs(tmp_path)[0][0].notes) == 2
    put(tmp_path, a_mid=score(1, 40))
    with pytest.raises(InputError, match=r"a\.mid: tracks of several programs, 0 \(program 1\), 1 \(program 40\)"):
        find_pairs(tmp_path)
    assert [note.pitch for note in find_pairs(tmp_path, track=1)[0][0].notes] == [61]
    with pytest.raises(InputError, match="no track 2"):
        find_pairs(tmp_path, track=2)


def test_notes_of_a_csv_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "\ufeffpitch, end_s,start_s,velocity,why\r\n62,2,1,30,x\r\n\r\n60,1,0.5,90,y\r\n60,0.7,0.5,90,y\r\n", "utf-8"
    )
    assert notes_in(path) == (Note(60, 90, 0.5, 1.0), Note(62, 30, 1.0, 2.0))  # a unison is one note
    path.write_text("start_s,end_s,pitch,velocity\n0.5,1,60,\n1,2,62,90\n")
    assert notes_in(path) == NOTES  # a velocity is missing, so none is known


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("start_s,end_s\n", "line 1: no column pitch"),
        ("", "line 1: no column start_s"),
        ("start_s,end_s,pitch\n", "no rows"),
        ("start_s,end_s,pitch\n0,1,60\n0,1\n", "line 3: 2 values, but 3 columns"),
        ("start_s,end_s,pitch\n0,1,128\n", "line 2: pitch is '128', not from 0 to 127"),
        ("start_s,end_s,pitch\n0,1,60.5\n", "line 2: pitch is '60.5', not a whole number"),
        ("start_s,end_s,pitch\nnan,1,60\n", "line 2: start_s is 'nan'"),
        ("start_s,end_s,pitch\n2,1,60\n", "line 2: the note ends at 1 s"),
        ("start_s,end_s,pitch\n0,1,60\x00\n", "line 2"),
        ('start_s,end_s,pitch\n0,1,"60\n', "not a CSV file"),
        ("start_s,end_s,pitch,velocity\n0,1,60,0\n", "line 2: velocity is '0'"),
    ],
)
def test_a_csv_file_that_cannot_be_used_is_one_line(tmp_path, text, error):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        notes_in(tmp_path / "a.csv")
    assert error in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a.csv"))
    assert "\n" not in str(caught.value)


def test_anchors_rise(tmp_path):
    path = tmp_path / "a.anchors.csv"
    for rows, error in (
        ("1,2\n", "at least two"),
        ("1,2\n2,2\n", "line 3: both times"),
        ("2,1\n1,2\n", "line 3: both"),
    ):
        path.write_text("score_s,audio_s\n" + rows)
        with pytest.raises(InputError, match=error):
            anchors_in(path)
