"""Errors in the user's input, and atomic file writes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


class InputError(ValueError):
    """An error in the user's input, as one line that names the file or value; the command line exits with status 2."""


class Interrupted(Exception):
    """A signal stopped the work after it was saved; the text says how to go on."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path of the same suffix; rename it to `path` on success, remove it on failure.

    Makes missing parent folders.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # "no space left" comes without a name
        raise
    finally:
        beside.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
