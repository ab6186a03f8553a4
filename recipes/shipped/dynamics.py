"""Write the Prelude with dynamics, the music that the table's first figures are measured on.

python recipes/shipped/dynamics.py prelude_dynamics.mid
"""

from __future__ import annotations

import sys
from pathlib import Path

from synthnet.evaluation.measure import PRELUDE
from synthnet.score.dynamics import add_dynamics
from synthnet.score.midi import read_score, write_midi

if __name__ == "__main__":
    write_midi(add_dynamics(read_score(PRELUDE)), Path(sys.argv[1]))
