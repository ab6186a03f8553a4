"""The presets against the table of the experiment, written out here once more."""

import pytest

from synthnet.files import InputError
from synthnet.instruments import INSTRUMENTS, find_instrument


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
