"""Live playing for minutes: a MIDI port in front, a sink that keeps time behind, and how long each block takes.

    python benchmarks/live.py --minutes 10

Thirty-two keys of one channel are held and exchanged all the time, with vibrato and bends. Every other five seconds a
storm of 600 messages a second comes on top, on a channel of its own, and reaches the limit of voices; after it the keys
are struck anew. Blocks with more than 40 voices are counted apart. Another process plays: through a virtual port of
mido's rtmidi if the system has a sequencer, else through a pipe. A block is late if it is not there when the sink wants
the next one. At the end all keys are let go: whatever sounds on is stuck.

The baseline is the machine: a computation that is always the same and takes as long as the median block, for a minute
on the same sink. A machine that sleeps between blocks wakes up slowly, so blocks of 32 keys are also made one after
another, without sleep.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import multiprocessing
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import mido
import numpy as np

from synthnet.experiments.machine import machine
from synthnet.generation.library import Seat, read_library
from synthnet.generation.stage import BLOCK_S, BlockTimes, Stage, Timekeeper, block_ms, undisturbed
from synthnet.models.config import HARMONIC_RATE_HZ, LONGEST_RELEASE_S

VOICES = 32
CALM = 40  # voices at most: the keys held, and those that die away
STORM_PER_S = 600
STORM_S = 5.0  # of storm, then of calm
EXCHANGED_S = 0.25  # how often one of the held keys is let go for another one


class Pipe(mido.ports.BaseOutput):
    """A port whose other end is a pipe to another process."""

    def __init__(self, end: Connection) -> None:
        self.end = end
        super().__init__("pipe")

    def _send(self, message: mido.Message) -> None:
        self.end.send_bytes(bytes(message.bytes()))


def receive(end: Connection, stage: Stage) -> None:
    """Pass on what comes through a pipe until it is closed."""
    with contextlib.suppress(EOFError):
        while True:
            stage.send(end.recv_bytes())


def musician(end: Connection, name: str | None, stop: Event) -> None:
    """Play through a port of the system, else through the pipe; a process of its own."""
    play(mido.open_output(name) if name else Pipe(end), stop)


def virtual_port(stage: Stage) -> str | None:
    """The name of a port of the system whose messages go to the stage; None if there is no sequencer."""
    name = "SynthNet benchmark"
    try:
        stage.port = mido.open_input(name, virtual=True, callback=lambda message: stage.send(message.bytes()))
        return next(port for port in mido.get_output_names() if name in port)
    except (OSError, ImportError, StopIteration):
        return None


def play(port: Any, stop: Event, seed: int = 0) -> None:
    """Hold keys, and storm."""
    rng, held, begun = random.Random(seed), deque[int](), time.perf_counter()
    next_key = next_message = next_bend = begun
    storm = False
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
            if storm:  # is over, and has stolen the voices of the keys that are held
                port.send(mido.Message("control_change", channel=1, control=123))
                for key in held:
                    port.send(mido.Message("note_off", note=key))
                held.clear()
            next_message, storm = now, False
        else:
            storm = True
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


def percentiles_ms(name: str, spent_s: Sequence[float]) -> dict[str, float]:
    """Figures by what they are."""
    return {f"{name}, {p}th percentile, ms": 1e3 * float(np.percentile(spent_s, p)) for p in (50, 99, 99.9, 100)}


def same_work_s(median_s: float, n_blocks: int) -> Sequence[float]:
    """Seconds that equal computations of this median take on a sink that keeps time."""
    x = np.linspace(0, 1, 1 << 16, dtype=np.float32)

    def work(n: int) -> np.ndarray:
        for _ in range(n):
            np.maximum(x, 0.5)
        return x

    once = BlockTimes(lambda: work(100), BLOCK_S)
    Timekeeper(BLOCK_S).play(once, 200)
    n = max(1, round(100 * median_s / float(np.median(once.spent_s))))
    times = BlockTimes(lambda: work(n), BLOCK_S)
    Timekeeper(BLOCK_S).play(times, n_blocks)
    return times.spent_s


def back_to_back_s(seat: Seat, n_blocks: int, seed: int = 0) -> Sequence[float]:
    """Seconds of blocks with 32 keys held and exchanged, with vibrato and bends, without a sink."""
    stage, rng, held = Stage(lambda program: seat, HARMONIC_RATE_HZ), random.Random(seed), deque[int]()
    times = BlockTimes(stage.read, BLOCK_S)
    for number in range(-VOICES, n_blocks):
        if number < 0 or number % round(EXCHANGED_S / BLOCK_S) == 0:
            if number >= 0:
                stage.send((0x80, held.popleft(), 0), at=stage.position)
            held.append(rng.choice([key for key in range(36, 97) if key not in held]))
            stage.send((0x90, held[-1], rng.randrange(30, 120)), at=stage.position)
        if number % 4 == 0:
            stage.send((0xE0, 0, rng.randrange(48, 80)), at=stage.position)
            stage.send((0xB0, 1, rng.randrange(128)), at=stage.position)
        times()
    return times.spent_s[VOICES:]


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

    port, processes = virtual_port(stage), multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe(duplex=False)
    stop, sink, times = processes.Event(), Timekeeper(BLOCK_S), BlockTimes(read, BLOCK_S)
    playing = processes.Process(target=musician, args=(theirs, port, stop))
    receiver = threading.Thread(target=receive, args=(ours, stage))
    with undisturbed():
        playing.start()
        theirs.close()
        receiver.start()
        while stage.silent:
            time.sleep(0.01)
        sink.play(times, round(60 * arguments.minutes / BLOCK_S))
        stop.set()
        playing.join()
        receiver.join()
        late = sink.late
        sink.play(stage.read, round((LONGEST_RELEASE_S + 0.1) / BLOCK_S))
        garbage = gc.collect()
    spent_s, many = np.array(times.spent_s), np.array(voices) > CALM
    minute = round(60 / BLOCK_S)
    with undisturbed():
        alone_s = back_to_back_s(seat, minute)
        same_s = same_work_s(float(np.median(spent_s[~many])), minute)
    figures: dict[str, Any] = {"instrument": seat.voice.name, "minutes": arguments.minutes, "port": port or "pipe"}
    for name, chosen in (("32 keys", ~many), ("storm", many)):
        figures[f"{name}, blocks"] = int(chosen.sum())
        figures[f"{name}, voices, median"] = float(np.median(np.array(voices)[chosen]))
        figures |= percentiles_ms(f"{name}, block", spent_s[chosen])
        figures |= percentiles_ms(f"{name}, its processor time", np.array(computed_s)[chosen])
    figures |= percentiles_ms("32 keys back to back, block", alone_s)
    figures |= percentiles_ms("the same work each time", same_s)
    figures |= {
        "voices, most": max(voices),
        "late blocks": late,
        "stuck notes": stage.voices,
        "objects of garbage": garbage,
    }
    print(machine())
    for what, figure in figures.items():
        print(f"{what:50} {figure:,.2f}" if isinstance(figure, float) else f"{what:50} {figure}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": machine().as_dict(), "figures": figures}, indent=1) + "\n", "utf-8"
        )


if __name__ == "__main__":
    main()
