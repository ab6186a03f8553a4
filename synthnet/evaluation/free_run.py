"""Separate seconds that a network generates from the score alone, free-running, beside the clean targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthnet.corpus.corpus import FULL_SCALE, Corpus, Piece
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.files import InputError
from synthnet.generation.streams import Stream, generate
from synthnet.models import Network
from synthnet.score.roll import events_from, roll_events

LEAD_IN_S = 0.5  # generated before each second, so that notes that sound already are in it


@dataclass(frozen=True)
class FreeRun:
    """N seconds generated from the score alone: float32 [N, one second]."""

    starts: np.ndarray  # int [N], the sample of the piece where each begins
    sample: np.ndarray  # drawn from the distributions
    mean: np.ndarray  # their means, see `synthnet.generation.streams.Stream`
    target: np.ndarray  # the teacher, before dither

    @property
    def sample_rmse_db(self) -> np.ndarray:
        """RMSE-CQT [2, N] of the drawn seconds."""
        return self.rmse_db(self.sample)

    @property
    def mean_rmse_db(self) -> np.ndarray:
        """RMSE-CQT [2, N] of the mean output."""
        return self.rmse_db(self.mean)

    def rmse_db(self, test: np.ndarray) -> np.ndarray:
        """RMSE-CQT [2, N] of seconds [N, one second] against the target, in dB, floors at -80 and -50 dB."""
        return rmse_cqt_at_floors(self.target.ravel(), test.ravel(), self.target.shape[1])


def free_run(
    network: Network, corpus: Corpus, n_seconds: int, *, seed: int = 0, instruments: np.ndarray | None = None
) -> FreeRun:
    """Generate N seconds spread evenly over the validation pieces, each from silence half a second early.

    Args:
        instruments: [S] weights of the network's instruments; None for a network of one.
    """
    places = evenly_spread(corpus.split("valid"), n_seconds, corpus.sample_rate_hz)
    return seconds_at(network, corpus, places, seed, instruments)


def seconds_at(
    network: Network, corpus: Corpus, places: Sequence[tuple[Piece, int]], seed: int, instruments: np.ndarray | None
) -> FreeRun:
    """As `free_run`, the seconds that begin at these samples of these pieces."""
    rate = corpus.sample_rate_hz
    lead = round(LEAD_IN_S * rate)
    audio = {piece.name: corpus.read_samples(piece) for piece, _ in places}
    events = {piece.name: roll_events(corpus.read_notes(piece), rate) for piece, _ in places}
    target = np.zeros((len(places), rate), np.float32)
    for row, (piece, start) in zip(target, places, strict=True):
        second = audio[piece.name][start : start + rate]
        row[: len(second)] = second.astype(np.float32) / FULL_SCALE
    streams = [
        Stream(events_from(events[piece.name], start - lead), (seed, number), instruments, mean)
        for mean in (False, True)
        for number, (piece, start) in enumerate(places)
    ]
    sample, mean = np.split(np.concatenate(list(generate(network, streams, lead + rate)), axis=1)[:, lead:], 2)
    return FreeRun(np.array([start for _, start in places]), sample, mean, target)


def evenly_spread(pieces: Sequence[Piece], n: int, rate: int) -> list[tuple[Piece, int]]:
    """N places, a piece and a sample each, spread evenly over all pieces; at least a second before the piece's end.

    The second from there on holds nothing that is left out.

    Raises:
        InputError: there is no such second.
    """
    spans = [(p, *span) for p in pieces for span in p.kept if not p.left_out or span[1] - span[0] >= rate]
    if not spans:
        raise InputError(f"{', '.join(p.name for p in pieces)}: less than a second at a time is left to measure")
    ends = np.cumsum([stop - first for _, first, stop in spans])
    places = []
    for number in range(n):
        position = (2 * number + 1) * int(ends[-1]) // (2 * n)
        index = int(np.searchsorted(ends, position, side="right"))
        piece, first, stop = spans[index]
        place = position - int(ends[index]) + stop
        places.append((piece, max(first, min(place, stop - rate))))
    return places
