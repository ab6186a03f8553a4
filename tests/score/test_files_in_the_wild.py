"""MIDI files that other players read, built from bytes: each kind of oddity with the notes that are right.

500 ticks a beat: at the default tempo of 120 beats a minute a tick is a millisecond.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade import END, chunk, header, one_track, pitches_and_times

from synthnet.files import InputError
from synthnet.score import channels, smf
from synthnet.score.midi import read_score, write_midi
from synthnet.score.notes import Note, Score, Track

SCALE = "00 903C64 64 803C40 00 903E64 64 803E40"  # keys 60 and 62, 100 ms each
SCALE_NOTES = [(60, 0.0, 0.1), (62, 0.1, 0.2)]


def riff(*chunks: tuple[bytes, bytes], longer: int = 0) -> bytes:
    """A RIFF RMID file of chunks, each of which says it is `longer` than it is."""
    body = b"".join(
        name + (len(data) + longer).to_bytes(4, "little") + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"RMID" + body


LATE_END = header(1) + chunk(SCALE + "FFFFFF7F FF2F00")
READ = {
    "running status after a system-exclusive event": one_track("00 903C64 64 3C00 00 F0 05 7E7F0901F7 00 3E64 64 3E00"),
    "running status after a meta event": one_track("00 903C64 64 3C00 00 FF01 01 41 00 3E64 64 3E00"),
    "a chunk of another kind between two tracks": header(2)
    + chunk("00 FF5103 07A120" + END)
    + chunk("61626364", name=b"XFIH")
    + chunk(SCALE + END),
    "a chunk of another kind before the first track": header(1) + chunk("6162", name=b"XFKM") + chunk(SCALE + END),
    "an end of track that comes days later": LATE_END,
    "no end of track": header(1) + chunk(SCALE),
    "a length of a track that is too long": header(2) + chunk(SCALE + END, 30) + chunk(END),
    "a length of a track that is too short": header(2) + chunk(SCALE + END, 9) + chunk(END),
    "a length of the last track beyond the end of the file": header(1) + chunk(SCALE + END, 1000),
    "more tracks in the header than in the file": header(7) + chunk(SCALE + END),
    "fewer tracks in the header than in the file": header(0) + chunk(END) + chunk(SCALE + END),
    "a tempo event of two bytes": one_track("00 FF5102 07A1" + SCALE),
    "a tempo event of four bytes": one_track("00 FF5104 07A12000" + SCALE),
    "a key signature that there is not": one_track("00 FF5902 7F05" + SCALE),
    "a time signature of one byte": one_track("00 FF5801 04" + SCALE),
    "a text of 4,500 bytes above 127": one_track("00 FF01 A314" + "E698A5" * 1500 + SCALE),
    "undefined status bytes": one_track("00 F4 00 903C64 64 803C40 00 F5 00 FD 00 903E64 64 803E40"),
    "system messages with data": one_track("00 F2 0102 00 F3 01 00 F1 02" + SCALE),
    "SMPTE time, 25 frames of 40 ticks": header(1, -25 * 256 + 40) + chunk("00 FF5103 0186A0" + SCALE + END),
    "running status after an escape": one_track("00 903C64 64 F701F8 00 3C00 00 3E64 64 3E00"),
    "running status after an undefined status byte": one_track("00 903C64 64 F4 00 3C00 00 3E64 64 3E00"),
    "running status from the track before": header(2)
    + chunk("00 903C64 64 3C00" + END)
    + chunk("64 3E64 64 3E00" + END),
    "no end of track, a chunk of another kind next": header(1) + chunk(SCALE) + chunk("61626364", name=b"XFIH"),
    "no end of track and a length that is too long": header(2) + chunk(SCALE, 40) + chunk(END),
    "a length of 0": header(2) + chunk(END, 0) + chunk(SCALE + END, 0),
    "a length that takes in the next track": header(2) + chunk(END, 12 + 20) + chunk(SCALE + END),
    "zeros between two tracks": header(2) + chunk(END) + bytes(7) + chunk(SCALE + END) + bytes(100),
    "a chunk of another kind that says it is too long": header(1) + chunk("61", 5000, b"XFIH") + chunk(SCALE + END),
    "a chunk of another kind that says it is too short": header(1) + chunk("616263", 1, b"XFIH") + chunk(SCALE + END),
    "a header that says it has no bytes": b"MThd" + bytes(4) + header(1)[8:] + chunk(SCALE + END),
    "a header that says it is too long": b"MThd\x7f\xff\xff\xff" + header(1)[8:] + chunk(SCALE + END),
    "a time of five bytes": one_track("8080808000 903C64 64 803C40 00 903E64 64 803E40"),
    "a tempo of 0": one_track("00 FF5103 000000" + SCALE),
    "text days later": one_track(SCALE + "FFFFFF7F FF01 0141"),
    "a controller days later": one_track(SCALE + "FFFFFF7F B07B00"),
    "a RIFF envelope": riff((b"disp", b"abc"), (b"data", one_track(SCALE)), (b"LIST", b"INFO")),
    "a RIFF envelope in another": riff((b"RIFF", riff((b"data", one_track(SCALE)))[8:])),
    "a RIFF envelope whose lengths are too long": riff((b"data", one_track(SCALE)), longer=50),
    "a RIFF envelope whose lengths are too short": riff((b"data", one_track(SCALE)), longer=-12),
    "type 2 with one track": header(1, smf_type=2) + chunk(SCALE + END),
    "type 0 with two tracks": header(2, smf_type=0) + chunk(END) + chunk(SCALE + END),
    "a header of eight bytes": b"MThd" + bytes.fromhex("00000008 0000 0001 01F4 0000") + chunk(SCALE + END),
    "a data byte above 127": one_track("00 903CFF 64 803C40 00 903E64 64 803EFF"),
}


@pytest.mark.parametrize("data", READ.values(), ids=READ.keys())
def test_files_that_other_players_read_are_read(read, data: bytes) -> None:
    assert pitches_and_times(read(data)) == SCALE_NOTES


@pytest.mark.parametrize(("frames", "a_second"), [(24, 24), (25, 25), (29, 30_000 / 1001), (30, 30)])
def test_smpte_time_counts_frames_whatever_the_tempo(read, frames: int, a_second: float) -> None:
    score = read(header(1, -frames * 256 + 100) + chunk("00 FF5103 0186A0 00 903C64 9738 803C40" + END))
    assert score.notes[0].end_s == pytest.approx(3000 / (100 * a_second), abs=1e-12)  # 29 stands for 29.97


# ---------------------------------------------------------------------------------------- what messages mean


def test_all_notes_off_ends_the_notes_of_its_channel_on_all_tracks(read) -> None:
    other = "00 904864 64 B07B00"
    score = read(
        header(3) + chunk("00 903C64 00 913E64 8148 813E40" + END) + chunk("00 9040 64" + END) + chunk(other + END)
    )
    assert pitches_and_times(score) == [(60, 0.0, 0.1), (62, 0.0, 0.2), (64, 0.0, 0.1), (72, 0.0, 0.1)]


@pytest.mark.parametrize("control", range(123, 128))
def test_all_notes_off_leaves_to_the_pedal_what_the_pedal_holds(read, control: int) -> None:
    score = read(one_track(f"00 B0407F 00 903C64 64 B0{control:02X}00 64 B04000"))
    assert pitches_and_times(score) == [(60, 0.0, 0.2)]


def test_all_sound_off_ends_notes_at_once_pedal_or_not(read) -> None:
    score = read(one_track("00 B0407F 00 903C64 32 803C40 00 903E64 32 B07800 64 B04000"))
    assert pitches_and_times(score) == [(60, 0.0, 0.1), (62, 0.05, 0.1)]


def test_a_port_has_channels_of_its_own(read) -> None:
    first = "00 FF2101 00 00 C038 00 B0407F 00 903C64 64 803C40 64 FF0100"
    second = "00 FF2101 01 00 903064 64 803040"
    score = read(header(2) + chunk(first + END) + chunk(second + END))
    assert [(track.program, *pitches_and_times(Score((track,)))[0]) for track in score.tracks] == [
        (56, 60, 0.0, 0.2),
        (0, 48, 0.0, 0.1),
    ]


def test_a_device_has_ports_of_its_own(read) -> None:
    """The first device is that of the tracks without a device's name."""
    first, second = "00 FF0902 4131" + SCALE, "00 FF2101 01 00 FF0902 4132" + SCALE
    score = read(header(4) + chunk("00 C038" + END) + chunk(first + END) + chunk(second + END) + chunk(first + END))
    assert [track.program for track in score.tracks] == [56, 0, 56]
    assert [pitches_and_times(Score((track,))) for track in score.tracks] == [SCALE_NOTES] * 3


