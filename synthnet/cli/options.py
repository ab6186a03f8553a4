"""Shared by the commands: types of options, and lines and progress on standard error."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from synthnet.files import InputError
from synthnet.text import printable

LARGEST_NUMBER = 1_000_000  # seconds, minutes or epochs: more is a slip

path_type = click.Path(path_type=Path)


class FiniteRange(click.FloatRange):
    """A range of floats that excludes NaN, infinity and absurdly large numbers."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        number = float(super().convert(value, parameter, context))
        if not abs(number) <= LARGEST_NUMBER:
            self.fail(f"{value} is not a number up to {LARGEST_NUMBER:,}", parameter, context)
        return number


class Seconds(FiniteRange):
    """A time in seconds, also written 1:30 or 1:02:30."""

    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if re.fullmatch(r"(\d+:)?\d+:[0-5]?\d(\.\d*)?", str(value)):
            value = sum(float(part) * 60**power for power, part in enumerate(reversed(value.split(":"))))
        return super().convert(value, parameter, context)


class Pair(click.ParamType):
    """Two words around the first =, in the form that help and errors show, such as NAME=FOLDER."""

    def __init__(self, form: str) -> None:
        self.name = form

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[str, str]:
        left, _, right = str(value).partition("=")
        if not (left and right):
            self.fail(f"{value!r} is not {self.name}", parameter, context)
        return left, right


positive = FiniteRange(min=0, min_open=True)


def say(line: str) -> None:
    """Print a line for the person at the terminal; standard output is for results."""
    click.echo(printable(line), err=True)


def show(text: str) -> None:
    """Print a result on standard output."""
    click.echo(printable(text))


def as_json(value: Any) -> str:
    """Plain values as a JSON text, with null for NaN, which JSON does not have."""
    return json.dumps(json.loads(json.dumps(value), parse_constant=lambda name: None), indent=2)


def error_line(error: InputError | OSError) -> str:
    """The one line of an error that a person can mend."""
    if isinstance(error, InputError):
        return str(error)
    return (f"{error.filename}: " if error.filename else "") + (error.strerror or str(error))


@contextlib.contextmanager
def progress_bar(n_samples: int, samples_per_s: int) -> Iterator[Callable[..., None]]:
    """Show seconds of sound made, speed and time left on standard error.

    Yields a function of the samples newly made and of what they are of, "" if that is left out.
    """
    from tqdm import tqdm

    interval_s, begun = 0.3 if sys.stderr.isatty() else 20.0, time.monotonic()
    form = "{percentage:3.0f}% |{bar}| {remaining} left{postfix}"
    with tqdm(
        total=n_samples, bar_format=form, mininterval=interval_s, file=sys.stderr, dynamic_ncols=True
    ) as progress:

        def advance(n: int, what: str = "") -> None:
            patience.cancel()
            made_s, spent_s = (progress.n + n) / samples_per_s, time.monotonic() - begun
            line = f"{made_s:.1f} of {n_samples / samples_per_s:.1f} s, {made_s / max(spent_s, 1e-3):.1f} x real time"
            progress.set_postfix_str(f"{line}, {printable(what)[:40]}" if what else line, refresh=False)
            progress.update(min(n, n_samples - progress.n))  # beyond the total the bar would begin anew

        ready = "getting ready; a first start takes longer, since it compiles the engine"
        patience = threading.Timer(2.0, progress.write, [ready, sys.stderr])  # above the bar, not behind it
        patience.daemon = True
        patience.start()
        try:
            yield advance
        finally:
            patience.cancel()
