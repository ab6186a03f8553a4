"""A long piece in chunks that are generated side by side: matrix-matrix products instead of matrix-vector ones.

Each chunk begins in silence, a warm-up before its place, with the notes that sound there, and is crossfaded with the
chunk before it. A cut falls where the fewest notes sound across it: at a rest, or at an onset that ends other notes.
Memory is bounded: one group of chunks is generated at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from synthnet.generation.streams import Stream, generate
from synthnet.models import Network
from synthnet.score.roll import RollEvents, events_from, to_samples

CHUNK_S = 6.0  # of a long piece; memory grows with it
SHORTEST_CHUNK_S = 2.0
SHORTEST_IN_WARM_UPS = 8  # a chunk is at least 8 times as long as its warm-up, which is thrown away
WARM_UP_S = 0.25  # or the receptive field, if that is longer
CROSSFADE_S = 0.01
MOST_STREAMS = 12  # two threads of six, the rows of a tile of the compiled engine: more add little


def warm_up_samples(network: Network, sample_rate_hz: int) -> int:
    """Samples generated before a chunk's place, to come from silence to the notes that sound there."""
    return max(int(to_samples(WARM_UP_S, sample_rate_hz)), network.config.receptive_field)


def chunks_that_pay(network: Network, n_tracks: int, n_samples: int, sample_rate_hz: int) -> int:
    """The number of chunks side by side that pays for a piece: 1 for a short one, or one of many tracks."""
    warm_up = warm_up_samples(network, sample_rate_hz)
    shortest = max(int(to_samples(SHORTEST_CHUNK_S, sample_rate_hz)), SHORTEST_IN_WARM_UPS * warm_up)
    return max(1, min(MOST_STREAMS // n_tracks, n_samples // shortest))


def plan_cuts(events: Sequence[RollEvents], n_samples: int, n_chunks: int) -> list[int]:
    """Where to cut a piece: n_chunks + 1 increasing samples, the first 0, the last n_samples.

    Each cut is the even place or an onset within a quarter of a chunk of it: the one across which the fewest notes
    sound, and the nearest of several.
    """
    onsets = np.concatenate([track.onset for track in events])
    releases = np.concatenate([track.release for track in events])
    cuts = [0]
    for number in range(1, n_chunks):
        even = number * n_samples // n_chunks
        candidates = np.append(onsets[np.abs(onsets - even) * 4 * n_chunks < n_samples], even)
        sounding = ((onsets < candidates[:, None]) & (releases > candidates[:, None])).sum(axis=1)
        cuts.append(int(candidates[np.lexsort((np.abs(candidates - even), sounding))[0]]))
    return [*cuts, n_samples]


def generate_in_chunks(
    network: Network,
    streams: Sequence[Stream],
    n_samples: int,
    n_chunks: int | None,
    *,
    temperature: float = 1.0,
    engine: str = "auto",
    progress: Callable[[int], None] = lambda n: None,
) -> Iterator[np.ndarray]:
    """As `generate`, with n_chunks chunks of every stream side by side; None: as many as pay.

    Args:
        progress: as for `generate`; called far more often than a block is yielded.
    """
    rate = streams[0].events.sample_rate_hz
    warm_up, fade = warm_up_samples(network, rate), int(to_samples(CROSSFADE_S, rate))
    n_chunks = n_chunks or chunks_that_pay(network, len(streams), n_samples, rate)
    n_chunks = min(n_chunks, n_samples // (4 * fade))  # a cut may move a quarter of a chunk towards the next
    if n_chunks <= 1:
        yield from generate(network, streams, n_samples, temperature=temperature, engine=engine, progress=progress)
        return
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)).astype(np.float32)
    usual = max(int(to_samples(CHUNK_S, rate)), SHORTEST_IN_WARM_UPS * warm_up)
    n_groups = max(1, round(n_samples / (n_chunks * usual)))
    cuts = plan_cuts([stream.events for stream in streams], n_samples, n_groups * n_chunks)
    tail = np.zeros((len(streams), 0), np.float32)  # the end of the last chunk, kept back to be crossfaded
    for first in range(0, n_groups * n_chunks, n_chunks):
        bounds = cuts[first : first + n_chunks + 1]
        parts = [
            replace(stream, events=events_from(stream.events, start - fade - warm_up), seed=(*stream.seed, start))
            for start in bounds[:-1]
            for stream in streams
        ]
        length, span = warm_up + fade + int(np.diff(bounds).max()), bounds[-1] - bounds[0]
        made, n_made = [], 0
        for block in generate(network, parts, length, temperature=temperature, engine=engine):
            made.append(block)
            n_before, n_made = n_made, n_made + block.shape[1]
            progress(round(span * n_made / length) - round(span * n_before / length))
        rows = np.split(np.concatenate(made, axis=1)[:, warm_up:], n_chunks)
        for chunk, (start, stop) in zip(rows, itertools.pairwise(bounds), strict=True):
            begin = chunk[:, :fade] * ramp + tail * (1 - ramp) if tail.size else chunk[:, :0]
            chunk = np.concatenate([begin, chunk[:, fade : fade + stop - start]], axis=1)
            tail = chunk[:, -fade:]
            yield chunk[:, :-fade]
    yield tail
