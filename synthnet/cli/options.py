"""What the commands share: types of options, and how they speak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

DEFAULT_RUNS = Path("runs")
LARGEST_NUMBER = 1_000_000  # of seconds, minutes, epochs: more is a slip

path_type = click.Path(path_type=Path)


class FiniteRange(click.FloatRange):
    """A range of floats that NaN, infinity and absurdly large numbers are not in."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        number = float(super().convert(value, parameter, context))
        if not abs(number) <= LARGEST_NUMBER:
            self.fail(f"{value} is not a number up to {LARGEST_NUMBER:,}", parameter, context)
        return number


positive = FiniteRange(min=0, min_open=True)


def say(line: str) -> None:
    """A line for the person at the terminal; standard output is for results."""
    click.echo(line, err=True)


def say_nothing(line: str) -> None:
    """What the processes of torchrun say, except the first."""
