"""The scores in data/scores: the MIDI is what abc2midi makes of the ABC, and the music that was compared note by note
with the public-domain edition it was taken from."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import shutil
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import mido
import pytest

from synthnet.score.general_midi import INSTRUMENTS

SCORES = Path(__file__).resolve().parents[2] / "data" / "scores"


class Movement(NamedTuple):
    """The known content of a movement, repeats included."""

    stem: str
    notes: int
    quarters_per_minute: int
    digest: str  # of the onsets (in 64ths) and pitches, taken when they were compared with the edition


MOVEMENTS = (
    Movement("bwv1007_1_prelude", 656, 60, "96204eb97cd79f91"),
    Movement("bwv1007_2_allemande", 948, 100, "43f88d2190f95a36"),
    Movement("bwv1007_3_courante", 816, 126, "fd17952e34b31fb4"),
    Movement("bwv1007_4_sarabande", 308, 60, "8bf01f8abd7e19ec"),
    Movement("bwv1007_5_menuet1", 268, 138, "033ab00eed0051cf"),
    Movement("bwv1007_6_menuet2", 252, 138, "88a9a92c5c00067f"),
    Movement("bwv1007_7_gigue", 426, 132, "8b1f894363baa048"),
)

every_movement = pytest.mark.parametrize("movement", MOVEMENTS, ids=lambda movement: movement.stem)
needs_abc2midi = pytest.mark.skipif(
    shutil.which("abc2midi") is None, reason="abc2midi is not installed (Debian: abcmidi)"
)


class PlayedNote(NamedTuple):
    """One note of a MIDI file, in ticks from its first onset."""

    onset: int
    release: int
    pitch: int
    velocity: int


def played_notes(midi: mido.MidiFile) -> list[PlayedNote]:
    """Notes by onset and pitch. Fails when a key is struck that is still down, or never released."""
    down: dict[int, tuple[int, int]] = {}
    notes = []
    tick = 0
    for message in mido.merge_tracks(midi.tracks):
        tick += message.time
        if message.type == "note_on" and message.velocity > 0:
            assert message.note not in down, f"key {message.note} struck while down at tick {tick}"
            down[message.note] = (tick, message.velocity)
        elif message.type in ("note_on", "note_off"):
            onset, velocity = down.pop(message.note)
            notes.append(PlayedNote(onset, tick, message.note, velocity))
    assert not down
    start = min(note.onset for note in notes)
    notes = [note._replace(onset=note.onset - start, release=note.release - start) for note in notes]
    return sorted(notes, key=lambda note: (note.onset, note.pitch))


def messages(midi: mido.MidiFile, kind: str) -> list[mido.Message]:
    return [message for track in midi.tracks for message in track if message.type == kind]


def load_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_scores", SCORES / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_score_is_there_as_abc_and_midi() -> None:
    stems = [movement.stem for movement in MOVEMENTS]
    assert sorted(path.stem for path in SCORES.glob("*.abc")) == stems
    assert sorted(path.stem for path in SCORES.glob("*.mid")) == stems


@every_movement
def test_notes_are_those_compared_with_the_edition(movement: Movement) -> None:
    midi = mido.MidiFile(SCORES / f"{movement.stem}.mid")
    notes = played_notes(midi)
    assert len(notes) == movement.notes
    text = " ".join(f"{round(note.onset * 16 / midi.ticks_per_beat)}:{note.pitch}" for note in notes)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == movement.digest


@every_movement
def test_playing_is_even(movement: Movement) -> None:
    """One tempo, one program, one velocity, the cello's range, notes as long as they are written."""
    midi = mido.MidiFile(SCORES / f"{movement.stem}.mid")
    notes = played_notes(midi)
    assert [message.program for message in messages(midi, "program_change")] == [42]
    (tempo,) = messages(midi, "set_tempo")
    assert tempo.tempo == pytest.approx(60e6 / movement.quarters_per_minute, abs=1)
    assert {note.velocity for note in notes} == {100}
    assert all(36 <= note.pitch <= 67 for note in notes)
    # abc2midi releases every key one tick (1/480 of a quarter) early; nothing written is shorter than a 64th.
    sixty_fourth = midi.ticks_per_beat // 16
    assert {(note.release + 1 - note.onset) % sixty_fourth for note in notes} == {0}


