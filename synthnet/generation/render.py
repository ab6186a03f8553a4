"""A score to a sound file: every track played by its instrument, mixed, written as it is made.

This is the place that chooses how an instrument plays: a harmonic one by `synthnet.generation.harmonic`, at the mix's
sample rate, the paper's networks sample by sample (`synthnet.generation.streams`), resampled into the mix where their
rate is another. An instrument's level is that of its teacher: the gain of its corpus is divided out, so that all are
balanced as a General MIDI synthesizer balances them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from synthnet.audio.files import AudioWriter, scale_audio
from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.models import HarmonicConfig
from synthnet.models.checkpoint import Checkpoint, Voice, fact
from synthnet.models.envelopes import notes_of
from synthnet.score.notes import Score, Track
from synthnet.score.roll import roll_events, to_samples

MIX_RATE_HZ = 44_100
TAIL_S = 0.5  # after the last note at least, so that its release is heard
HIGHEST_PEAK = 0.99
HEADROOM = 8.0  # of the 24-bit file that is scaled at the end: a track peaks below it
SILENT_RMS = {"autoregressive": 0.006, "harmonic": 1e-5}  # the former dithers: 0.0037 when it is silent
BLOCK_S = 1.0


@dataclass(frozen=True)
class Seat:
    """Who plays a track.

    Attributes:
        checkpoint: the network, loaded.
        voice: of its instruments.
    """

    checkpoint: Checkpoint
    voice: Voice

    @property
    def harmonic(self) -> bool:
        """Whether it is a harmonic instrument, which hears velocity and controllers."""
        return isinstance(self.checkpoint.config, HarmonicConfig)

    @property
    def level(self) -> float:
        """Factor that brings its output to the teacher's own level."""
        names = self.checkpoint.instruments
        number = names.index(self.voice.name) if self.voice.name in names else 0
        gain = fact(self.checkpoint.training, "corpora", number, "gain")
        return 1.0 / gain if isinstance(gain, int | float) and gain > 0 else 1.0

    def tail_s(self, track: Track) -> float:
        """Time after the end of a track's last note until it is silent."""
        if not self.harmonic:
            return TAIL_S
        tails = self.checkpoint.weights["release_s"]
        end_s = max(note.end_s for note in track.notes)
        return max(TAIL_S, *(note.end_s - end_s + float(tails[note.pitch]) for note in track.notes))


@dataclass(frozen=True)
class Sampling:
    """How the paper's networks generate; see `synthnet.generation.streams`.

    Attributes:
        n_chunks: stretches of the piece that are made side by side; None: as many as pay.
    """

    temperature: float = 1.0
    expectation: bool = True
    engine: str = "auto"
    n_chunks: int | None = None


@dataclass(frozen=True)
class Rendering:
    """What came out.

    Attributes:
        n_samples: length of the file.
        peak: largest absolute sample of the mix, before scaling.
        gain: by which the mix was scaled to keep it from clipping, 1.0 for none.
        silent_tracks: numbers of tracks that stayed silent while their notes sounded.
    """

    n_samples: int
    peak: float
    gain: float
    silent_tracks: tuple[int, ...]


def rendering_samples(score: Score, seats: Sequence[Seat], sample_rate_hz: int, duration_s: float | None) -> int:
    """Length of a rendering: as asked for, or until the last note has died away, half a second after it at least."""
    if duration_s is None:
        ends_s = [
            max(note.end_s for note in track.notes) + seat.tail_s(track)
            for track, seat in zip(score.tracks, seats, strict=True)
        ]
        duration_s = max(ends_s)
    return int(to_samples(duration_s, sample_rate_hz))


