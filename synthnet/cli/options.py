"""Shared by the commands: types of options, and lines and progress on standard error."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

LARGEST_NUMBER = 1_000_000  # seconds, minutes or epochs: more is a slip

path_type = click.Path(path_type=Path)


class FiniteRange(click.FloatRange):
    """A range of floats that excludes NaN, infinity and absurdly large numbers."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        number = float(super().convert(value, parameter, context))
        if not abs(number) <= LARGEST_NUMBER:
            self.fail(f"{value} is not a number up to {LARGEST_NUMBER:,}", parameter, context)
        return number


positive = FiniteRange(min=0, min_open=True)


def say(line: str) -> None:
    """Print a line for the person at the terminal; standard output is for results."""
    click.echo(line, err=True)


@contextlib.contextmanager
def progress_bar(n_samples: int) -> Iterator[Callable[[int], None]]:
    """Show samples made, speed and time left on standard error; yields a function of the samples newly made."""
    from tqdm import tqdm

    patience = threading.Timer(2.0, say, ["getting the engine ready: the first start compiles it, which takes a while"])
    patience.daemon = True
    interval_s = 0.3 if sys.stderr.isatty() else 20.0
    with tqdm(
        total=n_samples, unit="samples", unit_scale=True, mininterval=interval_s, file=sys.stderr, dynamic_ncols=True
    ) as progress:

        def advance(n: int) -> None:
            patience.cancel()
            progress.update(n)

        patience.start()
        try:
            yield advance
        finally:
            patience.cancel()
