"""`synthnet compare` and `info`: how near it is, and what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from synthnet.audio.files import read_audio
from synthnet.cli.options import Seconds, as_json, path_type, positive, say, show
from synthnet.evaluation.baselines import simple_baselines
from synthnet.evaluation.cqt import FLOORS_DB, mean_and_ci95, rmse_cqt_at_floors, with_ci95
from synthnet.evaluation.level import level_difference_db
from synthnet.evaluation.plots import check_picture, plot_comparison, plot_triptych
from synthnet.files import InputError
from synthnet.models import MODELS, PRESETS, build_model, preset_config, preset_rate_hz
from synthnet.models.checkpoint import load_checkpoint
from synthnet.score.midi import read_score
from synthnet.training.settings import DEFAULT_MODEL, DEFAULT_PRESET


@click.command()
@click.argument("reference", type=path_type)
@click.argument("tests", metavar="TEST...", type=path_type, nargs=-1, required=True)
@click.option("--plot", "plot_path", type=path_type, help="A PNG or SVG of one test; a second has its floor at -50 dB.")
@click.option("--triptych", type=path_type, help="A PNG or SVG: the reference and the tests side by side.")
@click.option("--score", "score_path", type=path_type, help="A MIDI file, drawn over the pictures.")
@click.option("--start", "start_s", default=0.0, type=Seconds(min=0), help="Where the triptych begins, as 8 or 0:08.")
@click.option("--duration", "duration_s", default=1.0, type=positive, help="Seconds in the triptych.")
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
def compare(
    reference: Path,
    tests: tuple[Path, ...],
    plot_path: Path | None,
    triptych: Path | None,
    score_path: Path | None,
    start_s: float,
    duration_s: float,
    print_json: bool,
) -> None:
    """RMSE-CQT of recordings against their reference (0 is equal, below 10 is good), second by second, and their level.

    Baselines are silence, and the reference's own seconds in other places.
    """
    if plot_path and len(tests) > 1:
        raise InputError("--plot draws one test; --triptych draws several")
    if score_path and not (plot_path or triptych):
        raise InputError("--score is drawn over pictures: give --plot or --triptych, too")
    for path in (plot_path, triptych):
        if path:
            check_picture(path)
    score = read_score(score_path) if score_path else None
    theirs = read_audio(reference)
    rate = theirs.sample_rate_hz
    read = [theirs, *(read_audio(test, rate) for test in tests)]
    for remark in (remark for audio in read for remark in audio.remarks):
        say(remark)
    lengths = [len(audio.samples) for audio in read]
    if len(set(lengths)) > 1:
        say(f"lengths differ, the shortest counts: {', '.join(f'{n / rate:.2f}' for n in lengths)} s")
    target, *sounds = (audio.samples[: min(lengths)] for audio in read)
    baselines = {
        name: rmse_cqt_at_floors(target, sound, rate).mean(axis=1).tolist()
        for name, sound in simple_baselines(target, rate).items()
    }
    results = [comparison(target, sound, rate) for sound in sounds]
    if plot_path:
        names, notes = (reference.name, tests[0].name), score.notes if score else ()
        beside = plot_path.with_stem(plot_path.stem + "-50")
        for path, floor_db in zip((plot_path, beside), FLOORS_DB, strict=True):
            plot_comparison(path, target, sounds[0], rate, tests[0].name, notes, names, floor_db)
            say(f"{path}: the picture, floor at {floor_db:g} dB")
    if triptych:
        start = round(start_s * rate)
        stop = start + round(duration_s * rate)
        if start >= len(target):
            raise InputError(f"--start: {start_s:g} s is beyond the end, {len(target) / rate:.2f} s")
        labels = [reference.name, *(f"{n} {path.name}" for n, path in enumerate(tests, 1))]
        excerpts = {label: sound[start:stop] for label, sound in zip(labels, (target, *sounds), strict=True)}
        notes = score.excerpt(start_s, duration_s).notes if score else ()
        plot_triptych(triptych, excerpts, rate, f"from {start_s:g} s" if start_s else "", notes)
        say(f"{triptych}: the picture")
    if print_json:
        several = {"tests": dict(zip(map(str, tests), results, strict=True))}
        show(as_json((several if len(tests) > 1 else results[0]) | {"baselines": baselines}))
        return
    for test, found in zip(tests, results, strict=True):
        show(f"{test} against {reference}")
        for number, second in enumerate(found["seconds"]):
            show(f"{number:4d} s  {second:6.2f} dB")
        show(f"mean    {with_ci95(found['rmse_cqt_db'], found['ci95_db']):>6} dB, with its 95% interval")
        show(f"mean    {found['rmse_cqt_50_db']:6.2f} dB with the floor at -50 dB")
        show(f"level   {found['level_db']:+6.1f} dB, test against reference")
    for name, (at_80, at_50) in baselines.items():
        show(f"        {at_80:6.2f} / {at_50:.2f} dB, floors at -80 / -50 dB: {name}")


def comparison(reference: np.ndarray, test: np.ndarray, rate: int) -> dict[str, Any]:
    """The figures of `compare` for samples [n] and [n]."""
    seconds, faint = rmse_cqt_at_floors(reference, test, rate)
    mean, width = mean_and_ci95(seconds)
    return {
        "rmse_cqt_db": mean,
        "ci95_db": width,
        "rmse_cqt_50_db": float(faint.mean()),
        "seconds": seconds.tolist(),
        "level_db": level_difference_db(reference, test),
    }


@click.command()
@click.option("--model", default=DEFAULT_MODEL, type=click.Choice(list(MODELS)), help="Architecture.")
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
