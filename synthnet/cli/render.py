"""`synthnet render`: play a MIDI file."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Any

import click

from synthnet.checkpoint import load_checkpoint
from synthnet.cli.options import FiniteRange, path_type, positive, progress_bar, say
from synthnet.files import InputError
from synthnet.generation.chunks import chunks_that_pay
from synthnet.generation.rendering import render_score, rendering_samples
from synthnet.generation.streams import ENGINES
from synthnet.generation.voices import assign_voices
from synthnet.library import read_library
from synthnet.runs import clock
from synthnet.score import read_score


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
@click.option("--engine", default="auto", help=f"How samples are computed: {', '.join(ENGINES)}; auto is the fastest.")
@click.option("--chunks", default="auto", type=ChunksType(), help="How many stretches to make side by side; off: none.")
def render(
    song: Path,
    out: Path | None,
    checkpoint_path: Path | None,
    spec: str | None,
    seed: int,
    temperature: float,
    start_s: float,
    duration_s: float | None,
    output: str,
    stems: Path | None,
    engine: str,
    chunks: int | None,
) -> None:
    """Play a MIDI file.

    Each track goes to an instrument that synthnet instruments lists, by its General MIDI program: to that of the same
    program, else to a shipped one of the same family, else to the piano, else to the first. One with a qualified name,
    such as trumpet-synthnet, plays only when --instrument or --checkpoint asks for it.
    """
    score = read_score(song)
    if line := score.left_out_line(score.tracks):
        say(f"{song}: {line}")
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
        voices = assign_voices(score, checkpoint, spec)
        rate, network = checkpoint.sample_rate_hz, checkpoint.build()
        networks, players = [network] * len(voices), ["" for _ in voices]
    else:
        parts = read_library().assign(score, spec)
        voices, rate = [part.voice for part in parts], parts[0].source.rate_hz
        built = {path: load_checkpoint(path).build() for path in {part.source.path for part in parts}}
        networks = [built[part.source.path] for part in parts]
        players = [f" [{part.source.where}]" for part in parts]
    n_samples = rendering_samples(score, rate, duration_s)
    n_chunks = {
        network: chunks_that_pay(network, networks.count(network), n_samples, rate) if chunks is None else chunks
        for network in networks
    }
    by = f" for {checkpoint_path}" if checkpoint_path else ""
    say(f"{song}: {n_samples / rate:.1f} s{by} at {rate} Hz, into {out}")
    labels = [f"track {n}" + (f", {track.name}" if track.name else "") for n, track in enumerate(score.tracks)]
    for label, track, voice, player in zip(labels, score.tracks, voices, players, strict=True):
        say(f"  {label} ({len(track.notes)} notes): {voice.name}, {voice.why}{player}")
    if (most := max(n_chunks.values())) > 1:
        say(f"  {most} chunks side by side; --chunks off makes the piece in one go")
    begun = time.monotonic()
    with progress_bar(n_samples) as advance:
        rendering = render_score(
            networks,
            score,
            out,
            sample_rate_hz=rate,
            n_samples=n_samples,
            styles=[voice.style for voice in voices],
            seed=seed,
            temperature=temperature,
            expectation=output == "expectation",
            stems=stems,
            engine=engine,
            n_chunks=n_chunks,
            progress=advance,
        )
    passed_s = time.monotonic() - begun
    say(f"{out}: {n_samples / rate:.1f} s made in {clock(passed_s)}, {n_samples / rate / passed_s:.2f} times real time")
    if rendering.gain < 1:
        say(f"the mix was turned down by {-20 * math.log10(rendering.gain):.1f} dB to keep it from clipping")
    for number in rendering.silent_tracks:
        say(f"warning: {labels[number]}: silent while its notes sound; this network has not learned to play them")
