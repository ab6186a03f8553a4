"""`synthnet corpus`: build a corpus, import recordings as one, or look into one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthnet.audio import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from synthnet.cli.options import FiniteRange, as_json, path_type, say, show
from synthnet.files import InputError
from synthnet.models.config import HARMONIC_RATE_HZ, PAPER_RATE_HZ
from synthnet.score.etudes import LONGEST_MINUTES, SHORTEST_MINUTES, compose_etudes
from synthnet.score.general_midi import (
    INSTRUMENTS,
    KNOWN_INSTRUMENTS,
    find_instrument,
    known_instrument,
    own_instrument,
    plain_name,
)

if TYPE_CHECKING:
    from synthnet.corpus.corpus import Corpus
    from synthnet.models.checkpoint import CheckpointHeader

key_type = click.IntRange(0, 127)
LABELS = ("score", "performed", "exact")
DATASETS = ("musicnet", "maestro", "bach-violin")


@click.group()
def corpus() -> None:
    """Build or import a corpus, recordings and their scores, or look into one."""


@corpus.command("build", short_help="Have a synthesizer play scores.")
@click.option(
    "--instrument",
    required=True,
    help=f"Instrument that plays: {', '.join(who.name for who in KNOWN_INSTRUMENTS)}; or any name, with --program.",
)
@click.option("--program", type=key_type, help="General MIDI program of an instrument of your own.")
@click.option("--lowest-pitch", type=key_type, help="Its lowest key, 60 is C4.  [default: 36]")
@click.option("--highest-pitch", type=key_type, help="Its highest key.  [default: 84]")
@click.option("--chords", is_flag=True, default=None, help="It plays chords: its études have more of them.")
@click.option(
    "--scores",
    multiple=True,
    type=click.Path(),
    help="MIDI file or folder, or the word etudes: music that covers the keyboard, beside the other scores; "
    "repeat for more.  [default: BWV 1007]",
)
@click.option(
    "--minutes", type=FiniteRange(SHORTEST_MINUTES, LONGEST_MINUTES), help="Length of the études.  [default: 9]"
)
@click.option("--seed", type=click.IntRange(min=0), help="Another seed makes other études.  [default: 0]")
@click.option("--rate", default=PAPER_RATE_HZ, help="Sample rate in Hz.")
@click.option("--wide", is_flag=True, help="Études from very soft to very loud, for networks that take velocities.")
@click.option("--soundfont", type=path_type, help="An SF2 file.  [default: FluidR3_GM, else pretty_midi's]")
@click.option(
    "--valid",
    multiple=True,
    help="Pieces with this in their file name validate, the others train; repeat for more.  "
    "[default: prelude, or the last fifth of a single score]",
)
@click.option("--skip-bad", is_flag=True, help="Leave out scores that cannot be used, and say why.")
@click.option("--out", type=path_type, help="Folder.  [default: data/corpora/INSTRUMENT-RATE-narrow, or -wide]")
def corpus_build(
    instrument: str,
    program: int | None,
    scores: tuple[str, ...],
    minutes: float | None,
    seed: int | None,
    rate: int,
    wide: bool,
    soundfont: Path | None,
    valid: tuple[str, ...],
    skip_bad: bool,
    out: Path | None,
    **own: Any,
) -> None:
    """Have a synthesizer play scores: aligned audio and notes to learn from. Only changed pieces are played again.

    \b
    synthnet corpus build --instrument guitar --scores etudes                     études and BWV 1007
    synthnet corpus build --instrument guitar --scores etudes --scores song.mid   études and your song
    synthnet corpus build --instrument tenor-sax --program 66 --scores etudes     an instrument of your own

    A folder that is called etudes is given as ./etudes.
    """
    from synthnet.corpus.build import DEFAULT_SCORES, ETUDES, build_corpus, default_folder

    own = {name: value for name, value in own.items() if value is not None}
    if program is not None:
        who = own_instrument(instrument, program, **own)
    elif own:
        raise InputError(
            "--lowest-pitch, --highest-pitch and --chords are for an instrument of your own; add --program"
        )
    else:
        who = find_instrument(instrument)
    etudes = None
    if ETUDES in scores:
        etudes = compose_etudes(who, 9.0 if minutes is None else minutes, seed or 0, wide=wide)
    elif minutes is not None or seed is not None or wide:
        raise InputError("--minutes, --seed and --wide are for études; add --scores etudes")
    folder = out or default_folder(who.name, rate, wide)
    paths = [Path(score) for score in scores if score != ETUDES] or [DEFAULT_SCORES]
    build_corpus(folder, who, paths, rate, soundfont, valid, say, etudes, skip_bad=skip_bad)
    say(f"look into it: synthnet corpus info {folder}")


@corpus.command("import", short_help="Make a corpus of recordings and their notes.")
@click.argument("folder", type=path_type)
@click.option("--instrument", required=True, help="Name of the instrument, such as my-violin.")
@click.option("--program", required=True, type=key_type, help="Its General MIDI program, 40 for a violin.")
@click.option(
    "--labels",
    type=click.Choice(LABELS),
    help="What the notes are: a score at any tempo; performed, recorded with the sound; or exact, which are not "
    "moved.  [default: score for MIDI, exact for CSV]",
)
@click.option("--scores", type=path_type, help="Folder of the notes, if they are not beside the recordings.")
@click.option("--track", type=click.IntRange(min=0), help="Number of the MIDI files' track.  [default: all]")
@click.option(
    "--format", "dataset", type=click.Choice(DATASETS), help="A public dataset.  [default: seen by its files]"
)
@click.option("--pieces", help="Which recordings: numbers, ranges, beginnings of names, as in 2217-2222,2293.")
@click.option(
    "--valid",
    multiple=True,
    help="Recordings with this in their name validate, the others train; repeat for more.  "
    "[default: prelude, or the last fifth of the longest recording]",
)
@click.option("--channel", default="mean", type=click.Choice(["mean", "left", "right"]), help="Of stereo recordings.")
@click.option("--sample-rate", "--rate", "rate", default=HARMONIC_RATE_HZ, help="Sample rate of the corpus in Hz.")
@click.option("--level", type=click.Choice(["each"]), help="each: give every recording the same level.")
@click.option("--keep-clipped", is_flag=True, help="Take recordings that are often clipped, too.")
@click.option("--credit", help="Player and licence, to be named wherever the instrument is heard.")
@click.option("--click", type=path_type, help="FILE.wav or folder: the sound left, clicks at the notes right.")
@click.option("--out", type=path_type, help="Folder.  [default: data/corpora/INSTRUMENT-RATE-wide, or -narrow]")
def corpus_import(
    folder: Path,
    instrument: str,
    program: int,
    labels: str | None,
    scores: Path | None,
    track: int | None,
    dataset: str | None,
    pieces: str | None,
    valid: tuple[str, ...],
    rate: int,
    level: str | None,
    credit: str | None,
    out: Path | None,
    **options: Any,
) -> None:
    """Make a corpus of recordings and their notes: NAME.wav beside NAME.mid or NAME.csv, or a public dataset.

    \b
    synthnet corpus import takes/ --instrument my-violin --program 40
    synthnet corpus import musicnet/ --pieces 2217-2222 --valid 2217 --instrument real-cello --program 42
    synthnet train --instrument my-violin

    A score is laid over its recording, note by note. A CSV file has the columns start_s, end_s, pitch and maybe
    velocity, in seconds of the recording. NAME.anchors.csv (score_s, audio_s) mends a passage.
    """
    from synthnet.corpus.build import VALIDATION_PIECE, default_folder
    from synthnet.recordings.build import Options, corpus_from_recordings
    from synthnet.recordings.datasets import chosen_takes, format_of, read_dataset
    from synthnet.recordings.pairs import find_pairs
    from synthnet.recordings.report import totals

    who = own_instrument(instrument, program)
    if not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
        raise InputError(f"--sample-rate {rate}: not from {LOWEST_RATE_HZ:,} to {HIGHEST_RATE_HZ:,} Hz")
    if dataset := dataset or format_of(folder):
        if scores or track is not None:
            raise InputError(f"{folder}: --scores and --track are not for a dataset ({dataset})")
        takes, lines = read_dataset(folder, dataset, pieces, program)
    else:
        takes, lines = find_pairs(folder, scores, labels, track)
        takes = chosen_takes(folder, takes, pieces)
    for line in lines:
        say(line)
    takes = [replace(one, labels=labels or one.labels, credit=credit or one.credit) for one in takes]
    preludes = [VALIDATION_PIECE in take.name.lower() for take in takes]
    if not valid and any(preludes) and not all(preludes) and not any(take.split for take in takes):
        valid = (VALIDATION_PIECE,)
    reading = Options(rate, valid=valid, level_each=level == "each", **options)
    place = out or default_folder(who.name, rate, wide=rate == HARMONIC_RATE_HZ)
    _, reports = corpus_from_recordings(place, who.name, program, takes, reading, say)
    for line in totals(reports):
        say(line)
    say(f"{place}: {sum(one.used for one in reports)} of {len(takes)} recordings; synthnet corpus report {place}")


@corpus.command("report")
@click.argument("folder", type=path_type)
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
@click.option("--plot", type=path_type, help="Draw FILE.png: spectrograms, the notes on them, and what is left out.")
def corpus_report(folder: Path, print_json: bool, plot: Path | None) -> None:
    """How well the notes and the sound of recordings agree."""
    from synthnet.recordings.report import format_reports, read_reports, summary

    reports = read_reports(folder)
    if plot is not None:
        from synthnet.corpus.corpus import read_corpus
        from synthnet.evaluation.plots import plot_alignment

        plot_alignment(plot, read_corpus(folder))
        say(f"{plot}: the picture")
    show(as_json(summary(reports)) if print_json else format_reports(reports))


@corpus.command("info")
@click.argument("folder", type=path_type)
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
def corpus_info_command(folder: Path, print_json: bool) -> None:
    """Minutes, notes, pitches, level and dither floor of a corpus."""
    from synthnet.corpus.corpus import corpus_info, format_info, read_corpus

    info = corpus_info(read_corpus(folder))
    show(as_json(info.as_dict()) if print_json else format_info(info))


def corpus_of(checkpoint: CheckpointHeader, instrument: str, folder: Path | None) -> Corpus:
    """The corpus in the folder, or the default one of that which an instrument of a network learned from."""
    from synthnet.corpus.build import default_folder
    from synthnet.corpus.corpus import read_corpus
    from synthnet.models.checkpoint import fact

    if folder is not None:
        return read_corpus(folder)
    learned = fact(checkpoint.training, "corpora", checkpoint.instruments.index(instrument), "instrument")
    name = learned if isinstance(learned, str) else plain_name(instrument)
    config: Any = checkpoint.config
    where = default_folder(name, checkpoint.sample_rate_hz, config.velocity)
    if known_instrument(name) is None and not where.is_dir():
        raise InputError(f"{where}: no such folder; --corpus FOLDER says where the corpus of {name} is")
    return corpora_for(name, (), checkpoint.sample_rate_hz, config.velocity)[0]


def corpora_for(names: str | None, folders: tuple[Path, ...], sample_rate_hz: int, wide: bool) -> list[Corpus]:
    """The corpora to learn from: the folders, or the default ones of the instruments, built where missing.

    Args:
        names: of instruments, with commas, or "all"; an instrument of one's own is known by its corpus alone.
        sample_rate_hz, wide: of the default corpora, see `default_corpus`.
    """
    from synthnet.corpus.build import default_corpus, default_folder
    from synthnet.corpus.corpus import read_corpus

    given = [name.strip() for name in names.split(",")] if names else []
    asked = [who.name if (who := known_instrument(name)) else name for name in given]
    if names == "all":
        asked = [who.name for who in INSTRUMENTS]
    if folders:
        found = [read_corpus(folder) for folder in folders]
        have = [corpus.instrument for corpus in found]
        if asked not in ([], have):
            raise InputError(f"{folders[0]}: a corpus of {', '.join(have)}, but --instrument says {names}")
        return found
    if not asked:
        raise InputError("--instrument or --corpus is needed, the instrument to learn")
    places = {name: default_folder(name, sample_rate_hz, wide) for name in asked}
    for name, place in places.items():
        others = sorted(place.parent.glob(f"{name}-[0-9]*/manifest.json"))
        if others and place / "manifest.json" not in others and known_instrument(name) is None:
            raise InputError(f"{place}: no corpus there; there is {others[0].parent} (--corpus)")
    # A slip is reported before the corpora of others are built.
    missing = {name: find_instrument(name) for name in asked if not (places[name] / "manifest.json").exists()}
    return [
        default_corpus(missing[name], sample_rate_hz, wide, say) if name in missing else read_corpus(places[name])
        for name in asked
    ]
