"""Live playing for minutes: a MIDI port in front, a sink that keeps time behind, and how long each block takes.

    python benchmarks/live.py --minutes 10

Thirty-two keys of one channel are held and exchanged all the time, with vibrato and bends. Every other five seconds a
storm of 600 messages a second comes on top. Messages arrive through a virtual port in a thread of its own: mido's
rtmidi if the system has a sequencer, else mido's `EchoPort` within this process. A block is late if it is not there
when the sink wants the next one. At the end all keys are let go: whatever sounds on is stuck.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import mido
import numpy as np

from synthnet.experiments.machine import machine
from synthnet.experiments.results import write_text
from synthnet.generation.library import read_library
from synthnet.generation.stage import BLOCK_S, BlockTimes, Stage, Timekeeper, block_ms, undisturbed
from synthnet.models.config import HARMONIC_RATE_HZ, LONGEST_RELEASE_S

VOICES = 32
STORM_PER_S = 600
STORM_S = 5.0  # of storm, then of calm
EXCHANGED_S = 0.25  # how often one of the held keys is let go for another one


def virtual_port(stage: Stage) -> tuple[Any, str]:
    """Where messages are sent, and what it is."""
    name = "SynthNet benchmark"
    try:
        listening = mido.open_input(name, virtual=True, callback=lambda message: stage.send(message.bytes()))
        sending = mido.open_output(next(port for port in mido.get_output_names() if name in port))
        sending.listening = listening  # kept open
        return sending, "rtmidi"
    except (OSError, ImportError, StopIteration):
        return InProcess(stage), "within the process"


class InProcess(mido.ports.BaseOutput):
    """A port whose other end is a stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        super().__init__("stage")

    def _send(self, message: mido.Message) -> None:
        self.stage.send(message.bytes())


def play(port: Any, stop: threading.Event, seed: int = 0) -> None:
    """Hold keys, and storm."""
    rng, held, begun = random.Random(seed), deque[int](), time.perf_counter()
    next_key = next_message = next_bend = begun
    while not stop.wait(0.001):
        now = time.perf_counter()
        if now >= next_key:
            next_key += EXCHANGED_S if len(held) >= VOICES else 0.01
            if len(held) >= VOICES:
                port.send(mido.Message("note_off", note=held.popleft()))
            held.append(rng.choice([key for key in range(36, 97) if key not in held]))
            port.send(mido.Message("note_on", note=held[-1], velocity=rng.randrange(30, 120)))
        if now >= next_bend:
            next_bend += 0.02
            port.send(mido.Message("pitchwheel", pitch=rng.randrange(-2000, 2000)))
            port.send(mido.Message("control_change", control=1, value=rng.randrange(128)))
        if (now - begun) % (2 * STORM_S) < STORM_S:
            next_message = now
        while next_message < now:  # on a channel that holds no keys
            next_message += 1 / STORM_PER_S
            kind, key = rng.random(), rng.randrange(36, 97)
            if kind < 0.9:
                on = "note_on" if kind < 0.45 else "note_off"
                port.send(mido.Message(on, channel=1, note=key, velocity=rng.randrange(1, 128)))
            else:
                control = rng.choice([1, 7, 11, 64, 66, 67, 121, 123])
                port.send(mido.Message("control_change", channel=1, control=control, value=rng.randrange(128)))
    for channel in (0, 1):
        for control in (121, 123):
            port.send(mido.Message("control_change", channel=channel, control=control))


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--instrument", default="violin")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seat = read_library().seat(arguments.instrument)
    block_ms(seat, HARMONIC_RATE_HZ)
    stage = Stage(lambda program: seat, HARMONIC_RATE_HZ)
    voices, computed_s = list[int](), list[float]()

    def read() -> np.ndarray:
        begun = time.thread_time()
        block = stage.read()
        computed_s.append(time.thread_time() - begun)
        voices.append(stage.voices)
        return block

    port, kind = virtual_port(stage)
    stop, sink, times = threading.Event(), Timekeeper(BLOCK_S), BlockTimes(read, BLOCK_S)
    musician = threading.Thread(target=play, args=(port, stop))
    with undisturbed():
        musician.start()
        sink.play(times, round(60 * arguments.minutes / BLOCK_S))
        stop.set()
        musician.join()
        late = sink.late
        sink.play(stage.read, round((LONGEST_RELEASE_S + 0.1) / BLOCK_S))
        garbage = gc.collect()
    spent_ms, computed_ms = 1e3 * np.array(times.spent_s), 1e3 * np.array(computed_s)
    figures = {
        "instrument": seat.voice.name,
        "minutes": arguments.minutes,
        "port": kind,
        "voices, median": float(np.median(voices)),
        "voices, most": max(voices),
        **{f"block of 5 ms, {p}th percentile, ms": float(np.percentile(spent_ms, p)) for p in (50, 99, 99.9)},
        "block of 5 ms, longest, ms": float(spent_ms.max()),
        **{f"its processor time, {p}th percentile, ms": float(np.percentile(computed_ms, p)) for p in (50, 99, 99.9)},
        "blocks": len(spent_ms),
        "late blocks": late,
        "stuck notes": stage.voices,
        "objects of garbage": garbage,
    }
    print(machine())
    for what, figure in figures.items():
        print(f"{what:40} {figure:,.2f}" if isinstance(figure, float) else f"{what:40} {figure}")
    if arguments.json:
        write_text(arguments.json, json.dumps({"machine": machine().as_dict(), "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
