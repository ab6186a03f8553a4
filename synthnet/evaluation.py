"""How good a network is on a corpus's validation pieces: likelihood, score gain, free-running RMSE-CQT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import default_collate

from synthnet.corpus import FULL_SCALE, Corpus, Piece
from synthnet.dataset import SliceDataset
from synthnet.generation.reference import device_of
from synthnet.generation.streams import Stream, generate
from synthnet.metrics import dither_floor_nats, mean_and_ci95, rmse_cqt_db
from synthnet.models import Network
from synthnet.roll import events_from, roll_events

VALIDATION_SEED = 20_190_810
LEAD_IN_S = 0.5  # generated before each second that is measured, so that notes already sounding are in it


@dataclass(frozen=True)
class Likelihood:
    """Nats a sample over validation slices.

    Attributes:
        nll: cross-entropy given the right score.
        score_gain: how much worse it is given another passage's score; near 0 for a network that ignores it.
    """

    nll: float
    score_gain: float


@torch.no_grad()
def likelihood(
    network: Network,
    corpora: Sequence[Corpus],
    n_slices: int = 16,
    n_predicted: int = 4_000,
    style: np.ndarray | None = None,
) -> Likelihood:
    """Teacher-forced likelihood of the validation pieces, on slices that are the same for every network.

    Args:
        style: [S] for all slices; default: the network's instruments are those of the corpora, in their order.
    """
    dataset = SliceDataset(
        corpora,
        "valid",
        n_predicted=n_predicted,
        n_context=network.config.receptive_field - 1,
        seed=VALIDATION_SEED,
        harmonics=network.config.harmonics,
        cold_start_share=0.0,
        dithered=network.config.dither,
    )
    slices = [default_collate([dataset[number]]) for number in range(n_slices)]
    right, wrong = [], []
    for number, batch in enumerate(slices):
        other = slices[(number + 1) % n_slices]
        right.append(cross_entropy(network, batch, style))
        swapped = {name: other[name] if name in ("roll", "oscillators") else batch[name] for name in batch}
        wrong.append(cross_entropy(network, swapped, style))
    nll = float(np.mean(right))
    return Likelihood(nll, float(np.mean(wrong)) - nll)


def cross_entropy(network: Network, batch: dict[str, Tensor], style: np.ndarray | None) -> float:
    """Mean nats a sample of one batch."""
    device = device_of(network)
    batch = {name: value.to(device) for name, value in batch.items()}
    weights = None
    if style is not None:
        weights = torch.from_numpy(style).float().to(device).expand(len(batch["x"]), -1)
    elif network.config.styles:
        weights = functional.one_hot(batch["style"], network.config.styles).float()
    logits = network(batch["x"], batch["roll"], weights, batch.get("oscillators"))
    return functional.cross_entropy(logits.float(), batch["target_x"]).item()


@dataclass(frozen=True)
class FreeRun:
    """One-second passages generated from the score alone, beside their clean targets.

    Attributes:
        start_s: [N] where each passage begins in its piece.
        sample, expectation: float32 [N, one second], as drawn, and the means of the distributions.
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
    pieces = corpus.split("valid")
    rate = corpus.sample_rate_hz
    lead = round(LEAD_IN_S * rate)
    places = evenly_spread(pieces, n_seconds, rate)
    audio = {piece.name: corpus.read_samples(piece) for piece, _ in places}
    events = {piece.name: roll_events(corpus.read_notes(piece), rate) for piece, _ in places}
    streams, target = [], []
    for number, (piece, start) in enumerate(places):
        streams.append(Stream(events_from(events[piece.name], start - lead), (seed, number), style))
        second = audio[piece.name][start : start + rate].astype(np.float32) / FULL_SCALE
        target.append(np.pad(second, (0, rate - len(second))))
    blocks = list(generate(network, streams, lead + rate))
    sample = np.concatenate([block.sample for block in blocks], axis=1)[:, lead:]
    expectation = np.concatenate([block.expectation for block in blocks], axis=1)[:, lead:]
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


def split_floor_nats(corpora: Sequence[Corpus], split: str, dithered: bool = True) -> float:
    """The dither floor of a split: no network's likelihood can be below it; 0 without dither."""
    if not dithered:
        return 0.0
    samples = [corpus.read_samples(piece) for corpus in corpora for piece in corpus.split(split)]
    return dither_floor_nats(np.concatenate(samples).astype(np.float32) / FULL_SCALE)


def evaluate(
    network: Network, corpus: Corpus, n_seconds: int, *, seed: int = 0, style: np.ndarray | None = None
) -> dict[str, float]:
    """All figures of a network on one corpus, as plain values; widths are half a 95% confidence interval."""
    teacher_forced = likelihood(network, [corpus], style=style)
    floor = split_floor_nats([corpus], "valid", network.config.dither)
    generated = free_run(network, corpus, n_seconds, seed=seed, style=style)
    rmse, width = mean_and_ci95(generated.sample_rmse_db)
    expected_rmse, expected_width = mean_and_ci95(generated.expectation_rmse_db)
    return {
        "valid_nll": teacher_forced.nll,
        "dither_floor": floor,
        "excess": teacher_forced.nll - floor,
        "score_gain": teacher_forced.score_gain,
        "seconds": n_seconds,
        "rmse_cqt_db": rmse,
        "rmse_cqt_ci95_db": width,
        "rmse_cqt_expectation_db": expected_rmse,
        "rmse_cqt_expectation_ci95_db": expected_width,
    }
