"""`synthnet compare`, `evaluate` and `info`: how good it is, and what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from synthnet.audio.files import read_audio
from synthnet.cli.corpora import corpora_for
from synthnet.cli.options import FiniteRange, path_type, progress_bar, say, show
from synthnet.corpus.corpus import Corpus
from synthnet.evaluation.baselines import harmonic_players
from synthnet.evaluation.cqt import mean_and_ci95, rmse_cqt_at_floors, with_ci95
from synthnet.evaluation.level import level_difference_db
from synthnet.evaluation.measure import measure_recordings
from synthnet.evaluation.pieces import PieceRun, piece_lengths, play_piece
from synthnet.evaluation.pieces import evaluate as evaluate_network
from synthnet.evaluation.plots import plot_comparison
from synthnet.files import InputError
from synthnet.generation.engine import choose_device
from synthnet.models import MODELS, PRESETS, build_model, preset_config, preset_rate_hz
from synthnet.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from synthnet.score.general_midi import plain_name
from synthnet.training.settings import DEFAULT_MODEL, DEFAULT_PRESET


def as_json(value: Any) -> str:
    """Plain values as a JSON text, with null for NaN, which JSON does not have."""
    return json.dumps(json.loads(json.dumps(value), parse_constant=lambda name: None), indent=2)


@click.command()
@click.argument("reference", type=path_type)
@click.argument("test", type=path_type)
@click.option("--plot", "plot_path", type=path_type, help="A PNG: both constant-Q pictures and their difference.")
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
def compare(reference: Path, test: Path, plot_path: Path | None, print_json: bool) -> None:
    """RMSE-CQT of a recording against its reference (0 is equal, below 10 is good), second by second, and its level."""
    theirs = read_audio(reference)
    rate = theirs.sample_rate_hz
    mine = read_audio(test, rate)
    for remark in (*theirs.remarks, *mine.remarks):
        say(remark)
    lengths = len(theirs.samples), len(mine.samples)
    if lengths[0] != lengths[1]:
        say(f"lengths differ, the shorter counts: {lengths[0] / rate:.2f} and {lengths[1] / rate:.2f} s")
    samples = theirs.samples[: min(lengths)], mine.samples[: min(lengths)]
    seconds, faint = rmse_cqt_at_floors(*samples, rate)
    mean, width = mean_and_ci95(seconds)
    figures = {
        "rmse_cqt_db": mean,
        "ci95_db": width,
        "rmse_cqt_50_db": float(faint.mean()),
        "seconds": seconds.tolist(),
        "level_db": level_difference_db(*samples),
    }
    if plot_path:
        plot_comparison(plot_path, *samples, rate, title=test.name)
        say(f"{plot_path}: the picture")
    if print_json:
        show(as_json(figures))
        return
    for number, second in enumerate(seconds):
        show(f"{number:4d} s  {second:6.2f} dB")
    show(f"mean    {with_ci95(mean, width):>6} dB, with its 95% interval")
    show(f"mean    {figures['rmse_cqt_50_db']:6.2f} dB with the floor at -50 dB")
    show(f"level   {figures['level_db']:+6.1f} dB, test against reference")


@click.command()
@click.argument("checkpoint_path", metavar="CHECKPOINT", type=path_type)
@click.option("--corpus", "folder", type=path_type, help="Corpus folder.  [default: that of the instrument]")
@click.option("--instrument", help="Which one, of a network that learned several.  [default: its first]")
@click.option("--seconds", default=20, type=click.IntRange(1, 600), help="Separate seconds to generate.")
@click.option(
    "--piece-seconds",
    type=FiniteRange(min=0),
    help="Play only the beginning of each validation piece in one go; 0: none.  [default: all of it]",
)
@click.option("--seed", default=0, type=click.IntRange(min=0), help="Random seed.")
@click.option("--device", "device_name", default="auto", help="cpu, cuda, or auto: a GPU if there is one.")
@click.option("--plot", "plot_path", type=path_type, help="A PNG of the first piece: teacher, network, difference.")
@click.option("--keep", is_flag=True, help="Write the figures into the checkpoint, for synthnet instruments.")
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
def evaluate(
    checkpoint_path: Path,
    folder: Path | None,
    instrument: str | None,
    seconds: int,
    piece_seconds: float | None,
    seed: int,
    device_name: str,
    plot_path: Path | None,
    keep: bool,
    print_json: bool,
) -> None:
    """All figures of quality, on a corpus's validation pieces.

    For the paper's networks: likelihood; RMSE-CQT of separate seconds; and of whole pieces played in one go: RMSE-CQT,
    right notes, level, bursts at the start, drift, collapse, each beside what is good. A large network takes long over
    a whole piece: --piece-seconds 20 is enough for all but drift.

    For a harmonic instrument: distances from the validation pieces beside its two baselines. Only --corpus and --json
    matter.
    """
    checkpoint = load_checkpoint(checkpoint_path)
    config: Any = checkpoint.config
    rate = checkpoint.sample_rate_hz
    voice = checkpoint.voice(instrument)
    names, folders = (None, (folder,)) if folder else (plain_name(voice.name), ())
    (corpus,) = corpora_for(names, folders, rate, config.velocity)
    at_any_rate = not config.receptive_field  # it is not autoregressive
    if corpus.sample_rate_hz != rate and not at_any_rate:
        raise InputError(f"{corpus.folder}: at {corpus.sample_rate_hz} Hz, the network at {rate} Hz")
    if not corpus.split("valid"):
        raise InputError(f"{corpus.folder}: no validation piece (synthnet corpus build --valid NAME chooses one)")
    if at_any_rate:
        evaluate_harmonic(checkpoint, corpus, print_json)
        return
    lengths = piece_lengths(corpus, piece_seconds)
    if not lengths and (piece_seconds or plot_path):
        raise InputError("no piece to play in one go: it takes 3 s (--piece-seconds)")
    if plot_path and plot_path.suffix.lower() != ".png":  # reported before the piece is played
        raise InputError(f"{plot_path}: the name of a figure must end in .png")
    network = checkpoint.build(choose_device(device_name))
    figures = evaluate_network(network, corpus, seconds, seed=seed, instruments=voice.style)
    runs: list[PieceRun] = []
    for piece, n_samples in lengths:
        say(f"{piece.name}: playing {n_samples / rate:.1f} s in one go (--piece-seconds makes it shorter, or 0)")
        with progress_bar(n_samples, rate) as advance:
            run = play_piece(network, corpus, piece, n_samples, seed=seed, instruments=voice.style, progress=advance)
        if plot_path and not runs:
            plot_comparison(plot_path, run.target, run.mean, rate, f"{voice.name}, {piece.name}", run.notes)
            say(f"{plot_path}: the picture")
        runs.append(run)
    plain = {**figures.as_dict(), "pieces": [run.as_dict() for run in runs]}
    if keep:
        keep_figures(checkpoint_path, checkpoint, voice.name, plain)
    if print_json:
        show(as_json(plain))
    else:
        heading = f"{checkpoint_path} on {corpus.folder}, {voice.name}\n"
        show("\n\n".join((heading + figures.text(), *(run.text() for run in runs))))


def evaluate_harmonic(checkpoint: Checkpoint, corpus: Corpus, print_json: bool) -> None:
    """Print the distances of a harmonic instrument and of its baselines from the validation pieces."""
    players = harmonic_players(checkpoint, corpus)
    figures = {player: measure_recordings(corpus, play) for player, play in players.items()}
    if print_json:
        plain = {player: {name: one.as_dict() for name, one in pieces.items()} for player, pieces in figures.items()}
        show(as_json(plain))
        return
    show("RMSE-CQT in dB with the floor at -80 / -50 dB, log-spectral distance and level difference in dB")
    for player, pieces in figures.items():
        for name, one in pieces.items():
            show(
                f"{name:32} {player:16} {one.rmse_cqt_db:6.2f} / {one.rmse_cqt_50_db:5.2f}"
                f" {one.log_spectral_db:6.2f} {one.level_db:+6.2f}"
            )


def keep_figures(path: Path, checkpoint: Checkpoint, instrument: str, figures: dict[str, Any]) -> None:
    """Write an instrument's figures into its checkpoint, without the lists of single notes and seconds."""
    plain = json.loads(as_json(figures))
    for piece in plain["pieces"]:
        for output in (piece["sample"], piece["expectation"]):
            del output["wrong_notes"], output["collapsed_seconds"]
    kept = {**checkpoint.figures.get("evaluations", {}), instrument: plain}
    save_checkpoint(path, replace(checkpoint, figures={**checkpoint.figures, "evaluations": kept}))
    say(f"{path}: keeps these figures")


