"""Train one SynthNet L24 of 256 channels on the paper's seven instruments, with velocities, and measure it.

    python recipes/gpu/pack.py instruments        # where there is a synthesizer: the corpora
    python recipes/gpu/instruments.py runs/gpu/instruments runs/gpu/seven
    python recipes/gpu/instruments.py runs/gpu/instruments runs/gpu/seven --minutes 11     # goes on from 5.5 to 11

The second folder gets the run of `synthnet train`, and figures.json, figures.md and prelude.opus: what each instrument
plays of the Prelude with dynamics (mean as output, in chunks), beside the harmonic instrument that ships and a sampler.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from synthnet.audio.files import write_audio
from synthnet.cli.options import say, show
from synthnet.corpus.corpus import Corpus, read_corpus
from synthnet.evaluation.pieces import PieceRun
from synthnet.experiments.machine import machine
from synthnet.experiments.results import number, table, write_text
from synthnet.files import InputError, commit
from synthnet.generation.engine import choose_device
from synthnet.models.checkpoint import Checkpoint, load_checkpoint
from synthnet.score.general_midi import INSTRUMENTS
from synthnet.training.run import train_run
from synthnet.training.settings import GPU, Span, annealed_over, fresh_settings, has_run
from synthnet.training.tasks import play_beside

SETTINGS = {"channels": 256, "velocity": True}
TINY = {"velocity": True, "n_predicted": 1_000}
EVALUATIONS, EVALUATION_SECONDS = 4, 2
HEARD_S = 20  # of each instrument, in prelude.opus
PLAYERS = ("synthnet", "harmonic", "sampler")
FLOORS = ("rmse_cqt_db", "rmse_cqt_50_db")
HEAD = ["instrument", *(f"{player} -80 / -50" for player in PLAYERS), "right pitch (teacher's)", "level", "ships"]


def train(corpora: Sequence[Corpus], folder: Path, minutes: float, device: torch.device, tiny: bool, seed: int) -> None:
    """Train, or go on: the learning rate falls over the minutes, those before included."""
    preset, changes, method = ("tiny", TINY, None) if tiny else ("L24", SETTINGS, GPU)
    config, training = fresh_settings("synthnet", preset, len(corpora), {**changes, "seed": seed}, method)
    span = Span(minutes=minutes)
    train_run(
        folder,
        corpora,
        config,
        annealed_over(training, span),
        span,
        device=device,
        resume=has_run(folder),
        evaluate_every=Span(minutes=minutes / EVALUATIONS),
        evaluation_seconds=EVALUATION_SECONDS,
        say=say,
    )


def measure(
    checkpoint: Checkpoint, corpora: Sequence[Corpus], device: torch.device
) -> tuple[dict[str, dict[str, Any]], list[PieceRun]]:
    """Figures of each instrument's players on the validation piece, and what the network played."""
    played = play_beside(checkpoint.build(device), checkpoint, corpora, None)
    figures: dict[str, dict[str, Any]] = {}
    for name, (run, beside) in played.items():
        plain = run.as_dict()
        about = {key: plain[key] for key in ("name", "seconds", "notes", "teacher_pitch_share")}
        figures[name] = {**about, "synthnet": plain["expectation"], **beside}
    return figures, [run for run, _ in played.values()]


def as_page(facts: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as a page, the conclusion first."""
    nearer = [name for name, of in figures.items() if all(of["synthnet"][f] < of["harmonic"][f] for f in FLOORS)]
    rows = []
    for name, players in figures.items():
        shares = f"{players['synthnet']['pitch_share']:.1%} ({players['teacher_pitch_share']:.1%})"
        distances = [" / ".join(number(players[player][floor]) for floor in FLOORS) for player in PLAYERS]
        level = f"{players['synthnet']['level_db']:+.1f} dB"
        rows.append([name, *distances, shares, level, "yes" if name in nearer else "no"])
    means = [[np.mean([one[player][floor] for one in figures.values()]) for floor in FLOORS] for player in PLAYERS]
    rows.append(
        ["mean", *(" / ".join(map(number, mean)) for mean in means), "", "", f"{len(nearer)} of {len(figures)}"]
    )
    said = f"SynthNet is nearer than the harmonic instrument at both floors for {', '.join(nearer) or 'none'}."
    made = ", ".join(f"{name} {value}" for name, value in facts.items())
    what = "RMSE-CQT in dB, floor at -80 / -50 dB, of the Prelude with dynamics at 16 kHz; mean as output, in chunks."
    return "\n\n".join([f"**{said}**", what, table(HEAD, rows), f"Made with {made}."]) + "\n"


@click.command()
@click.argument("corpora_folder", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--minutes", default=5.5, help="Of training, former parts included.")
@click.option("--device", "device_name", default="auto", help="cpu, cuda, or auto: a GPU if there is one.")
@click.option("--seed", default=0)
@click.option("--tiny", is_flag=True, help="A network of the preset tiny, to try this script.")
def main(corpora_folder: Path, folder: Path, minutes: float, device_name: str, seed: int, tiny: bool) -> None:
    """Train one network on the corpora in a folder, and measure it."""
    corpora = [read_corpus(corpora_folder / who.name) for who in INSTRUMENTS if (corpora_folder / who.name).is_dir()]
    if not corpora:
        raise InputError(f"{corpora_folder}: no corpus of {', '.join(who.name for who in INSTRUMENTS)}")
    device = choose_device(device_name)
    train(corpora, folder, minutes, device, tiny, seed)
    checkpoint = load_checkpoint(folder / "last.safetensors")
    figures, runs = measure(checkpoint, corpora, device)
    card = machine().gpu or machine().processor
    precision = checkpoint.training["precision"]
    facts = {"card": card, "precision": precision, "commit": commit(), "seed": seed, "minutes": minutes}
    page = as_page(facts, figures)
    write_text(folder / "figures.json", json.dumps({**facts, "instruments": figures}, indent=2) + "\n")
    write_text(folder / "figures.md", page)
    rate = checkpoint.sample_rate_hz
    heard = [np.concatenate([run.target[: HEARD_S * rate], run.mean[: HEARD_S * rate]]) for run in runs]
    write_audio(folder / "prelude.opus", np.concatenate(heard), rate)  # the teacher before the network
    show(page)


if __name__ == "__main__":
    main()
