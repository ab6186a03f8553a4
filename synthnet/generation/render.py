"""A score to audio: every track is played by its instrument and handed to the mixer, `synthnet.audio.mix`.

`ENGINES` is the only place that chooses how an instrument plays: harmonic ones by `synthnet.generation.harmonic`, at
the mix's sample rate; the paper's networks sample by sample, at their own; what no instrument plays by a sound font.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from synthnet.audio.files import Audio
from synthnet.audio.mix import Blocks, Mixer, Source, Strip, Written, mix_in_memory, write_mix
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


@dataclass(frozen=True, kw_only=True)
class Rendering(Written):
    """A finished sound file.

    Attributes:
        instruments: who played each part; empty: nobody.
        silent_tracks: numbers of the tracks that were silent while their notes sounded.
    """

    sample_rate_hz: int
    instruments: tuple[str, ...]
    silent_tracks: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def read_song(song: str | Path | Score, start_s: float = 0.0, duration_s: float | None = None) -> Score:
    """The score of a MIDI file, or the score that is given, if notes sound in the window.

    Raises:
        InputError: see `read_score`; also no notes in the window, or a start or duration out of range.
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
    batches: dict[int, list[Member]] = {}  # the parts of each network, and those that sound fonts play
    for number, (seat, part) in enumerate(zip(seats, score.parts, strict=False)):
        if seat:
            batches.setdefault(id(seat.checkpoint), []).append(Member(number, seat, part))
    sources = [engine_of(batch[0].seat).play(batch, samples, settings, progress) for batch in batches.values()]
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
    numbers = [number for number, seat in enumerate(seats) if seat]
    names = {number: stems / stem_name(number, score.parts[number], path.suffix) for number in numbers if stems}
    made = write_mix(mixer, path, names, bits=bits, lufs=lufs, seed=settings.seed, source=source, force=force)
    least = np.array([engine_of(seat).silent_rms if seat else -1.0 for seat in seats])
    return Rendering(
        **vars(made),
        sample_rate_hz=settings.sample_rate_hz,
        instruments=tuple(seat.voice.name if seat else "" for seat in seats),
        silent_tracks=tuple(np.flatnonzero(mixer.rms < least).tolist()),
    )


def stem_name(number: int, track: Track, ending: str) -> str:
    """The file of a track alone, such as `02 Electric Bass.wav` of track 2, without what a file system may refuse."""
    name = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else " " for c in track.name)
    return f"{number:02d} {' '.join(name.split())[:LONGEST_NAME].rstrip('. ')}".rstrip() + ending


class Member(NamedTuple):
    """A part of a batch, which one network plays together; all seats of a batch are of one kind."""

    number: int
    seat: Any
    track: Track


def _play_harmonic(batch: Sequence[Member], samples: range, settings: Settings, progress: Progress) -> Source:
    # Numba is loaded only here.
    from synthnet.generation.harmonic import HarmonicPlayer, Part
    from synthnet.models.envelopes import notes_of

    rate, checkpoint = settings.sample_rate_hz, batch[0].seat.checkpoint

    def play(member: Member) -> Blocks:
        seed, track = (settings.seed, member.number), member.track
        player = HarmonicPlayer(checkpoint.config, checkpoint.weights, rate, seed=seed)
        part = Part(notes_of(roll_events(track.notes, rate)), dataclasses.replace(track.controls, gain=()))
        step = round(HARMONIC_BLOCK_S * rate)
        for start in samples[::step]:
            yield player.play(part, start, min(start + step, samples.stop))

    return _side_by_side(batch, play, rate, progress)


def _play_soundfont(batch: Sequence[Member], samples: range, settings: Settings, progress: Progress) -> Source:
    # FluidSynth is loaded only here.
    from synthnet.generation.soundfont import play_soundfont

    def play(member: Member) -> Blocks:
        return play_soundfont(member.seat.soundfont, member.track, samples, settings.sample_rate_hz)

    return _side_by_side(batch, play, settings.sample_rate_hz, progress)


def _side_by_side(
    batch: Sequence[Member], play: Callable[[Member], Blocks], sample_rate_hz: int, progress: Progress
) -> Source:
    """The source of parts that are played each alone, in blocks of the same lengths."""

    def reported(member: Member) -> Blocks:
        for sound in play(member):
            progress(len(sound), [member.number])
            yield sound

    blocks = (np.stack(sounds) for sounds in zip(*map(reported, batch), strict=True))
    return Source([member.number for member in batch], blocks, sample_rate_hz)


def _play_network(batch: Sequence[Member], samples: range, settings: Settings, progress: Progress) -> Source:
    # Torch is loaded only here.
    from synthnet.generation.chunks import generate_in_chunks
    from synthnet.generation.engine import choose_device
    from synthnet.generation.streams import Stream

    checkpoint, numbers = batch[0].seat.checkpoint, [member.number for member in batch]
    rate, mix_rate = checkpoint.sample_rate_hz, settings.sample_rate_hz
    streams = [
        Stream(roll_events(track.notes, rate), (settings.seed, number), seat.voice.style, settings.mean)
        for number, seat, track in batch
    ]
    first, last = samples.start * rate // mix_rate, -(-samples.stop * rate // mix_rate)
    blocks = generate_in_chunks(
        checkpoint.build(choose_device(settings.device)),
        streams,
        last - first,
        settings.n_chunks,
        start=first,
        temperature=settings.temperature,
        engine=settings.engine,
        progress=lambda n: progress(round(n * mix_rate / rate) * len(streams), numbers),
    )
    return Source(numbers, blocks, rate)


class Engine(NamedTuple):
    """How a kind of instrument plays."""

    play: Callable[[Sequence[Member], range, Settings, Progress], Source]
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
