"""Make the MIDI file of every ABC score in this folder, or in those given, with abc2midi.

    python data/scores/build.py
    python data/scores/build.py data/tunes

All files are made in a temporary folder first and take their places only when every one of them is
good, so that a fault leaves the folder as it was.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SCORES = Path(__file__).resolve().parent


def make_midi(abc: Path, midi: Path) -> None:
    """Write the ABC file `abc` as the MIDI file `midi`.

    Raises SystemExit with one line if abc2midi is not installed, fails, or finds anything to complain
    about: it tells of wrong bar lengths and unknown commands in its output, not by its exit status.
    """
    if shutil.which("abc2midi") is None:
        raise SystemExit("abc2midi: not found; install it (Debian and Ubuntu: apt install abcmidi)")
    run = subprocess.run(["abc2midi", str(abc), "-o", str(midi)], capture_output=True, text=True, check=False)
    output = (run.stdout + run.stderr).splitlines()
    complaints = [line for line in output if re.search(r"error|warning|failed", line, re.IGNORECASE)]
    if complaints:
        raise SystemExit(f"{abc}: abc2midi says: {complaints[0].strip()}")
    if run.returncode != 0 or not midi.is_file():
        raise SystemExit(f"{abc}: abc2midi made no MIDI file (exit status {run.returncode})")


def main() -> None:
    """Rebuild the MIDI files beside their ABC files."""
    folders = [Path(folder) for folder in sys.argv[1:]] or [SCORES]
    scores = sorted(abc for folder in folders for abc in folder.rglob("*.abc"))
    with tempfile.TemporaryDirectory(dir=SCORES, prefix=".build-") as folder:
        made = [Path(folder) / f"{number}.mid" for number in range(len(scores))]
        for abc, midi in zip(scores, made, strict=True):
            make_midi(abc, midi)
        for abc, midi in zip(scores, made, strict=True):
            os.replace(midi, abc.with_suffix(".mid"))
    print(f"{len(made)} MIDI files written to {', '.join(map(str, folders))}")


if __name__ == "__main__":
    main()
