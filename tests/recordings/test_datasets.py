"""Readers of public datasets, on tiny folders of their layouts with their irregularities."""

from __future__ import annotations

import pytest

from synthnet.files import InputError
from synthnet.recordings.datasets import format_of, read_dataset
from synthnet.score.midi import write_midi
from synthnet.score.notes import Note, Score, Track


def put(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


@pytest.fixture
def musicnet(tmp_path):
    """Two cello pieces, one of them among the tests, a trio, a piece without sound; commas within quotes."""
    about = "id,composer,composition,movement,ensemble,source,transcriber,catalog_name,seconds\n"
    for number in (2217, 2298, 2300, 2301):
        about += f'{number},Bach,"Suite, No. 3",1. Prelude,Solo Cello,European Archive,x,BWV1009,186\n'
        part = "test" if number == 2298 else "train"
        others = "44100,88200,41,60,1.0,1.0,Quarter\n" if number == 2300 else ""
        head = "start_time,end_time,instrument,note,start_beat,end_beat,note_value\n"
        put(tmp_path / f"{part}_labels/{number}.csv", head + "119261,140000,43,48,0,1,Eighth\n" + others)
        if number != 2301:
            put(tmp_path / f"{part}_data/{number}.wav")
    put(tmp_path / "musicnet_metadata.csv", about)
    return tmp_path


def test_musicnet(musicnet):
    assert format_of(musicnet) == "musicnet"
    takes, lines = read_dataset(musicnet, "musicnet", "2217,2290-2301", 42)
    assert [take.name for take in takes] == ["2217", "2298"]
    assert takes[1].path == musicnet / "test_data/2298.wav"
    (note,) = takes[0].notes
    assert (note.pitch, note.start_s * 44_100, note.end_s * 44_100) == (
        48,
        pytest.approx(119_261),
        pytest.approx(140_000),
    )
    assert takes[0].labels == "performed"
    assert takes[0].credit == "MusicNet (Thickstun et al. 2017), European Archive, CC BY 4.0"
    assert [line.split(": ")[1] for line in lines] == [
        "plays programs 40, 42, not 42 alone",
        "piece 2301 has no sound file",
    ]


def test_a_piece_that_was_asked_for_and_is_not_there(musicnet):
    with pytest.raises(InputError, match="no piece 9999 in it"):
        read_dataset(musicnet, "musicnet", "2217,9999", 42)
    with pytest.raises(InputError, match="piece 2301 has no sound file"):
        read_dataset(musicnet, "musicnet", "2301", 42)
    put(musicnet / "train_labels/2217.csv", "start_time,end_time,instrument,note\n1,2,43,200\n")
    with pytest.raises(InputError, match=r"2217\.csv, line 2: note is '200'"):
        read_dataset(musicnet, "musicnet", "2217", 42)


def test_maestro(tmp_path):
    rows = "canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration\n"
    for year, split, name in (
        (2004, "train", "a"),
        (2006, "validation", "b"),
        (2006, "test", "c"),
        (2006, "train", "d"),
    ):
        rows += f'J,"Prelude, and fugue",{split},{year},{year}/{name}.midi,{year}/{name}.wav,10.5\n'
        put(tmp_path / f"{year}/{name}.wav")
        if name != "d":
            write_midi(Score((Track((Note(60, 70, 1.0, 2.0),)),)), tmp_path / f"{year}/{name}.midi")
    put(tmp_path / "maestro-v3.0.0.csv", rows)
    assert format_of(tmp_path) == "maestro"
    takes, lines = read_dataset(tmp_path, "maestro", None, 1)
    assert [(take.name, take.split, take.labels) for take in takes] == [
        ("a", "train", "exact"),
        ("b", "valid", "exact"),
    ]
    assert takes[0].notes[0] == Note(60, 70, 1.0, 2.0)
    assert "NC" in takes[0].credit
    assert lines == [f"{tmp_path / '2006/d.midi'}: not here, so this piece is passed over"]
    assert [take.name for take in read_dataset(tmp_path, "maestro", "2006", 1)[0]] == ["b"]


def test_bach_violin(tmp_path):
    info = "filename,collection,violinist,violinist_name,source_filename,start,end,repeat1,score_filename\n"
    info += "one_mov1,one,one,Ann One,one.mp3,0:00:03,0:04:13,-,mov1\n"
    info += "one_mov2,one,one,Ann One,one.mp3,0:04:13,1:10:07,0,mov2_00\n"
    info += "two_mov1,two,two,Bo Two,two.opus,0:00:15,0:04:26,1,mov1\n"
    put(tmp_path / "info.csv", info)
    put(
        tmp_path / "audio.csv", "filename,collection,license,url\none.mp3,one,CC BY,x\ntwo.opus,two,-,https://x.org/2\n"
    )
    put(tmp_path / "audio/one/one.mp3")
    for name in ("one_mov1", "one_mov2"):
        put(tmp_path / f"notes/one/{name}.csv", "onset,offset,pitch,velocity\n0,6,71,64\n6,18,74,64\n")
        put(tmp_path / f"alignments/one/{name}.csv", "start,end\n1.12,1.248\n1.28,1.28\n")
    assert format_of(tmp_path) == "bach-violin"
    takes, lines = read_dataset(tmp_path, "bach-violin", None, 40)
    assert [(take.name, take.span_s) for take in takes] == [("one_mov1", (3.0, 253.0)), ("one_mov2", (253.0, 4207.0))]
    first, second = takes[0].notes
    assert (first.pitch, first.start_s, first.end_s, second.pitch) == (71, 1.12, 1.248, 74)
    assert second.start_s < second.end_s  # the grid of 32 ms makes some last no time
    assert takes[0].credit == "Ann One, CC BY (Bach Violin Dataset, Dong et al. 2022)"
    (line,) = lines
    assert line.endswith("not here, so two_mov1 is passed over; it comes from https://x.org/2")
    assert [take.name for take in read_dataset(tmp_path, "bach-violin", "one_mov2", 40)[0]] == ["one_mov2"]
    put(tmp_path / "alignments/one/one_mov1.csv", "start,end\n1.12,1.248\n")
    with pytest.raises(InputError, match=r"one_mov1\.csv: 1 rows for 2 notes"):
        read_dataset(tmp_path, "bach-violin", None, 40)
    put(tmp_path / "alignments/one/one_mov1.csv", "start,end\n1.12,1.248\n1.28,1.44\n")
    put(tmp_path / "info.csv", info.replace("0:00:03", "3"))
    with pytest.raises(InputError, match="line 2: start is '3', not a time"):
        read_dataset(tmp_path, "bach-violin", "one", 40)


def test_other_folders_are_no_dataset(tmp_path):
    put(tmp_path / "info.csv")
    assert format_of(tmp_path) is None