@every_movement
def test_notes_last_until_the_next(movement: Movement) -> None:
    """A melody has no holes: the rests are at the ends of the sections, except in the Gigue's staccato bar."""
    midi = mido.MidiFile(SCORES / f"{movement.stem}.mid")
    notes = played_notes(midi)
    sounding_until = list(itertools.accumulate((note.release for note in notes), max))
    holes = [
        (later.onset - until - 1) * 4 // midi.ticks_per_beat
        for until, later in zip(sounding_until, notes[1:], strict=False)
        if later.onset - until > 1
    ]
    rests_in_sixteenths = {"bwv1007_3_courante": [2, 2, 2], "bwv1007_7_gigue": [1] * 6}
    assert holes == rests_in_sixteenths.get(movement.stem, [])


@needs_abc2midi
@every_movement
def test_midi_is_what_abc2midi_makes(movement: Movement, tmp_path: Path) -> None:
    made = tmp_path / "made.mid"
    load_build().make_midi(SCORES / f"{movement.stem}.abc", made)
    fresh, kept = mido.MidiFile(made), mido.MidiFile(SCORES / f"{movement.stem}.mid")
    assert fresh.ticks_per_beat == kept.ticks_per_beat
    assert played_notes(fresh) == played_notes(kept)
    assert messages(fresh, "set_tempo") == messages(kept, "set_tempo")
    assert messages(fresh, "program_change") == messages(kept, "program_change")


TUNES = SCORES.parent / "tunes"
MELODIES, CHORDS = TUNES / "melodies", TUNES / "chords"
every_tune = pytest.mark.parametrize("tune", sorted(TUNES.rglob("*.abc")), ids=lambda path: path.stem)


@every_tune
def test_a_tune_can_be_played_by_all_who_are_to_play_it(tune: Path) -> None:
    """Within every instrument's range, chords within the range of those that play chords; as loud as the training."""
    players = [who for who in INSTRUMENTS if who.chords or tune.parent == MELODIES]
    notes = played_notes(mido.MidiFile(tune.with_suffix(".mid")))
    assert len(notes) > 60
    for who in players:
        assert all(who.lowest_pitch <= note.pitch <= who.highest_pitch for note in notes), who.name
    assert {note.velocity for note in notes} == {100}
    at_once = max(sum(other.onset <= note.onset < other.release for other in notes) for note in notes)
    assert at_once == (4 if tune.parent == CHORDS else 1)


@needs_abc2midi
@every_tune
def test_a_tunes_midi_is_what_abc2midi_makes(tune: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.mid"
    load_build().make_midi(tune, made)
    fresh, kept = mido.MidiFile(made), mido.MidiFile(tune.with_suffix(".mid"))
    assert played_notes(fresh) == played_notes(kept)
    assert messages(fresh, "set_tempo") == messages(kept, "set_tempo")


def test_the_hymn_in_four_voices_has_the_hymn_on_top() -> None:
    melody = played_notes(mido.MidiFile(MELODIES / "tune_hymn.mid"))
    chords = played_notes(mido.MidiFile(CHORDS / "tune_hymn_chords.mid"))
    top = [
        max((note for note in chords if note.onset == onset), key=lambda note: note.pitch)
        for onset in sorted({note.onset for note in chords})
    ]
    assert top == melody
    assert len(chords) == 4 * len(melody)


@needs_abc2midi
def test_build_refuses_a_bar_of_the_wrong_length(tmp_path: Path) -> None:
    """The exit status of abc2midi is 0 then, so build.py has to read what it prints."""
    good = (SCORES / "bwv1007_5_menuet1.abc").read_text(encoding="ascii")
    bad = tmp_path / "bad.abc"
    bad.write_text(good.replace("EG cA Fd", "EG cA Fdd"), encoding="ascii")
    assert bad.read_text(encoding="ascii") != good
    with pytest.raises(SystemExit, match=r"bad\.abc: abc2midi says: .*time units"):
        load_build().make_midi(bad, tmp_path / "bad.mid")


def test_build_without_abc2midi_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^abc2midi: not found; [^\n]*abcmidi[^\n]*$"):
        load_build().make_midi(SCORES / "bwv1007_1_prelude.abc", tmp_path / "made.mid")
