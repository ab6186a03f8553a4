"""`synthnet compare`, `evaluate` and `info`: how good it is, and what it is."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from synthnet.audio.files import read_audio
from synthnet.cli.corpora import corpora_for
from synthnet.cli.options import FiniteRange, path_type, progress_bar, say
from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.baselines import Sampler, harmonic_play, static_play
from synthnet.evaluation.cqt import mean_and_ci95, rmse_cqt_at_floors
from synthnet.evaluation.level import level_difference_db
from synthnet.evaluation.measure import measure_recordings
from synthnet.evaluation.pieces import evaluate as evaluate_network
from synthnet.evaluation.pieces import evaluate_piece, format_piece, format_width, piece_lengths, play_piece
from synthnet.evaluation.plots import plot_comparison
from synthnet.files import InputError
from synthnet.models import MODELS, PRESETS, HarmonicConfig, build_model, preset_config, preset_rate_hz
from synthnet.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from synthnet.score.general_midi import partials_of, plain_name
from synthnet.training.settings import DEFAULT_MODEL, DEFAULT_PRESET


@click.command()
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
    figures, faint = rmse_cqt_at_floors(*samples, rate)
    mean, width = mean_and_ci95(figures)
    level_db = level_difference_db(*samples)
    if plot_path:
        plot_comparison(plot_path, *samples, rate, title=test.name)
        say(f"{plot_path}: the picture")
    if as_json:
        told = {
            "rmse_cqt_db": mean,
            "ci95_db": width,
            "rmse_cqt_50_db": float(faint.mean()),
            "seconds": figures.tolist(),
        }
        told |= {"seconds": figures.tolist(), "level_db": level_db}
        click.echo(json.dumps(without_nan(told), indent=2))
    else:
        for second, figure in enumerate(figures):
            click.echo(f"{second:4d} s  {figure:6.2f} dB")
        click.echo(f"mean    {mean:6.2f} dB" + ("" if math.isnan(width) else f" ± {width:.2f} (95%)"))
        click.echo(f"mean    {faint.mean():6.2f} dB with the floor at -50 dB")
        click.echo(f"level   {level_db:+6.1f} dB, test against reference")


def without_nan(value: Any) -> Any:
    """The same dictionaries and lists with None for NaN, which JSON has not."""
    if isinstance(value, dict):
        return {name: without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


@click.command()
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
@click.option("--keep", is_flag=True, help="Write the figures into the checkpoint, for synthnet instruments.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    checkpoint_path: Path,
    folder: Path | None,
    instrument: str | None,
    seconds: int,
    piece_seconds: float | None,
    seed: int,
    plot_path: Path | None,
    keep: bool,
    as_json: bool,
) -> None:
    """All figures of quality, on a corpus's validation pieces.

    Likelihood; RMSE-CQT of separate seconds; and of whole pieces played in one go, free-running: RMSE-CQT, notes of the
    right pitch, level, bursts at the start, drift, collapse, each beside what is good. A large network takes long over
    a whole piece: --piece-seconds 20 is enough for all but drift.

    Of a harmonic instrument: distances from the validation pieces beside its two baselines; no option but --corpus and
    --json matters.
    """
    checkpoint = load_checkpoint(checkpoint_path)
    voice = checkpoint.voice(instrument)
    corpus = corpora_for(
        None if folder else plain_name(voice.name),
        (folder,) if folder else (),
        checkpoint.sample_rate_hz,
        checkpoint.config.as_dict().get("velocity", False),
    )[0]
    harmonic = isinstance(checkpoint.config, HarmonicConfig)
    if corpus.sample_rate_hz != checkpoint.sample_rate_hz and not harmonic:
        raise InputError(
            f"{corpus.folder}: at {corpus.sample_rate_hz} Hz, the network at {checkpoint.sample_rate_hz} Hz"
        )
    if not corpus.split("valid"):
        raise InputError(f"{corpus.folder}: no validation piece (synthnet corpus build --valid NAME chooses one)")
    if harmonic:
        evaluate_harmonic(checkpoint, corpus, as_json)
        return
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
    if keep:
        keep_figures(checkpoint_path, checkpoint, voice.name, figures)
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


def evaluate_harmonic(checkpoint: Checkpoint, corpus: Corpus, as_json: bool) -> None:
    """Print the distances of a harmonic instrument and of its baselines from the validation pieces."""
    players = {
        "network": harmonic_play(checkpoint),
        "static partials": static_play(checkpoint),
        "sampler": Sampler.from_corpus(corpus).play,
    }
    figures = {
        player: {piece: found.as_dict() for piece, found in measure_recordings(corpus, play).items()}
        for player, play in players.items()
    }
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    click.echo("RMSE-CQT in dB with the floor at -80 / -50 dB, log-spectral distance and level difference in dB")
    for player, pieces in figures.items():
        for piece, found in pieces.items():
            click.echo(
                f"{piece:32} {player:16} {found['rmse_cqt_db']:6.2f} / {found['rmse_cqt_50_db']:5.2f}"
                f" {found['log_spectral_db']:6.2f} {found['level_db']:+6.2f}"
            )


def keep_figures(path: Path, checkpoint: Checkpoint, instrument: str, figures: dict[str, Any]) -> None:
    """Write an instrument's figures into its checkpoint, without the lists of single notes and seconds."""
    lists = {"wrong_notes", "collapsed_seconds"}
    pieces = [
        {
            key: {name: value for name, value in told.items() if name not in lists} if isinstance(told, dict) else told
            for key, told in piece.items()
        }
        for piece in figures["pieces"]
    ]
    kept = {**checkpoint.figures.get("evaluations", {}), instrument: without_nan({**figures, "pieces": pieces})}
    save_checkpoint(path, replace(checkpoint, figures={**checkpoint.figures, "evaluations": kept}))
    say(f"{path}: keeps these figures")


@click.command()
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help=f"Architecture: {', '.join(MODELS)}.")
@click.option("--preset", default=DEFAULT_PRESET, show_default=True, help=f"Size: {', '.join(PRESETS)}.")
@click.option("--channels", type=int, help="Residual channels.  [default: the preset's]")
@click.option("--checkpoint", "checkpoint_path", type=path_type, help="Tell what is in this file instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(model: str, preset: str, channels: int | None, checkpoint_path: Path | None, as_json: bool) -> None:
    """Parameters, receptive field and layers of a network, or of a checkpoint with its history."""
    checkpoint: Checkpoint | None = None
    if checkpoint_path:
        checkpoint = load_checkpoint(checkpoint_path)
        config, rate = checkpoint.config, checkpoint.sample_rate_hz
    else:
        config = preset_config(model, preset, **({} if channels is None else {"channels": channels}))
        rate = preset_rate_hz(preset)
    with torch.device("meta"):
        network = build_model(config)
    facts: dict[str, Any] = {
        **config.as_dict(),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        **config.facts(rate),
        "sample_rate_hz": rate,
    }
    if checkpoint:
        facts |= {"instruments": list(checkpoint.instruments), "kind": config.kind}
        facts |= {"training": dict(checkpoint.training), "figures": dict(checkpoint.figures)}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    groups = {name: facts.pop(name) for name in ("training", "figures") if name in facts}
    for name, value in facts.items():
        if isinstance(value, list):
            shown = ", ".join(map(str, value))
        else:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        click.echo(f"{name.replace('_', ' '):24}{shown}")
    for group, values in groups.items():
        click.echo(group)
        for name, value in values.items():
            click.echo(f"  {name.replace('_', ' '):22}{json.dumps(value) if isinstance(value, dict | list) else value}")
