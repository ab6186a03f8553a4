"""Separate seconds that a network generates from the score alone, free-running, beside the clean targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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


class Places(NamedTuple):
    """Seconds of a corpus, each a piece and the sample where it begins, and who plays them: [S] weights, or None."""

    corpus: Corpus
    seconds: Sequence[tuple[Piece, int]]
    instruments: np.ndarray | None


def free_run(
    network: Network, corpus: Corpus, n_seconds: int, *, seed: int = 0, instruments: np.ndarray | None = None
) -> FreeRun:
    """Generate N seconds spread evenly over the validation pieces, each from silence half a second early.

    Args:
        instruments: [S] weights of the network's instruments; None for a network of one.
    """
    return seconds_at(network, [spread_places(corpus, n_seconds, instruments)], seed)[0]


def seconds_at(
    network: Network,
    places: Sequence[Places],
    seed: int = 0,
    progress: Callable[[int], object] = lambda n_samples: None,
) -> list[FreeRun]:
    """As `free_run`, all seconds of some corpora as one batch; `progress` as for `generate`."""
    streams, targets = [], []
    rate = places[0].corpus.sample_rate_hz
    lead = round(LEAD_IN_S * rate)
    for corpus, seconds, instruments in places:
        audio = {piece.name: corpus.read_samples(piece) for piece, _ in seconds}
        events = {piece.name: roll_events(corpus.read_notes(piece), rate) for piece, _ in seconds}
        target = np.zeros((len(seconds), rate), np.float32)
        for row, (piece, start) in zip(target, seconds, strict=True):
            second = audio[piece.name][start : start + rate]
            row[: len(second)] = second.astype(np.float32) / FULL_SCALE
        targets.append(target)
        streams += [
            Stream(events_from(events[piece.name], start - lead), (seed, number), instruments, mean)
            for mean in (False, True)
            for number, (piece, start) in enumerate(seconds)
        ]
    sounds = np.concatenate(list(generate(network, streams, lead + rate, progress=progress)), axis=1)[:, lead:]
    runs, made = [], 0
    for (_, seconds, _), target in zip(places, targets, strict=True):
        sample, mean = np.split(sounds[made : made + 2 * len(seconds)], 2)
        runs.append(FreeRun(np.array([start for _, start in seconds]), sample, mean, target))
        made += 2 * len(seconds)
    return runs


def spread_places(corpus: Corpus, n_seconds: int, instruments: np.ndarray | None) -> Places:
    """N seconds spread evenly over the validation pieces."""
    return Places(corpus, evenly_spread(corpus.split("valid"), n_seconds, corpus.sample_rate_hz), instruments)


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
