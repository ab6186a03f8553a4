"""Gather what a sitting on a borrowed GPU leaves: at most eight files of 15 MB.

    python recipes/gpu/leave.py RUNS OUT       # after the sitting
    python recipes/gpu/leave.py --back OUT RUNS    # before the next: the runs are as they were, and resume

OUT gets, for each network below RUNS, its weights in half precision, then all small files (logs, figures, audio) as
rest.tar.gz, and the states to resume from, as state.tar.00, 01, ..., where they fit.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import click

from synthnet.cli.options import say
from synthnet.files import InputError
from synthnet.models.checkpoint import halved, load_checkpoint, save_checkpoint

MOST_FILES, LARGEST_BYTES = 8, 15_000_000
STATE, WEIGHTS = "state.safetensors", "last.safetensors"
LEFT_OUT = {"lock", "best.safetensors", WEIGHTS, STATE}


def leave(runs: Path, out: Path) -> list[Path]:
    """Write the files of the networks below `runs` to `out`; InputError for more than eight, or one above 15 MB."""
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for path in sorted(runs.rglob(WEIGHTS)):
        made.append(out / f"{path.parent.name}.safetensors")
        save_checkpoint(made[-1], halved(load_checkpoint(path)))
    files = [path for path in sorted(runs.rglob("*")) if path.is_file() and path.parent.name != "tensorboard"]
    made.append(out / "rest.tar.gz")
    made[-1].write_bytes(packed([path for path in files if path.name not in LEFT_OUT], runs, "w:gz"))
    state = packed([path for path in files if path.name == STATE], runs, "w")
    parts = [state[start : start + LARGEST_BYTES] for start in range(0, len(state), LARGEST_BYTES)]
    if len(made) + len(parts) > MOST_FILES:
        say(f"the states are left out: {len(state) / 1e6:.0f} MB")
        parts = []
    for number, part in enumerate(parts):
        made.append(out / f"state.tar.{number:02d}")
        made[-1].write_bytes(part)
    if len(made) > MOST_FILES or any(path.stat().st_size > LARGEST_BYTES for path in made):
        raise InputError(f"{out}: more than {MOST_FILES} files, or one of more than {LARGEST_BYTES:,} bytes")
    for path in made:
        say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return made


def packed(files: list[Path], runs: Path, mode: str) -> bytes:
    """Files below `runs` as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for path in files:
            tar.add(path, path.relative_to(runs))
    return buffer.getvalue()


def put_back(out: Path, runs: Path) -> None:
    """Unpack what `leave` wrote, but the weights, which the state has."""
    state = b"".join(path.read_bytes() for path in sorted(out.glob("state.tar.*")))
    for content in ((out / "rest.tar.gz").read_bytes(), state):
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(runs, filter="data")


@click.command()
@click.option("--back", is_flag=True, help="Unpack instead.")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.argument("target", type=click.Path(path_type=Path))
def main(back: bool, source: Path, target: Path) -> None:
    """Gather what a sitting leaves, or put it back."""
    if back:
        put_back(source, target)
    else:
        leave(source, target)


if __name__ == "__main__":
    main()
