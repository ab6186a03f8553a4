"""The presets against the table of the experiment, written out here once more."""

import re

import numpy as np
import pytest

from synthnet.etudes import compose_etudes
from synthnet.files import InputError
from synthnet.instruments import BAR, INSTRUMENTS, Instrument, find_instrument, own_instrument
from synthnet.models import preset_config
from synthnet.runs import tuned_to
from synthnet.score import Note
from synthnet.teacher import FLUIDR3, Teacher, find_soundfont


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
    assert "--program" in message


def test_a_bar_s_partials_are_where_the_glockenspiel_sounds() -> None:
    """Each is a maximum of the spectrum of two seconds of a low note, within one bin of it (0.5 Hz)."""
    teacher = Teacher(find_soundfont(), program=9, sample_rate_hz=16_000)
    if teacher.soundfont != FLUIDR3:
        pytest.skip("measured on FluidR3")
    for pitch in (48, 60):
        fundamental_hz = 440 * 2 ** ((pitch - 69) / 12)
        samples = teacher.play([Note(pitch, 100, 0.0, 2.0)], 2.0)[400:32_000]
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 32_000))
        for partial in BAR:
            if partial * fundamental_hz < 7_000:
                place = partial * fundamental_hz * 2  # in bins
                near = spectrum[round(place) - 8 : round(place) + 9]
                assert abs(round(place) - 8 + near.argmax() - place) <= 1, (pitch, partial)
                assert near.max() > 1e-3 * spectrum.max()


def test_a_network_is_tuned_to_its_one_instrument() -> None:
    small = preset_config(None, "small")
    assert tuned_to(small, ["glockenspiel"]).oscillator_partials == BAR
    assert tuned_to(small, ["trumpet"]) == tuned_to(small, ["my-own"]) == small
    assert tuned_to(small, ["glockenspiel", "trumpet"]) == small
    without = preset_config(None, "small", harmonics=0)
    assert tuned_to(without, ["glockenspiel"]) == without
    assert tuned_to(preset_config(None, "small", harmonics=2), ["glockenspiel"]).partials == BAR[:2]
    assert tuned_to(preset_config(None, "small", harmonics=9), ["glockenspiel"]).harmonics == len(BAR)


def test_an_own_instrument_of_any_program() -> None:
    assert own_instrument("tenor-sax", 66) == Instrument("tenor-sax", "S66", 66, 36, 84, chords=False)
    assert own_instrument("Glas_2", 127, 0, 14, chords=True) == Instrument("Glas_2", "S127", 127, 0, 14, chords=True)


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
def test_faults_of_an_own_instrument(values: tuple, line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)) as caught:
        own_instrument(*values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lowest", [0, 60, 113])
def test_there_are_etudes_for_the_narrowest_range(lowest: int) -> None:
    for chords in (False, True):
        etudes = compose_etudes(own_instrument("narrow", 5, lowest, lowest + 14, chords), 1.0, lowest)
        pitches = {note.pitch for score in etudes.values() for note in score.notes}
        assert (min(pitches), max(pitches)) == (lowest, lowest + 14)