def test_a_note_off_from_another_track_ends_what_its_own_does_not_hold(read) -> None:
    score = read(header(2) + chunk("00 903C64 8148 FF0100" + END) + chunk("64 803C40" + END))
    assert pitches_and_times(score) == [(60, 0.0, 0.1)]


def test_a_program_change_reaches_its_channel_from_whatever_track(read) -> None:
    score = read(header(2) + chunk("64 C049" + END) + chunk("00 C000" + SCALE + END))
    assert [(track.program, pitches_and_times(Score((track,)))) for track in score.tracks] == [
        (0, SCALE_NOTES[:1]),
        (73, SCALE_NOTES[1:]),
    ]


GS, XG = "00 F0 0A 41104212 40007F00 41F7", "00 F0 08 43104C00007E00F7"
DRUM_PARTS = {
    "GS, channel 11": (GS + "00 F0 0A 41104212 401A1502 0FF7", "9A", True),
    "GS, channel 1": (GS + "00 F0 0A 41104212 40111501 19F7", "90", True),
    "GS, channel 10 melodic": (GS + "00 F0 0A 41104212 40101500 1BF7", "99", False),
    "GS reset afterwards": (GS + "00 F0 0A 41104212 401A1502 0FF7" + GS, "9A", False),
    "GS, in two packets": (GS + "00 F0 05 4110421240 00 F7 05 111501 19F7", "90", True),
    "XG all parameters": ("00 F0 08 43104C00007F00F7 00 B2007E 00 C200", "92", True),
    "XG part mode, channel 3": (XG + "00 F0 08 43104C08020701F7", "92", True),
    "XG part mode, channel 10 melodic": (XG + "00 F0 08 43104C08090700F7", "99", False),
    "XG bank 127": (XG + "00 B2007F 00 C200", "92", True),
    "XG bank 0 on channel 10": (XG + "00 B90000 00 C900", "99", False),
    "bank 127 without XG": ("00 B2007F 00 C200", "92", False),
    "GM2 bank 120": ("00 F0 05 7E7F0903F7 00 B20078 00 C200", "92", True),
}


