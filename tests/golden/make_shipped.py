"""The figures that `tests/test_shipped.py` holds the shipped instruments to.

    python tests/golden/make_shipped.py        writes tests/golden/shipped.json

Each plays the first six seconds of Bach's Prelude with dynamics, moved into its range: RMSE-CQT against the teacher
with the floor at -80 and at -50 dB, and how much louder
it is above 20 Hz. Run it when the shipped instruments are trained anew.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from scipy.signal import butter, sosfilt

from synthnet.corpus.build import DEFAULT_SCORES
from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.evaluation.baselines import harmonic_play
from synthnet.evaluation.level import level_difference_db
from synthnet.evaluation.measure import distances
from synthnet.generation.library import SHIPPED
from synthnet.models.checkpoint import load_checkpoint
from synthnet.score.dynamics import add_dynamics
from synthnet.score.general_midi import KNOWN_INSTRUMENTS, MidiInstrument
from synthnet.score.midi import read_score

GOLDEN = Path(__file__).with_name("shipped.json")
SECONDS, RATE_HZ = 6, 44_100
LOWEST_HZ = 20.0


def figures_of(instrument: MidiInstrument) -> dict[str, float]:
    """Distances of a shipped instrument from its teacher, in dB."""
    checkpoint = load_checkpoint(SHIPPED / f"{instrument.name}.safetensors")
    teacher = Teacher(find_soundfont(), instrument.program, RATE_HZ)
    notes = add_dynamics(read_score(DEFAULT_SCORES / "bwv1007_1_prelude.mid")).excerpt(0.0, SECONDS).notes
    low = min(note.pitch for note in notes)
    shift = 12 * max(0, -(-(instrument.lowest_pitch - low) // 12))
    notes = teacher.snap(replace(note, pitch=note.pitch + shift) for note in notes)
    reference = teacher.play(notes, SECONDS) * checkpoint.training["corpora"][0]["gain"]
    sound = harmonic_play(checkpoint)(notes, SECONDS * RATE_HZ, RATE_HZ)
    found = distances(reference, sound, RATE_HZ)
    audible = butter(4, LOWEST_HZ, "highpass", fs=RATE_HZ, output="sos")  # the pad's samples have an offset
    level_db = level_difference_db(*(sosfilt(audible, samples) for samples in (reference, sound)))
    return {
        "rmse_cqt_db": round(found.rmse_cqt_db, 3),
        "rmse_cqt_50_db": round(found.rmse_cqt_50_db, 3),
        "level_db": round(level_db, 3),
    }


if __name__ == "__main__":
    shipped = [who for who in KNOWN_INSTRUMENTS if (SHIPPED / f"{who.name}.safetensors").exists()]
    golden = {who.name: figures_of(who) for who in shipped}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", "utf-8")
