"""Controllers of a channel: messages by mido, values in closed form."""

from __future__ import annotations

import math
import random

import mido
import numpy as np
import pytest

from synthnet.score.controllers import ChannelControllers, Controls


def bend(wheel: int) -> mido.Message:
    return mido.Message("pitchwheel", pitch=wheel)


def change(control: int, value: int) -> mido.Message:
    return mido.Message("control_change", control=control, value=value)


def select(msb: int, lsb: int) -> list[mido.Message]:
    """Select a registered parameter."""
    return [change(101, msb), change(100, lsb)]


def controllers_after(*messages: mido.Message) -> ChannelControllers:
    """The controllers after messages at 0 s, 1 s, 2 s, ..."""
    controllers = ChannelControllers()
    for now_s, message in enumerate(messages):
        if message.type == "pitchwheel":
            controllers.bend(message.pitch, float(now_s))
        else:
            controllers.receive(message.control, message.value, float(now_s))
    return controllers


def controls_after(*messages: mido.Message) -> Controls:
    return controllers_after(*messages).controls()


def last_pitch(*messages: mido.Message) -> float:
    """Semitones that a key struck after the messages sounds above itself."""
    controllers = controllers_after(*messages)
    return controllers.shift + float(controllers.controls().value_at("pitch", math.inf))


# ------------------------------------------------------------------------------------------ pitch


def test_the_wheel_reaches_two_semitones() -> None:
    assert controls_after(bend(4096), bend(-8192), bend(8191), bend(0)).pitch == (
        (0.0, 1.0),
        (1.0, -2.0),
        (2.0, 2 * 8191 / 8192),
        (3.0, 0.0),
    )


def test_a_change_of_range_rescales_the_wheel_where_it_is() -> None:
    controls = controls_after(bend(4096), *select(0, 0), change(6, 12), change(38, 50))
    assert controls.pitch == ((0.0, 1.0), (3.0, 6.0), (4.0, 6.25))


@pytest.mark.parametrize(("msb", "lsb"), [(0, 0), (64, 0), (64, 1), (80, 100), (127, 127)])
def test_fine_tuning_is_14_bits_of_a_semitone(msb: int, lsb: int) -> None:
    pitch = last_pitch(*select(0, 1), change(6, msb), change(38, lsb))
    assert pitch == pytest.approx((128 * msb + lsb) / 8192 - 1, abs=1e-12)


@pytest.mark.parametrize("semitones", [-64, -12, 0, 7, 63])
def test_coarse_tuning_is_in_semitones_and_adds_to_the_rest(semitones: int) -> None:
    tuning = [*select(0, 2), change(6, 64 + semitones)]
    assert last_pitch(*tuning) == semitones
    assert last_pitch(*tuning, *select(0, 1), change(6, 96), bend(-4096)) == semitones + 0.5 - 1


def test_a_coarse_data_entry_sets_the_fine_one_to_0() -> None:
    assert last_pitch(*select(0, 1), change(38, 64), change(6, 64)) == 0.0
    assert last_pitch(bend(-8192), *select(0, 0), change(38, 50), change(6, 3)) == -3.0


@pytest.mark.parametrize(
    ("parameter", "start", "control", "n", "pitch"),
    [
        (0, (2, 0), 96, 1, -2.01),  # a range, of a wheel that is down: in cents
        (0, (2, 99), 96, 1, -3.0),
        (0, (2, 0), 97, 1, -1.99),
        (0, (0, 0), 97, 5, 0.0),
        (0, (127, 99), 96, 5, -127.99),
        (1, (64, 0), 97, 1, -2 - 1 / 8192),
        (1, (64, 127), 96, 1, -2 + 128 / 8192),
        (1, (127, 127), 96, 5, -2 + 8191 / 8192),
        (2, (64, 0), 96, 3, -2 + 3),
        (2, (64, 0), 97, 3, -2 - 3),
        (2, (0, 0), 97, 3, -2 - 64),
        (2, (126, 5), 96, 3, -2 + 63),
    ],
)
def test_increments_and_decrements(parameter: int, start: tuple[int, int], control: int, n: int, pitch: float) -> None:
    entries = [change(6, start[0]), change(38, start[1])]
    steps = [change(control, 17)] * n  # the value of an increment means nothing
    assert last_pitch(bend(-8192), *select(0, parameter), *entries, *steps) == pytest.approx(pitch, abs=1e-12)


@pytest.mark.parametrize(
    "deselection", [select(127, 127), [change(99, 1)], [change(98, 0)], [change(121, 0)], select(0, 5), select(1, 2)]
)
def test_data_entry_without_one_of_these_parameters_changes_nothing(deselection: list[mido.Message]) -> None:
    entries = [change(control, 90) for control in (6, 38, 96, 97)]
    assert last_pitch(*entries) == 0.0
    assert last_pitch(*select(0, 2), change(6, 65), *deselection, *entries) == 1.0


