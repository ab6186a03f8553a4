"""A score to audio: every track is played by its instrument, mixed, and written as it is made.

`ENGINES` is the only place that chooses how an instrument plays: harmonic ones by `synthnet.generation.harmonic`, at
the mix's sample rate; the paper's networks sample by sample, resampled into the mix where their rate differs. The gain
of an instrument's corpus is divided out, so that all are balanced as a General MIDI synthesizer balances them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr

from synthnet.audio.files import Audio, AudioWriter, scale_audio
from synthnet.files import InputError
from synthnet.generation.library import Seat
from synthnet.models import HarmonicConfig, ModelConfig
from synthnet.models.checkpoint import fact
from synthnet.score.midi import read_score
from synthnet.score.notes import Score, Track
from synthnet.score.roll import RollEvents, roll_events, to_samples

MIX_RATE_HZ = 44_100
TAIL_S = 0.5  # after the last note at least, so that its release is heard
HIGHEST_PEAK = 0.99
HEADROOM = 8.0  # of the 24-bit file that is scaled at the end: a track peaks below it
BLOCK_S = 0.25  # of the mix
HARMONIC_BLOCK_S = 1.0

Blocks = Iterator[np.ndarray]
"""Audio of B tracks in blocks, float32 [B, T]."""


@dataclass(frozen=True)
class Settings:
    """How a score is rendered.

    Attributes:
        duration_s: seconds from the score's start; None: until the last note has died away.
        temperature, mean, engine: of the paper's networks, see `synthnet.generation.streams`.
        n_chunks: stretches that the paper's networks make side by side; None: as many as pay.
    """

    sample_rate_hz: int = MIX_RATE_HZ
    duration_s: float | None = None
    seed: int = 0
    temperature: float = 1.0
    mean: bool = True
    engine: str = "auto"
    n_chunks: int | None = None


@dataclass(frozen=True)
class Rendering:
    """A finished sound file.

    Attributes:
        instruments: who played each track.
        peak: largest absolute sample of the mix, before scaling.
        gain: factor that kept the mix from clipping, 1.0 for none.
        silent_tracks: numbers of the tracks that were silent while their notes sounded.
    """

    n_samples: int
    sample_rate_hz: int
    instruments: tuple[str, ...]
    peak: float
    gain: float
    silent_tracks: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def read_excerpt(song: str | Path | Score, start_s: float = 0.0, duration_s: float | None = None) -> Score:
    """The notes that sound in a window of a MIDI file, or of a score, with the window's start at 0.

    Raises:
        InputError: see `read_score` and `Score.excerpt`; also no notes.
    """
    score, place = (song, "") if isinstance(song, Score) else (read_score(Path(song)), f"{song}: ")
    try:
        excerpt = score.excerpt(start_s, duration_s)
    except InputError as error:
        raise InputError(f"{place}{error}") from None
    if not excerpt.tracks:
        until = "" if duration_s is None else f" and {start_s + duration_s:g} s"
        raise InputError(f"{place}no notes between {start_s:g} s{until}")
    return excerpt


def rendering_samples(score: Score, seats: Sequence[Seat], sample_rate_hz: int, duration_s: float | None) -> int:
    """Length of a rendering: as given, or until the last note has died away, half a second after it at least."""
    if duration_s is None:
        duration_s = score.end_s + TAIL_S
        for seat, track in zip(seats, score.tracks, strict=True):
            tails_s = seat.checkpoint.weights.get("release_s")
            if tails_s is not None:  # of a harmonic instrument, by key
                duration_s = max(duration_s, *(note.end_s + float(tails_s[note.pitch]) for note in track.notes))
    return int(to_samples(duration_s, sample_rate_hz))


def play_tracks(
    seats: Sequence[Seat], score: Score, settings: Settings, progress: Callable[[int], None] = lambda n: None
) -> Blocks:
    """Every track at the level it has in the mix, in blocks [B, T] of a quarter of a second.

    Args:
        seats: one a track; tracks with the same network (the same checkpoint object) are generated as one batch.
        progress: called with the samples finished since the last call, those of all tracks added up.
    """
    n_samples = rendering_samples(score, seats, settings.sample_rate_hz, settings.duration_s)
    batches: dict[int, list[int]] = {}  # numbers of the tracks of each network
    for number, seat in enumerate(seats):
        batches.setdefault(id(seat.checkpoint), []).append(number)
    played = []
    for numbers in batches.values():
        of_batch, tracks = [seats[number] for number in numbers], [score.tracks[number] for number in numbers]
        seeds = [(settings.seed, number) for number in numbers]
        blocks = engine_of(of_batch[0]).play(Batch(of_batch, tracks, seeds, n_samples, settings, progress))
        played.append(_even_blocks(blocks, round(BLOCK_S * settings.sample_rate_hz)))
    order = np.argsort(np.concatenate(list(batches.values())))
    levels = np.array([[_level(seat)] for seat in seats], np.float32)
    for parts in zip(*played, strict=True):
        yield np.concatenate(parts)[order] * levels


def play_score(seats: Sequence[Seat], score: Score, settings: Settings) -> Audio:
    """The mix of all tracks in memory, turned down if it would clip; seats as for `play_tracks`."""
    blocks = [block.sum(axis=0) for block in play_tracks(seats, score, settings)]
    mix = np.concatenate([np.zeros(0, np.float32), *blocks])
    return Audio(mix * np.float32(_gain(float(np.abs(mix).max(initial=0.0)))), settings.sample_rate_hz)


def render_score(
    seats: Sequence[Seat],
    score: Score,
    path: Path,
    settings: Settings,
    *,
    stems: Path | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> Rendering:
    """Play every track of a score and write the mix to `path`, in constant memory.

    Args:
        seats, progress: as for `play_tracks`.
        stems: a folder that keeps each track alone, as `01.wav`, `02.wav`, ..., at its level in the mix.

    If it is interrupted, the audio made so far stays as a playable `NAME.partial.wav` (see `AudioWriter`).
    """
    n_tracks, rate = len(seats), settings.sample_rate_hz
    names = [] if stems is None else [stems / f"{number + 1:02d}{path.suffix}" for number in range(n_tracks)]
    rolls = [roll_events(track.notes, rate) for track in score.tracks]
    energy, sounding, peak, done = np.zeros(n_tracks), np.zeros(n_tracks), 0.0, 0
    headroom = np.float32(HEADROOM * n_tracks)
    with contextlib.ExitStack() as files:
        writers = [files.enter_context(AudioWriter(name, rate, bits=24)) for name in (path, *names)]
        for block in play_tracks(seats, score, settings, progress):
            n, mixed = block.shape[1], block.sum(axis=0)
            for number, roll in enumerate(rolls):
                down = _keys_down(roll, done, n)
                energy[number] += float((block[number, down] ** 2).sum())
                sounding[number] += down.sum()
            peak = max(peak, float(np.abs(mixed).max()))
            for writer, samples in zip(writers, (mixed, *block), strict=False):  # the mix alone without stems
                writer.write(samples / headroom)
            done += n
    for name in (path, *names):
        scale_audio(name, _gain(peak) * float(headroom))
    rms = np.sqrt(energy / np.maximum(sounding, 1))
    least = np.array([engine_of(seat).silent_rms * _level(seat) for seat in seats])
    silent = tuple(np.flatnonzero((rms < least) & (sounding > 0)).tolist())
    return Rendering(done, rate, tuple(seat.voice.name for seat in seats), peak, _gain(peak), silent)


def _gain(peak: float) -> float:
    return min(1.0, HIGHEST_PEAK / peak) if peak else 1.0


def _level(seat: Seat) -> float:
    """Factor that brings an instrument's output to the level of its teacher."""
    names = seat.checkpoint.instruments
    number = names.index(seat.voice.name) if seat.voice.name in names else 0
    gain = fact(seat.checkpoint.training, "corpora", number, "gain")
    return 1.0 / gain if isinstance(gain, int | float) and gain > 0 else 1.0