@click.command()
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help=f"Architecture: {', '.join(MODELS)}.")
@click.option("--preset", default=DEFAULT_PRESET, show_default=True, help=f"Size: {', '.join(PRESETS)}.")
@click.option("--channels", type=int, help="Residual channels.  [default: the preset's]")
@click.option("--checkpoint", "checkpoint_path", type=path_type, help="Describe what is in this file instead.")
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
def info(model: str, preset: str, channels: int | None, checkpoint_path: Path | None, print_json: bool) -> None:
    """Parameters, receptive field and layers of a network, or of a checkpoint with its history."""
    checkpoint = load_checkpoint(checkpoint_path) if checkpoint_path else None
    if checkpoint:
        config, rate = checkpoint.config, checkpoint.sample_rate_hz
    else:
        config = preset_config(model, preset, **({} if channels is None else {"channels": channels}))
        rate = preset_rate_hz(preset)
    with torch.device("meta"):
        network = build_model(config)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    facts = {**config.as_dict(), "parameters": parameters, **config.facts(rate), "sample_rate_hz": rate}
    history: dict[str, Any] = {}
    if checkpoint:
        facts |= {"instruments": list(checkpoint.instruments), "kind": config.kind}
        history = {"training": dict(checkpoint.training), "figures": dict(checkpoint.figures)}
    if print_json:
        show(as_json(facts | history))
        return
    for name, value in facts.items():
        shown = ", ".join(value) if isinstance(value, list) else f"{value:,}" if type(value) is int else value
        show(f"{name.replace('_', ' '):24}{shown}")
    for group, values in history.items():
        show(group)
        for name, value in values.items():
            show(f"  {name.replace('_', ' '):22}{json.dumps(value) if isinstance(value, dict | list) else value}")
