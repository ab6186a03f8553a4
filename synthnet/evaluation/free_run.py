"""Separate seconds that a network generates from the score alone, free-running, beside the clean targets."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from synthnet.corpus.corpus import Corpus, Piece
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

    def rmse_db(self, test: np.ndarray) -> np.ndarray:
        """RMSE-CQT [2, N] of seconds [N, one second] against the target, in dB, floors at -80 and -50 dB."""
        return rmse_cqt_at_floors(self.target.ravel(), test.ravel(), self.target.shape[1])


class Places(NamedTuple):
    """Seconds of a corpus, each a piece and the sample where it begins, and who plays them.

    `instruments` are weights [S] of the network's instruments; None for a network of one.
    """

    corpus: Corpus
    seconds: Sequence[tuple[Piece, int]]
    instruments: np.ndarray | None


def seconds_at(
    network: Network,
    places: Sequence[Places],
    seed: int = 0,
    progress: Callable[[int], object] = lambda n_samples: None,
) -> list[FreeRun]:
    """Generate seconds of some corpora of one sample rate as one batch, each from silence half a second early.

    `progress` is as for `generate`.
    """
    streams, targets = [], []
    rate = places[0].corpus.sample_rate_hz
    lead = round(LEAD_IN_S * rate)
    for corpus, seconds, instruments in places:
        audio = {piece.name: corpus.read_audio(piece) for piece, _ in seconds}
        events = {piece.name: roll_events(corpus.read_notes(piece), rate) for piece, _ in seconds}
        target = np.zeros((len(seconds), rate), np.float32)
        for row, (piece, start) in zip(target, seconds, strict=True):
            second = audio[piece.name][start : start + rate]
            row[: len(second)] = second
        targets.append(target)
        streams += [
            Stream(events_from(events[piece.name], start - lead), (seed, number), instruments, mean)
            for mean in (False, True)
            for number, (piece, start) in enumerate(seconds)
        ]
    sounds = np.concatenate(list(generate(network, streams, lead + rate, progress=progress)), axis=1)[:, lead:]
    runs = []
    for (_, seconds, _), target in zip(places, targets, strict=True):
        sample, mean, sounds = np.split(sounds, [len(seconds), 2 * len(seconds)])
        runs.append(FreeRun(np.array([start for _, start in seconds]), sample, mean, target))
    return runs


def spread_places(corpus: Corpus, n_seconds: int, instruments: np.ndarray | None) -> Places:
    """N seconds spread evenly over the validation pieces, in which nothing is left out.

    Raises:
        InputError: there is no such second.
    """
    pieces, rate = corpus.split("valid"), corpus.sample_rate_hz
    spans = [(p, *span) for p in pieces for span in p.kept if not p.left_out or span[1] - span[0] >= rate]
    if not spans:
        raise InputError(f"{', '.join(p.name for p in pieces)}: less than a second at a time is left to measure")
    ends = np.cumsum([stop - first for _, first, stop in spans]).tolist()
    seconds = []
    for number in range(n_seconds):
        position = (2 * number + 1) * ends[-1] // (2 * n_seconds)
        index = bisect.bisect_right(ends, position)
        piece, first, stop = spans[index]
        seconds.append((piece, max(first, min(position - ends[index] + stop, stop - rate))))
    return Places(corpus, seconds, instruments)
