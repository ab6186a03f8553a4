"""Write the six generated pieces that an instrument is measured on.

python recipes/shipped/pieces.py trumpet FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from synthnet.evaluation.compose import compose_piece
from synthnet.evaluation.measure import PIECE_VOICES, SEEDS
from synthnet.score.general_midi import find_instrument
from synthnet.score.midi import write_midi

if __name__ == "__main__":
    instrument, folder = find_instrument(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for n_voices in PIECE_VOICES:
        for seed in SEEDS:
            piece = compose_piece(instrument, n_voices, seed)
            write_midi(piece, folder / f"{instrument.name}_{n_voices}_voices_{seed}.mid")
