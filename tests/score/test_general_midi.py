"""The presets against the table of the experiment, written out here once more."""

import re

import pytest

from synthnet.files import InputError
from synthnet.score.etudes import compose_etudes
from synthnet.score.general_midi import (
    INSTRUMENTS,
    KNOWN_INSTRUMENTS,
    MidiInstrument,
    find_instrument,
    own_instrument,
    plain_name,
)


def test_the_seven_presets_are_those_of_the_experiment() -> None:
    assert [(instrument.name, instrument.code) for instrument in INSTRUMENTS] == [
        ("piano", "S01"),
        ("glockenspiel", "S09"),
        ("guitar", "S24"),
        ("cello", "S42"),
        ("trumpet", "S56"),
        ("flute", "S75"),
        ("square", "S80"),
    ]
    assert [instrument.program for instrument in INSTRUMENTS] == [1, 9, 24, 42, 56, 75, 80]
    assert {instrument.name for instrument in INSTRUMENTS if instrument.chords} == {"piano", "guitar", "glockenspiel"}


def test_every_range_holds_the_training_music_and_lies_on_the_midi_keyboard() -> None:
    for instrument in INSTRUMENTS:
        assert 0 <= instrument.lowest_pitch <= 36
        assert 67 <= instrument.highest_pitch <= 127


def test_sixteen_instruments_have_a_name_a_program_and_room_for_etudes_each() -> None:
    assert len(KNOWN_INSTRUMENTS) >= 16
    for what in ("name", "code", "program"):
        assert len({getattr(who, what) for who in KNOWN_INSTRUMENTS}) == len(KNOWN_INSTRUMENTS)
    for who in KNOWN_INSTRUMENTS:
        assert who.code == f"S{who.program:02d}"
        assert 0 <= who.lowest_pitch <= who.highest_pitch - 14 <= 113
        assert find_instrument(who.name) is find_instrument(who.code) is who


def test_a_plain_name_is_without_what_stands_after_the_last_hyphen_of_a_known_one() -> None:
    names = ["trumpet-synthnet", "concert-flute", "concert-flute-old", "tenor-sax", "piano"]
    assert [plain_name(name) for name in names] == ["trumpet", "concert-flute", "concert-flute", "tenor-sax", "piano"]


@pytest.mark.parametrize("name", ["trumpet", "Trumpet", "S56", "s56"])
def test_an_instrument_is_found_by_name_and_by_code_in_any_case(name: str) -> None:
    assert find_instrument(name).program == 56


@pytest.mark.parametrize("name", ["tuba", "", "S5", "56"])
def test_an_unknown_instrument_is_refused_with_the_list_of_the_known(name: str) -> None:
    with pytest.raises(InputError) as caught:
        find_instrument(name)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    for instrument in INSTRUMENTS:
        assert f"{instrument.name} ({instrument.code})" in message
    assert "--program" in message


def test_an_own_instrument_of_any_program() -> None:
    assert own_instrument("tenor-sax", 66) == MidiInstrument("tenor-sax", 66, 36, 84, chords=False)
    assert own_instrument("Glas_2", 127, 0, 14, chords=True) == MidiInstrument("Glas_2", 127, 0, 14, chords=True)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (("a b", 66), "'a b': a name is made of letters, digits"),
        (("", 66), "'': a name is made of"),
        (("../up", 66), "'../up': a name is made of"),
        (("-x", 66), "'-x': a name is made of"),
        (("a,b", 66), "'a,b': a name is made of"),
        (("sax\n", 66), "a name is made of"),
        (("All", 66), "All: this word means something else"),
        (("Trumpet", 56), "Trumpet: the trumpet is known, with program 56"),
        (("s01", 0), "s01: the piano is known"),
        (("sax", 128), "sax: program 128 is not within 0 to 127"),
        (("sax", 66, -1, 84), "sax: lowest pitch -1 is not"),
        (("sax", 66, 36, 128), "sax: highest pitch 128 is not"),
        (("sax", 66, 60, 73), "sax: keys 60 to 73 are less than 14 semitones"),
        (("sax", 66, 84, 36), "sax: keys 84 to 36 are less than"),
    ],
)
def test_errors_of_an_own_instrument(values: tuple, line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)) as caught:
        own_instrument(*values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lowest", [0, 60, 113])
def test_there_are_etudes_for_the_narrowest_range(lowest: int) -> None:
    for chords in (False, True):
        etudes = compose_etudes(own_instrument("narrow", 5, lowest, lowest + 14, chords), 1.0, lowest)
        pitches = {note.pitch for score in etudes.values() for note in score.notes}
        assert (min(pitches), max(pitches)) == (lowest, lowest + 14)
