"""A score to audio: every track is played by its instrument and handed to the mixer, `synthnet.audio.mix`.

`ENGINES` is the only place that chooses how an instrument plays: harmonic ones by `synthnet.generation.harmonic`, at
the mix's sample rate; the paper's networks sample by sample, at their own; what no instrument plays by a sound font.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from synthnet.audio.files import Audio
from synthnet.audio.mix import Blocks, Mixer, Source, Strip, mix_in_memory, write_mix
from synthnet.files import InputError
from synthnet.generation.library import FontSeat, Seat, Seats
from synthnet.models import HarmonicConfig, ModelConfig
from synthnet.score.midi import read_score
from synthnet.score.notes import Score, Track
from synthnet.score.roll import roll_events, to_samples

MIX_RATE_HZ = 44_100
TAIL_S = 0.5  # after the last note at least, so that its release is heard
HARMONIC_BLOCK_S = 1.0
LONGEST_NAME = 40  # characters of a track's name in that of its stem

Progress = Callable[[int, Sequence[int]], None]
"""Called with samples newly made, those of all tracks added up, and the numbers of the tracks that they are of."""


@dataclass(frozen=True)
class Settings:
    """How a score is rendered.

    Attributes:
        start_s: second of the score to start from.
        duration_s: seconds to play; None: until the last note has died away.
        temperature, mean, engine: of the paper's networks, see `synthnet.generation.streams`.
        device: where the paper's networks run, see `synthnet.generation.engine.choose_device`.
        n_chunks: stretches that the paper's networks make side by side; None: as many as pay.
        mono: one channel, in which pan does nothing; else two.
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
    mono: bool = False


@dataclass(frozen=True)
class Rendering:
    """A finished sound file.

    Attributes:
        instruments: who played each part; empty: nobody.
        true_peak: of the mix in the file, linear; at most 0.891, -1 dBFS.
        gain: factor that mix and stems took, 1.0 for none.
        loudness_lufs: integrated loudness of the file; None if none was asked for, or if it is silent.
        silent_tracks: numbers of the tracks that were silent while their notes sounded.
    """

    n_samples: int
    sample_rate_hz: int
    instruments: tuple[str, ...]
    true_peak: float
    gain: float
    loudness_lufs: float | None
    silent_tracks: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def read_song(song: str | Path | Score, start_s: float = 0.0, duration_s: float | None = None) -> Score:
    """A MIDI file, or a score as it is, of which notes sound in a window.

    Raises:
        InputError: see `read_score`; also no notes, or a window that is none.
    """
    score, place = (song, "") if isinstance(song, Score) else (read_score(Path(song), drums=True), f"{song}: ")
    if not start_s >= 0.0 or not (duration_s is None or duration_s > 0.0):
        raise InputError(f"{place}the start must be 0 s or later and the duration above 0 s")
    notes = [note for part in score.parts for note in part.notes]
    end_s = max((note.end_s for note in notes), default=0.0)
    if start_s >= end_s > 0.0:
        raise InputError(f"{place}the start, {start_s:g} s, is beyond the end of the score, {end_s:g} s")
    stop_s = math.inf if duration_s is None else start_s + duration_s
    if not any(note.start_s < stop_s and note.end_s > start_s for note in notes):
        raise InputError(
            f"{place}no notes between {start_s:g} s" + ("" if duration_s is None else f" and {stop_s:g} s")
        )
    return score


def rendering_samples(score: Score, seats: Seats, settings: Settings) -> range:
    """The samples of a rendering: as long as given, or until the last note has died away, half a second at least.

    Raises InputError if nobody plays.
    """
    start = int(to_samples(settings.start_s, settings.sample_rate_hz))
    played = [(seat, part) for seat, part in zip(seats, score.parts, strict=False) if seat]
    if not played:
        raise InputError(f"nobody plays it ({score.left_out_line(unplayed=score.parts)})")
    if settings.duration_s is not None:
        return range(start, start + int(to_samples(settings.duration_s, settings.sample_rate_hz)))
    ends_s = [note.end_s + max(TAIL_S, seat.release_s(note.pitch)) for seat, part in played for note in part.notes]
    return range(start, int(to_samples(max(ends_s, default=TAIL_S), settings.sample_rate_hz)))


def play_parts(seats: Seats, score: Score, settings: Settings, progress: Progress = lambda n, numbers: None) -> Mixer:
    """A mixer of all parts; they are played when it is read.

    Args:
        seats: parts with the same network (the same checkpoint object) are generated as one batch.
    """
    samples, rate = rendering_samples(score, seats, settings), settings.sample_rate_hz
    batches: dict[Hashable, list[int]] = {}  # numbers of the parts of each network
    for number, seat in enumerate(seats):
        if seat:
            batches.setdefault(seat.group, []).append(number)
    sources = []
    for numbers in batches.values():
        of_batch = [seat for number in numbers if (seat := seats[number])]
        tracks, seeds = [score.parts[number] for number in numbers], [(settings.seed, number) for number in numbers]
        batch = Batch(of_batch, tracks, numbers, seeds, samples, settings, progress)
        sources.append(engine_of(of_batch[0]).play(batch))
    strips = [
        Strip(seat.level if seat else 0.0, part.controls, roll_events(part.notes, rate))
        for seat, part in zip(seats, score.parts, strict=False)
    ]
    return Mixer(sources, strips, samples, rate, settings.mono)


