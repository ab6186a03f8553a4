"""Faults of the user's input as one line, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


class InputError(ValueError):
    """A fault in what the user gave: one line that names the file or value and what is wrong with it.

    The command line prints it and exits with status 2; nothing else in the package prints it.
    """


class Interrupted(Exception):
    """Work was stopped by a signal, after saving; the text says how to go on."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on any failure.

    The temporary name keeps the suffix, so that a library that looks at the ending writes the right
    format. Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as fault:
        fault.filename = fault.filename or str(path)  # "no space left" comes without a name
        raise
    finally:
        beside.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