def _keys_down(roll: RollEvents, start: int, n: int) -> np.ndarray:
    """Whether any key is down, bool [n], from sample `start` on."""
    begun, ended = (np.bincount(np.clip(at - start, 0, n), minlength=n + 1) for at in (roll.onset, roll.release))
    down: np.ndarray = np.cumsum(begun - ended)[:n] > 0
    return down


def _even_blocks(blocks: Blocks, n: int) -> Blocks:
    """The same audio in blocks of n samples, the last one shorter."""
    waiting: list[np.ndarray] = []
    for block in blocks:
        waiting = [np.concatenate([*waiting, block], axis=1)]
        while waiting[0].shape[1] >= n:
            yield waiting[0][:, :n]
            waiting = [waiting[0][:, n:]]
    if waiting and waiting[0].shape[1]:
        yield waiting[0]


class Batch(NamedTuple):
    """Tracks that one network plays together."""

    seats: Sequence[Seat]
    tracks: Sequence[Track]
    seeds: Sequence[tuple[int, int]]
    n_samples: int
    settings: Settings
    progress: Callable[[int], None]


def _play_harmonic(batch: Batch) -> Blocks:
    # Numba is loaded only here.
    from synthnet.generation.harmonic import HarmonicPlayer, Part
    from synthnet.models.envelopes import notes_of

    rate, checkpoint = batch.settings.sample_rate_hz, batch.seats[0].checkpoint
    assert isinstance(checkpoint.config, HarmonicConfig)
    players = [HarmonicPlayer(checkpoint.config, checkpoint.weights, rate, seed=seed) for seed in batch.seeds]
    parts = [Part(notes_of(roll_events(track.notes, rate)), track.controls) for track in batch.tracks]
    step = round(HARMONIC_BLOCK_S * rate)
    for start in range(0, batch.n_samples, step):
        stop = min(start + step, batch.n_samples)
        block = np.stack([player.play(part, start, stop) for player, part in zip(players, parts, strict=True)])
        batch.progress(block.size)
        yield block


