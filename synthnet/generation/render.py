"""A score to audio: every track is played by its instrument, mixed, and written when the peak of the mix is known.

`ENGINES` is the only place that chooses how an instrument plays: harmonic ones by `synthnet.generation.harmonic`, at
the mix's sample rate; the paper's networks sample by sample, resampled into the mix where their rate differs. The gain
of an instrument's corpus is divided out, so that all are balanced as a General MIDI synthesizer balances them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import soxr

from synthnet.audio.files import HIGHEST_PEAK, Audio, check_encoding, encode, made_here
from synthnet.files import InputError, atomic_write
from synthnet.generation.library import Seat
from synthnet.models import HarmonicConfig, ModelConfig
from synthnet.models.checkpoint import fact
from synthnet.score.midi import read_score
from synthnet.score.notes import Score, Track
from synthnet.score.roll import RollEvents, roll_events, to_samples

MIX_RATE_HZ = 44_100
TAIL_S = 0.5  # after the last note at least, so that its release is heard
LIMIT = HIGHEST_PEAK - 2.0**-14  # of what is dithered and rounded, which adds up to 1.5 steps of 16 bits
BLOCK_S = 0.25  # of the mix
HARMONIC_BLOCK_S = 1.0
DRAFT_BYTES = 1 << 18  # of a mix that are encoded at once
LONGEST_NAME = 40  # characters of a track's name in that of its stem

Blocks = Iterator[np.ndarray]
"""Audio of B tracks in blocks, float32 [B, T]."""


@dataclass(frozen=True)
class Settings:
    """How a score is rendered.

    Attributes:
        start_s: second of the score to start from.
        duration_s: seconds to play; None: until the last note has died away.
        temperature, mean, engine: of the paper's networks, see `synthnet.generation.streams`.
        device: where the paper's networks run, see `synthnet.generation.engine.choose_device`.
        n_chunks: stretches that the paper's networks make side by side; None: as many as pay.
    """

    sample_rate_hz: int = MIX_RATE_HZ
    duration_s: float | None = None
    seed: int = 0
    temperature: float = 1.0
    mean: bool = True
    engine: str = "auto"
    device: str = "auto"
    n_chunks: int | None = None
    start_s: float = 0.0


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


def read_song(song: str | Path | Score, start_s: float = 0.0, duration_s: float | None = None) -> Score:
    """A MIDI file, or a score as it is, of which notes sound in a window.

    Raises:
        InputError: see `read_score`; also no notes, or a window that is none.
    """
    score, place = (song, "") if isinstance(song, Score) else (read_score(Path(song)), f"{song}: ")
    if not start_s >= 0.0 or not (duration_s is None or duration_s > 0.0):
        raise InputError(f"{place}the start must be 0 s or later and the duration above 0 s")
    if start_s >= score.end_s > 0.0:
        raise InputError(f"{place}the start, {start_s:g} s, is beyond the end of the score, {score.end_s:g} s")
    stop_s = math.inf if duration_s is None else start_s + duration_s
    if not any(note.start_s < stop_s and note.end_s > start_s for note in score.notes):
        raise InputError(
            f"{place}no notes between {start_s:g} s" + ("" if duration_s is None else f" and {stop_s:g} s")
        )
    return score


def rendering_samples(score: Score, seats: Sequence[Seat], settings: Settings) -> range:
    """The samples of a rendering: as long as given, or until the last note has died away, half a second at least."""
    start = int(to_samples(settings.start_s, settings.sample_rate_hz))
    if settings.duration_s is not None:
        return range(start, start + int(to_samples(settings.duration_s, settings.sample_rate_hz)))
    stop_s = score.end_s + TAIL_S
    for seat, track in zip(seats, score.tracks, strict=True):
        tails_s = seat.checkpoint.weights.get("release_s")
        if tails_s is not None:  # of a harmonic instrument, by key
            stop_s = max(stop_s, *(note.end_s + float(tails_s[note.pitch]) for note in track.notes))
    return range(start, int(to_samples(stop_s, settings.sample_rate_hz)))


def play_tracks(
    seats: Sequence[Seat], score: Score, settings: Settings, progress: Callable[[int], None] = lambda n: None
) -> Blocks:
    """Every track at the level it has in the mix, in blocks [B, T] of a quarter of a second.

    Args:
        seats: one a track; tracks with the same network (the same checkpoint object) are generated as one batch.
        progress: called with the samples finished since the last call, those of all tracks added up.
    """
    samples = rendering_samples(score, seats, settings)
    batches: dict[int, list[int]] = {}  # numbers of the tracks of each network
    for number, seat in enumerate(seats):
        batches.setdefault(id(seat.checkpoint), []).append(number)
    played = []
    for numbers in batches.values():
        of_batch, tracks = [seats[number] for number in numbers], [score.tracks[number] for number in numbers]
        seeds = [(settings.seed, number) for number in numbers]
        blocks = engine_of(of_batch[0]).play(Batch(of_batch, tracks, seeds, samples, settings, progress))
        played.append(_even_blocks(blocks, round(BLOCK_S * settings.sample_rate_hz)))
    order = np.argsort(np.concatenate(list(batches.values())))
    levels = np.array([[_level(seat)] for seat in seats], np.float32)
    for parts in zip(*played, strict=True):
        yield np.concatenate(parts)[order] * levels


def play_score(seats: Sequence[Seat], score: Score, settings: Settings) -> Audio:
    """The mix of all tracks in memory, turned down if it would clip; seats as for `play_tracks`."""
    blocks = [block.sum(axis=0) for block in play_tracks(seats, score, settings)]
    mix = np.concatenate([np.zeros(0, np.float32), *blocks])
    peak = float(np.abs(mix).max(initial=0.0))
    return Audio(mix * np.float32(min(1.0, HIGHEST_PEAK / peak) if peak else 1.0), settings.sample_rate_hz)


def render_score(
    seats: Sequence[Seat],
    score: Score,
    path: Path,
    settings: Settings,
    *,
    stems: Path | None = None,
    bits: int | str = 16,
    source: Path | None = None,
    force: bool = False,
    progress: Callable[[int], None] = lambda n: None,
) -> Rendering:
    """Play every track of a score and write the mix to `path`, in constant memory.

    The mix is a draft of floats without a name until its peak is known. Then it is turned down if it must be, dithered
    once and encoded, see `encode`. After an exception, also Ctrl-C, what was made is kept in NAME.partial.wav in the
    same way; the text of the KeyboardInterrupt says so.

    Args:
        seats, progress: as for `play_tracks`.
        stems: a folder that keeps each track alone, at its level in the mix, see `stem_name`.
        bits: 16, 24 or "float".
        source: the MIDI file, which is not overwritten.
        force: whether files that this package did not make are overwritten.

    Raises:
        InputError: before anything is made, where a file cannot be written or must not be overwritten.
    """
    rate, done, peak = settings.sample_rate_hz, 0, 0.0
    start = rendering_samples(score, seats, settings).start
    names = [
        path,
        *([stems / stem_name(n, track, path.suffix) for n, track in enumerate(score.tracks)] if stems else []),
    ]
    partial = [name.with_name(f"{name.stem}.partial{name.suffix}") for name in names]
    _check_outputs([*names, *partial], rate, bits, source, force)
    rolls = [roll_events(track.notes, rate) for track in score.tracks]
    energy, sounding, loudest = np.zeros(len(seats)), np.zeros(len(seats)), 0.0

    def finish(files: Sequence[Path]) -> float:
        """Encode the drafts at a gain with which no file clips; the mix is renamed last."""
        gain = min(1.0, LIMIT / loudest) if loudest else 1.0
        with contextlib.ExitStack() as at_once:
            beside = [at_once.enter_context(atomic_write(file)) for file in files]
            while True:
                peaks = [
                    encode(file, _read(draft, done, gain), rate, bits, np.random.default_rng((settings.seed, number)))
                    for number, (file, draft) in enumerate(zip(beside, drafts, strict=True))
                ]
                if max(peaks) <= HIGHEST_PEAK:
                    return gain
                gain *= LIMIT / max(peaks)  # a lossy format overshot

    with contextlib.ExitStack() as open_files:
        folders = [folder for name in names for folder in name.absolute().parents if not folder.exists()]
        try:
            drafts = [open_files.enter_context(_draft(name)) for name in names]
            for block in play_tracks(seats, score, settings, progress):
                n, mixed = block.shape[1], block.sum(axis=0)
                for number, roll in enumerate(rolls):
                    down = _keys_down(roll, start + done, n)
                    energy[number] += float((block[number, down] ** 2).sum())
                    sounding[number] += down.sum()
                outputs = np.vstack([mixed, block])[: len(names)]  # the mix alone without stems
                peak, loudest = max(peak, float(np.abs(mixed).max())), max(loudest, float(np.abs(outputs).max()))
                for draft, samples in zip(drafts, outputs, strict=True):
                    draft.write(samples.astype(np.float32).tobytes())
                done += n
            gain = finish(names)
        except BaseException as error:
            with contextlib.suppress(OSError):
                if done:
                    finish(partial)
            for folder in folders:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            if isinstance(error, OSError):
                error.filename = error.filename or str(path)  # "no space left" comes without a name
            if done and isinstance(error, KeyboardInterrupt):
                kept = f"{path}: interrupted; the first {done / rate:.1f} s are in {partial[0]}"
                raise KeyboardInterrupt(kept + (" and in such files of the stems" if stems else "")) from None
            raise
    rms = np.sqrt(energy / np.maximum(sounding, 1))
    least = np.array([engine_of(seat).silent_rms * _level(seat) for seat in seats])
    silent = tuple(np.flatnonzero((rms < least) & (sounding > 0)).tolist())
    return Rendering(done, rate, tuple(seat.voice.name for seat in seats), peak, gain, silent)


def stem_name(number: int, track: Track, ending: str) -> str:
    """The file of a track alone, such as `02 Electric Bass.wav` for number 1, without what a file system may refuse."""
    name = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else " " for c in track.name)
    return f"{number + 1:02d} {' '.join(name.split())[:LONGEST_NAME].rstrip('. ')}".rstrip() + ending


def _check_outputs(files: Sequence[Path], rate: int, bits: int | str, source: Path | None, force: bool) -> None:
    """Raise InputError for files that cannot be written, are written twice, or must not be overwritten."""
    seen = set[str]()
    for file in files:
        check_encoding(file, rate, bits)
        place = os.path.realpath(file)
        if place in seen:
            raise InputError(f"{file}: would be written twice, as the mix and as a stem; take another name or folder")
        seen.add(place)
        if not file.exists():
            continue
        if not file.is_file():
            raise InputError(f"{file}: is a folder" if file.is_dir() else f"{file}: not a file")
        if source is not None and source.exists() and file.samefile(source):
            raise InputError(f"{file}: is the song itself; choose another file with -o")
        if not force and file.stat().st_size and not made_here(file):
            raise InputError(f"{file}: exists, and SynthNet did not make it; --force overwrites it")


def _draft(name: Path) -> IO[bytes]:
    """A file without a name in the folder of another one, which is made."""
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=name.parent)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error


def _read(draft: IO[bytes], n_samples: int, gain: float) -> Iterator[np.ndarray]:
    """The samples of a draft in blocks, times a gain."""
    draft.seek(0)
    left = 4 * n_samples
    while left:
        data = draft.read(min(left, DRAFT_BYTES))
        left -= len(data)
        yield np.frombuffer(data, np.float32) * np.float32(gain)


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
    samples: range
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
    for start in batch.samples[::step]:
        stop = min(start + step, batch.samples.stop)
        block = np.stack([player.play(part, start, stop) for player, part in zip(players, parts, strict=True)])
        batch.progress(block.size)
        yield block


def _play_network(batch: Batch) -> Blocks:
    # Torch is loaded only here.
    from synthnet.generation.chunks import generate_in_chunks
    from synthnet.generation.engine import choose_device
    from synthnet.generation.streams import Stream

    checkpoint, settings, n_tracks = batch.seats[0].checkpoint, batch.settings, len(batch.tracks)
    rate, mix_rate = checkpoint.sample_rate_hz, settings.sample_rate_hz
    streams = [
        Stream(roll_events(track.notes, rate), seed, seat.voice.style, settings.mean)
        for seat, track, seed in zip(batch.seats, batch.tracks, batch.seeds, strict=True)
    ]
    first, last = batch.samples.start * rate // mix_rate, -(-batch.samples.stop * rate // mix_rate)
    blocks = generate_in_chunks(
        checkpoint.build(choose_device(settings.device)),
        streams,
        last - first,
        settings.n_chunks,
        start=first,
        temperature=settings.temperature,
        engine=settings.engine,
        progress=lambda n: batch.progress(round(n * mix_rate / rate) * n_tracks),
    )
    if rate == mix_rate:
        yield from blocks
        return
    resampler, left = soxr.ResampleStream(rate, mix_rate, n_tracks, dtype="float32"), len(batch.samples)
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