@pytest.mark.parametrize(("setting", "strike", "drums"), DRUM_PARTS.values(), ids=DRUM_PARTS.keys())
def test_drum_parts_of_gs_xg_and_gm2(read, setting: str, strike: str, drums: bool) -> None:
    score = read(one_track(f"{setting} 00 {strike}3C64 64 {strike}3C00 00 9F3C64 64 9F3C00"))
    assert (sum(len(part.notes) for part in score.drums), len(score.notes)) == ((1, 1) if drums else (0, 2))


TUNINGS = {
    "coarse": "00 B06500 00 B06402 00 B0064C",
    "master coarse": "00 F0 07 7F7F0404004CF7",
    "GS key shift": "00 F0 0A 41104212 4000054C 6FF7",
    "XG transpose": "00 F0 08 43104C0000064CF7",
    "GS key shift of a part": "00 F0 0A 41104212 4011164C 4DF7",
    "XG note shift of a part": "00 F0 08 43104C0800084CF7",
}


@pytest.mark.parametrize("setting", TUNINGS.values(), ids=TUNINGS.keys())
def test_tuning_in_semitones_moves_the_keys_struck_from_then_on(read, setting: str) -> None:
    score = read(one_track(f"00 903C64 64 803C40 {setting} 00 903C64 64 803C40"))
    assert [note.pitch for note in score.notes] == [60, 72]
    assert all(track.controls.pitch == () for track in score.tracks)
    assert score.left_out == {}


def test_what_tuning_moves_beyond_the_keys_is_counted(read) -> None:
    score = read(one_track(TUNINGS["coarse"] + SCALE + SCALE.replace("3C", "7C")))
    assert [note.pitch for note in score.notes] == [72, 74, 74]
    assert score.left_out == {"out-of-range notes": 1}


