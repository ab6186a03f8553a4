"""Learn a real violin and a real piano from recordings and their scores.

    python recipes/recordings/run.py FOLDER [MINUTES]

FOLDER/violin and FOLDER/piano hold NAME.mid beside NAME.mp3 or NAME.ogg; README.md says which recordings. Corpora go to
data/corpora, runs to runs/. MINUTES of training for each, by default 15.
"""

from __future__ import annotations

import subprocess
import sys

GARNER = "John Garner, Musopen, CC BY 3.0"
ISHIZAKA = "Kimiko Ishizaka, Open Well-Tempered Clavier, CC0 1.0"
TAKES = {  # folder, General MIDI program, and how to import it
    "violin-garner": ("violin", 40, ("--pieces", "john-garner", "--valid", "mov6", "--credit", GARNER)),
    "piano-ishizaka": ("piano", 1, ("--channel", "left", "--valid", "bwv847_prelude", "--credit", ISHIZAKA)),
}


def commands(folder: str, minutes: str = "15") -> list[tuple[str, ...]]:
    """What `synthnet` is called with, one after another."""
    calls = []
    for name, (inside, program, how) in TAKES.items():
        corpus, run = f"data/corpora/{name}-44100-wide", f"runs/{name}"
        source = ("--instrument", name, "--program", str(program), "--out", corpus)
        calls += [
            ("corpus", "import", f"{folder}/{inside}", *source, *how),
            ("corpus", "report", corpus, "--plot", f"{corpus}/report.png"),
            ("train", "--corpus", corpus, "--model", "harmonic", "--minutes", minutes, "--out", run),
            ("evaluate", f"{run}/best.safetensors", "--corpus", corpus),
        ]
    return calls


if __name__ == "__main__":
    for words in commands(*sys.argv[1:]):
        print("synthnet", *words, flush=True)
        subprocess.run([sys.executable, "-m", "synthnet", *words], check=True)
