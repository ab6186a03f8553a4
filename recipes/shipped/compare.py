"""Put a rendering beside its teacher, at the teacher's level: figures, a picture, and both sounds in one file.

python recipes/shipped/compare.py TEACHER.flac RENDERING.wav DURATION

For demo/harmonic.wav it writes demo/harmonic.png, and demo/harmonic_teacher_first.flac with the teacher, then the
rendering.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from synthnet.audio.files import read_audio, write_audio
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.level import fitted_level
from synthnet.evaluation.plots import plot_comparison

if __name__ == "__main__":
    theirs, mine = Path(sys.argv[1]), Path(sys.argv[2])
    reference = read_audio(theirs)
    rate = reference.sample_rate_hz
    length = round(float(sys.argv[3]) * rate)
    teacher, test = reference.samples[:length], read_audio(mine, rate).samples[:length]
    length = min(len(teacher), len(test))
    test = fitted_level(teacher[:length], test[:length])
    at_80, at_50 = rmse_cqt_at_floors(teacher[:length], test, rate).mean(axis=1)
    print(f"{mine}: RMSE-CQT {at_80:.2f} dB, {at_50:.2f} dB with the floor at -50 dB, over {length / rate:.0f} s")
    plot_comparison(mine.with_suffix(".png"), teacher[:length], test, rate, title=mine.name)
    both = np.concatenate([teacher[:length], np.zeros(rate // 2, np.float32), test])
    write_audio(mine.with_name(f"{mine.stem}_teacher_first.flac"), both, rate)