def test_a_reset_of_the_module_ends_notes_pedals_and_tuning(read) -> None:
    setting = "00 F0 07 7F7F0404004CF7 00 B0407F 00 903C64 64 803C40"
    score = read(one_track(f"{setting} {GS} 00 903C64 64 803C40 64 B04000"))
    assert pitches_and_times(score) == [(72, 0.0, 0.1), (60, 0.1, 0.2)]


@pytest.mark.parametrize(
    "setting",
    [
        "00 B06500 00 B06401 00 B00650",
        "00 F0 07 7F7F04030050F7",
        "00 F0 0D 41104212 40000000040F0A 23F7",
        "00 F0 0B 43104C 00000000040F0AF7",
    ],
)
def test_finer_tuning_bends_and_is_counted_where_nothing_can_bend(read, setting: str) -> None:
    score = read(one_track(setting + SCALE))
    (track,) = score.tracks
    assert track.controls.pitch == ((0.0, 0.25),)
    assert score.left_out_line([track]) == "left out: 1 tuning change"


@pytest.mark.parametrize(
    ("setting", "volume"),
    [
        ("00 F0 07 7F7F04010040F7", 64 * 128 / 16_383),
        ("00 F0 0A 4110421240000440 7CF7", 64 / 127),
        ("00 F0 08 43104C00000440F7", 64 / 127),
    ],
)
def test_master_volume_is_a_gain(read, setting: str, volume: float) -> None:
    (track,) = read(one_track(setting + SCALE)).tracks
    assert track.controls.gain[0][1] == pytest.approx(volume**2)


def test_what_nobody_plays_is_counted(read) -> None:
    messages = ("B07A7F", "B0657F", "B0647F", "B0060C", "D000")  # nobody plays these: they have no effect
    assert read(one_track(" ".join(f"00 {message}" for message in messages) + SCALE)).left_out == {}
    messages = ("B00820", "B00A20", "B05B28", "B05D10", "B04705", "B00003", "B05405", "B00340", "D030", "A03C30")
    score = read(one_track(" ".join(f"00 {message}" for message in messages) + "00 F0 02 01F7 00 F7 01F8" + SCALE))
    assert score.left_out == {
        "balance changes": 1,
        "reverb changes": 1,
        "chorus changes": 1,
        "sound changes": 1,
        "bank changes": 1,
        "portamento changes": 1,
        "other controller changes": 1,
        "aftertouch changes": 2,
        "system-exclusive messages": 2,
    }


def test_a_large_file_is_read_and_too_many_notes_or_parts_are_refused(tmp_path: Path, monkeypatch) -> None:
    controllers, texts = "01 B00B40 01 B00B41" * 30_000, ("00 FF01 868D20" + "78" * 100_000) * 25
    (tmp_path / "large.mid").write_bytes(one_track(f"00 903C40 {controllers} {texts} 00 803C40"))
    assert (tmp_path / "large.mid").stat().st_size > 2 << 20
    (note,) = read_score(tmp_path / "large.mid").notes
    assert note.end_s == pytest.approx(60.0, abs=1e-9)
    monkeypatch.setattr(smf, "MOST_EVENTS", 60_000)
    with pytest.raises(InputError, match="more than 60,000 events"):
        read_score(tmp_path / "large.mid")
    monkeypatch.setattr(channels, "MOST_NOTES", 1)
    write_midi(Score((Track((Note(60, 100, 0.0, 0.1), Note(62, 100, 0.0, 0.1))),)), tmp_path / "two.mid")
    with pytest.raises(InputError, match="more than 1 notes"):
        read_score(tmp_path / "two.mid")
    monkeypatch.setattr(channels, "MOST_NOTES", 1_000_000)
    write_midi(Score(tuple(Track((Note(60, 100, 0.0, 0.1),)) for _ in range(513))), tmp_path / "parts.mid")
    with pytest.raises(InputError, match="513 parts"):
        read_score(tmp_path / "parts.mid")


def test_forty_tracks_are_written_on_three_ports_and_read_back(tmp_path: Path) -> None:
    tracks = tuple(Track((Note(40 + number, 100, 0.0, 1.0),), number, f"part {number}") for number in range(40))
    write_midi(Score(tracks), tmp_path / "forty.mid")
    assert read_score(tmp_path / "forty.mid").tracks == tracks
