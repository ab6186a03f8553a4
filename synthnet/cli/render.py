"""`synthnet render`: play a MIDI file."""

from __future__ import annotations

import math
import re
import sys
import time
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from synthnet.audio.files import check_encoding
from synthnet.audio.mix import check_outputs
from synthnet.cli.options import FiniteRange, Seconds, error_line, path_type, progress_bar, say
from synthnet.files import InputError
from synthnet.generation.library import read_file, read_library
from synthnet.generation.render import (
    MIX_RATE_HZ,
    Rendering,
    Settings,
    engine_of,
    read_song,
    render_score,
    rendering_samples,
    stem_name,
)
from synthnet.generation.soundfont import soundfont_for
from synthnet.text import clock, counted

DRAWING = ("output", "temperature", "engine", "device", "n_chunks")  # options of engines that draw samples


def number_of_chunks(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """auto (None), off (1), or a number."""
    if value in ("auto", "off"):
        return None if value == "auto" else 1
    if not re.fullmatch(r"\d{1,4}", value) or not 1 <= int(value) <= 1000:
        raise click.BadParameter(f"{value!r} is not auto, off or a number from 1 to 1000", context, parameter)
    return int(value)


def programs_of(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[int, str]:
    """Instruments by General MIDI program, of 33=cello,48=violin."""
    found = dict[int, str]()
    for item in (item for value in values for item in value.split(",")):
        program, equals, who = (part.strip() for part in item.partition("="))
        if not equals or not re.fullmatch(r"\d{1,3}", program) or int(program) > 127:
            raise click.BadParameter(f"{item!r} is not PROGRAM=NAME, as in 33=cello", context, parameter)
        if found.setdefault(int(program), who) != who:
            raise click.BadParameter(f"program {program} is named twice; once is right", context, parameter)
    return found


def loudness_of(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """The number of lufs:-16."""
    if value is None:
        return None
    if not re.fullmatch(r"lufs:-\d{1,2}(\.\d+)?", value):
        raise click.BadParameter(f"{value!r} is not lufs:-NUMBER, as in lufs:-16", context, parameter)
    return float(value.removeprefix("lufs:"))


@click.command()
@click.argument("songs", metavar="SONG...", nargs=-1, required=True, type=path_type)
@click.option(
    "-o", "--out", type=path_type, help="A .wav, .flac, .ogg, .opus or .mp3 file.  [default: SONG.wav, in --out-dir]"
)
@click.option("--out-dir", default=".", type=path_type, help="Folder of the files named SONG.wav.")
@click.option("--force", is_flag=True, help="Overwrite files that SynthNet did not make.")
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
    "--map",
    "programs",
    multiple=True,
    callback=programs_of,
    metavar="PROGRAM=NAME",
    help="Who plays a General MIDI program, 0 to 127, as 33=cello,48=violin; for tracks that --instrument leaves open.",
)
@click.option(
    "--kind",
    type=click.Choice(["harmonic", "synthnet", "wavenet", "deepvoice"]),
    help="Prefer instruments of this kind, where one has a track's program.",
)
@click.option(
    "--drums",
    default="font",
    type=click.Choice(["font", "off"]),
    help="Drums, and percussion and effects that no instrument here plays: by the sound font, if one is installed, "
    "or left out.",
)
@click.option("--seed", default=0, type=click.IntRange(min=0), help="The same seed gives the same audio.")
@click.option("--temperature", default=1.0, type=FiniteRange(0.01, 10.0), help="Below 1 tamer, above 1 wilder.")
@click.option("--start", "start_s", default=0.0, type=Seconds(min=0), help="Where to start, 90 or 1:30.")
@click.option(
    "--duration", "duration_s", type=Seconds(min=0, min_open=True), help="How long to play.  [default: to the end]"
)
@click.option(
    "--output",
    default="mean",
    type=click.Choice(["mean", "sample"]),
    help="mean: the mean of each sample's distribution, clean; sample: drawn from it, noisy, as in the paper.",
)
@click.option("--stems", type=path_type, help="A folder for each track alone, track 2 as 02 Electric Bass.wav.")
@click.option("--engine", default="auto", help="How samples are computed: auto, torch, compiled; auto is the fastest.")
@click.option("--device", default="auto", help="cpu, cuda, or auto: a GPU if there is one; for the paper's networks.")
@click.option(
    "--chunks",
    "n_chunks",
    default="auto",
    metavar="auto|N|off",
    callback=number_of_chunks,
    help="Stretches of the song to make side by side.",
)
@click.option(
    "--rate", "sample_rate_hz", default=MIX_RATE_HZ, type=click.IntRange(8_000, 96_000), help="Sample rate in Hz."
)
@click.option(
    "--bits",
    default="16",
    type=click.Choice(["16", "24", "float"]),
    help="Of a sample, in WAV (all) and FLAC (16, 24). 16 and 24 are dithered.",
)
@click.option("--mono", is_flag=True, help="One channel, without pan.")
@click.option(
    "--normalise",
    "lufs",
    metavar="lufs:-16",
    callback=loudness_of,
    help="Bring the mix to this integrated loudness (ITU-R BS.1770-4), as far as -1 dBFS true peak allows.",
)
@click.pass_context
def render(context: click.Context, songs: tuple[Path, ...], out: Path | None, out_dir: Path, **options: Any) -> None:
    """Play a MIDI file, or several; - is standard input.

    Each track goes to an instrument that synthnet instruments lists, by its General MIDI program: to that of the same
    program, else to a shipped one of the same family, else to the piano, else to the first. One with a qualified name,
    such as trumpet-synthnet, plays only when --instrument, --map or --checkpoint asks for it. A sound font plays drums,
    if one is installed.
    """
    outs = [out or out_dir / ("out.wav" if song.name in ("", "-") else f"{song.stem}.wav") for song in songs]
    for name in outs:
        check_encoding(name, options["sample_rate_hz"], options["bits"])  # before a song is read
    for number, name in enumerate(outs):
        if name in outs[:number]:
            again = "-o names one file" if out else f"{songs[outs.index(name)]} and {songs[number]} have one name"
            raise InputError(f"{name}: {again}; render them one by one")
    failed, stems = False, options.pop("stems")
    for song, name in zip(songs, outs, strict=True):
        folder = stems / name.stem if stems and len(songs) > 1 else stems
        try:
            render_song(context, song, name, **options, stems=folder)
        except (InputError, OSError) as error:
            failed = True
            say(f"synthnet: {error_line(error)}")
    if failed:
        sys.exit(2)


def render_song(
    context: click.Context,
    song: Path,
    out: Path,
    *,
    checkpoint: Path | None,
    spec: str | None,
    kind: str | None,
    programs: dict[int, str],
    drums: str,
    output: str,
    stems: Path | None,
    bits: str,
    lufs: float | None,
    force: bool,
    **options: Any,
) -> None:
    """Play one MIDI file, and say who plays and what came of it; the other options are those of `Settings`."""
    settings = Settings(mean=output == "mean", **options)
    rate = settings.sample_rate_hz
    score = read_song(song, settings.start_s, settings.duration_s)
    library = read_file(checkpoint) if checkpoint else read_library()
    font, no_font = soundfont_for(score) if drums == "font" else (None, "")
    seats = library.assign(score, spec, kind, programs, font)
    played = [
        (number, track, seat) for number, (track, seat) in enumerate(zip(score.parts, seats, strict=True)) if seat
    ]
    if not any(engine_of(seat).draws for _, _, seat in played):
        for name in DRAWING:
            if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
                option = f"--{name.removeprefix('n_')}"
                raise InputError(f"{option} is for the paper's networks; a harmonic instrument draws no samples")
    alone = [stems / stem_name(number, track, out.suffix) for number, track, _ in played if stems]
    check_outputs([out, *alone], song, force)  # before a word of what is to be played
    plain = [track for _, track, seat in played if not engine_of(seat).controllers]
    one_velocity = [track for _, track, seat in played if not seat.velocity]
    unplayed = [track for track, seat in zip(score.parts, seats, strict=True) if not seat]
    if line := score.left_out_line(plain, one_velocity, unplayed):
        say(f"{song}: {line}{no_font if unplayed else ''}")
    try:
        n_samples = len(rendering_samples(score, seats, settings))
    except InputError as error:
        raise InputError(f"{song}: {error}") from None
    say(f"{song}: {n_samples / rate:.1f} s at {rate} Hz, into {out}")
    labels = [f"track {n}" + (f", {track.name}" if track.name else "") for n, track in enumerate(score.parts)]
    for number, track, seat in played:
        notes, (low, high) = counted(len(track.notes), "note"), seat.keys
        if n_beyond := sum(not low <= note.pitch <= high for note in track.notes):
            notes += f", {n_beyond} beyond the keys {low} to {high} that it learned"
        say(f"  {labels[number]} ({notes}): {seat.voice.name}, {seat.voice.why} [{seat.where}]")
    for credit in dict.fromkeys(seat.credit for _, _, seat in played if seat.credit):
        say(f"  recordings by {credit}")
    begun = time.monotonic()
    with progress_bar(n_samples * len(played), rate * len(played)) as advance:
        rendering = render_score(
            seats,
            score,
            out,
            settings,
            stems=stems,
            bits=bits,
            lufs=lufs,
            source=song,
            force=force,
            progress=lambda n, numbers: advance(n, "; ".join(labels[number] for number in numbers)),
        )
    passed_s = time.monotonic() - begun
    say(f"{out}: {n_samples / rate:.1f} s made in {clock(passed_s)}, {n_samples / rate / passed_s:.2f} times real time")
    say(level_line(rendering, lufs))
    for number in rendering.silent_tracks:
        say(f"warning: {labels[number]}: silent while its notes sound; this network has not learned to play them")


def level_line(rendering: Rendering, lufs: float | None) -> str:
    """What became of the mix's level."""
    if not rendering.true_peak:
        return "silence: there is no true peak"
    line = f"true peak {decibels(rendering.true_peak):.1f} dBFS"
    if rendering.loudness_lufs is not None:
        line += f", {rendering.loudness_lufs:.1f} LUFS"
        if lufs is not None and rendering.loudness_lufs < lufs - 0.05:
            line += f" instead of {lufs:g}: louder would exceed -1 dBFS"
    elif rendering.gain < 1:
        line += f": the mix was turned down by {-decibels(rendering.gain):.1f} dB to keep it from clipping"
    return line


def decibels(factor: float) -> float:
    """A factor of amplitude above 0 in dB."""
    return 20 * math.log10(factor)
