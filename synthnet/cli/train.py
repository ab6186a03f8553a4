"""`synthnet train`: learn an instrument."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from synthnet.cli.corpora import corpora_for
from synthnet.cli.options import path_type, positive, say
from synthnet.files import InputError
from synthnet.generation.library import DEFAULT_RUNS, read_library
from synthnet.models import PRESETS, HarmonicConfig, preset_rate_hz
from synthnet.models.checkpoint import peek_checkpoint
from synthnet.score.general_midi import KNOWN_INSTRUMENTS, known_instrument

GPU_PRESET = "L24"
WITH_GPU = (
    "a GPU is here: training SynthNet L24, the paper's network, for nine minutes unless you say otherwise; --model "
    "harmonic learns a harmonic instrument on the processor in ten minutes instead"
)
WITHOUT_GPU = (
    "no GPU is here: training a harmonic instrument, for ten minutes unless you say otherwise; --model synthnet "
    "--preset L24 trains the paper's network instead, which wants a GPU"
)


@click.command()
@click.option(
    "--instrument",
    help=f"Instrument to learn: {', '.join(who.name for who in KNOWN_INSTRUMENTS)}; your own, if it has a corpus; "
    "several with commas, or all, for one network.",
)
@click.option("--model", help="harmonic, synthnet, wavenet, deepvoice.  [default: synthnet with a GPU, else harmonic]")
@click.option(
    "--preset", help=f"Size of the paper's networks: {', '.join(PRESETS)}.  [default: L24 on a GPU, else cpu]"
)
@click.option(
    "--corpus",
    "folders",
    multiple=True,
    type=path_type,
    help="Corpus folder; repeat for more.  [default: of --instrument, built if missing]",
)
@click.option(
    "--from",
    "start_text",
    metavar="shipped|NAME|FILE",
    help="Start from a trained network, with its shape: the shipped instrument nearest to the corpus's MIDI program, "
    "an instrument that synthnet instruments lists, or a FILE.safetensors.  [default: fresh weights]",
)
@click.option("--out", type=path_type, help="Folder of the run.  [default: runs/INSTRUMENT-PRESET, or -harmonic]")
@click.option("--minutes", type=positive, help="Length, resumed parts included.  [default of harmonic: 10, of cpu: 12]")
@click.option("--epochs", type=positive, help="Passes through the corpus.  [default of L24, L26, L48: 200]")
@click.option("--steps", type=click.IntRange(min=1), help="Train until this step.")
@click.option("--resume", is_flag=True, help="Continue the run in --out, with its settings.")
@click.option("--device", "device_name", default="auto", help="cpu, cuda, or auto: a GPU if there is one.")
@click.option(
    "--set",
    "words",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change another setting, as in learning_rate=0.001, seed=1, channels=64, velocity=true, workers=2 or "
    "evaluate_every=5min; repeat for more. A wrong name lists all.",
)
def train(
    instrument: str | None,
    model: str | None,
    preset: str | None,
    folders: tuple[Path, ...],
    start_text: str | None,
    out: Path | None,
    resume: bool,
    device_name: str,
    words: tuple[str, ...],
    **length: Any,
) -> None:
    """Learn an instrument.

    The network, its curves and the state to resume from are saved in a folder under runs/. Ctrl-C saves and stops.
    With --minutes the learning rate of cpu, tiny and the default on a GPU falls over that time. --steps and --epochs
    hold it, as the paper does, unless anneal_steps is set: N steps and N more resumed are then exactly 2N steps.
    Several GPUs: torchrun --nproc_per_node 2 -m synthnet train ...
    """
    if sum(value is not None for value in length.values()) > 1:
        raise InputError("--minutes, --epochs and --steps: give one of them")
    if resume and start_text:
        raise InputError("--from is for a new run; --resume continues with the run's own weights")
    # Loaded now, not with the options, so that a slip is reported at once.
    import torch.distributed as dist

    from synthnet.corpus.corpus import read_corpus
    from synthnet.generation.engine import choose_device
    from synthnet.training import run, settings

    rank, world = run.join_processes(device_name)
    report = say if rank == 0 else lambda line: None
    device = choose_device(device_name)
    like = None  # the network whose kind and sample rate the run takes
    base = None  # the recipe, if it is not the preset's
    if resume and out is not None:
        settings.resumed_settings(out, model, {})
        like = peek_checkpoint(out / "last.safetensors")
    elif start_text is not None:
        who = known_instrument(instrument or "")
        program = read_corpus(folders[0]).program if folders else who.program if who else 0
        like = peek_checkpoint(read_library().starting_point(start_text, program)[0])
    if model is None and preset is None:
        if like is not None:
            model = like.config.model
        elif device.type == "cuda":
            model, preset, base = settings.DEFAULT_MODEL, GPU_PRESET, settings.GPU
            report(WITH_GPU)
        else:
            model = HarmonicConfig.kind
            report(WITHOUT_GPU)
    recipe = settings.recipe_name(model, preset)
    if model in run.CPU_ONLY and device_name not in ("auto", "cpu"):
        raise InputError(f"--device {device_name}: a harmonic instrument learns on the processor")
    shape, changes, own = settings.split_settings(model, settings.parse_settings(words), settings.RunSettings)
    how, overrides = settings.RunSettings(**own), shape | changes
    every = None if how.evaluate_every is None else settings.Span.parse(how.evaluate_every)
    if like is None:
        config: Any = settings.fresh_settings(model, preset, 1, overrides)[0]
        rate = preset_rate_hz(None if model == HarmonicConfig.kind else recipe)
    else:
        config, rate = like.config, like.sample_rate_hz
    if rank > 0:
        dist.barrier()  # the first process builds the corpora, the others find them
    corpora = corpora_for(instrument, folders, how.rate or rate, config.velocity)
    if rank == 0 and world > 1:
        dist.barrier()
    folder = out or DEFAULT_RUNS / f"{'-'.join(corpus.instrument for corpus in corpora)}-{recipe}"
    start = None if start_text is None else read_library().starting_point(start_text, corpora[0].program)
    plan = settings.plan_run(
        corpora,
        model,
        preset,
        overrides,
        settings.Span(**length) if any(length.values()) else None,
        base=base,
        resumed=folder if resume else None,
        start=start,
    )
    if start:
        report("starts from " + ", ".join(str(part) for part in start if part))
    run.train_run(
        folder,
        corpora,
        plan.config,
        plan.training,
        plan.span,
        device=device,
        resume=resume,
        start=plan.start,
        evaluate_every=every,
        workers=how.workers,
        precision=how.precision,
        say=report,
    )
    run.part_processes()
    report(f"{folder}: best.safetensors and last.safetensors to play, curves.png to look at")
    report(f"hear it: synthnet render SONG.mid --checkpoint {folder / 'best.safetensors'}")
