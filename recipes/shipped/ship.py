"""Turn the finished runs of this recipe into what ships: checkpoints, cards, results, and the table of the README.

python recipes/shipped/ship.py [RUNS]

RUNS is the folder that `synthnet recipe run recipes/shipped` writes to, by default runs/recipes. Instruments whose runs
are not finished are listed and stay as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from synthnet.experiments.recipe import read_recipe
from synthnet.experiments.shipping import ship

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    clone = here.parents[1]
    runs = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/recipes")
    missing = ship(read_recipe(here), runs, clone / "synthnet" / "shipped", here / "results", clone / "README.md")
    for line in missing:
        print(f"missing: {line}")
