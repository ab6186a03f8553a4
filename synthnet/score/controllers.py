"""Controllers of a MIDI channel as step functions of time.

A step function is a tuple of (time_s, value), sorted by time. A value holds until the next one; before the first, the
controller has its default. Consecutive values differ.

The module follows the pitch wheel, its range and the channel's tuning (registered parameters 0, 1 and 2), the
modulation wheel, volume, expression and pan, and the master volume and tuning of the port. Whole semitones of tuning
move the keys (`ChannelControllers.shift`); the rest bends them. "Reset all controllers" follows MIDI's recommended
practice RP-015, data increment and decrement RP-018. The most significant byte of a data entry sets the least
significant one to 0.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Literal

import numpy as np
import numpy.typing as npt

Curve = tuple[tuple[float, float], ...]
Kind = Literal["pitch", "vibrato", "gain", "pan"]

MODULATION, VOLUME, PAN, EXPRESSION = 1, 7, 10, 11
DATA_MSB, DATA_LSB, DATA_INCREMENT, DATA_DECREMENT = 6, 38, 96, 97
DATA_ENTRY = (DATA_MSB, DATA_LSB, DATA_INCREMENT, DATA_DECREMENT)
NRPN_LSB, NRPN_MSB, RPN_LSB, RPN_MSB = 98, 99, 100, 101
RESET_ALL_CONTROLLERS = 121

# Registered parameters by number, (MSB, LSB).
BEND_RANGE, FINE_TUNING, COARSE_TUNING, NO_PARAMETER = (0, 0), (0, 1), (0, 2), (127, 127)
UNREGISTERED = (-1, -1)  # stands for all others
PARAMETER_DEFAULTS = {BEND_RANGE: (2, 0), FINE_TUNING: (64, 0), COARSE_TUNING: (64, 0)}

FULL_VOLUME, FULL_EXPRESSION = 100, 127  # the defaults, 0 dB
LEVEL_DEFAULTS: dict[int, float] = {MODULATION: 0, VOLUME: FULL_VOLUME, EXPRESSION: FULL_EXPRESSION, PAN: 64}
FULL_WHEEL = 8192
SMOOTH_S = 0.01
DEFAULTS = {"pitch": 0.0, "vibrato": 0.0, "gain": 1.0, "pan": 0.5}
COUNTED = ("pitch bends", "tuning changes", "modulation changes")  # in `Controls.counts`; all are 0 by default


@dataclass(frozen=True, slots=True)
class Controls:
    """The effect of a channel's controllers on its notes: step functions of time (see the module's docstring).

    pitch: semitones, added to every key; by default 0.
    vibrato: depth, 0 to 1; by default 0.
    gain: linear factor of the amplitude, 0 to 1.62; by default 1. It is (volume / 100)^2 (expression / 127)^2.
    pan: from 0, left, to 1, right; by default 0.5. It is (pan - 1) / 126; 0 is left, too (RP-036).
    counts: changes to values other than the default that some players leave out: (kind in the plural, number above 0).
        Comparisons ignore them.
    """

    pitch: Curve = ()
    vibrato: Curve = ()
    gain: Curve = ()
    pan: Curve = ()
    counts: tuple[tuple[str, int], ...] = field(default=(), compare=False)

    def value_at(self, kind: Kind, times_s: npt.ArrayLike) -> np.ndarray:
        """The values of a step function at times in seconds, in any order: float64, of the shape of `times_s`."""
        curve: Curve = getattr(self, kind)
        values = np.array([DEFAULTS[kind], *(value for _, value in curve)])
        return values[np.searchsorted([time_s for time_s, _ in curve], times_s, side="right")]

    def smoothed(self, kind: Kind, begin: int, n: int, sample_rate_hz: int) -> npt.NDArray[np.float32] | np.float32:
        """The mean of a step function over the last 10 ms, at n samples from `begin` on; one value if it is constant.

        A value set at time 0 holds before it, too.
        """
        curve: Curve = getattr(self, kind)
        if not curve:
            return np.float32(DEFAULTS[kind])
        changes, values = np.array(curve).T
        now = (begin + np.arange(n)) / sample_rate_hz
        before = values[0] if changes[0] <= 0 else DEFAULTS[kind]
        times = np.concatenate([[-1.0], changes, [max(now[-1], changes[-1]) + 1]])
        integral = np.concatenate([[0.0], np.cumsum(np.append(before, values) * np.diff(times))])
        mean = (np.interp(now, times, integral) - np.interp(now - SMOOTH_S, times, integral)) / SMOOTH_S
        return mean.astype(np.float32)

    def excerpt(self, start_s: float, stop_s: float) -> Controls:
        """The controls from `start_s` to `stop_s`, shifted to time 0; `counts` stay those of the whole."""

        def cut(kind: Kind) -> Curve:
            steps: list[tuple[float, float]] = []
            for time_s, value in getattr(self, kind):
                if time_s < stop_s:
                    _step(steps, DEFAULTS[kind], max(time_s - start_s, 0.0), value)
            return tuple(steps)

        return replace(self, pitch=cut("pitch"), vibrato=cut("vibrato"), gain=cut("gain"), pan=cut("pan"))


class ChannelControllers:
    """Follows the controllers of a channel, message by message in order of time."""

    def __init__(self) -> None:
        self._curves: dict[str, list[tuple[float, float]]] = {kind: [] for kind in (*DEFAULTS, *COUNTED)}
        self.switch_on(0.0)

    @property
    def shift(self) -> int:
        """Whole semitones by which the tuning moves the keys that are struck now."""
        return math.floor(self._tuning + 0.5)

    @property
    def _tuning(self) -> float:
        """Semitones above equal temperament."""
        _, (fine_msb, fine_lsb), (coarse, _) = self._parameters.values()
        channel = coarse - 64 + (fine_msb * 128 + fine_lsb - 8192) / 8192
        return channel + self._master["coarse"] + self._master["fine"] + self._master["part"]

    def switch_on(self, now_s: float) -> None:
        """Begin anew, as a sound module that is switched on."""
        self._wheel = 0
        self._master = {"volume": 1.0, "fine": 0.0, "coarse": 0.0, "part": 0.0}
        self._levels = dict(LEVEL_DEFAULTS)
        self._parameters = dict(PARAMETER_DEFAULTS)
        self._selected = NO_PARAMETER
        self._keep(now_s)

    def set_master(self, now_s: float, **values: float) -> None:
        """Set the `volume` of the whole port, 0 to 1, its `fine` or `coarse` tuning, or the `part`'s, in semitones."""
        self._master |= values
        self._keep(now_s)

    def bend(self, wheel: int, now_s: float) -> None:
        """Take in the pitch wheel, -8192 to 8191."""
        self._wheel = wheel
        self._keep(now_s)

    def receive(self, control: int, value: int, now_s: float) -> bool:
        """Take in a control change; False for a controller that this module does not follow."""
        known = True
        if control in self._levels:
            self._levels[control] = value
        elif control == RPN_MSB:
            self._selected = (value, self._selected[1])
        elif control == RPN_LSB:
            self._selected = (self._selected[0], value)
        elif control in (NRPN_MSB, NRPN_LSB):
            self._selected = NO_PARAMETER if value == 127 else UNREGISTERED
        elif control == RESET_ALL_CONTROLLERS:  # but not volume, pan, bend range and tuning
            self._wheel, self._selected = 0, NO_PARAMETER
            self._levels |= {MODULATION: 0, EXPRESSION: FULL_EXPRESSION}
        elif control in DATA_ENTRY and self._selected in self._parameters:
            self._enter(control, value)
        else:
            known = control in DATA_ENTRY and self._selected == NO_PARAMETER  # it has no effect anywhere
        self._keep(now_s)
        return known

    def forget(self, before_s: float) -> None:
        """Drop all steps before the one in force at `before_s`, also from the counts, to bound the memory."""
        for curve in self._curves.values():
            del curve[: max(0, bisect.bisect(curve, before_s, key=itemgetter(0)) - 1)]

    def controls(self) -> Controls:
        """The controls up to now."""
        curves = {kind: tuple(self._curves[kind]) for kind in DEFAULTS}
        counts = ((kind, sum(value != 0 for _, value in self._curves[kind])) for kind in COUNTED)
        return Controls(**curves, counts=tuple((kind, n) for kind, n in counts if n))

    def _enter(self, control: int, value: int) -> None:
        """Change the selected parameter by a controller of data entry."""
        msb, lsb = self._parameters[self._selected]
        if control == DATA_MSB:
            msb, lsb = value, 0
        elif control == DATA_LSB:
            lsb = value
        else:
            lsb_values = 100 if self._selected == BEND_RANGE else 128
            step = lsb_values if self._selected == COARSE_TUNING else 1
            number = msb * lsb_values + lsb + (step if control == DATA_INCREMENT else -step)
            msb, lsb = divmod(min(max(number, 0), 128 * lsb_values - 1), lsb_values)
        self._parameters[self._selected] = msb, lsb

    def _keep(self, now_s: float) -> None:
        """Add the present values to the curves."""
        range_msb, range_lsb = self._parameters[BEND_RANGE]
        modulation, volume, expression, pan = self._levels.values()
        volume *= self._master["volume"]
        bend = self._wheel * (range_msb + range_lsb / 100) / FULL_WHEEL
        tuning = self._tuning - self.shift
        gain = (volume * expression / (FULL_VOLUME * FULL_EXPRESSION)) ** 2
        values = (bend + tuning, modulation / 127, gain, max(pan - 1, 0) / 126, bend, tuning, modulation)
        for (kind, curve), value in zip(self._curves.items(), values, strict=True):
            _step(curve, DEFAULTS.get(kind, 0.0), now_s, value)


def _step(steps: list[tuple[float, float]], default: float, time_s: float, value: float) -> None:
    """Append a value to a step function, from a time on that is not before its last one."""
    if steps and steps[-1][0] == time_s:
        steps.pop()
    if value != (steps[-1][1] if steps else default):
        steps.append((time_s, value))
