"""What layers know: SynthNet's answers to single keys, and Gram matrices of each layer's output.

The paper says that the first layer learns fundamentals and octaves, and that Gram matrices of the layers, its Equation
3, separate timbres (Figure 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from synthnet.audio.mulaw import dither, encode_mu_law
from synthnet.corpus.corpus import Corpus, Piece
from synthnet.files import InputError
from synthnet.models import Network, build_model
from synthnet.models.autoregressive import FirstLayerScore
from synthnet.models.config import KEYS
from synthnet.score.roll import rasterise, roll_events

OCTAVE = 12
INTERVALS = np.arange(1, 25)  # semitones
BESIDE = (10, 11, 13, 14)  # intervals that an octave is compared with
PERMUTATIONS = 1000


@dataclass(frozen=True)
class KeyAnswers:
    """How SynthNet's C score channels answer to K single keys, beside the same answers with the keys shuffled.

    Attributes:
        keys: MIDI keys [K].
        answers: [C, K], the change of v, the score's contribution to the first layer, while a key alone is down; each
            channel with mean 0 and norm 1 over the keys.
        similarity: [24], mean cosine of the answers of all channels to two keys 1 to 24 semitones apart.
        chance: [2, 24], 2.5 and 97.5% of the similarity with shuffled keys.
        octave_excess, p: similarity an octave apart less the mean of 10, 11, 13 and 14 semitones; the share of shuffled
            keys that give as much.
        octave_channels: share of channels in which answers an octave apart correlate more than in 95% of shuffles;
            0.05 by chance.
        peak, fresh_peak: mean share of a channel's squared answer that its strongest key has; that of a network of the
            same shape before training.
    """

    keys: np.ndarray
    answers: np.ndarray
    similarity: np.ndarray
    chance: np.ndarray
    octave_excess: float
    p: float
    octave_channels: float
    peak: float
    fresh_peak: float


def key_answers(network: Network, lowest: int, highest: int) -> KeyAnswers:
    """Answers to the keys lowest to highest, at least two octaves of those that the network has learned.

    Raises:
        InputError: a network without a score path of its own, or fewer keys.
    """
    if not isinstance(network.score, FirstLayerScore):
        raise InputError(f"{network.config.model}: its score enters at every layer; SynthNet's enters at the first")
    if highest - lowest < 2 * OCTAVE:
        raise InputError(f"keys {lowest} to {highest}: at least two octaves are needed")
    torch.manual_seed(0)
    answers = _answers(network.score, lowest, highest)
    fresh = _answers(cast(FirstLayerScore, build_model(network.config).score), lowest, highest)
    similarity, octaves = _similarities(answers)
    rng = np.random.default_rng(0)
    shuffled = [_similarities(rng.permutation(answers, axis=1)) for _ in range(PERMUTATIONS)]
    by_chance = np.array([intervals for intervals, _ in shuffled])
    threshold = np.quantile([channels for _, channels in shuffled], 0.95, axis=0)
    excess = _octave_excess(similarity)
    return KeyAnswers(
        np.arange(lowest, highest + 1),
        answers,
        similarity,
        np.quantile(by_chance, (0.025, 0.975), axis=0),
        excess,
        float(np.mean([_octave_excess(one) >= excess for one in by_chance])),
        float((octaves > threshold).mean()),
        *(float((one**2).max(axis=1).mean()) for one in (answers, fresh)),
    )


@torch.no_grad()
def _answers(score: FirstLayerScore, lowest: int, highest: int) -> np.ndarray:
    windows = torch.eye(KEYS)[:, :, None].repeat(1, 1, score.width)
    v = score.vectors(torch.cat([windows, torch.zeros_like(windows[:1])])).numpy().astype(np.float64)
    answers = (v[:-1] - v[-1])[lowest : highest + 1].T
    answers = answers - answers.mean(axis=1, keepdims=True)
    return answers / np.maximum(np.linalg.norm(answers, axis=1, keepdims=True), 1e-12)


def _similarities(answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean cosine [24] of the keys at each interval, and each channel's correlation [C] an octave apart."""
    unit = answers / np.maximum(np.linalg.norm(answers, axis=0), 1e-12)
    cosines = unit.T @ unit
    octaves = (answers[:, :-OCTAVE] * answers[:, OCTAVE:]).sum(axis=1)
    return np.array([np.diagonal(cosines, interval).mean() for interval in INTERVALS]), octaves


def _octave_excess(similarity: np.ndarray) -> float:
    return float(similarity[OCTAVE - 1] - np.mean([similarity[interval - 1] for interval in BESIDE]))


class Point(NamedTuple):
    """A Gram matrix, flattened [C * C], of a layer (from 1) of a network: its timbre, its number and the slice."""

    timbre: str
    network: int
    layer: int
    slice: int
    gram: np.ndarray


