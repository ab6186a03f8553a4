"""A piece is generated in chunks side by side, so that the products are of two matrices, not of a matrix and a vector.

A stream is silent in its longer rests, where no network runs. What sounds between two rests is cut into chunks if it
is long. Each chunk begins in silence, a warm-up before its place, with the notes that sound there, and is crossfaded
with the chunk before it. A cut falls where the fewest notes sound across it: at a rest, or at an onset that ends other
notes. Memory is bounded: one group of chunks is generated at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from synthnet.generation.engine import device_of
from synthnet.generation.streams import Stream, generate
from synthnet.models import Network
from synthnet.score.roll import RollEvents, events_from, to_samples

CHUNK_S = 6.0  # of a long piece; memory grows with it
SHORTEST_CHUNK_S = 2.0
SHORTEST_IN_WARM_UPS = 8  # a chunk is at least 8 times as long as its warm-up, which is thrown away
WARM_UP_S = 0.25  # or the receptive field, if that is longer
CROSSFADE_S = 0.01
RING_S = 0.5  # after a release a note may be heard
LONGEST_ENTRY_S = 10.0  # an entry in the middle of notes begins at their onsets, at most this long before
AHEAD_S = 300.0  # a group of chunks reaches at most this far beyond the end of its first one: 19 MB a stream at 16 kHz
BLOCK_S = 10.0  # the longest block of a rest
MOST_STREAMS = 12  # two threads of six, the rows of a tile of the compiled engine: more add little
MOST_STREAMS_GPU = 256  # a step reads every weight once, however many there are


def warm_up_samples(network: Network, sample_rate_hz: int) -> int:
    """Samples generated before a chunk's place, to come from silence to the notes that sound there."""
    return max(int(to_samples(WARM_UP_S, sample_rate_hz)), network.config.receptive_field)


