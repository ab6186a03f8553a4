"""What the commands share: types of options, and how they speak and show progress."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

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


@contextlib.contextmanager
def progress_bar(n_samples: int) -> Iterator[Callable[[int], None]]:
    """Samples made, speed and time left on standard error; call what it gives with the samples made since."""
    patience = threading.Timer(2.0, say, ["getting the engine ready: the first start compiles it, which takes a while"])
    patience.daemon = True
    with tqdm(
        total=n_samples,
        unit="samples",
        unit_scale=True,
        mininterval=0.3 if sys.stderr.isatty() else 20.0,
        file=sys.stderr,
        dynamic_ncols=True,
    ) as progress:

        def advance(n: int) -> None:
            patience.cancel()
            progress.update(n)

        patience.start()
        try:
            yield advance
        finally:
            patience.cancel()
