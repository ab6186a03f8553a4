"""Études hold the whole keyboard in balance, and everything that Bach's suite lacks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from synthnet.files import InputError
from synthnet.score.etudes import compose_etudes
from synthnet.score.general_midi import INSTRUMENTS, MidiInstrument, find_instrument
from synthnet.score.midi import read_score, write_midi
from synthnet.score.notes import Note, Score

NAMES = ["etude_1_scales", "etude_2_leaps", "etude_3_chords", "etude_4_lengths", "etude_5_repeats"]


@pytest.fixture(scope="module", params=[who.name for who in INSTRUMENTS])
def instrument(request: pytest.FixtureRequest) -> MidiInstrument:
    return find_instrument(request.param)


@pytest.fixture(scope="module")
def etudes(instrument: MidiInstrument) -> dict[str, Score]:
    return compose_etudes(instrument)


def seconds_by_voices(score: Score, longer_than_s: float = 0.0) -> dict[int, float]:
    """How long 0, 1, 2, ... notes sound at once; only states that last longer than `longer_than_s` count."""
    changes = sorted([(note.end_s, -1) for note in score.notes] + [(note.start_s, 1) for note in score.notes])
    seconds: dict[int, float] = {}
    voices, since_s = 0, 0.0
    for now_s, change in changes:
        if now_s - since_s > longer_than_s:
            seconds[voices] = seconds.get(voices, 0.0) + now_s - since_s
        voices, since_s = voices + change, now_s
    return seconds


def lengths_s(score: Score) -> np.ndarray:
    return np.array([note.end_s - note.start_s for note in score.notes])


# ------------------------------------------------------------------------------------------- a function


def test_the_same_arguments_give_the_same_etudes_and_others_give_others() -> None:
    guitar = find_instrument("guitar")
    first = compose_etudes(guitar, 0.5, 3)
    assert list(first) == NAMES
    assert first == compose_etudes(guitar, 0.5, 3)
    others = (
        compose_etudes(guitar, 0.5, 4),
        compose_etudes(guitar, 0.6, 3),
        compose_etudes(find_instrument("piano"), 0.5, 3),
    )
    assert all(other[name].notes != first[name].notes for other in others for name in NAMES)
    flute, square = (compose_etudes(find_instrument(name), 0.5, 3) for name in ("flute", "square"))
    assert all(flute[name].notes != square[name].notes for name in NAMES)  # though their ranges are equal


@pytest.mark.parametrize("minutes", [0.2, 1.0, 9.0])
def test_they_are_as_long_as_asked_for(minutes: float, instrument: MidiInstrument) -> None:
    written = compose_etudes(instrument, minutes).values()
    assert all(score.notes for score in written)
    # Each of the five may end in up to 2 s of silence.
    assert 60 * minutes - 10 <= sum(score.end_s for score in written) <= 60 * minutes + 0.01
    if minutes == 9.0:
        assert sum(score.end_s for score in written) > 0.98 * 60 * minutes


def test_a_written_etude_reads_back_note_for_note(etudes: dict[str, Score], tmp_path: Path) -> None:
    for name, score in etudes.items():
        write_midi(score, tmp_path / "etude.mid")
        assert read_score(tmp_path / "etude.mid") == score, name


@pytest.mark.parametrize("minutes", [0.19, 60.1, -1.0, float("nan"), float("inf")])
def test_a_length_outside_the_range_and_a_negative_seed_are_refused(minutes: float) -> None:
    with pytest.raises(InputError, match=r"minutes: must be 0\.2 to 60"):
        compose_etudes(find_instrument("piano"), minutes)
    with pytest.raises(InputError, match="seed -1"):
        compose_etudes(find_instrument("piano"), 1.0, -1)


# ------------------------------------------------------------------------------------------- the keyboard


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_key_is_heard_for_a_third_to_three_times_the_mean(instrument: MidiInstrument, seed: int) -> None:
    heard_s = np.zeros(128)
    for score in compose_etudes(instrument, seed=seed).values():
        for note in score.notes:
            heard_s[note.pitch] += note.end_s - note.start_s
    within = heard_s[instrument.lowest_pitch : instrument.highest_pitch + 1]
    assert within.sum() == pytest.approx(heard_s.sum())  # nothing outside the range
    assert within.min() > within.mean() / 3
    assert within.max() < within.mean() * 3


def test_no_two_notes_of_a_key_overlap(instrument: MidiInstrument) -> None:
    for seed in range(5):
        for name, score in compose_etudes(instrument, 3.0, seed).items():
            free_s: dict[int, float] = {}
            for note in score.notes:
                assert 0.0 <= free_s.get(note.pitch, 0.0) <= note.start_s < note.end_s, (name, note)
                free_s[note.pitch] = note.end_s


def test_most_velocities_are_the_movements(etudes: dict[str, Score]) -> None:
    velocities = np.array([note.velocity for score in etudes.values() for note in score.notes])
    assert set(velocities) == {90, 100, 110}
    assert 0.7 < np.mean(velocities == 100) < 0.95
    assert max(note.velocity for note in etudes["etude_3_chords"].notes) == 100


# ------------------------------------------------------------------------------------------- the music


def test_chords_have_up_to_six_voices_where_the_instrument_plays_chords_else_four(
    instrument: MidiInstrument, etudes: dict[str, Score]
) -> None:
    most = 6 if instrument.chords else 4
    seconds = seconds_by_voices(etudes["etude_3_chords"], longer_than_s=0.1)
    assert max(seconds) == most
    assert all(seconds.get(voices, 0.0) > 0.5 for voices in range(2, most + 1))
    share = etudes["etude_3_chords"].end_s / sum(score.end_s for score in etudes.values())
    assert 0.3 < share < 0.4 if instrument.chords else 0.06 < share < 0.1
    longest = lengths_s(etudes["etude_3_chords"]).max()
    assert 3.0 < longest <= (5.001 if instrument.chords else 4.001)


def test_the_rest_is_one_voice_with_short_overlaps(etudes: dict[str, Score]) -> None:
    for name in set(NAMES) - {"etude_3_chords"}:
        assert max(seconds_by_voices(etudes[name])) <= 2
        assert max(seconds_by_voices(etudes[name], longer_than_s=0.0615)) == 1
    overlaps = [a.end_s - b.start_s for a, b in pairwise(etudes["etude_1_scales"].notes) if a.end_s > b.start_s]
    assert len(overlaps) > 50


def test_low_chords_are_wide(instrument: MidiInstrument) -> None:
    together = [
        (low.pitch, high.pitch - low.pitch)
        for seed in range(3)
        for low, high in pairs_together(compose_etudes(instrument, seed=seed)["etude_3_chords"])
    ]
    assert len(together) > 50
    assert all(interval >= 7 for pitch, interval in together if pitch < 46)
    assert any(interval <= 2 for pitch, interval in together)


def pairs_together(score: Score) -> list[tuple[Note, Note]]:
    """A lower and a higher note that sound together for more than 0.1 s."""
    return [
        (low, high)
        for low in score.notes
        for high in score.notes
        if low.pitch < high.pitch and min(low.end_s, high.end_s) - max(low.start_s, high.start_s) > 0.1015
    ]


def test_there_are_long_and_short_notes_and_silence(etudes: dict[str, Score]) -> None:
    lengths = lengths_s(etudes["etude_4_lengths"])
    assert np.sum((lengths >= 1.0) & (lengths <= 5.001)) > 20
    assert lengths.max() > 4.0
    assert np.sum((lengths > 0.059) & (lengths < 0.151)) > 40
    shortest = min(lengths_s(score).min() for score in etudes.values())
    assert 0.059 < shortest < 0.07
    silences = 0
    for score in etudes.values():
        end_s = 0.0
        for note in score.notes:
            silences += 0.5 <= note.start_s - end_s <= 2.001
            assert note.start_s - end_s < 2.1
            end_s = max(end_s, note.end_s)
    assert silences > 15


def test_long_notes_are_everywhere_on_the_keyboard(instrument: MidiInstrument) -> None:
    notes = compose_etudes(instrument, 30.0)["etude_4_lengths"].notes
    long = {note.pitch for note in notes if note.end_s - note.start_s >= 1.0}
    keys = instrument.highest_pitch + 1 - instrument.lowest_pitch
    assert len(long) > 0.85 * keys
    assert len(long & set(range(48, 72))) >= 20  # where the other music is, too


def test_keys_are_struck_again_at_once_and_after_a_while(etudes: dict[str, Score]) -> None:
    notes = etudes["etude_5_repeats"].notes
    gaps = np.array([b.start_s - a.end_s for a, b in pairwise(notes) if a.pitch == b.pitch])
    assert np.sum(gaps < 0.005) > 10
    assert np.sum((gaps >= 0.005) & (gaps < 0.05)) > 10
    assert np.sum((gaps >= 0.05) & (gaps < 0.251)) > 10


def test_leaps_cross_the_range(instrument: MidiInstrument, etudes: dict[str, Score]) -> None:
    leaps = np.abs(np.diff([note.pitch for note in etudes["etude_2_leaps"].notes]))
    assert np.median(leaps) >= 10
    assert leaps.max() > 0.7 * (instrument.highest_pitch - instrument.lowest_pitch)


def test_onsets_follow_no_grid(etudes: dict[str, Score]) -> None:
    starts_ms = np.array([round(1000 * note.start_s) for note in etudes["etude_1_scales"].notes])
    for grid_ms in (5, 8, 10):
        assert len(set(starts_ms % grid_ms)) == grid_ms
