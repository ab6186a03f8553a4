"""`synthnet compare`, `evaluate` and `info`: how good it is, and what it is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click
import torch

from synthnet.audio import read_audio
from synthnet.checkpoint import Checkpoint, load_checkpoint
from synthnet.cli.corpora import corpora_for
from synthnet.cli.options import path_type, say
from synthnet.evaluation import evaluate as evaluate_network
from synthnet.files import InputError
from synthnet.metrics import mean_and_ci95, rmse_cqt_db
from synthnet.models import MODELS, PRESETS, build_model, preset_config
from synthnet.plots import plot_comparison


@click.command()
@click.argument("reference", type=path_type)
@click.argument("test", type=path_type)
@click.option("--plot", "plot_path", type=path_type, help="A PNG: both constant-Q pictures and their difference.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(reference: Path, test: Path, plot_path: Path | None, as_json: bool) -> None:
    """RMSE-CQT of a recording against its reference, per second and in the mean (0 is equal, below 10 is good)."""
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
    if plot_path:
        plot_comparison(plot_path, *samples, rate, title=test.name)
        say(f"{plot_path}: the picture")
    if as_json:
        click.echo(
            json.dumps({"rmse_cqt_db": mean, "ci95_db": none_if_nan(width), "seconds": figures.tolist()}, indent=2)
        )
    else:
        for second, figure in enumerate(figures):
            click.echo(f"{second:4d} s  {figure:6.2f} dB")
        click.echo(f"mean    {mean:6.2f} dB" + ("" if math.isnan(width) else f" ± {width:.2f} (95%)"))


def none_if_nan(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


@click.command()
@click.argument("checkpoint_path", metavar="CHECKPOINT", type=path_type)
@click.option("--corpus", "folder", type=path_type, help="Corpus folder.  [default: that of the instrument]")
@click.option("--instrument", help="Of a network that learned several.  [default: its first]")
@click.option("--seconds", default=20, type=click.IntRange(1, 600), help="One-second passages to generate.")
@click.option("--seed", default=0, type=click.IntRange(min=0), help="Of the passages.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    checkpoint_path: Path, folder: Path | None, instrument: str | None, seconds: int, seed: int, as_json: bool
) -> None:
    """Likelihood and free-running RMSE-CQT on a corpus's validation pieces."""
    checkpoint = load_checkpoint(checkpoint_path)
    voice = checkpoint.voice(instrument)
    corpus = corpora_for(None if folder else voice.name, (folder,) if folder else ())[0]
    if corpus.sample_rate_hz != checkpoint.sample_rate_hz:
        raise InputError(
            f"{corpus.folder}: at {corpus.sample_rate_hz} Hz, the network at {checkpoint.sample_rate_hz} Hz"
        )
    if not corpus.split("valid"):
        raise InputError(f"{corpus.folder}: no validation piece (synthnet corpus build --valid NAME chooses one)")
    figures = evaluate_network(checkpoint.build(), corpus, seconds, seed=seed, style=voice.style)
    if as_json:
        click.echo(json.dumps({name: none_if_nan(value) for name, value in figures.items()}, indent=2))
        return
    click.echo(f"{checkpoint_path} on {corpus.folder}, {voice.name}")
    click.echo(f"  likelihood, validation   {figures['valid_nll']:7.3f} nats a sample")
    click.echo(f"  dither floor             {figures['dither_floor']:7.3f} nats a sample")
    click.echo(f"  excess over the floor    {figures['excess']:7.3f} nats a sample")
    click.echo(f"  score gain               {figures['score_gain']:7.3f} nats a sample")
    for output, name in (("sample", "rmse_cqt"), ("expectation", "rmse_cqt_expectation")):
        width = figures[f"{name}_ci95_db"]
        spread = "" if math.isnan(width) else f" ± {width:.2f}"
        click.echo(f"  RMSE-CQT, {output:15}{figures[f'{name}_db']:7.2f}{spread} dB")
    click.echo(f"  over {seconds} free-running seconds against the clean target, ± 95% confidence")


@click.command()
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
