"""Speed of harmonic instruments: how many times real time, blocks of live playing, and the whole command.

Plays the shipped piano and trumpet: Bach's Prelude from beginning to end at 16 and 44.1 kHz, beside the same in torch
(the slow twin); blocks of 5 ms at 44.1 kHz with 32 voices sounding; and `synthnet render` as a process, with compiled
code cached: of 20 s of the Prelude, and of a song of 16 dense tracks, fifteen of which hold chords of three notes, and
one plays drums. Figures are medians of the repeats, which take turns.

    python benchmarks/harmonic.py [--repeats N] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mido
import numpy as np
import torch

from synthnet.evaluation.measure import PRELUDE
from synthnet.experiments.machine import machine
from synthnet.experiments.results import write_text
from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.generation.library import SHIPPED
from synthnet.generation.live import LiveInstrument
from synthnet.kernels.voices import TABLE_SAMPLES
from synthnet.models.checkpoint import Checkpoint, load_checkpoint
from synthnet.models.envelopes import notes_of
from synthnet.score.dynamics import add_dynamics
from synthnet.score.general_midi import KNOWN_INSTRUMENTS
from synthnet.score.midi import CHANNELS, DRUM_CHANNEL, read_score
from synthnet.score.notes import Score
from synthnet.score.roll import roll_events

INSTRUMENTS = ("trumpet", "piano")
RATES_HZ = (16_000, 44_100)
TWIN_S = 20  # of the Prelude by the slow twin
VOICES, BLOCK_SAMPLES, BLOCKS = 32, 220, 600


def whole_piece(checkpoint: Checkpoint, score: Score, rate: int) -> float:
    """Times real time of a whole piece."""
    player = HarmonicPlayer(checkpoint.config, checkpoint.weights, rate)
    part = Part(notes_of(roll_events(score.notes, rate)))
    player.play(part, 0, rate)
    begun = time.perf_counter()
    player.play(part, 0, round(score.end_s * rate))
    return score.end_s / (time.perf_counter() - begun)


def twin(checkpoint: Checkpoint, score: Score, rate: int) -> float:
    """Times real time of the torch model, in blocks of a second."""
    model = checkpoint.build()
    notes = notes_of(roll_events(score.notes, rate))
    tails = np.ceil(checkpoint.weights["release_s"].astype(np.float64) * rate).astype(np.int64)
    begun = time.perf_counter()
    with torch.no_grad():
        for start in range(0, TWIN_S * rate, rate):
            chosen = notes.take(notes.sounding(start, start + rate, tails), start)
            if len(chosen.pitch):
                row = np.zeros(len(chosen.pitch), np.int64)
                model(chosen, row, 1, rate, rate, (chosen.pitch * 7 + start) % TABLE_SAMPLES)
    return TWIN_S / (time.perf_counter() - begun)


def live_blocks(checkpoint: Checkpoint) -> tuple[float, float]:
    """Median and 99th percentile of the milliseconds of a block of 5 ms with 32 voices sounding."""
    live = LiveInstrument(checkpoint, block_samples=BLOCK_SAMPLES)
    for number in range(VOICES):
        live.note_on(40 + number, velocity=80)
    live.read()
    spent = []
    for _ in range(BLOCKS):
        begun = time.perf_counter()
        live.read()
        spent.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(spent), float(np.percentile(spent, 99))


def whole_command(song: Path, *words: str) -> float:
    """Seconds of `synthnet render` of 20 s."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "synthnet", "render", str(song), "--duration", "20", *words]
        begun = time.perf_counter()
        subprocess.run([*command, "-o", f"{folder}/o.wav"], check=True, capture_output=True)
        return time.perf_counter() - begun


def write_dense_song(path: Path) -> None:
    """Write 20 s of sixteen tracks, two chords a second each."""
    midi = mido.MidiFile(ticks_per_beat=480)  # at 120 beats a minute
    for number, who in enumerate(KNOWN_INSTRUMENTS[:16]):
        channel = DRUM_CHANNEL if number == 15 else CHANNELS[number]
        keys = (36, 38, 42) if number == 15 else tuple(who.lowest_pitch + 12 + step for step in (0, 4, 7))
        track = midi.add_track(who.name)
        track.append(mido.Message("program_change", channel=channel, program=0 if number == 15 else who.program))
        for _ in range(40):
            for kind, ticks in (("note_on", 30), ("note_off", 450)):
                for key in keys:
                    track.append(mido.Message(kind, channel=channel, note=key, velocity=90, time=ticks))
                    ticks = 0
    midi.save(path)


def measure(name: str, score: Score) -> dict[str, Any]:
    """All figures of one instrument, once."""
    checkpoint = load_checkpoint(SHIPPED / f"{name}.safetensors")
    median_ms, most_ms = live_blocks(checkpoint)
    return {
        **{f"times real time at {rate} Hz": whole_piece(checkpoint, score, rate) for rate in RATES_HZ},
        f"torch, times real time at {RATES_HZ[-1]} Hz": twin(checkpoint, score, RATES_HZ[-1]),
        "live block of 5 ms, 32 voices, median ms": median_ms,
        "live block of 5 ms, 32 voices, 99th percentile ms": most_ms,
        "synthnet render of 20 s, seconds": whole_command(PRELUDE, "--instrument", name),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    score = add_dynamics(read_score(PRELUDE))
    repeats: dict[str, list[dict[str, Any]]] = {name: [] for name in INSTRUMENTS}
    for _ in range(arguments.repeats):
        for name in INSTRUMENTS:
            repeats[name].append(measure(name, score))
    figures = {
        name: {what: statistics.median(row[what] for row in rows) for what in rows[0]} for name, rows in repeats.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        write_dense_song(Path(folder) / "dense.mid")
        dense_s = statistics.median(whole_command(Path(folder) / "dense.mid") for _ in range(arguments.repeats))
    print(machine())
    print(f"{'synthnet render of 20 s of 16 dense tracks, seconds':52}{dense_s:8.2f}")
    for what in figures[INSTRUMENTS[0]]:
        print(f"{what:52}" + "".join(f"{name} {figures[name][what]:8.2f}   " for name in INSTRUMENTS))
    if arguments.json:
        dense = {"synthnet render of 16 dense tracks, seconds": dense_s}
        content = {"machine": machine().as_dict(), "figures": figures, **dense}
        write_text(arguments.json, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
