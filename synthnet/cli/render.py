"""`synthnet render`: play a MIDI file."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Any

import click

from synthnet.checkpoint import load_checkpoint
from synthnet.cli.options import DEFAULT_RUNS, FiniteRange, path_type, positive, progress_bar, say
from synthnet.files import InputError
from synthnet.generation.chunks import chunks_that_pay
from synthnet.generation.rendering import render_score, rendering_samples
from synthnet.generation.streams import ENGINES
from synthnet.generation.voices import assign_voices
from synthnet.runs import (
    clock,
)
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


def newest_checkpoint() -> Path:
    """The best checkpoint of the newest run in runs/."""
    found = [path for name in ("best", "last") for path in DEFAULT_RUNS.glob(f"*/{name}.safetensors")]
    if not found:
        raise InputError(
            f"{DEFAULT_RUNS}/: no checkpoint yet; make one with: synthnet train --instrument trumpet, or name one with "
            "--checkpoint"
        )
    newest = max(found, key=lambda path: path.stat().st_mtime).parent
    best = newest / "best.safetensors"
    return best if best.exists() else newest / "last.safetensors"


@click.command()
@click.argument("song", type=path_type)
@click.option("-o", "--out", type=path_type, help="WAV or FLAC, by the ending.  [default: SONG.wav, here]")
@click.option(
    "--checkpoint", "checkpoint_path", type=path_type, help="A trained network.  [default: the newest in runs/]"
)
@click.option(
    "--instrument",
    "spec",
    metavar="SPEC",
    help="Who plays, of a network that learned several: flute, for all tracks; 0=cello,1=trumpet, by the numbers that "
    "are printed; cello:0.5+trumpet:0.5, a mixture (weights above 0, up to 10, count as written: they need not add up "
    "to 1); 0=cello:0.3+flute:0.7,1=trumpet.  [default: by each track's MIDI program]",
)
@click.option("--seed", default=0, type=click.IntRange(min=0), help="The same seed gives the same audio.")
@click.option("--temperature", default=1.0, type=FiniteRange(0.01, 10.0), help="Below 1 tamer, above 1 wilder.")
@click.option("--start", "start_s", default=0.0, type=FiniteRange(min=0), help="Second of the song to start from.")
@click.option("--duration", "duration_s", type=positive, help="Seconds to render.  [default: to the end]")
@click.option(
    "--output",
    default="sample",
    type=click.Choice(["sample", "expectation"]),
    help="expectation has less noise: it is the mean of what each sample is drawn from.",
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
    """Play a MIDI file."""
    score = read_score(song)
    if line := score.left_out_line():
        say(f"{song}: {line}")
    if start_s or duration_s is not None:
        try:
            score = score.excerpt(start_s, duration_s)
        except InputError as fault:
            raise InputError(f"{song}: {fault}") from None
        if not score.tracks:
            raise InputError(f"{song}: no notes between {start_s:g} s and {start_s + (duration_s or 0):g} s")
    checkpoint_path = checkpoint_path or newest_checkpoint()
    checkpoint = load_checkpoint(checkpoint_path)
    voices = assign_voices(score, checkpoint, spec)
    out = out or Path(f"{song.stem}.wav")
    rate = checkpoint.sample_rate_hz
    network = checkpoint.build()
    n_samples = rendering_samples(score, rate, duration_s)
    n_chunks = chunks_that_pay(network, len(score.tracks), n_samples, rate) if chunks is None else chunks
    say(f"{song}: {n_samples / rate:.1f} s for {checkpoint_path} at {rate} Hz, into {out}")
    labels = [f"track {n}" + (f", {track.name}" if track.name else "") for n, track in enumerate(score.tracks)]
    for label, track, voice in zip(labels, score.tracks, voices, strict=True):
        say(f"  {label} ({len(track.notes)} notes): {voice.name}, {voice.why}")
    if n_chunks > 1:
        say(f"  {n_chunks} chunks side by side; --chunks off makes the piece in one go")
    begun = time.monotonic()
    with progress_bar(n_samples) as advance:
        rendering = render_score(
            network,
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