def chunks_that_pay(network: Network, n_tracks: int, n_samples: int, sample_rate_hz: int) -> int:
    """The number of chunks side by side that pays for a piece: 1 for a short one, or one of many tracks.

    On a GPU the streams are many, and a warm-up costs little: there may be as many chunks as are as long as theirs.
    """
    on_cpu = device_of(network).type == "cpu"
    warm_ups = warm_up_samples(network, sample_rate_hz) * (SHORTEST_IN_WARM_UPS if on_cpu else 1)
    shortest = max(int(to_samples(SHORTEST_CHUNK_S, sample_rate_hz)), warm_ups)
    return max(1, min((MOST_STREAMS if on_cpu else MOST_STREAMS_GPU) // n_tracks, n_samples // shortest))


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


class Chunk(NamedTuple):
    """A stretch of a stream, in samples: generated from `begin`, heard from a crossfade before `start` to `stop`."""

    row: int
    begin: int
    start: int
    stop: int


def sounding_spans(events: RollEvents, n_samples: int, shortest_rest: int) -> list[tuple[int, int]]:
    """Stretches of the first n_samples in which notes are heard; rests below `shortest_rest` belong to them."""
    ends = np.minimum(events.release + int(to_samples(RING_S, events.sample_rate_hz)), n_samples)
    heard = (ends > 0) & (events.onset < n_samples)
    onsets = np.append(events.onset[heard], n_samples)
    reached = np.maximum.accumulate(np.append(0, ends[heard]))  # before each onset
    rest = onsets - reached >= shortest_rest
    spans = zip([0, *onsets[rest].tolist()], [*reached[rest].tolist(), n_samples], strict=True)
    return [(first, last) for first, last in spans if first < last]


def entry(events: RollEvents, receptive_field: int) -> int:
    """Where generation begins, 0 or earlier, so that notes held at sample 0 sound there as in the whole piece."""
    ring, longest = to_samples(np.array([RING_S, LONGEST_ENTRY_S]), events.sample_rate_hz).tolist()
    held = (events.onset < 0) & (events.release + ring > 0)
    return max(int(events.onset[held].min(initial=0)), -longest) - receptive_field


def generate_in_chunks(
    network: Network,
    streams: Sequence[Stream],
    n_samples: int,
    n_chunks: int | None,
    *,
    start: int = 0,
    temperature: float = 1.0,
    engine: str = "auto",
    progress: Callable[[int], object] = lambda n: None,
) -> Iterator[np.ndarray]:
    """Blocks of audio, float32 [B, T], n_samples in all from sample `start` of the streams on.

    Args:
        n_chunks: chunks of every stream side by side; None: as many as pay. With 1, what sounds between two rests is
            made in one go.
        progress: as for `generate`; called far more often than a block is yielded.
    """
    rate = streams[0].events.sample_rate_hz
    warm_up, fade = warm_up_samples(network, rate), int(to_samples(CROSSFADE_S, rate))
    events = [events_from(stream.events, start) for stream in streams]
    spans = [sounding_spans(of_stream, n_samples, warm_up) for of_stream in events]
    n_active = max(1, sum(map(bool, spans)))
    n_chunks = n_chunks or chunks_that_pay(network, n_active, n_samples, rate)
    n_chunks = max(1, min(n_chunks, n_samples // (4 * fade)))  # a cut may move a quarter of a chunk towards the next
    usual = max(int(to_samples(CHUNK_S, rate)), SHORTEST_IN_WARM_UPS * warm_up)
    n_of_all = n_chunks * max(1, round(n_samples / (n_chunks * usual))) if n_chunks > 1 else 0  # if there is no rest
    chunks = []
    for row, of_stream in enumerate(events):
        for first, last in spans[row]:
            n_pieces = max(1, round(n_of_all * (last - first) / n_samples))
            cuts = plan_cuts([events_from(of_stream, first)], last - first, n_pieces)
            for cut, end in itertools.pairwise(cuts):
                begin = first + cut - fade - (warm_up if cut else 0)
                if first + cut == 0:
                    begin = max(entry(of_stream, network.config.receptive_field), -start)
                chunks.append(Chunk(row, begin, first + cut, first + end))
    groups = _groups(chunks, n_chunks * n_active, int(to_samples(AHEAD_S, rate)))
    n_steps, n_made = sum(len(group) * _length(group) for group in groups), 0
    overlap = _Overlap(len(streams), n_samples, fade, int(to_samples(BLOCK_S, rate)))
    for number, group in enumerate(groups):
        parts, at = [], 0
        for row, begin, place, _ in group:
            seed = (*streams[row].seed, start + place) if start + place else streams[row].seed
            parts.append(replace(streams[row], events=events_from(events[row], begin), seed=seed))
        later = min((chunk.start for others in groups[number + 1 :] for chunk in others), default=n_samples + fade)
        for block in generate(network, parts, _length(group), temperature=temperature, engine=engine):
            n_before, n_made = n_made, n_made + block.size
            progress(n_samples * n_made // n_steps - n_samples * n_before // n_steps)
            yield from overlap.add(group, at, block, later - fade)
            at += block.shape[1]
    if not groups:
        progress(n_samples)
    yield from overlap.give(n_samples)


def _length(group: Sequence[Chunk]) -> int:
    return max(chunk.stop - chunk.begin for chunk in group)


def _groups(chunks: Sequence[Chunk], most: int, ahead: int) -> list[list[Chunk]]:
    """Chunks to generate side by side: those that end first come first, with others of half to twice their length."""
    waiting, groups = sorted(chunks, key=lambda chunk: chunk.stop), []
    while waiting:
        length, last = _length(waiting[:1]), waiting[0].stop + ahead
        alike = (chunk for chunk in waiting if length <= 2 * _length([chunk]) <= 4 * length and chunk.start < last)
        groups.append(list(itertools.islice(alike, most)))
        taken = set(groups[-1])
        waiting = [chunk for chunk in waiting if chunk not in taken]
    return groups


class _Overlap:
    """Adds chunks up, crossfaded, and gives out what is complete in all rows, in blocks [B, T], T up to `longest`."""

    def __init__(self, n_rows: int, n_samples: int, fade: int, longest: int) -> None:
        self.n_samples, self.fade, self.longest = n_samples, fade, longest
        self.audio, self.given = np.zeros((n_rows, 0), np.float32), 0  # from sample `given` on

    def add(self, group: Sequence[Chunk], at: int, block: np.ndarray, complete: int) -> Iterator[np.ndarray]:
        """Take in the samples [B, T] from `at` on of a group's chunks; others begin to be heard at `complete`."""
        for chunk, samples in zip(group, block, strict=True):
            here, start = chunk.begin + at, chunk.start - self.fade if chunk.start else 0
            first, last = max(here, start), min(here + len(samples), chunk.stop)
            if first < last:
                self._reach(last)
                part = samples[first - here : last - here] * self._weights(chunk, first, last)
                self.audio[chunk.row, first - self.given : last - self.given] += part
            if here + len(samples) < chunk.stop:
                complete = min(complete, max(start, here + len(samples)))
        yield from self.give(complete)

    def give(self, complete: int) -> Iterator[np.ndarray]:
        while self.given < complete:
            n = min(complete - self.given, self.longest)
            self._reach(self.given + n)
            block, self.audio, self.given = self.audio[:, :n], self.audio[:, n:], self.given + n
            yield block

    def _reach(self, stop: int) -> None:
        missing = stop - self.given - self.audio.shape[1]
        if missing > 0:
            self.audio = np.pad(self.audio, ((0, 0), (0, missing)))

    def _weights(self, chunk: Chunk, first: int, last: int) -> np.ndarray:
        """Raised cosines at the ends of a chunk, but not at those of the piece; two that overlap add up to 1."""
        places = np.arange(first, last) + 0.5
        begun = (places - chunk.start) / self.fade + 1 if chunk.start else np.ones(last - first)
        left = (chunk.stop - places) / self.fade if chunk.stop < self.n_samples else np.ones(last - first)
        weights: np.ndarray = 0.5 - 0.5 * np.cos(np.pi * np.clip(np.minimum(begun, left), 0, 1))
        return weights.astype(np.float32)
