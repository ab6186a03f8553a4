"""How near an exported instrument, played by the sampler sfizz, is to `synthnet render`.

The first 24 s of Bach's Prelude with dynamics, RMSE-CQT in dB with the floor at -80 and at -50 dB, each way at the
level of the rendering. Beside it: the same rendering with other noise, which no sampler can be nearer than by chance;
the samples of one velocity alone, at SFZ's usual law of levels; and the sound font TimGM6mb playing the program.

    python benchmarks/sfz_round_trip.py [INSTRUMENT ...]
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pysfizz

from synthnet.corpus.teacher import Teacher
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.level import fitted_level
from synthnet.evaluation.measure import PRELUDE
from synthnet.generation.export_sfz import LAYERS, RATE_HZ, SampledInstrument, export_sfz
from synthnet.generation.library import Seat, read_library
from synthnet.generation.render import Settings, render_in_memory
from synthnet.score.dynamics import add_dynamics
from synthnet.score.general_midi import INSTRUMENTS
from synthnet.score.midi import read_score
from synthnet.score.roll import RollEvents, roll_events

SECONDS = 24
BLOCK = 64


def play_sfz(path: Path, events: RollEvents, n_samples: int) -> np.ndarray:
    """The mean of left and right of an SFZ instrument in sfizz, float32 [n_samples]; events to the sample."""
    synth = pysfizz.Synth(RATE_HZ, BLOCK)
    if not synth.load_sfz_file(path):
        raise ValueError(f"{path}: sfizz cannot read it")
    sampler = synth._synth  # what it offers itself is single notes
    sampler.set_num_voices(256)
    offs, ons = (np.stack([at, events.pitch, events.velocity], 1) for at in (events.release, events.onset))
    due = sorted([(*map(int, note), sampler.note_off) for note in offs], key=lambda event: event[0])
    due += [(*map(int, note), sampler.note_on) for note in ons]
    due.sort(key=lambda event: event[0])  # stable: at one sample, releases come first
    blocks = []
    for start in range(0, n_samples, BLOCK):
        while due and due[0][0] < start + BLOCK:
            at, pitch, velocity, act = due.pop(0)
            act(at - start, pitch, velocity)
        blocks.append(np.mean(sampler.render_block(), axis=0))
    return np.concatenate(blocks)[:n_samples].astype(np.float32)


def one_velocity(path: Path) -> Path:
    """An SFZ file beside `path` with the samples of its second loudest velocity alone, for all velocities."""
    lines = [line for line in path.read_text().splitlines() if "<region>" not in line or f"-{LAYERS[-2]:03d}." in line]
    text = re.sub(r"(lo|hi|xfin_lo|xfin_hi|xfout_lo|xfout_hi)vel=\d+", "", "\n".join(lines))
    one = path.with_name("one.sfz")
    one.write_text(text.replace("amp_veltrack=0", "amp_veltrack=100"))
    return one


def ways(seat: Seat) -> Iterator[tuple[str, np.ndarray]]:
    """What plays, and its sound; the rendering comes first."""
    score = add_dynamics(read_score(PRELUDE)).excerpt(0.0, SECONDS)
    events = roll_events(score.notes, RATE_HZ)
    for name, seed in (("render", 0), ("other noise", 1)):
        settings = Settings(RATE_HZ, SECONDS, seed, mono=True)
        yield name, render_in_memory([seat], score, settings).samples
    with tempfile.TemporaryDirectory() as folder:
        sampled = SampledInstrument(seat)
        export_sfz(sampled, Path(folder) / "out", "")
        path = Path(folder) / "out" / f"{sampled.name}.sfz"
        yield "SFZ in sfizz", play_sfz(path, events, SECONDS * RATE_HZ)
        yield "one velocity", play_sfz(one_velocity(path), events, SECONDS * RATE_HZ)
    spec = find_spec("pretty_midi")
    font = Path(spec.submodule_search_locations[0]) / "TimGM6mb.sf2"
    yield "TimGM6mb", Teacher(font, seat.checkpoint.programs[0], RATE_HZ).play(score.notes, SECONDS)


if __name__ == "__main__":
    library = read_library()
    for instrument in sys.argv[1:] or [who.name for who in INSTRUMENTS]:
        reference = None
        for name, sound in ways(library.seat(instrument)):
            if reference is None:
                reference = sound
                continue
            figures = rmse_cqt_at_floors(reference, fitted_level(reference, sound), RATE_HZ).mean(axis=1)
            print(f"{instrument:14}{name:14}{figures[0]:6.2f} / {figures[1]:.2f}", flush=True)
