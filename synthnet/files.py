"""Errors in the user's input, strict reading of what may be damaged, and atomic file writes."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self


class InputError(ValueError):
    """An error in the user's input, as one line that names the file or value; the command line exits with status 2."""


class Interrupted(Exception):
    """A signal stopped the work after it was saved; the text says how to go on."""


LOCK = "lock"  # the file of `only_one`
DEEPEST = 40  # levels of a JSON text of ours: far fewer than Python's recursion bears


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError for anything else, also for values nested too deeply."""
    with contextlib.suppress(RecursionError):
        value = json.loads(text)
        if not _deeper(value, DEEPEST):
            return value
    raise ValueError("nested too deeply")


def _deeper(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_deeper(item, levels - 1) for item in inside if isinstance(item, dict | list))


def within(low: float, high: float, default: Any = dataclasses.MISSING) -> Any:
    """A field of a `Checked` class, whose values lie in a range, both ends included."""
    return dataclasses.field(default=default, metadata={"range": (low, high)})


FINITE = -sys.float_info.max, sys.float_info.max
TYPES: dict[str, tuple[Any, str]] = {
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": (int | float, "a number"),
    "str": (str, "a text"),
}


@dataclasses.dataclass(frozen=True)
class Checked:
    """Base of dataclasses whose plain fields check their types and ranges; InputError names the first bad one."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, (low, high) = getattr(self, field.name), field.metadata.get("range", FINITE)
            kind, _, optional = str(field.type).partition(" | ")
            if kind not in TYPES or (optional and value is None):
                continue
            types, wanted = TYPES[kind]
            fits = isinstance(value, types) and isinstance(value, bool) == (kind == "bool")
            if not fits or (kind in ("int", "float") and not low <= value <= high):
                span = f" from {low:,} to {high:,}" if "range" in field.metadata else ""
                raise InputError(f"{field.name} must be {wanted}{span}, not {value!r:.80}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`; InputError for an unknown or missing key and for a bad value."""
        if not isinstance(values, Mapping):
            raise InputError(f"{values!r:.80} is no table of values")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(values) - known:
            raise InputError(f"unknown setting {min(unknown)!r:.80}; known: {', '.join(sorted(known))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"incomplete: {str(error).partition(' ')[2]}") from None


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file, a new one also where a full disk has left half a line."""
    with open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode())


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Have a folder to oneself, which is made if need be; InputError if another process has it.

    Where an InputError keeps a new folder empty, it goes again, with the folders made for it. May be nested within a
    process. The system lets go of a lock whose process dies.
    """
    from filelock import FileLock, Timeout

    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / LOCK, is_singleton=True).acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder}: another process is at it") from None
    with lock:
        try:
            yield
        except InputError:
            if made:
                with contextlib.suppress(OSError):
                    (folder / LOCK).unlink()
                    for one in made:
                        one.rmdir()
            raise


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
        if str(error.filename or beside) == str(beside):  # "no space left" comes without a name
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def commit() -> str | None:
    """The git commit of a clone's code, with "+" where files differ from it; None for an installed package.

    The answer is that of the first call: a clone may be updated while a program runs the old code.
    """

    def git(*words: str) -> str:
        home = str(Path(__file__).parents[1])
        return subprocess.run(["git", "-C", home, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        if not git("ls-files", "synthnet/__init__.py"):
            return None  # installed inside somebody else's repository
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "synthnet")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
