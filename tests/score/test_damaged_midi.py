"""MIDI files with damage: forgiven where others forgive it, else refused in one line."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest
from fuzz import damaged_bytes
from handmade import END, MS_100, delta, pitches_and_times, smf

from synthnet.files import InputError
from synthnet.score.midi import read_score
from synthnet.score.notes import Note, Score, Track


@pytest.mark.parametrize(
    "meta",
    [
        "60 01 61",  # unknown to mido, as are the next two
        "08 00",
        "FE 02 FFFF",
        "59 02 2A07",  # a key of 42 sharps
        "59 00",
        "58 04 04FF1808",  # a time signature of 4/2^255
        "58 01 04",
        "54 05 FF7FFFFFFF",  # a SMPTE offset of no frame rate
        "54 05 00FFFFFFFF",
        "20 00",
        "00 01 05",
        "7F 03 00FFFF",
    ],
)
def test_meta_events_of_no_use_keep_their_time_and_may_hold_anything(read, meta: str) -> None:
    score = read(smf(f"{MS_100} FF {meta} {MS_100} 90 3C 50 {MS_100} 80 3C 00 {END}"))
    assert pitches_and_times(score) == [(60, 0.2, 0.3)]


def test_data_above_127_count_as_127(read) -> None:
    score = read(smf(f"00 C0 A0 00 90 BC 50 {MS_100} 80 BC 00 00 90 3C D0 {MS_100} 80 3C 00 {END}"))
    assert score == Score((Track((Note(127, 80, 0.0, 0.1), Note(60, 127, 0.1, 0.2)), 127),))


def test_longer_headers_and_chunks_after_the_last_track_are_passed_over(read) -> None:
    data = smf(f"00 90 3C 50 {MS_100} 80 3C 00 {END}")
    assert read(data[:4] + (9).to_bytes(4, "big") + data[8:14] + b"abc" + data[14:] + b"XFIH\0\0\0\2ab") == read(data)


def test_events_after_the_end_of_a_track_are_not_read(read) -> None:
    assert read(smf(f"00 90 3C 50 {MS_100} 80 3C 00 {END} 00 90 40 50 {MS_100} 80 40 00")).end_s == 0.1


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "not a MIDI file"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not a MIDI file"),
        (b"MThd\0\0\0\4\0\1\0\1", "not a MIDI file"),
        (smf(END, division=0), "no ticks"),
        (smf(END, division=0xE700), "no ticks"),
        (smf(END, smf_type=3), "type 3"),
        (smf(END, END, smf_type=2), "2 independent patterns"),
        (smf(f"00 3C 50 {END}"), "before the first status byte"),
        (smf(f"{'FF' * 3000}7F 90 3C 50 {END}"), "more than eight bytes"),
        (smf(f"00 FF 01 {'FF' * 3000}7F 41 {END}"), "more than eight bytes"),
        (smf("FF" * 1_000_000), "more than eight bytes"),
        (smf(f"00 FF 01 FFFFFF7F 41 {END}"), "cut short"),
        (smf(f"00 F0 FFFFFF7F 41 {END}"), "cut short"),
        (smf(f"FFFFFF7F 90 3C 50 {END}"), "longer than 24 hours"),
        (b"MThd\xff\xff\xff\xff" + smf()[8:] + b"XFIH\0\0\0\0", "no track"),
        (smf(f"00 90 3C 50 {MS_100} 80 3C 00 {END}")[:-6], "cut short"),
    ],
)
def test_damaged_files_are_refused_in_one_line_and_little_memory(refusal, data: bytes, error: str) -> None:
    tracemalloc.start()
    try:
        assert error in refusal(data)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_every_truncation_of_a_file_is_refused(refusal) -> None:
    data = smf(f"00 FF 51 03 0F4240 {END}", f"00 90 3C 50 {MS_100} 80 3C 00 {END}")
    for length in range(len(data)):
        assert refusal(data[:length])


def test_missing_files_folders_and_impossible_names_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.mid", tmp_path, tmp_path / ("a" * 300)):
        with pytest.raises(InputError) as caught:
            read_score(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_a_file_without_permission_is_refused(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "secret.mid"
    path.write_bytes(smf(END))
    path.chmod(0)
    request.getfixturevalue("ordinary_user")
    with pytest.raises(InputError, match=r"secret\.mid: Permission denied$"):
        read_score(path)


def ordinary_file(rng: random.Random) -> bytes:
    """A file with all that the reader looks at: several tracks, tempi, pedals, programs, drums, names, SysEx."""
    tracks = [f"00 FF 51 03 07A120 {delta(rng.randrange(2000))} FF 51 03 0B71B0 {END}"]
    for channel in (0, 1, 9):
        events = f"00 FF 03 03 {rng.randbytes(3).hex()} 00 C{channel} {rng.randrange(128):02X} 00 F0 03 4301F7"
        for _ in range(12):
            key, velocity = rng.randrange(128), rng.randrange(1, 128)
            events += f"{delta(rng.randrange(300))} 9{channel} {key:02X} {velocity:02X}"
            events += f"{delta(rng.randrange(100))} B{channel} 40 {rng.choice((0, 127)):02X}"
            events += f"{delta(rng.randrange(300))} 8{channel} {key:02X} 40"
        tracks.append(events + END)
    return smf(*tracks, division=rng.choice((96, 480, 960)))


def test_mutated_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rng = random.Random(1007)
    scores = sorted((Path(__file__).parents[2] / "data" / "scores").glob("*.mid"))
    originals = [ordinary_file(rng) for _ in range(20)] + [path.read_bytes() for path in scores]
    path = tmp_path / "mutated.mid"
    notes, refusals = [], []
    for index in range(500):
        path.write_bytes(damaged_bytes(originals[index % len(originals)], rng))
        try:
            notes += read_score(path).notes
        except InputError as error:
            refusals.append(str(error))
    assert 50 < len(refusals) < 450  # both happen often, or the mutations would test nothing
    for refusal in refusals:
        assert refusal.startswith(f"{path}: ")
        assert "\n" not in refusal
    for note in notes:
        assert 0 <= note.pitch <= 127
        assert 1 <= note.velocity <= 127
        assert 0.0 <= note.start_s < note.end_s <= 24 * 3600
