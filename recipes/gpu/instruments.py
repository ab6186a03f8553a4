"""Train one SynthNet L24 of 256 channels on the paper's seven instruments, with velocities, and measure it.

    python recipes/gpu/pack.py instruments        # where there is a synthesizer: the corpora
    python recipes/gpu/instruments.py runs/gpu/instruments runs/gpu/seven
    python recipes/gpu/instruments.py runs/gpu/instruments runs/gpu/seven --minutes 12     # goes on from 5.5 to 12

The second folder gets the run of `synthnet train`, and figures.json, figures.md and prelude.opus: what each instrument
plays of the Prelude with dynamics (mean as output, in chunks), beside the harmonic instrument that ships and a sampler.
"""

from __future__ import annotations

import dataclasses
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
from synthnet.evaluation.measure import measure_beside
from synthnet.evaluation.pieces import Part, PieceRun, piece_lengths, play_pieces
from synthnet.experiments.machine import machine
from synthnet.experiments.results import number, table, write_text
from synthnet.files import InputError, commit
from synthnet.generation.engine import choose_device
from synthnet.models.checkpoint import Checkpoint, load_checkpoint
from synthnet.score.general_midi import INSTRUMENTS
from synthnet.training.run import train_run
from synthnet.training.settings import Span, annealed_over, fresh_settings, has_run

SETTINGS = {"channels": 256, "velocity": True, "n_predicted": 65_536, "warmup_steps": 200, "ema_decay": 0.995}
TINY = {"velocity": True, "n_predicted": 1_000}
EVALUATIONS, EVALUATION_SECONDS = 4, 2
HEARD_S = 20  # of each instrument, in prelude.opus
PLAYERS = ("synthnet", "harmonic", "sampler")
FLOORS = ("rmse_cqt_db", "rmse_cqt_50_db")
HEAD = ["instrument", *(f"{player} -80 / -50" for player in PLAYERS), "right pitch (teacher's)", "level", "ships"]


def train(corpora: Sequence[Corpus], folder: Path, minutes: float, device: torch.device, tiny: bool, seed: int) -> None:
    """Train, or go on: the learning rate falls over the minutes, those before included."""
    preset, changes = ("tiny", TINY) if tiny else ("L24", SETTINGS)
    config, training = fresh_settings("synthnet", preset, len(corpora), {**changes, "seed": seed})
    span = Span(minutes=minutes)
    training = annealed_over(dataclasses.replace(training, anneal_minutes=minutes), span)
    every = Span(minutes=minutes / EVALUATIONS)
    resume = has_run(folder)
    train_run(
        folder,
        corpora,
        config,
        training,
        span,
        device=device,
        resume=resume,
        evaluate_every=every,
        evaluation_seconds=EVALUATION_SECONDS,
        say=say,
    )


def measure(
    checkpoint: Checkpoint, corpora: Sequence[Corpus], device: torch.device
) -> tuple[dict[str, dict[str, Any]], list[PieceRun]]:
    """Figures of each instrument's players on the validation piece, and what the network played."""
    parts = [
        Part(corpus, piece, n_samples, checkpoint.voice(corpus.instrument).style)
        for corpus in corpora
        for piece, n_samples in piece_lengths(corpus, None)[:1]
    ]
    runs = play_pieces(checkpoint.build(device), parts, n_chunks=None)
    figures: dict[str, dict[str, Any]] = {}
    for part, run in zip(parts, runs, strict=True):
        plain = run.as_dict()
        beside = {name: one.as_dict() for name, one in measure_beside(*part[:3]).items()}
        about = {name: plain[name] for name in ("name", "seconds", "notes", "teacher_pitch_share")}
        figures[part.corpus.instrument] = {**about, "synthnet": plain["expectation"], **beside}
    return figures, runs


def ships(players: Mapping[str, Any]) -> bool:
    """Whether the network is nearer than the harmonic instrument at both floors."""
    return all(players["synthnet"][floor] < players["harmonic"][floor] for floor in FLOORS)


def as_page(facts: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as a page, the conclusion first."""
    nearer = [name for name, players in figures.items() if ships(players)]
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
    facts = {"card": card, "precision": checkpoint.training["precision"], "commit": commit(), "seed": seed}
    facts["minutes"] = minutes
    write_text(folder / "figures.json", json.dumps({**facts, "instruments": figures}, indent=2) + "\n")
    write_text(folder / "figures.md", as_page(facts, figures))
    rate = checkpoint.sample_rate_hz
    heard = [np.concatenate([run.target[: HEARD_S * rate], run.mean[: HEARD_S * rate]]) for run in runs]
    write_audio(folder / "prelude.opus", np.concatenate(heard), rate)  # the teacher before the network
    show(as_page(facts, figures))


if __name__ == "__main__":
    main()
