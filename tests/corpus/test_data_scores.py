"""The scores in data/scores: the ABC is well formed, the MIDI is what abc2midi makes of it, and both are
the music that was compared note by note with the public-domain edition they were taken from."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import mido
import pytest

from synthnet.score.general_midi import INSTRUMENTS

SCORES = Path(__file__).resolve().parents[2] / "data" / "scores"


class Movement(NamedTuple):
    """What a movement is known to hold, repeats included."""

    stem: str
    bars: int
    notes: int
    quarters_per_bar: int
    quarters_per_minute: int
    digest: str  # of the onsets (in 64ths) and pitches, taken when they were compared with the edition


MOVEMENTS = (
    Movement("bwv1007_1_prelude", 42, 656, 4, 60, "96204eb97cd79f91"),
    Movement("bwv1007_2_allemande", 64, 948, 4, 100, "43f88d2190f95a36"),
    Movement("bwv1007_3_courante", 84, 816, 3, 126, "fd17952e34b31fb4"),
    Movement("bwv1007_4_sarabande", 32, 308, 3, 60, "8bf01f8abd7e19ec"),
    Movement("bwv1007_5_menuet1", 48, 268, 3, 138, "033ab00eed0051cf"),
    Movement("bwv1007_6_menuet2", 48, 252, 3, 138, "88a9a92c5c00067f"),
    Movement("bwv1007_7_gigue", 68, 426, 3, 132, "8b1f894363baa048"),
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


def seconds(movement: Movement) -> float:
    """End of the last note."""
    midi = mido.MidiFile(SCORES / f"{movement.stem}.mid")
    (tempo,) = messages(midi, "set_tempo")
    last = max(note.release for note in played_notes(midi))
    return mido.tick2second(last, midi.ticks_per_beat, tempo.tempo)


def abc_field(abc: str, letter: str) -> str:
    (value,) = re.findall(rf"^{letter}:(.*)$", abc, re.MULTILINE)
    return value


def abc_sections(abc: str) -> Iterator[tuple[int, list[str]]]:
    """Times played, and the bars, of each section of an ABC tune that has no endings and no voices."""
    body = re.sub(r"%.*", "", abc[abc.index("\nK:") :].split("\n", 2)[2])
    for section in body.split("|:"):
        if section.strip():
            bars = re.split(r"\||:\||\|\]", section)
            yield 2 if ":|" in section else 1, [bar for bar in bars if bar.strip(" \n:]")]


ABC_SYMBOL = re.compile(r"(\[[^]]*\]|[\^_=]?[A-Ga-gz][,']*)(\d*)(/?)(\d*)(-?)")


def bar_quarters(bar: str, unit: Fraction) -> Fraction:
    """Length of a bar in quarter notes; a chord is as long as the number behind it says."""
    assert not ABC_SYMBOL.sub("", bar).strip(" .\n"), f"unknown symbols in bar {bar!r}"
    total = Fraction(0)
    for _, times, slash, by, _ in ABC_SYMBOL.findall(bar):
        total += Fraction(int(times or 1), int(by or 2) if slash else 1)
    return 4 * unit * total


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
def test_bars_are_full(movement: Movement) -> None:
    """Every bar holds the meter; the last bar and the pickup of a section make one bar together."""
    abc = (SCORES / f"{movement.stem}.abc").read_text(encoding="ascii")
    unit = Fraction(abc_field(abc, "L"))
    full = Fraction(movement.quarters_per_bar)
    assert {"C": 4, "C|": 4, "3/4": 3, "6/8": 3}[abc_field(abc, "M")] == full
    played = Fraction(0)
    for times, bars in abc_sections(abc):
        lengths = [bar_quarters(bar, unit) for bar in bars]
        inner = lengths
        if lengths[0] < full:
            assert lengths[0] + lengths[-1] == full
            inner = lengths[1:-1]
        assert set(inner) == {full}
        played += times * sum(lengths)
    assert played == movement.bars * full


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
    """A melody has no holes: the rests are at the ends of the sections, besides the Gigue's staccato bar."""
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


def test_durations() -> None:
    prelude, *dances = (seconds(movement) for movement in MOVEMENTS)
    assert 120 < prelude < 210
    assert 8 * 60 < sum(dances) < 12 * 60


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


@pytest.mark.parametrize(("name", "full"), [("tune_jig", 3), ("tune_air", 3)])
def test_bars_of_the_tunes_are_full(name: str, full: int) -> None:
    abc = (MELODIES / f"{name}.abc").read_text(encoding="ascii")
    unit = Fraction(abc_field(abc, "L"))
    for _, bars in abc_sections(re.sub(r">", "", abc)):
        lengths = [bar_quarters(bar, unit) for bar in bars]
        assert lengths[0] + lengths[-1] == full
        assert set(lengths[1:-1]) == {full}


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
