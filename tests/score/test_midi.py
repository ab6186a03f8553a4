"""Reading MIDI files: bytes built by hand for each property, and other readers."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import mido
import pretty_midi
import pytest
from handmade import END, MS_100, MS_200, MS_500, assert_same_notes, delta, pitches_and_times, smf

from synthnet.score.controllers import Controls
from synthnet.score.midi import read_score
from synthnet.score.notes import Note, Score, Track

# ------------------------------------------------------------------------------------------ notes and pedals

PEDAL_DOWN, PEDAL_UP = "B0 40 40", "B0 40 3F"
SOSTENUTO_DOWN, SOSTENUTO_UP = "B0 42 40", "B0 42 3F"
SOFT_DOWN, SOFT_UP = "B0 43 40", "B0 43 3F"

# Tracks, and the pitches and times of the notes that they make.
Sounding = list[tuple[int, float, float]]
CASES: dict[str, tuple[list[str], Sounding]] = {
    "running status, and zero velocity as an end": (
        [f"00 90 3C 50 {MS_100} 3C 00 00 40 50 {MS_200} 40 00 {END}"],
        [(60, 0.0, 0.1), (64, 0.1, 0.3)],
    ),
    "running status outlives meta events, and system exclusive data are passed over": (
        [f"00 90 3C 50 00 FF 01 02 4142 {MS_100} 3C 00 00 F0 02 43F7 00 F7 03 F8C39000 90 40 50 {MS_100} 40 00 {END}"],
        [(60, 0.0, 0.1), (64, 0.1, 0.2)],
    ),
    "a key struck again at the time of its end": (
        [f"00 90 3C 50 {MS_100} 90 3C 50 00 80 3C 00 {MS_100} 80 3C 00 {END}"],
        [(60, 0.0, 0.1), (60, 0.1, 0.2)],
    ),
    "notes without an end last to the end of the file": (
        [f"00 90 3C 50 {END}", f"{MS_500} 91 40 50 {MS_500} FF2F00"],
        [(60, 0.0, 1.0), (64, 0.5, 1.0)],
    ),
    "ends without a note": (
        [f"00 80 3C 40 {MS_100} 90 3C 50 {MS_100} 80 3C 40 00 80 3C 40 {END}"],
        [(60, 0.1, 0.2)],
    ),
    "keys of two tracks on one channel do not end each other": (
        [f"00 90 3C 50 {MS_500} 80 3C 00 {END}", f"{MS_100} 90 3C 50 {MS_100} 80 3C 00 {END}"],
        [(60, 0.0, 0.5), (60, 0.1, 0.2)],
    ),
    "the pedal holds notes until it comes up": (
        [f"00 {PEDAL_DOWN} 00 90 3C 50 {MS_100} 80 3C 00 00 90 40 50 {MS_200} {PEDAL_UP} {MS_100} 80 40 00 {END}"],
        [(60, 0.0, 0.3), (64, 0.1, 0.4)],
    ),
    "the pedal holds keys that are down when it is pressed and not what has ended": (
        [f"00 90 3C 50 00 90 40 50 {MS_100} 80 40 00 {MS_100} {PEDAL_DOWN}{MS_100} 80 3C 00 {MS_200} {PEDAL_UP} {END}"],
        [(60, 0.0, 0.5), (64, 0.0, 0.1)],
    ),
    "the pedal works on its channel on all tracks": (
        [f"00 {PEDAL_DOWN} {MS_500} {PEDAL_UP} {END}", f"00 90 3C 50 00 91 40 50 {MS_100} 80 3C 00 00 81 40 00 {END}"],
        [(60, 0.0, 0.5), (64, 0.0, 0.1)],
    ),
    "a pedal that never comes up holds to the end of the file": (
        [f"00 {PEDAL_DOWN} 00 90 3C 50 {MS_100} 80 3C 00 {MS_500} FF2F00"],
        [(60, 0.0, 0.6)],
    ),
    # All at 0.1 s: 60 is struck before the pedal, 64 after it, 67 has been released.
    "sostenuto holds the keys that are down when it goes down": (
        [
            f"00 90 43 50 {MS_100} 80 43 00 00 90 3C 50 00 {SOSTENUTO_DOWN} 00 90 40 50"
            f"{MS_100} 80 3C 00 00 80 40 00 {MS_200} {SOSTENUTO_UP} {END}"
        ],
        [(67, 0.0, 0.1), (60, 0.1, 0.4), (64, 0.1, 0.2)],
    ),
    "sostenuto catches once while it stays down": (
        [f"00 {SOSTENUTO_DOWN} 00 90 3C 50 {MS_100} {SOSTENUTO_DOWN}{MS_100} 80 3C 00 {MS_100} {SOSTENUTO_UP} {END}"],
        [(60, 0.0, 0.2)],
    ),
    "sostenuto does not catch what only the sustain pedal holds": (
        [
            f"00 {PEDAL_DOWN} 00 90 3C 50 {MS_100} 80 3C 00 00 {SOSTENUTO_DOWN} {MS_100} {PEDAL_UP}"
            f"{MS_100} {SOSTENUTO_UP} {END}"
        ],
        [(60, 0.0, 0.2)],
    ),
}


@pytest.mark.parametrize(("tracks", "expected"), CASES.values(), ids=CASES)
def test_notes_sound_when_keys_and_pedals_say(
    read, tracks: list[str], expected: list[tuple[int, float, float]]
) -> None:
    score = read(smf(*tracks))
    assert pitches_and_times(score) == expected
    assert set(score.left_out) <= {"system-exclusive messages"}


def test_note_on_and_note_off_make_a_note(read) -> None:
    score = read(smf(f"{MS_100} 90 3C 50 {MS_500} 80 3C 40 {END}", smf_type=0))
    assert score == Score((Track((Note(60, 80, 0.1, 0.6),)),))
    assert score.end_s == 0.6


# A strike of velocity 96 after one of 80, of the same key.
TWO_STRIKES = {
    "overlapping, first in first out": (
        f"00 90 3C 50 {MS_100} 90 3C 60 {MS_100} 80 3C 00 {MS_100} 80 3C 00",
        (0.0, 0.2, 0.1, 0.3),
    ),
    "under the pedal": (
        f"00 {PEDAL_DOWN} 00 90 3C 50 {MS_100} 80 3C 00 {MS_100} 90 3C 60 {MS_100} 80 3C 00 {MS_200} {PEDAL_UP}",
        (0.0, 0.2, 0.2, 0.5),
    ),
    "overlapping under the pedal, which holds only the last": (
        f"00 {PEDAL_DOWN} 00 90 3C 50 {MS_100} 90 3C 60 {MS_100} 80 3C 00 {MS_100} 80 3C 00 {MS_200} {PEDAL_UP}",
        (0.0, 0.2, 0.1, 0.5),
    ),
    "held by sostenuto": (
        f"00 90 3C 50 00 {SOSTENUTO_DOWN} {MS_100} 80 3C 00 {MS_100} 90 3C 60{MS_100} 80 3C 00 {MS_100} {SOSTENUTO_UP}",
        (0.0, 0.2, 0.2, 0.3),
    ),
}


@pytest.mark.parametrize(("track", "times"), TWO_STRIKES.values(), ids=TWO_STRIKES)
def test_a_key_struck_again_ends_its_former_note(read, track: str, times: tuple[float, float, float, float]) -> None:
    assert read(smf(f"{track} {END}")).notes == (Note(60, 80, *times[:2]), Note(60, 96, *times[2:]))


@pytest.mark.parametrize(
    ("first", "second", "end_s"),
    [(PEDAL_UP, SOSTENUTO_UP, 0.4), (SOSTENUTO_UP, PEDAL_UP, 0.4), (PEDAL_UP, PEDAL_DOWN, 0.9)],
)
def test_a_note_under_both_pedals_sounds_until_both_are_up(read, first: str, second: str, end_s: float) -> None:
    score = read(
        smf(
            f"00 90 3C 50 00 {SOSTENUTO_DOWN} 00 {PEDAL_DOWN} {MS_100} 80 3C 00"
            f"{MS_200} {first} {MS_100} {second} {MS_500} FF2F00"
        )
    )
    assert pitches_and_times(score) == [(60, 0.0, end_s)]


def test_notes_under_the_soft_pedal_get_two_thirds_of_their_velocity(read) -> None:
    strikes = "".join(f"00 90 {key:02X} {velocity:02X}" for key, velocity in ((60, 1), (61, 2), (62, 80), (63, 127)))
    score = read(smf(f"00 90 30 50 00 {SOFT_DOWN} {strikes} {MS_100} {SOFT_UP} 00 90 40 50 {MS_100} FF2F00"))
    velocities = [(note.pitch, note.velocity) for note in score.notes]
    assert velocities == [(48, 80), (60, 1), (61, 1), (62, 53), (63, 85), (64, 80)]


def test_reset_all_controllers_lifts_all_pedals(read) -> None:
    score = read(
        smf(
            f"00 {PEDAL_DOWN} 00 90 3C 50 00 {SOSTENUTO_DOWN} 00 {SOFT_DOWN} 00 90 40 5A {MS_100} 80 3C 00"
            f"00 80 40 00 {MS_100} B0 79 00 00 90 43 50 {MS_100} 80 43 00 {END}"
        )
    )
    assert score.notes == (Note(60, 80, 0.0, 0.2), Note(64, 60, 0.0, 0.2), Note(67, 80, 0.2, 0.3))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (smf(END), "no notes"),
        (smf(f"00 C0 05 {END}", smf_type=0), "no notes"),
        (smf(f"00 99 24 50 {MS_100} 89 24 00 {END}"), "no notes (left out: 1 drum note)"),
    ],
)
def test_a_file_without_notes_is_refused(refusal, data: bytes, why: str) -> None:
    assert refusal(data) == why


# ------------------------------------------------------------------------------------------ tracks


def test_each_track_channel_and_program_is_a_track(read) -> None:
    first = f"00 FF 03 05 4365 6C6C 6F 00 C0 2A 00 90 3C 50 {MS_100} 80 3C 00 00 91 40 50 {MS_100} 81 40 00 {END}"
    second = f"00 C0 38 00 90 43 50 {MS_100} 80 43 00 00 C0 4B 00 90 45 50 {MS_100} 80 45 00 {END}"
    tracks = read(smf(first, second)).tracks
    assert [(track.name, track.program, [note.pitch for note in track.notes]) for track in tracks] == [
        ("Cello", 42, [60]),
        ("Cello", 0, [64]),
        ("", 56, [67]),
        ("", 75, [69]),
    ]


def test_a_program_is_that_of_the_onset_not_of_the_end(read) -> None:
    score = read(smf(f"00 C0 2A 00 90 3C 50 {MS_100} C0 38 {MS_100} 80 3C 00 {END}"))
    assert [track.program for track in score.tracks] == [42]


def test_a_track_without_a_program_takes_its_channel_s(read) -> None:
    score = read(smf(f"00 C0 2A 00 C1 38 {END}", f"00 90 3C 50 {MS_100} 80 3C 00 {END}"))
    assert [track.program for track in score.tracks] == [42]


@pytest.mark.parametrize(
    ("written", "name"),
    [("Prélude".encode(), "Prélude"), ("Prélude".encode("latin-1"), "Prélude"), (b"  Cello\r\nI\0", "CelloI")],
)
def test_names_are_utf_8_or_latin_1_and_one_line(read, written: bytes, name: str) -> None:
    score = read(smf(f"00 FF 03 {len(written):02X} {written.hex()} 00 90 3C 50 {MS_100} 80 3C 00 {END}"))
    assert score.tracks[0].name == name


# ------------------------------------------------------------------------------------------ tempo


def test_tempo_changes_on_any_track_hold_for_all(read) -> None:
    # Tempi of 1 s a beat from tick 0 and of 0.25 s a beat from tick 500, on the second and on the third track.
    score = read(
        smf(
            f"{delta(250)} 90 3C 50 {MS_500} 80 3C 00 {END}",
            f"00 FF 51 03 0F4240 {END}",
            f"{MS_500} FF 51 03 03D090 {END}",
        )
    )
    assert pitches_and_times(score) == [(60, 0.5, 1.0 + 250 * 0.0005)]


def test_many_tempo_changes_against_their_closed_form(read) -> None:
    # The n-th beat lasts 100,000 + 1,000 n microseconds, so n beats last 0.1 n + 0.001 n (n - 1) / 2 seconds.
    changes = "".join(f"{'00' if n == 0 else MS_500} FF 51 03 {100_000 + 1_000 * n:06X}" for n in range(200))
    notes = "".join(f"00 90 3C 50 {MS_500} 80 3C 00" for _ in range(200))
    score = read(smf(changes + END, notes + END))
    beats = [0.1 * n + 0.001 * n * (n - 1) / 2 for n in range(201)]
    assert [note.start_s for note in score.notes] == pytest.approx(beats[:-1], abs=1e-12)
    assert [note.end_s for note in score.notes] == pytest.approx(beats[1:], abs=1e-12)


# ------------------------------------------------------------------------------------------ controllers


def test_tracks_of_a_channel_share_its_controls(read) -> None:
    bend, note = "E0 00 60", f"00 90 3C 50 {MS_200} 80 3C 00"
    first, second, other = read(
        smf(f"{MS_100} {bend} {END}", f"{note} 00 C0 2A {note} 00 91 3C 50 {MS_100} FF2F00")
    ).tracks
    assert first.controls == Controls(pitch=((0.1, 1.0),))
    assert second.controls is first.controls
    assert other.controls == Controls()


def test_drums_are_parts_with_controllers_and_kits_whose_keys_no_tuning_moves(read) -> None:
    tuned = "00 B9 65 00 00 B9 64 02 00 B9 06 4C"  # an octave up
    drums = f"00 C9 19 00 B9 0A 00 {tuned} 00 99 24 50 {MS_100} 89 24 00"
    score = read(smf(f"00 E8 00 60 00 B8 07 20 {drums} 00 90 3C 50 {MS_100} 80 3C 00 {END}"))
    assert score.tracks == (Track((Note(60, 80, 0.1, 0.2),)),)
    assert score.drums == (Track((Note(36, 80, 0.0, 0.1),), 25, "", Controls(pan=((0.0, 0.0),)), True),)
    assert score.parts == score.tracks + score.drums
    (cut,) = score.excerpt(0.05, 0.04).parts
    assert replace(cut, notes=()) == replace(score.drums[0], notes=())
    assert [note.end_s for note in cut.notes] == pytest.approx([0.04])
    assert score.left_out_line(score.tracks) == "left out: 1 drum note"
    assert score.left_out_line(score.tracks, unplayed=()) is None


@pytest.mark.parametrize("seed", range(3))
def test_pitch_bends_agree_with_pretty_midi(tmp_path: Path, seed: int) -> None:
    path, rng = tmp_path / "bends.mid", random.Random(seed)
    midi = mido.MidiFile(type=1, ticks_per_beat=480)
    midi.add_track().append(mido.MetaMessage("set_tempo", tempo=rng.randrange(200_000, 1_500_000)))
    for channel in range(3):
        track = midi.add_track()
        for _ in range(50):
            bend = mido.Message("pitchwheel", channel=channel, pitch=rng.randrange(-8192, 8192))
            track.append(bend.copy(time=rng.randrange(1, 300)))
        track.append(mido.Message("note_on", channel=channel, note=60))
        track.append(mido.Message("note_off", channel=channel, note=60, time=100))
    midi.save(path)
    tracks, parts = read_score(path).tracks, pretty_midi.PrettyMIDI(str(path)).instruments
    for track, part in zip(tracks, parts, strict=True):
        times, values = zip(*track.controls.pitch, strict=True)
        assert times == pytest.approx([bend.time for bend in part.pitch_bends], abs=1e-9)
        assert values == pytest.approx([pretty_midi.pitch_bend_to_semitones(b.pitch) for b in part.pitch_bends])


# ------------------------------------------------------------------------------------------ what is left out


def test_everything_left_out_is_counted_by_kind(read) -> None:
    score = read(
        smf(
            "00 99 24 50 00 99 26 50 00 89 24 40"  # two drum notes and the end of one
            f"00 E0 00 50 {MS_100} E0 00 40"  # a bend and the way back to the centre
            "00 B0 07 60 00 B0 0A 40 00 B0 42 7F 00 D0 20 00 A0 3C 20"  # volume, pan, sostenuto, two aftertouches
            "00 90 3E 50 00 80 3E 00"  # a note of no length
            f"00 90 3C 50 {MS_100} 80 3C 00 {END}"
        )
    )
    assert pitches_and_times(score) == [(60, 0.1, 0.2)]
    assert [(note.pitch, note.start_s) for drums in score.drums for note in drums.notes] == [(36, 0.0), (38, 0.0)]
    assert dict(score.left_out) == {"aftertouch changes": 2, "zero-length notes": 1}
    assert score.left_out_line() == "left out: 2 drum notes, 2 aftertouch changes, 1 zero-length note"


def test_controls_are_left_out_of_the_tracks_that_are_played_without_them(read) -> None:
    bend = "00 E0 00 50"
    note = f"00 90 3C 50 {MS_100} 80 3C 00"
    score = read(smf(f"{bend} {note} 00 C0 2A {note} 00 B1 01 20 00 B1 07 20 00 B1 0A 20 00 91 3C 50 {MS_100} FF2F00"))
    first, second, other = score.tracks
    assert set(score.left_out) <= {"system-exclusive messages"}
    assert score.left_out_line([first]) == "left out: 1 pitch bend"
    assert score.left_out_line([first, second]) == "left out: 1 pitch bend"  # of one channel: counted once
    assert score.left_out_line([other]) == "left out: 1 modulation change"
    for whole in (score, score.excerpt(0.05)):
        assert whole.left_out_line(whole.tracks) == "left out: 1 pitch bend, 1 modulation change"


# ------------------------------------------------------------------------------------------ other readers


def written_by_mido(path: Path, rng: random.Random, tempo_track: int) -> None:
    """Three tracks of notes that do not overlap, their keys and programs at random, and 30 tempo changes."""
    midi = mido.MidiFile(type=1, ticks_per_beat=rng.choice((96, 384, 480)))
    for track_index in range(4):
        track = midi.add_track(f"track {track_index}")
        if track_index == tempo_track:
            tempi = [rng.randrange(200_000, 1_500_000) for _ in range(30)]
            track += [
                mido.MetaMessage("set_tempo", tempo=tempo, time=rng.randrange(800) if index else 0)
                for index, tempo in enumerate(tempi)
            ]
            continue
        channel = track_index
        track.append(mido.Message("program_change", channel=channel, program=rng.randrange(128)))
        for _ in range(40):
            key, velocity = rng.randrange(128), rng.randrange(1, 128)
            track.append(mido.Message("note_on", channel=channel, note=key, velocity=velocity, time=rng.randrange(500)))
            track.append(mido.Message("note_off", channel=channel, note=key, time=rng.randrange(1, 500)))
    midi.save(path)


@pytest.mark.parametrize("seed", range(5))
def test_notes_programs_and_names_agree_with_pretty_midi(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "score.mid"
    written_by_mido(path, random.Random(seed), tempo_track=0)
    score = read_score(path)
    parts = pretty_midi.PrettyMIDI(str(path)).instruments
    assert [(track.name, track.program) for track in score.tracks] == [(part.name, part.program) for part in parts]
    for track, part in zip(score.tracks, parts, strict=True):
        notes = sorted(part.notes, key=lambda note: note.start)
        assert_same_notes(track, Track(tuple(Note(n.pitch, n.velocity, n.start, n.end) for n in notes)))


@pytest.mark.parametrize("seed", range(5))
def test_times_agree_with_mido_when_the_tempi_are_on_a_later_track(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "score.mid"
    written_by_mido(path, random.Random(seed), tempo_track=2)
    times: dict[str, list[float]] = {"note_on": [], "note_off": []}
    now_s = 0.0
    for message in mido.MidiFile(path):  # in seconds, all tracks merged
        now_s += message.time
        if message.type in times:
            times[message.type].append(now_s)
    notes = read_score(path).notes
    assert len(notes) == 120
    assert [note.start_s for note in notes] == pytest.approx(times["note_on"], abs=1e-9)
    assert sorted(note.end_s for note in notes) == pytest.approx(times["note_off"], abs=1e-9)
