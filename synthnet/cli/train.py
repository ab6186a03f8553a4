"""`synthnet train`: learn an instrument."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import torch

from synthnet.cli.corpora import corpora_for
from synthnet.cli.options import path_type, positive, say, say_nothing
from synthnet.corpus.corpus import read_corpus
from synthnet.files import InputError
from synthnet.generation.library import DEFAULT_RUNS, NEAREST, read_library
from synthnet.models import MODELS, PRESETS, HarmonicConfig, preset_rate_hz
from synthnet.models.checkpoint import peek_checkpoint
from synthnet.score.general_midi import KNOWN_INSTRUMENTS, known_instrument
from synthnet.training.run import choose_device, join_processes, part_processes, train_run
from synthnet.training.settings import (
    DEFAULT_MODEL,
    DEFAULT_PRESET,
    Span,
    annealed_over,
    default_span,
    fresh_settings,
    has_run,
    read_start,
    resumed_settings,
    started_settings,
)

GPU_PRESET = "L24"


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


def program_of(instruments: str | None) -> int:
    """The General MIDI program of an instrument that is known by name; 0 for another."""
    who = known_instrument(instruments or "")
    return 0 if who is None else who.program


def choose_model(model: str | None, preset: str | None, device: torch.device) -> tuple[str | None, str | None, str]:
    """Model and preset (None: a harmonic instrument) of a run, and a line that says why, if nobody asked for them."""
    if model is None and preset is None:
        if device.type == "cuda":
            return (
                DEFAULT_MODEL,
                GPU_PRESET,
                (
                    "a GPU is here: training SynthNet L24, the paper's network, for 200 epochs; --model harmonic "
                    "learns a harmonic instrument on the processor in ten minutes instead"
                ),
            )
        return (
            HarmonicConfig.kind,
            None,
            (
                "no GPU is here: training a harmonic instrument, for ten minutes unless you say otherwise; "
                "--model synthnet --preset L24 trains the paper's network instead, which wants a GPU"
            ),
        )
    if model == HarmonicConfig.kind:
        if preset is not None:
            raise InputError(f"--preset {preset}: a harmonic instrument has no presets")
        return model, None, ""
    return model, preset or DEFAULT_PRESET, ""


@click.command()
@click.option(
    "--instrument",
    "instruments",
    help=f"Who is learned: {', '.join(who.name for who in KNOWN_INSTRUMENTS)}; one of your own, if it has a "
    "corpus; several with commas, or all, for one network.",
)
@click.option(
    "--model",
    help=f"Architecture: harmonic, {', '.join(MODELS)}.  [default: harmonic; synthnet with a GPU or --preset]",
)
@click.option(
    "--preset", help=f"Size and recipe of the paper's networks: {', '.join(PRESETS)}.  [default: cpu; L24 on a GPU]"
)
@click.option(
    "--corpus",
    "folders",
    multiple=True,
    type=path_type,
    help="Corpus folder; repeat for more.  [default: of --instrument, built if missing]",
)
@click.option(
    "--rate",
    type=int,
    help="Samples a second of the default corpus.  [default: 44100 of harmonic; 16000; of cpu and tiny 8000]",
)
@click.option(
    "--from",
    "start_text",
    metavar="shipped|NAME|FILE",
    help="Start from a trained network, with its shape: the shipped instrument nearest to the corpus's MIDI program, "
    "an instrument that synthnet instruments lists, or a FILE.safetensors.  [default: fresh weights]",
)
@click.option("--out", type=path_type, help="Folder of the run.  [default: runs/INSTRUMENT-PRESET, or -harmonic]")
@click.option(
    "--minutes", type=positive, help="Train this long, resumed parts included.  [default of harmonic: 10, of cpu: 12]"
)
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
@click.option("--seed", type=int, help="Random seed.  [default: 0]")
@click.option("--channels", type=int, help="Residual channels.  [default: the preset's]")
@click.option("--velocity/--binary", default=None, help="Velocities in the roll, or 0 and 1.  [default: binary]")
@click.option("--dither/--no-dither", default=None, help="Of the audio before it is quantised.  [default: dither]")
@click.option("--learning-rate", type=float, help="Of Adam, and of Muon.")
@click.option(
    "--muon/--no-muon", default=None, help="Train matrices by Muon instead of Adam.  [default: of cpu and tiny only]"
)
@click.option("--matrix-decay", type=float, help="Decoupled weight decay of Muon.  [default of cpu: 0.5]")
@click.option("--ema", "ema_decay", type=float, help="Decay of the weights' average, every 5 steps; 0: no average.")
@click.option("--batch", type=int, help="Slices a step, in each process.")
@click.option("--slice", "n_predicted", type=int, help="Samples predicted in a slice.")
@click.option("--anneal-steps", type=int, help="The learning rate falls until this step.")
def train(
    instruments: str | None,
    model: str | None,
    preset: str | None,
    folders: tuple[Path, ...],
    rate: int | None,
    start_text: str | None,
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
    With --minutes the learning rate of cpu and tiny falls over that time. --steps and --epochs hold it, as the paper
    does, unless --anneal-steps is given: N steps and N more resumed are then exactly 2N steps.
    Several GPUs: torchrun --nproc_per_node 2 -m synthnet train ...
    """
    overrides = {name: value for name, value in overrides.items() if value is not None}
    if sum(length is not None for length in (minutes, epochs, steps)) > 1:
        raise InputError("--minutes, --epochs and --steps: give one of them")
    if resume and start_text:
        raise InputError("--from is for a new run; --resume goes on with the run's own weights")
    rank, world = join_processes(device_name)
    device = choose_device(device_name)
    asked_preset = preset
    if start_text and model is None and preset is None:  # the start's own kind
        program = read_corpus(folders[0]).program if folders else program_of(instruments)
        config = peek_checkpoint(read_library().starting_point(start_text, program)[0]).config
        model, preset, why = config.model, None if config.kind == HarmonicConfig.kind else DEFAULT_PRESET, ""
    elif not resume or out is None:
        model, preset, why = choose_model(model, preset, device)
    else:
        why = ""
    if why and rank == 0:
        say(why)
    kind = resumed_settings(out, {})[0].kind if resume and out else HarmonicConfig.kind if preset is None else ""
    harmonic = kind == HarmonicConfig.kind
    if harmonic:
        if device_name not in ("auto", "cpu"):
            raise InputError(f"--device {device_name}: a harmonic instrument learns on the processor")
        device = torch.device("cpu")
    if not resume:  # a slip is told before a corpus is built
        fresh_settings(model, preset, 1, overrides)
        if start_text and start_text != NEAREST:
            peek_checkpoint(read_library().starting_point(start_text, program=0)[0])
    wanted = instruments, folders, rate or preset_rate_hz(preset), harmonic or overrides.get("velocity", False)
    if rank == 0:
        corpora = corpora_for(*wanted)
    if world > 1:
        torch.distributed.barrier()  # the first process builds the corpora, the others find them
    if rank > 0:
        corpora = corpora_for(*wanted)
    name = "-".join(corpus.instrument for corpus in corpora)
    folder = out or DEFAULT_RUNS / f"{name}-{preset or HarmonicConfig.kind}"
    start = None
    if resume:
        overrides |= {} if model is None or harmonic else {"model": model}
        config, training, span = resumed_settings(folder, overrides)
    elif has_run(folder):
        raise InputError(f"{folder}: holds a run already; --resume goes on with it, --out NAME starts another")
    elif start_text:
        path, instrument = read_library().starting_point(start_text, corpora[0].program)
        start = read_start(path, instrument, corpora)
        config, training = started_settings(start, model, asked_preset, overrides)
        span = default_span(training)
        if rank == 0:
            say(f"starts from {path}" + (f", {instrument}" if instrument else ""))
    else:
        config, training = fresh_settings(model, preset, len(corpora), overrides)
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
        start=start,
        evaluate_every=evaluate_every,
        workers=workers,
        say=say if rank == 0 else say_nothing,
    )
    part_processes()
    if rank == 0:
        say(f"{folder}: best.safetensors and last.safetensors to play, curves.png to look at")
        say(f"hear it: synthnet render SONG.mid --checkpoint {folder / 'best.safetensors'}")