# ------------------------------------------------------------------------------------------ vibrato and gain


def test_modulation_is_a_depth() -> None:
    assert controls_after(change(1, 127), change(33, 50), change(1, 64)).vibrato == ((0.0, 1.0), (2.0, 64 / 127))


@pytest.mark.parametrize(("volume", "expression"), [(100, 127), (127, 127), (50, 127), (100, 64), (7, 1)])
def test_gain_in_decibels_is_40_log10_and_0_is_silence(volume: int, expression: int) -> None:
    gain = controls_after(change(7, volume), change(11, expression)).value_at("gain", 2.0)
    level_db = 40 * math.log10(volume / 100) + 40 * math.log10(expression / 127)
    assert 20 * math.log10(gain) == pytest.approx(level_db, abs=1e-9)
    assert controls_after(change(7, 0)).gain == controls_after(change(11, 0)).gain == ((0.0, 0.0),)


# ------------------------------------------------------------------------------------------ all


@pytest.mark.parametrize(("value", "place"), [(0, 0), (1, 0), (32, 31 / 126), (64, 0.5), (127, 1)])
def test_pan_is_a_place_between_left_and_right(value: int, place: float) -> None:
    """RP-036: both 0 and 1 are left, so that 64 is the centre."""
    controls = controls_after(change(10, 20), change(10, value))
    assert controls.value_at("pan", [-1.0, 2.0]).tolist() == [0.5, place]
    assert controls.excerpt(1.5, 9.0).value_at("pan", 0.0) == place


def test_reset_all_controllers_leaves_volume_pan_range_and_tuning() -> None:
    setting = [*select(0, 0), change(6, 4), *select(0, 1), change(6, 80), change(7, 50)]
    controls = controls_after(*setting, bend(4096), change(1, 127), change(11, 0), change(121, 0), bend(4096))
    assert [controls.value_at("pitch", 10.0), controls.value_at("vibrato", 10.0)] == [0.25, 0.0]
    assert controls.value_at("gain", 10.0) == 0.25
    assert controls_after(change(10, 1), change(121, 0)).pan == ((0.0, 0.0),)
    assert controls.value_at("pitch", 11.0) == 0.25 + 2.0


def test_equal_values_are_dropped_and_the_last_of_one_time_holds() -> None:
    controllers = ChannelControllers()
    for now_s, wheel in ((0.0, 0), (1.0, 4096), (2.0, 4096), (3.0, 8000), (3.0, 4096), (4.0, 8000), (4.0, 0), (5.0, 0)):
        controllers.bend(wheel, now_s)
    assert controllers.controls().pitch == ((1.0, 1.0), (4.0, 0.0))


def test_counts_are_of_values_other_than_the_defaults() -> None:
    assert controls_after(bend(0), change(7, 100), change(11, 127), change(1, 0), change(10, 5)).counts == ()
    assert dict(
        controls_after(
            *(bend(wheel) for wheel in (100, 200, 200, 0)),
            *(change(1, value) for value in (10, 20, 0)),
            *(*select(0, 1), change(6, 80)),
        ).counts
    ) == {
        "pitch bends": 2,
        "modulation changes": 2,
        "tuning changes": 1,
    }


def test_values_at_times_against_a_search() -> None:
    rng = random.Random(0)
    curve = tuple((time_s, rng.random()) for time_s in sorted(rng.uniform(0.0, 10.0) for _ in range(30)))
    times_s = [rng.uniform(-1.0, 11.0) for _ in range(200)] + [time_s for time_s, _ in curve]
    expected = [([1.0] + [value for time_s, value in curve if time_s <= now_s])[-1] for now_s in times_s]
    assert Controls(gain=curve).value_at("gain", times_s).tolist() == expected
    assert Controls(gain=curve).value_at("gain", np.reshape(times_s, (2, -1))).shape == (2, 115)


def test_the_defaults_hold_without_any_value() -> None:
    controls = Controls()
    assert [controls.value_at(kind, [0.0, 1.0]).tolist() for kind in ("pitch", "vibrato", "gain")] == [
        [0.0, 0.0],
        [0.0, 0.0],
        [1.0, 1.0],
    ]


def test_an_excerpt_begins_with_the_values_in_force() -> None:
    controls = controls_after(bend(4096), change(1, 127), bend(0), change(7, 50), bend(2048))
    assert controls.excerpt(2.5, 4.0) == Controls(vibrato=((0.0, 1.0),), gain=((0.5, 0.25),))
    assert controls.excerpt(2.5, 4.0).counts == controls.counts
    assert controls.excerpt(4.0, math.inf).pitch == ((0.0, 0.5),)
    assert controls.excerpt(0.0, math.inf) == controls
