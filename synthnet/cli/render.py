"""`synthnet render`: play a MIDI file."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import click
from click.core import ParameterSource

from synthnet.cli.options import FiniteRange, path_type, positive, progress_bar, say
from synthnet.files import InputError
from synthnet.generation.library import read_file, read_library
from synthnet.generation.render import (
    MIX_RATE_HZ,
    Settings,
    engine_of,
    read_excerpt,
    render_score,
    rendering_samples,
)
from synthnet.text import clock


def number_of_chunks(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """auto (None), off (1), or a number."""
    if value in ("auto", "off"):
        return None if value == "auto" else 1
    if not re.fullmatch(r"\d{1,4}", value) or not 1 <= int(value) <= 1000:
        raise click.BadParameter(f"{value!r} is not auto, off or a number from 1 to 1000", context, parameter)
    return int(value)


@click.command()
@click.argument("song", type=path_type)
@click.option("-o", "--out", type=path_type, help="WAV or FLAC, by the ending.  [default: SONG.wav, here]")
@click.option(
    "--checkpoint",
    type=path_type,
    help="A trained network, for all tracks.  [default: the instruments that synthnet instruments lists]",
)
@click.option(
    "--instrument",
    "spec",
    help="Who plays: flute, for all tracks (your newest network of this name, else the shipped one); "
    "0=cello,1=trumpet, for tracks by the numbers that are printed; cello:0.5+trumpet:0.5, a mixture within a network "
    "of both, with weights up to 10 that need not add up to 1.  [default: by each track's MIDI program]",
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
    default="mean",
    type=click.Choice(["mean", "sample"]),
    help="mean: the mean of each sample's distribution, clean; sample: drawn from it, noisy, as in the paper.",
)
@click.option("--stems", type=path_type, help="A folder in which to keep each track alone.")
@click.option("--engine", default="auto", help="How samples are computed: auto, torch, compiled; auto is the fastest.")
@click.option(
    "--chunks",
    default="auto",
    metavar="auto|N|off",
    callback=number_of_chunks,
    help="Stretches of the song to make side by side.",
)
@click.option("--rate", default=MIX_RATE_HZ, type=click.IntRange(8_000, 96_000), help="Sample rate in Hz.")
@click.pass_context
def render(
    context: click.Context,
    song: Path,
    out: Path | None,
    checkpoint: Path | None,
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
    score, out = read_excerpt(song, start_s, duration_s), out or Path(f"{song.stem}.wav")
    seats = (read_file(checkpoint) if checkpoint else read_library()).assign(score, spec, kind)
    plain = [track for track, seat in zip(score.tracks, seats, strict=True) if not engine_of(seat).controllers]
    for name in ("output", "temperature", "engine", "chunks"):
        if not plain and context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise InputError(f"--{name} is for the paper's networks; a harmonic instrument draws no samples")
    if line := score.left_out_line(plain):
        say(f"{song}: {line}")
    n_samples = rendering_samples(score, seats, rate, duration_s)
    say(f"{song}: {n_samples / rate:.1f} s at {rate} Hz, into {out}")
    labels = [f"track {n}" + (f", {track.name}" if track.name else "") for n, track in enumerate(score.tracks)]
    for label, track, seat in zip(labels, score.tracks, seats, strict=True):
        say(f"  {label} ({len(track.notes)} notes): {seat.voice.name}, {seat.voice.why} [{seat.where}]")
    begun = time.monotonic()
    with progress_bar(n_samples * len(seats)) as advance:
        settings = Settings(rate, duration_s, seed, temperature, output == "mean", engine, chunks)
        rendering = render_score(seats, score, out, settings, stems=stems, progress=advance)
    passed_s = time.monotonic() - begun
    say(f"{out}: {n_samples / rate:.1f} s made in {clock(passed_s)}, {n_samples / rate / passed_s:.2f} times real time")
    if rendering.gain < 1:
        say(f"the mix was turned down by {-20 * math.log10(rendering.gain):.1f} dB to keep it from clipping")
    for number in rendering.silent_tracks:
        say(f"warning: {labels[number]}: silent while its notes sound; this network has not learned to play them")
