"""The paper's section 4.5: SynthNet learns a real cello from MusicNet.

    python recipes/real_cello/run.py MUSICNET [EPOCHS] [PRESET]

MUSICNET is the folder of the dataset (train_data, test_labels, musicnet_metadata.csv, ...). By default 200 epochs of
preset L24, as in the paper. A training that was stopped goes on by the third command that is printed, with
--resume.
"""

from __future__ import annotations

import subprocess
import sys

PIECES = "2217-2222,2293-2298"  # J. S. Bach, Cello Suites BWV 1009 and 1010, European Archive
HELD_OUT = "2217"  # the Prelude of BWV 1009
CORPUS, RUN = "data/corpora/real-cello-44100-wide", "runs/real-cello"


def commands(folder: str, epochs: str = "200", preset: str = "L24") -> list[tuple[str, ...]]:
    """What `synthnet` is called with, one after another."""
    source = ("--instrument", "real-cello", "--program", "42", "--sample-rate", "44100", "--out", CORPUS)
    return [
        ("corpus", "import", folder, "--pieces", PIECES, "--valid", HELD_OUT, *source),
        ("corpus", "report", CORPUS, "--plot", f"{CORPUS}/report.png"),
        ("train", "--corpus", CORPUS, "--model", "synthnet", "--preset", preset, "--epochs", epochs, "--out", RUN),
        ("evaluate", f"{RUN}/best.safetensors", "--corpus", CORPUS, "--piece-seconds", "20", "--keep"),
    ]


if __name__ == "__main__":
    for words in commands(*sys.argv[1:]):
        print("synthnet", *words, flush=True)
        subprocess.run([sys.executable, "-m", "synthnet", *words], check=True)