@torch.no_grad()
def layer_grams(network: Network, x: Tensor, roll: Tensor, instruments: Tensor | None) -> list[np.ndarray]:
    """Gram matrix of each layer's output [C, T]: the inner products of its channels over time, over T, flattened.

    N classes [1, N] and roll [1, 128, N] give T as for the network. Equation 3; the paper does not divide by T.
    """
    n = x.shape[1] - network.config.receptive_field + 1
    grams: list[np.ndarray] = []

    def keep(layer: torch.nn.Module, given: object, made: tuple[Tensor, Tensor | None]) -> None:
        output = made[0][0, :, -n:].numpy()
        grams.append((output @ output.T / n).ravel())

    hooks = [layer.register_forward_hook(keep) for layer in network.stack]
    network(x, roll, instruments)
    for hook in hooks:
        hook.remove()
    return grams


def gram_points(
    timbre: str,
    number: int,
    network: Network,
    corpus: Corpus,
    piece: Piece,
    n_slices: int,
    instruments: np.ndarray | None,
    progress: Callable[[], object] = lambda: None,
) -> list[Point]:
    """The Gram matrices of seconds spread evenly over a piece, as the corpus's instrument plays it (teacher forcing).

    Args:
        instruments: [S] weights of the network's instruments; None for a network of one.
    """
    rate, field = corpus.sample_rate_hz, network.config.receptive_field
    samples = corpus.read_audio(piece)
    events = roll_events(corpus.read_notes(piece), rate)
    rng = np.random.default_rng(0)
    style = None if instruments is None else torch.from_numpy(instruments).float()[None]
    points = []
    for number_of_slice, start in enumerate(np.linspace(0, max(0, len(samples) - rate), n_slices).astype(int)):
        begin, end = start + 1 - field, start + rate
        sound = np.pad(samples, (field, rate))[field + begin : field + end]
        sound = sound + dither(len(sound), rng) if network.config.dither else sound
        roll = torch.from_numpy(rasterise(events, int(begin), int(end), network.config.velocity))[None]
        x = torch.from_numpy(encode_mu_law(sound).astype(np.int64))[None]
        for layer, matrix in enumerate(layer_grams(network, x, roll, style), 1):
            points.append(Point(timbre, number, layer, number_of_slice, matrix))
        progress()
    return points


def tsne(points: Sequence[Point]) -> np.ndarray:
    """The points in the plane, [N, 2]; InputError without scikit-learn or for fewer than four points."""
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise InputError("t-SNE needs scikit-learn: pip install 'synthnet[inspect]'") from error
    if len(points) < 4:
        raise InputError("t-SNE needs at least four Gram matrices")
    plane = TSNE(perplexity=min(30.0, (len(points) - 1) / 3), init="pca", random_state=0)
    found: np.ndarray = plane.fit_transform(np.stack([point.gram for point in points]))
    return found


class LayerDistances(NamedTuple):
    """Mean distances of a layer's Gram matrices, each of norm 1; nan where there are no such pairs.

    `between`: of different timbres; `retrained`: of one timbre in different networks; `within`: of slices of one
    network. `plane`: between timbres in the t-SNE picture.
    """

    layer: int
    between: float
    retrained: float
    within: float
    plane: float


def layer_distances(points: Sequence[Point], plane: np.ndarray) -> list[LayerDistances]:
    """The distances by layer."""
    rows = []
    for layer in sorted({point.layer for point in points}):
        chosen = [number for number, point in enumerate(points) if point.layer == layer]
        grams = np.stack([points[number].gram / max(np.linalg.norm(points[number].gram), 1e-12) for number in chosen])
        apart, drawn = (np.linalg.norm(x[:, None] - x[None], axis=2) for x in (grams, plane[chosen]))
        timbre, network = (np.array([getattr(points[n], name) for n in chosen]) for name in ("timbre", "network"))
        same, one = timbre[:, None] == timbre, network[:, None] == network
        pairs = (apart, ~same), (apart, same & ~one), (apart, one), (drawn, ~same)
        rows.append(LayerDistances(layer, *(_mean_of_pairs(*each) for each in pairs)))
    return rows


def _mean_of_pairs(distances: np.ndarray, chosen: np.ndarray) -> float:
    """Mean of the distances [N, N] of pairs that are chosen, each taken once; nan for none."""
    found = distances[np.triu(chosen, 1)]
    return float(found.mean()) if len(found) else math.nan


def depth_correlation(rows: Sequence[LayerDistances]) -> float:
    """Spearman's correlation of depth and `between` over `within`; 1: each layer separates timbres more.

    nan without two timbres or two slices.
    """
    return float(spearmanr([row.layer for row in rows], [row.between / row.within for row in rows]).statistic)
