"""A corpus of a real violin: recordings with rough note lists, onsets moved to where partials rise most steeply.

    python recipes/violin/prepare.py FOLDER data/corpora/violin-garner           # at 44.1 kHz
    python recipes/violin/prepare.py FOLDER data/corpora/violin-garner-16 16000  # for the paper's networks

FOLDER holds NAME.mp3 and NAME.coarse.csv (start_s, end_s, pitch) of the movements below: John Garner playing Bach's
Partita BWV 1002 (Musopen, CC BY 3.0), note lists of the Bach Violin Dataset (Dong et al. 2022). The Sarabande's Double
(mov6) validates, the Tempo di Borea and its Double train. Velocities are unknown: all notes have 64.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
import soxr

from synthnet.audio.files import write_audio
from synthnet.corpus.corpus import VERSION, Corpus, Piece
from synthnet.files import sha256

RATE_HZ = 44_100
MOVEMENTS = {"mov6": "valid", "mov7": "train", "mov8": "train"}
SEARCH_S, WINDOW_S, PARTIALS = 0.05, 0.023, 3
VELOCITY, SHORTEST_S = 64, 0.03


def refine(samples: np.ndarray, start_s: float, pitch: int) -> float:
    """The time within 50 ms of `start_s` at which the first three partials of a key rise most steeply."""
    hop, width = round(0.002 * RATE_HZ), round(WINDOW_S * RATE_HZ)
    first = round((start_s - SEARCH_S) * RATE_HZ) - width
    if first < 0:
        return start_s
    steps = np.arange(round(2 * SEARCH_S * RATE_HZ) // hop + width // hop)
    window, t = np.hanning(width), np.arange(width) / RATE_HZ
    frames = np.stack([samples[first + k * hop : first + k * hop + width] for k in steps])
    tones = np.exp(-2j * np.pi * 440 * 2 ** ((pitch - 69) / 12) * np.arange(1, PARTIALS + 1)[:, None] * t) * window
    level = np.log(np.abs(frames @ tones.T).sum(axis=1) + 1e-3)
    lag = width // hop // 2
    rise = level[lag:] - level[:-lag]
    centre_s = (first + (steps[: len(rise)] + lag / 2) * hop + width / 2) / RATE_HZ
    near = np.abs(centre_s - start_s) <= SEARCH_S
    return float(centre_s[near][rise[near].argmax()]) if near.any() else start_s


def main(folder: Path, out: Path, rate_hz: int = RATE_HZ) -> None:
    """Write the corpus at a sample rate."""
    pieces = []
    for movement, split in MOVEMENTS.items():
        name = f"john-garner_bwv1002_{movement}"
        samples, rate = soundfile.read(folder / f"{name}.mp3", dtype="float32", always_2d=True)
        samples = soxr.resample(samples.mean(axis=1), rate, RATE_HZ)
        with open(folder / f"{name}.coarse.csv", encoding="utf-8") as file:
            rows = [(float(r["start_s"]), float(r["end_s"]), int(r["pitch"])) for r in csv.DictReader(file)]
        starts = [refine(samples, start, pitch) for start, _, pitch in rows]
        columns = {
            "pitch": [pitch for _, _, pitch in rows],
            "velocity": [VELOCITY] * len(rows),
            "start_s": starts,
            "end_s": [max(end, start + SHORTEST_S) for start, (_, end, _) in zip(starts, rows, strict=True)],
        }
        audio, score = out / "audio" / f"{name}.flac", out / "scores" / f"{name}.json"
        for path in (audio, score):
            path.parent.mkdir(parents=True, exist_ok=True)
        samples = soxr.resample(samples, RATE_HZ, rate_hz)
        write_audio(audio, samples, rate_hz)
        score.write_text(json.dumps(columns) + "\n", "utf-8")
        peak = float(np.abs(samples).max())
        source = sha256(folder / f"{name}.mp3")
        pieces.append(Piece(name, split, len(samples), peak, f"{name}.mp3", source, sha256(score), sha256(audio)))
    corpus = Corpus(out, VERSION, "violin-garner", 40, rate_hz, "", "", "", 1.0, tuple(pieces))
    content = asdict(corpus)
    del content["folder"]
    (out / "manifest.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
