"""Separate seconds generated from the score alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from synthnet.corpus.corpus import FULL_SCALE, Corpus, Piece
from synthnet.evaluation.cqt import rmse_cqt_db
from synthnet.generation.streams import Stream, generate
from synthnet.models import Network
from synthnet.score.roll import events_from, roll_events

LEAD_IN_S = 0.5  # generated before each second that is measured, so that notes already sounding are in it


@dataclass(frozen=True)
class FreeRun:
    """One-second passages generated from the score alone, beside their clean targets.

    Attributes:
        start_s: [N] where each passage begins in its piece.
        sample, expectation: float32 [N, one second], drawn, and the means of the distributions (`Stream`).
        target: float32 [N, one second], clean.
        sample_rmse_db, expectation_rmse_db: [N] RMSE-CQT of each against the clean target.
    """

    start_s: np.ndarray
    sample: np.ndarray
    expectation: np.ndarray
    target: np.ndarray
    sample_rmse_db: np.ndarray
    expectation_rmse_db: np.ndarray


def free_run(
    network: Network,
    corpus: Corpus,
    n_seconds: int,
    *,
    seed: int = 0,
    style: np.ndarray | None = None,
) -> FreeRun:
    """Generate N separate seconds spread evenly over the validation pieces, all at once, and measure each.

    Each starts from silence half a second early. The reference is the clean target, before dither.
    """
    places = evenly_spread(corpus.split("valid"), n_seconds, corpus.sample_rate_hz)
    return fresh_seconds(network, corpus, places, seed=seed, style=style)


def fresh_seconds(
    network: Network,
    corpus: Corpus,
    places: Sequence[tuple[Piece, int]],
    *,
    seed: int = 0,
    style: np.ndarray | None = None,
) -> FreeRun:
    """As `free_run`, of the seconds that begin at these samples of these pieces."""
    rate = corpus.sample_rate_hz
    lead = round(LEAD_IN_S * rate)
    audio = {piece.name: corpus.read_samples(piece) for piece, _ in places}
    events = {piece.name: roll_events(corpus.read_notes(piece), rate) for piece, _ in places}
    streams, target = [], []
    for number, (piece, start) in enumerate(places):
        streams.append(Stream(events_from(events[piece.name], start - lead), (seed, number), style))
        second = audio[piece.name][start : start + rate].astype(np.float32) / FULL_SCALE
        target.append(np.pad(second, (0, rate - len(second))))
    both = [*streams, *(replace(stream, mean=True) for stream in streams)]
    made = np.concatenate(list(generate(network, both, lead + rate)), axis=1)[:, lead:]
    sample, expectation = np.split(made, 2)
    return FreeRun(
        np.array([start / rate for _, start in places]),
        sample,
        expectation,
        np.stack(target),
        np.array([rmse_cqt_db(theirs, mine, rate)[0] for theirs, mine in zip(target, sample, strict=True)]),
        np.array([rmse_cqt_db(theirs, mine, rate)[0] for theirs, mine in zip(target, expectation, strict=True)]),
    )


def evenly_spread(pieces: tuple[Piece, ...], n: int, rate: int) -> list[tuple[Piece, int]]:
    """N places, each a piece and a sample, spread evenly over all pieces laid end to end; never past an end."""
    total = sum(piece.n_samples for piece in pieces)
    places = []
    for number in range(n):
        position = (2 * number + 1) * total // (2 * n)
        for piece in pieces:
            if position < piece.n_samples:
                places.append((piece, max(0, min(position, piece.n_samples - rate))))
                break
            position -= piece.n_samples
    return places
