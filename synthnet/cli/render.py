"""`synthnet render`: play a MIDI file."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from synthnet.cli.options import FiniteRange, path_type, positive, progress_bar, say
from synthnet.files import InputError
from synthnet.generation.library import read_library
from synthnet.generation.render import MIX_RATE_HZ, Sampling, Seat, render_score, rendering_samples
from synthnet.generation.voices import assign_voices
from synthnet.models.checkpoint import load_checkpoint
from synthnet.score.midi import read_score
from synthnet.text import clock


class ChunksType(click.ParamType):
    """auto (None), off (1), or a number."""

    name = "auto|N|off"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int | None:
        if value is None or value in ("auto", "off"):
            return None if value != "off" else 1
        with contextlib.suppress(ValueError):
            if 1 <= int(value) <= 1000:
                return int(value)
        self.fail(f"{value!r} is not auto, off or a number from 1 to 1000", parameter, context)


@click.command()
@click.argument("song", type=path_type)
@click.option("-o", "--out", type=path_type, help="WAV or FLAC, by the ending.  [default: SONG.wav, here]")
@click.option(
    "--checkpoint",
    "checkpoint_path",
    type=path_type,
    help="A trained network, for all tracks.  [default: what synthnet instruments lists]",
)
@click.option(
    "--instrument",
    "spec",
    metavar="SPEC",
    help="Who plays: flute, for all tracks (your newest network of this name, else the shipped one); "
    "0=cello,1=trumpet, by the numbers that are printed; cello:0.5+trumpet:0.5, a mixture within a network that "
    "learned both (weights above 0, up to 10, count as written: they need not add up to 1); "
    "0=cello:0.3+flute:0.7,1=trumpet.  [default: by each track's MIDI program]",
)
@click.option(
    "--kind",
    type=click.Choice(["harmonic", "synthnet", "wavenet", "deepvoice"]),
    help="Prefer instruments of this kind, where one has a track's program.",
)
@click.option("--seed", default=0, type=click.IntRange(min=0), help="The same seed gives the same audio.")
@click.option("--temperature", default=1.0, type=FiniteRange(0.01, 10.0), help="Below 1 tamer, above 1 wilder.")
@click.option("--start", "start_s", default=0.0, type=FiniteRange(min=0), help="Second of the song to start from.")
@click.option("--duration", "duration_s", type=positive, help="Seconds to render.  [default: to the end]")
@click.option(
    "--output",
    default="expectation",
    show_default=True,
    type=click.Choice(["expectation", "sample"]),
    help="expectation: the mean of each sample's distribution, which is also fed back; sample: drawn from it, with all "
    "of its noise, as in the paper.",
)
@click.option("--stems", type=path_type, help="A folder in which to keep each track by itself.")
@click.option("--engine", default="auto", help="How samples are computed: auto, torch, compiled; auto is the fastest.")
@click.option("--chunks", default="auto", type=ChunksType(), help="How many stretches to make side by side; off: none.")
@click.option(
    "--rate",
    default=MIX_RATE_HZ,
    show_default=True,
    type=click.IntRange(8_000, 96_000),
    help="Samples a second of the sound file.",
)
@click.pass_context
def render(
    context: click.Context,
    song: Path,
    out: Path | None,
    checkpoint_path: Path | None,
    spec: str | None,
    kind: str | None,
    seed: int,
    temperature: float,
    start_s: float,
    duration_s: float | None,
    output: str,
    stems: Path | None,
    engine: str,
    chunks: int | None,
    rate: int,
) -> None:
    """Play a MIDI file.

    Each track goes to an instrument that synthnet instruments lists, by its General MIDI program: to that of the same
    program, else to a shipped one of the same family, else to the piano, else to the first. One with a qualified name,
    such as trumpet-synthnet, plays only when --instrument or --checkpoint asks for it.
    """
    score = read_score(song)
    whole = score
    if start_s or duration_s is not None:
        try:
            score = score.excerpt(start_s, duration_s)
        except InputError as fault:
            raise InputError(f"{song}: {fault}") from None
        if not score.tracks:
            raise InputError(f"{song}: no notes between {start_s:g} s and {start_s + (duration_s or 0):g} s")
    out = out or Path(f"{song.stem}.wav")
    if checkpoint_path:
        checkpoint = load_checkpoint(checkpoint_path)
        seats = [Seat(checkpoint, voice) for voice in assign_voices(score, checkpoint, spec)]
        players = ["" for _ in seats]
    else:
        parts = read_library().assign(score, spec, kind)
        loaded = {path: load_checkpoint(path) for path in {part.source.path for part in parts}}
        seats = [Seat(loaded[part.source.path], part.voice) for part in parts]
        players = [f" [{part.source.where}]" for part in parts]
    if all(seat.harmonic for seat in seats):
        refuse_sampling_options(context)
    deaf = [track for track, seat in zip(score.tracks, seats, strict=True) if not seat.harmonic]
    if line := whole.left_out_line(deaf):
        say(f"{song}: {line}")
    n_samples = rendering_samples(score, seats, rate, duration_s)
    by = f" for {checkpoint_path}" if checkpoint_path else ""
    say(f"{song}: {n_samples / rate:.1f} s{by} at {rate} Hz, into {out}")
    labels = [f"track {n}" + (f", {track.name}" if track.name else "") for n, track in enumerate(score.tracks)]
    for label, track, seat, player in zip(labels, score.tracks, seats, players, strict=True):
        say(f"  {label} ({len(track.notes)} notes): {seat.voice.name}, {seat.voice.why}{player}")
    begun = time.monotonic()
    with progress_bar(n_samples) as advance:
        rendering = render_score(
            seats,
            score,
            out,
            sample_rate_hz=rate,
            n_samples=n_samples,
            seed=seed,
            sampling=Sampling(temperature, output == "expectation", engine, chunks),
            stems=stems,
            progress=advance,
        )
    passed_s = time.monotonic() - begun
    say(f"{out}: {n_samples / rate:.1f} s made in {clock(passed_s)}, {n_samples / rate / passed_s:.2f} times real time")
    if rendering.gain < 1:
        say(f"the mix was turned down by {-20 * math.log10(rendering.gain):.1f} dB to keep it from clipping")
    for number in rendering.silent_tracks:
        say(f"warning: {labels[number]}: silent while its notes sound; this network has not learned to play them")


def refuse_sampling_options(context: click.Context) -> None:
    """Raise InputError for an option that speaks to the paper's networks alone, when none of them plays."""
    for name in ("output", "temperature", "engine", "chunks"):
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise InputError(f"--{name} is for the paper's networks; a harmonic instrument draws no samples")