def render_in_memory(seats: Seats, score: Score, settings: Settings) -> Audio:
    """The mix of all parts as samples, turned down if it would clip; seats as for `play_parts`."""
    return mix_in_memory(play_parts(seats, score, settings))


def render_score(
    seats: Seats,
    score: Score,
    path: Path,
    settings: Settings,
    *,
    stems: Path | None = None,
    bits: int | str = 16,
    lufs: float | None = None,
    source: Path | None = None,
    force: bool = False,
    progress: Progress = lambda n, numbers: None,
) -> Rendering:
    """Play every part of a score and write the mix to `path`, in constant memory.

    Args:
        seats, progress: as for `play_parts`.
        stems: a folder that keeps each part alone, as it stands in the mix, see `stem_name`.
        bits, lufs, source, force: as for `write_mix`.

    Raises:
        InputError: as `write_mix`.
    """
    mixer = play_parts(seats, score, settings, progress)
    played = [number for number, seat in enumerate(seats) if seat] if stems else []
    names = {n: (stems or Path()) / stem_name(n, score.parts[n], path.suffix) for n in played}
    made = write_mix(mixer, path, names, bits=bits, lufs=lufs, seed=settings.seed, source=source, force=force)
    least = np.array([engine_of(seat).silent_rms if seat else -1.0 for seat in seats])
    silent = tuple(np.flatnonzero(mixer.rms < least).tolist())
    instruments = tuple(seat.voice.name if seat else "" for seat in seats)
    return Rendering(
        made.n_samples, settings.sample_rate_hz, instruments, made.true_peak, made.gain, made.loudness_lufs, silent
    )


def stem_name(number: int, track: Track, ending: str) -> str:
    """The file of a track alone, such as `02 Electric Bass.wav` for number 1, without what a file system may refuse."""
    name = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else " " for c in track.name)
    return f"{number + 1:02d} {' '.join(name.split())[:LONGEST_NAME].rstrip('. ')}".rstrip() + ending


class Batch(NamedTuple):
    """Tracks that one network plays together."""

    seats: Sequence[Any]  # of one kind
    tracks: Sequence[Track]
    numbers: Sequence[int]
    seeds: Sequence[tuple[int, int]]
    samples: range
    settings: Settings
    progress: Progress


def _play_harmonic(batch: Batch) -> Source:
    # Numba is loaded only here.
    from synthnet.generation.harmonic import HarmonicPlayer, Part
    from synthnet.models.envelopes import notes_of

    rate, checkpoint = batch.settings.sample_rate_hz, batch.seats[0].checkpoint
    config, weights = checkpoint.config, checkpoint.weights
    players = [HarmonicPlayer(config, weights, rate, seed=seed) for seed in batch.seeds]
    parts = [
        Part(notes_of(roll_events(track.notes, rate)), dataclasses.replace(track.controls, gain=()))
        for track in batch.tracks
    ]

    def blocks() -> Blocks:
        step = round(HARMONIC_BLOCK_S * rate)
        for start in batch.samples[::step]:
            stop, sounds = min(start + step, batch.samples.stop), []
            for player, part, number in zip(players, parts, batch.numbers, strict=True):
                sounds.append(player.play(part, start, stop))
                batch.progress(stop - start, [number])
            yield np.stack(sounds)

    return Source(batch.numbers, blocks(), rate)


def _play_network(batch: Batch) -> Source:
    # Torch is loaded only here.
    from synthnet.generation.chunks import generate_in_chunks
    from synthnet.generation.engine import choose_device
    from synthnet.generation.streams import Stream

    checkpoint, settings = batch.seats[0].checkpoint, batch.settings
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
        progress=lambda n: batch.progress(round(n * mix_rate / rate) * len(streams), batch.numbers),
    )
    return Source(batch.numbers, blocks, rate)


def _play_soundfont(batch: Batch) -> Source:
    # FluidSynth is loaded only here.
    from synthnet.generation.soundfont import play_soundfont

    rate = batch.settings.sample_rate_hz
    seated = zip(batch.seats, batch.tracks, strict=True)
    players = [play_soundfont(seat.soundfont, track, batch.samples, rate) for seat, track in seated]

    def blocks() -> Blocks:
        for sounds in zip(*players, strict=True):
            batch.progress(sum(len(sound) for sound in sounds), batch.numbers)
            yield np.stack(sounds)

    return Source(batch.numbers, blocks(), rate)


class Engine(NamedTuple):
    """How a kind of instrument plays."""

    play: Callable[[Batch], Source]
    controllers: bool  # whether it plays bends, tuning and vibrato
    draws: bool  # whether it makes one sample after another, as its settings in `Settings` say
    silent_rms: float  # an output below it is silent


ENGINES = {
    HarmonicConfig.kind: Engine(_play_harmonic, True, False, 1e-5),
    ModelConfig.kind: Engine(_play_network, False, True, 0.006),  # they play dither, 0.0037, when they are silent
    FontSeat.kind: Engine(_play_soundfont, False, False, 0.0),
}


def engine_of(seat: Seat | FontSeat) -> Engine:
    """The engine of an instrument."""
    return ENGINES[seat.kind]
