"""Distances of Gram matrices by layer, pairs of different timbres apart by whether their networks share a seed.

python recipes/figure1/by_seed.py trumpet=FILE trumpet=FILE cello=FILE cello=FILE
"""

from __future__ import annotations

import sys
from itertools import combinations

import numpy as np

from synthnet.cli.corpora import corpus_of
from synthnet.cli.inspect import read_model
from synthnet.evaluation.layers import gram_points

N_SLICES = 4


def main() -> None:
    """Print a row for some layers."""
    points, seeds = [], []
    for number, word in enumerate(sys.argv[1:]):
        model = read_model(word)
        voice = model.checkpoint.voice(None)
        corpus = corpus_of(model.checkpoint, voice.name, None)
        seeds.append(model.checkpoint.training["settings"]["seed"])
        points += gram_points(
            model.timbre, number, model.checkpoint.build(), corpus, corpus.split("valid")[0], N_SLICES, voice.style
        )
    print("layer  other timbre, same seed  other timbre, other seed  same timbre, other seed")
    for layer in range(1, max(point.layer for point in points) + 1):
        apart: dict[tuple[bool, bool], list[float]] = {}
        for first, second in combinations((point for point in points if point.layer == layer), 2):
            distance = np.linalg.norm(
                first.gram / np.linalg.norm(first.gram) - second.gram / np.linalg.norm(second.gram)
            )
            same = first.timbre == second.timbre, seeds[first.network] == seeds[second.network]
            apart.setdefault(same, []).append(float(distance))
        cells = [np.mean(apart[same]) for same in ((False, True), (False, False), (True, False))]
        print(f"{layer:5}  {cells[0]:23.3f}  {cells[1]:24.3f}  {cells[2]:23.3f}")


if __name__ == "__main__":
    main()
