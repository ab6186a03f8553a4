"""Controllers of a MIDI channel: messages in and out, as step functions of time.

A step function is a tuple of (time_s, value), sorted by time. A value holds until the next one; before the first, the
controller has its default, so that an empty tuple is the default throughout. Consecutive values differ.

The module follows the pitch wheel, its range and the channel's tuning (registered parameters 0, 1 and 2), the
modulation wheel, volume and expression, and the master volume and tuning of the port. Whole semitones of tuning move
the keys (`ChannelControllers.shift`), the rest bends them.

"Reset all controllers" works as in MIDI's recommended practice RP-015, data
increment and decrement as in RP-018. The most significant byte of a data entry sets the least significant one to 0.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import mido
import numpy as np
import numpy.typing as npt

Curve = tuple[tuple[float, float], ...]
Kind = Literal["pitch", "vibrato", "gain"]

MODULATION, VOLUME, EXPRESSION = 1, 7, 11
DATA_MSB, DATA_LSB, DATA_INCREMENT, DATA_DECREMENT = 6, 38, 96, 97
NRPN_LSB, NRPN_MSB, RPN_LSB, RPN_MSB = 98, 99, 100, 101
RESET_ALL_CONTROLLERS = 121

# Registered parameters by number, (MSB, LSB).
BEND_RANGE, FINE_TUNING, COARSE_TUNING, NO_PARAMETER = (0, 0), (0, 1), (0, 2), (127, 127)
PARAMETER_DEFAULTS = {BEND_RANGE: (2, 0), FINE_TUNING: (64, 0), COARSE_TUNING: (64, 0)}

FULL_VOLUME, FULL_EXPRESSION = 100, 127  # the defaults, 0 dB
FULL_WHEEL = 8192
DEFAULTS = {"pitch": 0.0, "vibrato": 0.0, "gain": 1.0}
# What each count in `Controls.counts` counts, and the value that is not counted.
COUNTED_DEFAULTS = {
    "pitch bends": 0.0,
    "tuning changes": 0.0,
    "modulation changes": 0,
    "volume changes": FULL_VOLUME,
    "expression changes": FULL_EXPRESSION,
}


@dataclass(frozen=True, slots=True)
class Controls:
    """What the controllers of a channel do to its notes: step functions of time (see the module's docstring).

    pitch: semitones, added to every key; by default 0.
    vibrato: depth, 0 to 1; by default 0.
    gain: linear factor of the amplitude, 0 to 1.62; by default 1. It is (volume / 100)^2 (expression / 127)^2.
    counts: how often controllers took a value other than their defaults, for each kind, named in the plural; no
        kind has a count of 0. Counts describe the file and take no part in comparisons.
    """

    pitch: Curve = ()
    vibrato: Curve = ()
    gain: Curve = ()
    counts: tuple[tuple[str, int], ...] = field(default=(), compare=False)

    def value_at(self, kind: Kind, times_s: npt.ArrayLike) -> np.ndarray:
        """The values of a step function at times in seconds, in any order: float64, of the shape of `times_s`."""
        curve: Curve = getattr(self, kind)
        values = np.array([DEFAULTS[kind], *(value for _, value in curve)])
        return values[np.searchsorted([time_s for time_s, _ in curve], times_s, side="right")]

    def excerpt(self, start_s: float, stop_s: float) -> Controls:
        """The controls from `start_s` to `stop_s`, shifted to time 0; `counts` stay those of the whole."""

        def cut(kind: Kind) -> Curve:
            steps: list[tuple[float, float]] = []
            for time_s, value in getattr(self, kind):
                if time_s < stop_s:
                    _step(steps, DEFAULTS[kind], max(time_s - start_s, 0.0), value)
            return tuple(steps)

        return replace(self, pitch=cut("pitch"), vibrato=cut("vibrato"), gain=cut("gain"))


class ChannelControllers:
    """Follows the controllers of a channel, message by message in order of time."""

    def __init__(self) -> None:
        self._defaults = DEFAULTS | COUNTED_DEFAULTS
        self._curves: dict[str, list[tuple[float, float]]] = {name: [] for name in self._defaults}
        self._master = {"volume": 1.0, "fine": 0.0, "coarse": 0.0}
        self._switch_on()

    @property
    def shift(self) -> int:
        """Whole semitones by which the tuning moves the keys that are struck now."""
        return math.floor(self._tuning() + 0.5)

    def receive(self, control: int, value: int, now_s: float) -> bool:
        """Take in a control change; False if it is none that the module follows."""
        known = True
        if control == MODULATION:
            self._modulation = value
        elif control == VOLUME:
            self._volume = value
        elif control == EXPRESSION:
            self._expression = value
        elif control == RPN_MSB:
            self._selected = (value, self._selected[1])
        elif control == RPN_LSB:
            self._selected = (self._selected[0], value)
        elif control in (NRPN_MSB, NRPN_LSB):
            self._selected = NO_PARAMETER
        elif control == RESET_ALL_CONTROLLERS:
            self._reset()
        else:
            known = self._selected in self._parameters and self._enter(control, value)
        self._keep(now_s)
        return known

    def bend(self, wheel: int, now_s: float) -> None:
        """Take in the pitch wheel, -8192 to 8191."""
        self._wheel = wheel
        self._keep(now_s)

    def set_master(self, now_s: float, **master: float) -> None:
        """Set the `volume` of the whole port, 0 to 1, or its `fine` or `coarse` tuning in semitones."""
        self._master |= master
        self._keep(now_s)

    def switch_on(self, now_s: float) -> None:
        """Begin anew, as a sound module that is switched on."""
        self._switch_on()
        self._keep(now_s)

    def controls(self) -> Controls:
        """The controls up to now."""
        counts = {
            kind: sum(value != default for _, value in self._curves[kind]) for kind, default in COUNTED_DEFAULTS.items()
        }
        return Controls(
            pitch=tuple(self._curves["pitch"]),
            vibrato=tuple(self._curves["vibrato"]),
            gain=tuple(self._curves["gain"]),
            counts=tuple((kind, n) for kind, n in counts.items() if n),
        )

    def _reset(self) -> None:
        """Reset all controllers, but not volume, bend range and tuning (RP-015)."""
        self._wheel = 0
        self._modulation = 0
        self._expression = FULL_EXPRESSION
        self._selected = NO_PARAMETER

    def _switch_on(self) -> None:
        self._parameters = dict(PARAMETER_DEFAULTS)
        self._volume = FULL_VOLUME
        self._reset()

    def _keep(self, now_s: float) -> None:
        for name, value in self._values().items():
            _step(self._curves[name], self._defaults[name], now_s, value)

    def _enter(self, control: int, value: int) -> bool:
        """Change the selected parameter; False if the controller is none of data entry."""
        msb, lsb = self._parameters[self._selected]
        if control == DATA_MSB:
            msb, lsb = value, 0
        elif control == DATA_LSB:
            lsb = value
        elif control in (DATA_INCREMENT, DATA_DECREMENT):
            lsb_values = 100 if self._selected == BEND_RANGE else 128
            size = lsb_values if self._selected == COARSE_TUNING else 1
            number = msb * lsb_values + lsb + (size if control == DATA_INCREMENT else -size)
            msb, lsb = divmod(min(max(number, 0), 128 * lsb_values - 1), lsb_values)
        else:
            return False
        self._parameters[self._selected] = msb, lsb
        return True

    def _tuning(self) -> float:
        """Semitones above equal temperament at A4 = 440 Hz."""
        fine_msb, fine_lsb = self._parameters[FINE_TUNING]
        channel = self._parameters[COARSE_TUNING][0] - 64 + (fine_msb * 128 + fine_lsb - 8192) / 8192
        return channel + self._master["coarse"] + self._master["fine"]

    def _values(self) -> dict[str, float]:
        range_msb, range_lsb = self._parameters[BEND_RANGE]
        bend = self._wheel * (range_msb + range_lsb / 100) / FULL_WHEEL
        tuning = self._tuning() - self.shift  # the rest moves the keys
        volume = self._volume * self._master["volume"]
        return {
            "pitch": bend + tuning,
            "vibrato": self._modulation / 127,
            "gain": (volume * self._expression / (FULL_VOLUME * FULL_EXPRESSION)) ** 2,
            "pitch bends": bend,
            "tuning changes": tuning,
            "modulation changes": self._modulation,
            "volume changes": volume,
            "expression changes": self._expression,
        }


def control_messages(controls: Controls, channel: int) -> Iterator[tuple[float, mido.Message]]:
    """Pairs of a time in seconds and a message that make a channel's controls; each kind is sorted by time.

    Pitch becomes the pitch wheel, in the smallest range of whole semitones that holds it, at least the default of 2
    and at most 127. Gain becomes the pair of volume and expression that is nearest to it. Values beyond what a
    controller can say are clipped.
    """

    def change(control: int, value: int) -> mido.Message:
        return mido.Message("control_change", channel=channel, control=control, value=value)

    default_range = PARAMETER_DEFAULTS[BEND_RANGE][0]
    bend_range = min(127, max([default_range, *(math.ceil(abs(value)) for _, value in controls.pitch)]))
    if bend_range != default_range:
        for control, value in ((RPN_MSB, 0), (RPN_LSB, 0), (DATA_MSB, bend_range), (RPN_MSB, 127), (RPN_LSB, 127)):
            yield 0.0, change(control, value)
    for time_s, semitones in controls.pitch:
        wheel = min(max(round(semitones / bend_range * FULL_WHEEL), -FULL_WHEEL), FULL_WHEEL - 1)
        yield time_s, mido.Message("pitchwheel", channel=channel, pitch=wheel)
    for time_s, depth in controls.vibrato:
        yield time_s, change(MODULATION, min(max(round(depth * 127), 0), 127))
    for time_s, gain in controls.gain:
        volume, expression = _volume_and_expression(gain)
        yield time_s, change(VOLUME, volume)
        yield time_s, change(EXPRESSION, expression)


@functools.lru_cache(maxsize=1024)
def _volume_and_expression(gain: float) -> tuple[int, int]:
    """The pair whose gain is nearest; of several, that whose volume is nearest to the default."""
    product = math.sqrt(max(gain, 0.0)) * FULL_VOLUME * FULL_EXPRESSION
    pairs = ((volume, min(127, round(product / volume))) for volume in range(1, 128))
    return min(pairs, key=lambda pair: (abs(pair[0] * pair[1] - product), abs(pair[0] - FULL_VOLUME)))


def _step(steps: list[tuple[float, float]], default: float, time_s: float, value: float) -> None:
    """Let a step function take a value from a time on that is not before its last one."""
    if steps and steps[-1][0] == time_s:
        steps.pop()
    if value != (steps[-1][1] if steps else default):
        steps.append((time_s, value))
