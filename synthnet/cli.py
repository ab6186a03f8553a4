"""The command line: thin commands over the library. One line and exit status 2 for whatever the user got wrong."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Threads of torch that wait for each other must not spin: on a machine that is busy with something else too, a
# training step takes ten times as long when they do. Has to be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import torch
from tqdm import tqdm

from synthnet import __version__
from synthnet.audio import read_audio
from synthnet.checkpoint import Checkpoint, load_checkpoint
from synthnet.corpus import DEFAULT_SCORES, Corpus, build_corpus, corpus_info, format_info, read_corpus
from synthnet.evaluation import evaluate as evaluate_network
from synthnet.evaluation import evaluate_piece, format_piece, format_width, piece_lengths, play_piece
from synthnet.files import InputError
from synthnet.generation.chunks import chunks_that_pay
from synthnet.generation.rendering import render_score, rendering_samples
from synthnet.generation.streams import ENGINES
from synthnet.generation.voices import assign_voices
from synthnet.instruments import INSTRUMENTS, Instrument, find_instrument, partials_of
from synthnet.metrics import level_difference_db, mean_and_ci95, rmse_cqt_db
from synthnet.models import MODELS, PRESETS, build_model, preset_config
from synthnet.plots import plot_comparison
from synthnet.runs import (
    Span,
    annealed_over,
    choose_device,
    clock,
    default_span,
    fresh_settings,
    has_run,
    join_processes,
    resumed_settings,
    train_run,
)
from synthnet.score import read_score
from synthnet.training import Interrupted

DEFAULT_CORPORA = Path("data/corpora")
DEFAULT_RUNS = Path("runs")
LARGEST_NUMBER = 1_000_000  # of seconds, minutes, epochs: more is a slip

path_type = click.Path(path_type=Path)


class FiniteRange(click.FloatRange):
    """A range of floats that NaN, infinity and absurdly large numbers are not in."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        number = float(super().convert(value, parameter, context))
        if not abs(number) <= LARGEST_NUMBER:
            self.fail(f"{value} is not a number up to {LARGEST_NUMBER:,}", parameter, context)
        return number


positive = FiniteRange(min=0, min_open=True)


def say(line: str) -> None:
    """A line for the person at the terminal; standard output is for results."""
    click.echo(line, err=True)


