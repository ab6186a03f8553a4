"""Text for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence


def printable(text: str) -> str:
    """The text with characters that a terminal would obey, or cannot show, as escapes such as \\x1b; lines stay."""
    kept = (c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return "".join(kept)


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, 3:05, or from an hour as hours and minutes, 1 h 03 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d}"


def counted(n: float, noun: str) -> str:
    """A number of things, as 1 note, 2 notes, 0.5 minutes."""
    return f"{n:.15g} {noun}" if n == 1 else f"{n:.15g} {noun}s"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal, whose columns are as wide as their longest cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def bullets(*texts: str) -> str:
    """A Markdown list of texts."""
    return "\n".join(wrapped(f"- {text}", "  ") for text in texts)


def wrapped(text: str, indent: str = "") -> str:
    """A text in lines of at most 120 characters, if its words allow; lines after the first are indented."""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