def _play_network(batch: Batch) -> Blocks:
    # Torch is loaded only here.
    from synthnet.generation.chunks import generate_in_chunks
    from synthnet.generation.streams import Stream

    checkpoint, settings, n_tracks = batch.seats[0].checkpoint, batch.settings, len(batch.tracks)
    rate, mix_rate = checkpoint.sample_rate_hz, settings.sample_rate_hz
    streams = [
        Stream(roll_events(track.notes, rate), seed, seat.voice.style, settings.mean)
        for seat, track, seed in zip(batch.seats, batch.tracks, batch.seeds, strict=True)
    ]
    blocks = generate_in_chunks(
        checkpoint.build(),
        streams,
        -(-batch.n_samples * rate // mix_rate),
        settings.n_chunks,
        temperature=settings.temperature,
        engine=settings.engine,
        progress=lambda n: batch.progress(round(n * mix_rate / rate) * n_tracks),
    )
    if rate == mix_rate:
        yield from blocks
        return
    resampler, left = soxr.ResampleStream(rate, mix_rate, n_tracks, dtype="float32"), batch.n_samples
    for block in itertools.chain(blocks, [np.zeros((n_tracks, 0), np.float32)]):
        columns = np.ascontiguousarray(block.T, np.float32)
        made = resampler.resample_chunk(columns, last=not block.size).reshape(-1, n_tracks).T[:, :left]
        left -= made.shape[1]
        yield made
    yield np.zeros((n_tracks, left), np.float32)


class Engine(NamedTuple):
    """How a kind of instrument plays."""

    play: Callable[[Batch], Blocks]
    controllers: bool  # whether it plays bends, tuning, vibrato and volume
    silent_rms: float  # an output below it is silent


ENGINES = {
    HarmonicConfig.kind: Engine(_play_harmonic, True, 1e-5),
    ModelConfig.kind: Engine(_play_network, False, 0.006),  # they play dither, 0.0037, when they are silent
}


def engine_of(seat: Seat) -> Engine:
    """The engine of an instrument."""
    return ENGINES[seat.checkpoint.config.kind]