def say_nothing(line: str) -> None:
    """What the processes of torchrun say, except the first."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110})
@click.version_option(__version__, prog_name="synthnet")
def cli() -> None:
    """Neural instruments: learn an instrument from nine minutes of music, then play any score.

    \b
    synthnet train --instrument trumpet     learn the trumpet from Bach's Cello Suite no. 1
    synthnet render song.mid                play a MIDI file with what was learned
    """


# --------------------------------------------------------------------------------------------------- corpora


@cli.group()
def corpus() -> None:
    """Build a corpus, recordings and their scores, or look into one."""


@corpus.command("build")
@click.option("--instrument", required=True, help=f"Who plays: {', '.join(who.name for who in INSTRUMENTS)}.")
@click.option(
    "--scores", multiple=True, type=path_type, help="MIDI file or folder; repeat for more.  [default: BWV 1007]"
)
@click.option("--sample-rate", default=16_000, help="Samples a second.")
@click.option("--soundfont", type=path_type, help="An SF2 file.  [default: FluidR3_GM, else pretty_midi's]")
@click.option("--valid", help="Pieces with this in their file name validate, the others train.  [default: prelude]")
@click.option("--out", type=path_type, help="Folder.  [default: data/corpora/INSTRUMENT]")
def corpus_build(
    instrument: str,
    scores: tuple[Path, ...],
    sample_rate: int,
    soundfont: Path | None,
    valid: str | None,
    out: Path | None,
) -> None:
    """Have a synthesizer play scores: aligned audio and notes to learn from. Only what changed is played again."""
    who = find_instrument(instrument)
    folder = out or DEFAULT_CORPORA / who.name
    build_corpus(folder, who, scores or [DEFAULT_SCORES], sample_rate, soundfont, valid, say)
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
    made = []
    for who in instruments:
        folder = DEFAULT_CORPORA / who.name
        if (folder / "manifest.json").exists():
            made.append(read_corpus(folder))
        else:
            say(f"{folder}: building the {who.name} corpus from Bach's Cello Suite no. 1")
            made.append(build_corpus(folder, who, [DEFAULT_SCORES], report=say))
    return made


# -------------------------------------------------------------------------------------------------- training


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


class SpanType(click.ParamType):
    """A number with a unit, as in 5min, 500steps or 20epochs."""

    name = "5min|500steps|20epochs"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Span:
        if isinstance(value, Span):
            return value
        match = re.fullmatch(r"(\d{1,7}(?:\.\d+)?)(min|steps|epochs)", value)
        number = float(match[1]) if match else 0.0
        if match is None or number < 0.01:
            self.fail(f"{value!r} is not a number followed by min, steps or epochs, as in 5min", parameter, context)
        if match[2] == "steps":
            return Span(steps=max(1, round(number)))
        return Span(minutes=number) if match[2] == "min" else Span(epochs=number)


@cli.command()
@click.option(
    "--instrument",
    "instruments",
    help=f"Who is learned: {', '.join(who.name for who in INSTRUMENTS)}; several with commas, or all, for one network.",
)
@click.option("--model", default="synthnet", help=f"Architecture: {', '.join(MODELS)}.")
@click.option("--preset", default="small", help=f"Size and recipe: {', '.join(PRESETS)}.")
@click.option(
    "--corpus", "folders", multiple=True, type=path_type, help="Corpus folder; repeat for more.  [default: BWV 1007]"
)
@click.option("--out", type=path_type, help="Folder of the run.  [default: runs/INSTRUMENT-PRESET]")
@click.option("--minutes", type=positive, help="Train this long, resumed parts included.  [default of small: 30]")
@click.option(
    "--epochs", type=positive, help="Train until the corpus was seen so often.  [default of L24, L26, L48: 200]"
)
@click.option("--steps", type=click.IntRange(min=1), help="Train until this step.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, with its settings.")
@click.option(
    "--evaluate-every", type=SpanType(), help="Validate and generate.  [default: 5min; 20epochs with --epochs]"
)
@click.option("--device", "device_name", default="auto", help="cpu, cuda, or auto: a GPU if there is one.")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Processes that prepare slices.")
@click.option("--seed", type=int, help="Of weights, slices and corruption.  [default: 0]")
@click.option("--channels", type=int, help="Residual channels.  [default: the preset's]")
@click.option("--oscillators", "harmonics", type=int, help="Harmonics of the score's notes given to the first layer.")
@click.option("--corruption", type=float, help="Largest share of past samples replaced by noise, 0 to 1.")
@click.option("--learning-rate", type=float, help="Of Adam.")
@click.option("--batch", type=int, help="Slices a step, in each process.")
@click.option("--slice", "n_predicted", type=int, help="Samples predicted in a slice.")
@click.option("--anneal-steps", type=int, help="Learning rate and corruption fall until this step.")
def train(
    instruments: str | None,
    model: str | None,
    preset: str,
    folders: tuple[Path, ...],
    out: Path | None,
    minutes: float | None,
    epochs: float | None,
    steps: int | None,
    resume: bool,
    evaluate_every: Span | None,
    device_name: str,
    workers: int,
    **overrides: Any,
) -> None:
    """Learn an instrument.

    The network, its curves and all that is needed to go on land in a folder under runs/. Ctrl-C saves and stops.
    With --minutes the learning rate and the corruption of small fall over that time; --steps and --epochs hold them,
    as the paper does, unless --anneal-steps is given: N steps and N more resumed are then exactly 2N steps.
    Several GPUs: torchrun --nproc_per_node 2 -m synthnet train ...
    """
    overrides = {name: value for name, value in overrides.items() if value is not None}
    if sum(length is not None for length in (minutes, epochs, steps)) > 1:
        raise InputError("--minutes, --epochs and --steps: give one of them")
    if not resume:  # a slip is told before a corpus is built
        fresh_settings(model or "synthnet", preset, 1, overrides)
    rank, world = join_processes(device_name)
    device = choose_device(device_name)
    if rank == 0:
        corpora = corpora_for(instruments, folders)
    if world > 1:
        torch.distributed.barrier()  # the first process builds the corpora, the others find them
    if rank > 0:
        corpora = corpora_for(instruments, folders)
    folder = out or DEFAULT_RUNS / f"{'-'.join(corpus.instrument for corpus in corpora)}-{preset}"
    if resume:
        overrides |= {} if model is None else {"model": model}
        config, training, span = resumed_settings(folder, overrides)
    elif has_run(folder):
        raise InputError(f"{folder}: holds a run already; --resume goes on with it, --out NAME starts another")
    else:
        config, training = fresh_settings(model or "synthnet", preset, len(corpora), overrides)
        span = default_span(training)
    if any(length is not None for length in (minutes, epochs, steps)):
        span = Span(minutes, epochs, steps)
    train_run(
        folder,
        corpora,
        config,
        annealed_over(training, span),
        span,
        device=device,
        resume=resume,
        evaluate_every=evaluate_every,
        workers=workers,
        say=say if rank == 0 else say_nothing,
    )
    if world > 1:
        torch.distributed.destroy_process_group()
    if rank == 0:
        say(f"{folder}: best.safetensors and last.safetensors to play, curves.png to look at")
        say(f"hear it: synthnet render SONG.mid --checkpoint {folder / 'best.safetensors'}")


# ------------------------------------------------------------------------------------------------- rendering


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


@contextlib.contextmanager
def progress_bar(n_samples: int) -> Iterator[Callable[[int], None]]:
    """Samples made, speed and time left on standard error; call what it gives with the samples made since."""
    patience = threading.Timer(2.0, say, ["getting the engine ready: the first start compiles it, which takes a while"])
    patience.daemon = True
    with tqdm(
        total=n_samples,
        unit="samples",
        unit_scale=True,
        mininterval=0.3 if sys.stderr.isatty() else 20.0,
        file=sys.stderr,
        dynamic_ncols=True,
    ) as progress:

        def advance(n: int) -> None:
            patience.cancel()
            progress.update(n)

        patience.start()
        try:
            yield advance
        finally:
            patience.cancel()


@cli.command()
@click.argument("song", type=path_type)
@click.option("-o", "--out", type=path_type, help="WAV or FLAC, by the ending.  [default: SONG.wav, here]")
@click.option(
    "--checkpoint", "checkpoint_path", type=path_type, help="A trained network.  [default: the newest in runs/]"
)
@click.option("--instrument", help="Of a network that learned several.  [default: by each track's MIDI program]")
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
    instrument: str | None,
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
    voices = assign_voices(score, checkpoint, instrument)
    out = out or Path(f"{song.stem}.wav")
    rate = checkpoint.sample_rate_hz
    network = checkpoint.build()
    n_samples = rendering_samples(score, rate, duration_s)
    n_chunks = chunks_that_pay(network, len(score.tracks), n_samples, rate) if chunks is None else chunks
    say(f"{song}: {n_samples / rate:.1f} s for {checkpoint_path} at {rate} Hz, into {out}")
    for track, voice in zip(score.tracks, voices, strict=True):
        say(f"  {track.name or 'track'} ({len(track.notes)} notes): {voice.name}")
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
        name = score.tracks[number].name or f"track {number + 1}"
        say(f"warning: {name} is silent while its notes sound: this network has not learned to play them")


# ------------------------------------------------------------------------------------------------- measuring


@cli.command()
@click.argument("reference", type=path_type)
@click.argument("test", type=path_type)
@click.option("--plot", "plot_path", type=path_type, help="A PNG: both constant-Q pictures and their difference.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(reference: Path, test: Path, plot_path: Path | None, as_json: bool) -> None:
    """RMSE-CQT of a recording against its reference (0 is equal, below 10 is good), second by second, and its level."""
    theirs = read_audio(reference)
    mine = read_audio(test, theirs.sample_rate_hz)
    for remark in (*theirs.remarks, *mine.remarks):
        say(remark)
    length = min(len(theirs.samples), len(mine.samples))
    rate = theirs.sample_rate_hz
    if len(theirs.samples) != len(mine.samples):
        say(
            f"lengths differ, the shorter counts: {len(theirs.samples) / rate:.2f} and {len(mine.samples) / rate:.2f} s"
        )
    samples = theirs.samples[:length], mine.samples[:length]
    figures = rmse_cqt_db(*samples, rate)
    mean, width = mean_and_ci95(figures)
    level_db = level_difference_db(*samples)
    if plot_path:
        plot_comparison(plot_path, *samples, rate, title=test.name)
        say(f"{plot_path}: the picture")
    if as_json:
        told = {"rmse_cqt_db": mean, "ci95_db": width, "seconds": figures.tolist(), "level_db": level_db}
        click.echo(json.dumps(without_nan(told), indent=2))
    else:
        for second, figure in enumerate(figures):
            click.echo(f"{second:4d} s  {figure:6.2f} dB")
        click.echo(f"mean    {mean:6.2f} dB" + ("" if math.isnan(width) else f" ± {width:.2f} (95%)"))
        click.echo(f"level   {level_db:+6.1f} dB, test against reference")


def without_nan(value: Any) -> Any:
    """The same dictionaries and lists with None for NaN, which JSON has not."""
    if isinstance(value, dict):
        return {name: without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


@cli.command()
@click.argument("checkpoint_path", metavar="CHECKPOINT", type=path_type)
@click.option("--corpus", "folder", type=path_type, help="Corpus folder.  [default: that of the instrument]")
@click.option("--instrument", help="Of a network that learned several.  [default: its first]")
@click.option("--seconds", default=20, type=click.IntRange(1, 600), help="Separate seconds to generate.")
@click.option(
    "--piece-seconds",
    type=FiniteRange(min=0),
    help="Play the first so many seconds of each validation piece in one go; 0: none.  [default: all of it]",
)
@click.option("--seed", default=0, type=click.IntRange(min=0), help="Of what is generated.")
@click.option("--plot", "plot_path", type=path_type, help="A PNG of the first piece: teacher, network, difference.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    checkpoint_path: Path,
    folder: Path | None,
    instrument: str | None,
    seconds: int,
    piece_seconds: float | None,
    seed: int,
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """All figures of quality, on a corpus's validation pieces.

    Likelihood; RMSE-CQT of separate seconds; and of whole pieces played in one go, free-running: RMSE-CQT, notes of
    the right pitch, level, bursts at the start, drift, collapse, each beside what is good. A large network takes long
    over a whole piece: --piece-seconds 20 is enough for all but drift.
    """
    checkpoint = load_checkpoint(checkpoint_path)
    voice = checkpoint.voice(instrument)
    corpus = corpora_for(None if folder else voice.name, (folder,) if folder else ())[0]
    if corpus.sample_rate_hz != checkpoint.sample_rate_hz:
        raise InputError(
            f"{corpus.folder}: at {corpus.sample_rate_hz} Hz, the network at {checkpoint.sample_rate_hz} Hz"
        )
    if not corpus.split("valid"):
        raise InputError(f"{corpus.folder}: no validation piece (synthnet corpus build --valid NAME chooses one)")
    lengths = piece_lengths(corpus, piece_seconds)
    if not lengths and (piece_seconds or plot_path):
        raise InputError("no piece to play in one go: it takes 3 s (--piece-seconds)")
    if plot_path and plot_path.suffix.lower() != ".png":  # told before the piece is played
        raise InputError(f"{plot_path}: the name of a figure must end in .png")
    network = checkpoint.build()
    figures: dict[str, Any] = dict(evaluate_network(network, corpus, seconds, seed=seed, style=voice.style))
    figures["pieces"] = []
    for number, (piece, n_samples) in enumerate(lengths):
        length_s = n_samples / corpus.sample_rate_hz
        say(f"{piece.name}: playing {length_s:.1f} s in one go (--piece-seconds N makes it shorter, 0 leaves it out)")
        with progress_bar(n_samples) as advance:
            run = play_piece(network, corpus, piece, n_samples, seed=seed, style=voice.style, progress=advance)
        figures["pieces"].append(evaluate_piece(run, partials_of(corpus.instrument)))
        if plot_path and number == 0:
            title = f"{voice.name}, {piece.name}"
            plot_comparison(plot_path, run.target, run.expectation, corpus.sample_rate_hz, title, run.notes)
            say(f"{plot_path}: the picture")
    if as_json:
        click.echo(json.dumps(without_nan(figures), indent=2))
        return
    click.echo(f"{checkpoint_path} on {corpus.folder}, {voice.name}")
    click.echo(f"  likelihood, validation   {figures['valid_nll']:7.3f} nats a sample")
    click.echo(f"  dither floor             {figures['dither_floor']:7.3f} nats a sample")
    click.echo(f"  excess over the floor    {figures['excess']:7.3f} nats a sample")
    click.echo(f"  score gain               {figures['score_gain']:7.3f} nats a sample")
    for output, name in (("sample", "rmse_cqt"), ("expectation", "rmse_cqt_expectation")):
        click.echo(f"  RMSE-CQT, {output:15}{figures[f'{name}_db']:7.2f}{format_width(figures[f'{name}_ci95_db'])} dB")
    click.echo(f"  over {seconds} free-running seconds against the clean target, ± 95% confidence")
    for played in figures["pieces"]:
        click.echo("\n" + format_piece(played))


@cli.command()
@click.option("--model", default="synthnet", help=f"Architecture: {', '.join(MODELS)}.")
@click.option("--preset", default="small", help=f"Size: {', '.join(PRESETS)}.")
@click.option("--channels", type=int, help="Residual channels.  [default: the preset's]")
@click.option("--checkpoint", "checkpoint_path", type=path_type, help="Tell what is in this file instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(model: str, preset: str, channels: int | None, checkpoint_path: Path | None, as_json: bool) -> None:
    """Parameters, receptive field and layers of a network, or of a checkpoint with its history."""
    checkpoint: Checkpoint | None = None
    rate = 16_000
    if checkpoint_path:
        checkpoint = load_checkpoint(checkpoint_path)
        config, rate = checkpoint.config, checkpoint.sample_rate_hz
    else:
        config = preset_config(model, preset, **({} if channels is None else {"channels": channels}))
    with torch.device("meta"):
        network = build_model(config)
    facts: dict[str, Any] = {
        **config.as_dict(),
        "layers": len(config.layer_dilations),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "receptive_field_samples": config.receptive_field,
        "receptive_field_s": round(config.receptive_field / rate, 4),
        "sample_rate_hz": rate,
    }
    if checkpoint:
        facts |= {"instruments": list(checkpoint.instruments), "training": dict(checkpoint.training)}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    training = facts.pop("training", None)
    for name, value in facts.items():
        shown = ", ".join(value) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else value
        click.echo(f"{name.replace('_', ' '):24}{shown}")
    if training:
        click.echo("training")
        for name, value in training.items():
            click.echo(f"  {name.replace('_', ' '):22}{json.dumps(value) if isinstance(value, dict | list) else value}")


def main() -> None:
    """Run the command line; faults of the input end in one line and exit status 2."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except InputError as fault:
        say(f"synthnet: {fault}")
        sys.exit(2)
    except click.ClickException as fault:
        say(f"synthnet: {fault.format_message()}")
        sys.exit(2)
    except OSError as fault:
        where = f"{fault.filename}: " if fault.filename else ""
        say(f"synthnet: {where}{fault.strerror or fault}")
        sys.exit(2)
    except Interrupted as stop:
        say(f"synthnet: {stop}")
        sys.exit(130)
    except (KeyboardInterrupt, click.Abort):
        say("synthnet: interrupted")
        sys.exit(130)
