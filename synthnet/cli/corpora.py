"""`synthnet corpus`: build a corpus, or look into one."""

from __future__ import annotations

import json
from pathlib import Path

import click

from synthnet.cli.options import FiniteRange, path_type, say
from synthnet.corpus import (
    DEFAULT_CORPORA,
    DEFAULT_SCORES,
    ETUDES,
    Corpus,
    build_corpus,
    corpus_info,
    default_corpus,
    format_info,
    read_corpus,
)
from synthnet.etudes import LONGEST_MINUTES, SHORTEST_MINUTES, compose_etudes
from synthnet.files import InputError
from synthnet.instruments import INSTRUMENTS, Instrument, find_instrument


@click.group()
def corpus() -> None:
    """Build a corpus, recordings and their scores, or look into one."""


@corpus.command("build")
@click.option("--instrument", required=True, help=f"Who plays: {', '.join(who.name for who in INSTRUMENTS)}.")
@click.option(
    "--scores",
    multiple=True,
    type=click.Path(),
    help="MIDI file or folder, or the word etudes: music that covers the keyboard, beside BWV 1007 or what else is "
    "given; repeat for more.  [default: BWV 1007]",
)
@click.option(
    "--minutes", type=FiniteRange(SHORTEST_MINUTES, LONGEST_MINUTES), help="Length of the études.  [default: 9]"
)
@click.option("--seed", type=click.IntRange(min=0), help="Another seed makes other études.  [default: 0]")
@click.option("--sample-rate", default=16_000, help="Samples a second.")
@click.option("--soundfont", type=path_type, help="An SF2 file.  [default: FluidR3_GM, else pretty_midi's]")
@click.option("--valid", help="Pieces with this in their file name validate, the others train.  [default: prelude]")
@click.option("--out", type=path_type, help="Folder.  [default: data/corpora/INSTRUMENT]")
def corpus_build(
    instrument: str,
    scores: tuple[str, ...],
    minutes: float | None,
    seed: int | None,
    sample_rate: int,
    soundfont: Path | None,
    valid: str | None,
    out: Path | None,
) -> None:
    """Have a synthesizer play scores: aligned audio and notes to learn from. Only what changed is played again.

    \b
    synthnet corpus build --instrument guitar --scores etudes                     études and BWV 1007
    synthnet corpus build --instrument guitar --scores etudes --scores song.mid   études and your song

    A folder that is called etudes is given as ./etudes.
    """
    who = find_instrument(instrument)
    folder = out or DEFAULT_CORPORA / who.name
    paths = [Path(given) for given in scores if given != ETUDES] or [DEFAULT_SCORES]
    etudes = None
    if ETUDES in scores:
        etudes = compose_etudes(who, 9.0 if minutes is None else minutes, seed or 0)
    elif minutes is not None or seed is not None:
        raise InputError("--minutes and --seed are for études; add --scores etudes")
    build_corpus(folder, who, paths, sample_rate, soundfont, valid, say, etudes)
    say(f"look into it: synthnet corpus info {folder}")


@corpus.command("info")
@click.argument("folder", type=path_type)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def corpus_info_command(folder: Path, as_json: bool) -> None:
    """Minutes, notes, pitches, level and dither floor of a corpus."""
    info = corpus_info(read_corpus(folder))
    click.echo(json.dumps(info, indent=2) if as_json else format_info(info))


def corpora_for(names: str | None, folders: tuple[Path, ...]) -> list[Corpus]:
    """The corpora to learn from: the folders given, or the default ones of the instruments, built where missing."""
    instruments: list[Instrument] = []
    if names:
        instruments = (
            list(INSTRUMENTS) if names == "all" else [find_instrument(name.strip()) for name in names.split(",")]
        )
    if folders:
        found = [read_corpus(folder) for folder in folders]
        wanted, have = [who.name for who in instruments], [corpus.instrument for corpus in found]
        if wanted and wanted != have:
            raise InputError(f"{folders[0]}: a corpus of {', '.join(have)}, but --instrument says {', '.join(wanted)}")
        return found
    if not instruments:
        raise InputError("--instrument or --corpus is needed: what is to be learned?")
    return [default_corpus(who, say) for who in instruments]