def render_score(
    seats: Sequence[Seat],
    score: Score,
    path: Path,
    *,
    sample_rate_hz: int = MIX_RATE_HZ,
    n_samples: int,
    seed: int = 0,
    sampling: Sampling | None = None,
    stems: Path | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> Rendering:
    """Play every track of a score and write the mix to `path`, in constant memory.

    Args:
        seats: one a track; tracks with the same network (the same checkpoint object) are generated as one batch.
        stems: a folder in which each track is kept by itself, as `01.wav`, `02.wav`, ..., as it stands in the mix.
        progress: called with the samples finished since the last call.

    Interrupted, what was made so far stays as a playable `NAME.partial.wav` (see `AudioWriter`).
    """
    n_tracks, finished = len(seats), 0.0  # samples of the piece, averaged over the tracks

    def advance(n_of_group: int, n: int) -> None:
        nonlocal finished
        before, finished = finished, finished + n * n_of_group / n_tracks
        progress(round(finished) - round(before))

    groups = []
    for numbers in _batches(seats):
        blocks = _blocks(
            [seats[number] for number in numbers],
            [score.tracks[number] for number in numbers],
            [(seed, number) for number in numbers],
            sample_rate_hz,
            n_samples,
            sampling or Sampling(),
            partial(advance, len(numbers)),
        )
        groups.append((numbers, blocks))

    levels = np.array([seat.level for seat in seats], np.float32)[:, None]
    sounds = [roll_events(track.notes, sample_rate_hz) for track in score.tracks]
    energy, sounding, peak = np.zeros(n_tracks), np.zeros(n_tracks), 0.0
    headroom = np.float32(HEADROOM * n_tracks)
    names = [] if stems is None else [stems / f"{number + 1:02d}{path.suffix}" for number in range(n_tracks)]
    with contextlib.ExitStack() as files:
        mix = files.enter_context(AudioWriter(path, sample_rate_hz, bits=24))
        singles = [files.enter_context(AudioWriter(name, sample_rate_hz, bits=24)) for name in names]
        done = 0
        for block in in_step(groups):
            for number, events in enumerate(sounds):
                held = np.zeros(block.shape[1], dtype=bool)
                for onset, release in zip(events.onset - done, events.release - done, strict=True):
                    held[max(onset, 0) : max(release, 0)] = True
                energy[number] += float((block[number, held] ** 2).sum())
                sounding[number] += held.sum()
            block = block * levels
            mixed = block.sum(axis=0)
            peak = max(peak, float(np.abs(mixed).max()))
            mix.write(mixed / headroom)
            for writer, samples in zip(singles, block, strict=False):
                writer.write(samples / headroom)
            done += block.shape[1]
    gain = min(1.0, HIGHEST_PEAK / peak) if peak else 1.0
    for name in (path, *names):
        scale_audio(name, gain * float(headroom))
    rms = np.sqrt(energy / np.maximum(sounding, 1))
    least = np.array([SILENT_RMS[seat.checkpoint.config.kind] for seat in seats])
    silent = tuple(int(number) for number in np.flatnonzero((rms < least) & (sounding > 0)))
    return Rendering(n_samples, peak, gain, silent)


def _batches(seats: Sequence[Seat]) -> list[list[int]]:
    """Numbers of the tracks that are generated together."""
    batches: dict[int, list[int]] = {}
    for number, seat in enumerate(seats):
        batches.setdefault(id(seat.checkpoint), []).append(number)
    return list(batches.values())


def _blocks(
    seats: Sequence[Seat],
    tracks: Sequence[Track],
    seeds: Sequence[tuple[int, int]],
    sample_rate_hz: int,
    n_samples: int,
    sampling: Sampling,
    advance: Callable[[int], None],
) -> Iterator[np.ndarray]:
    """Blocks [B, T] of tracks that one network plays, n_samples in all."""
    checkpoint = seats[0].checkpoint
    if isinstance(checkpoint.config, HarmonicConfig):
        yield from _harmonic_blocks(checkpoint, tracks, seeds, sample_rate_hz, n_samples, advance)
        return
    # Torch is loaded only here.
    from synthnet.generation.chunks import chunks_that_pay, generate_in_chunks
    from synthnet.generation.streams import Stream, generate

    network, rate = checkpoint.build(), checkpoint.sample_rate_hz
    streams = [
        Stream(roll_events(track.notes, rate), seed, seat.voice.style, sampling.expectation)
        for seat, track, seed in zip(seats, tracks, seeds, strict=True)
    ]
    own_samples = -(-n_samples * rate // sample_rate_hz)
    n_chunks = sampling.n_chunks or chunks_that_pay(network, len(streams), own_samples, rate)
    options: dict[str, Any] = {"temperature": sampling.temperature, "engine": sampling.engine}
    share = sample_rate_hz / rate
    if n_chunks > 1:
        own = generate_in_chunks(
            network, streams, own_samples, n_chunks, progress=lambda n: advance(round(n * share)), **options
        )
    else:
        own = _told(generate(network, streams, own_samples, **options), lambda n: advance(round(n * share)))
    yield from _resampled(own, len(streams), rate, sample_rate_hz, n_samples)


def _harmonic_blocks(
    checkpoint: Checkpoint,
    tracks: Sequence[Track],
    seeds: Sequence[tuple[int, int]],
    sample_rate_hz: int,
    n_samples: int,
    advance: Callable[[int], None],
) -> Iterator[np.ndarray]:
    config = checkpoint.config
    assert isinstance(config, HarmonicConfig)
    players = [HarmonicPlayer(config, checkpoint.weights, sample_rate_hz, seed=seed) for seed in seeds]
    parts = [Part(notes_of(roll_events(track.notes, sample_rate_hz)), track.controls) for track in tracks]
    step = round(BLOCK_S * sample_rate_hz)
    for start in range(0, n_samples, step):
        stop = min(start + step, n_samples)
        block = np.stack([player.play(part, start, stop) for player, part in zip(players, parts, strict=True)])
        advance(stop - start)
        yield block


def _told(blocks: Iterator[np.ndarray], advance: Callable[[int], None]) -> Iterator[np.ndarray]:
    for block in blocks:
        advance(block.shape[1])
        yield block


def _resampled(
    blocks: Iterator[np.ndarray], n_rows: int, rate_hz: int, wanted_hz: int, n_samples: int
) -> Iterator[np.ndarray]:
    """Blocks [B, T] at another rate, n_samples in all."""
    if rate_hz == wanted_hz:
        yield from blocks
        return
    import soxr

    stream, left = soxr.ResampleStream(rate_hz, wanted_hz, n_rows, dtype="float32"), n_samples
    for block in blocks:
        made = stream.resample_chunk(np.ascontiguousarray(block.T, np.float32)).reshape(-1, n_rows).T[:, :left]
        left -= made.shape[1]
        if made.shape[1]:
            yield made
    made = stream.resample_chunk(np.zeros((0, n_rows), np.float32), last=True).reshape(-1, n_rows).T[:, :left]
    yield np.pad(made, ((0, 0), (0, left - made.shape[1])))


def in_step(groups: Sequence[tuple[Sequence[int], Iterator[np.ndarray]]]) -> Iterator[np.ndarray]:
    """Blocks [B, T] of all tracks from groups of them, each of which comes in blocks of lengths of its own.

    No group is ever more than one of its blocks ahead, so that memory is constant.

    Args:
        groups: numbers of the tracks, 0 to B - 1, and their blocks, of the same length in all for every group.
    """
    row_of = np.argsort([number for numbers, _ in groups for number in numbers])
    ahead: list[np.ndarray] = []
    while True:
        for number, (_, blocks) in enumerate(groups):
            if number < len(ahead) and ahead[number].shape[1]:
                continue
            block = next(blocks, None)
            if block is None:
                return
            ahead[number : number + 1] = [block]
        length = min(block.shape[1] for block in ahead)
        now = [block[:, :length] for block in ahead]
        ahead = [block[:, length:] for block in ahead]
        yield np.concatenate(now)[row_of]
