"""`synthnet evaluate`: how good a network is, beside baselines and other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from synthnet.cli.corpora import corpus_of
from synthnet.cli.options import FiniteRange, as_json, path_type, progress_bar, say, show
from synthnet.corpus.corpus import FULL_SCALE, Corpus, Piece
from synthnet.evaluation.baselines import harmonic_players
from synthnet.evaluation.free_run import spread_places
from synthnet.evaluation.pieces import Part, PieceRun, piece_lengths, play_pieces
from synthnet.evaluation.pieces import evaluate as evaluate_network
from synthnet.evaluation.plots import check_picture, plot_comparison
from synthnet.evaluation.systems import (
    SystemFigures,
    over_trainings,
    playing_path,
    read_playing,
    system_figures,
    table,
)
from synthnet.files import InputError
from synthnet.generation.engine import choose_device
from synthnet.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from synthnet.score.general_midi import partials_of
from synthnet.score.notes import Note


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
@click.option(
    "--audio",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Another program's PIECE.wav of the validation pieces; the same NAME again: its other trainings, pooled.",
)
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
    audio: tuple[str, ...],
    keep: bool,
    print_json: bool,
) -> None:
    """All figures of quality, on a corpus's validation pieces.

    For the paper's networks: likelihood; RMSE-CQT of separate seconds; and of whole pieces played in one go: RMSE-CQT,
    right notes, level, bursts at the start, drift, collapse, each beside what is good. A large network takes long over
    a whole piece: --piece-seconds 20 is enough for all but drift.

    For a harmonic instrument: distances from the validation pieces beside its two baselines. Only --corpus, --audio and
    --json matter.

    --audio puts other programs into the table of all systems, at the level of the reference. Note F1 takes onnxruntime.
    """
    checkpoint = load_checkpoint(checkpoint_path)
    config: Any = checkpoint.config
    rate = checkpoint.sample_rate_hz
    voice = checkpoint.voice(instrument)
    corpus = corpus_of(checkpoint, voice.name, folder)
    at_any_rate = not config.receptive_field  # it is not autoregressive
    if corpus.sample_rate_hz != rate and not at_any_rate:
        raise InputError(f"{corpus.folder}: at {corpus.sample_rate_hz} Hz, the network at {rate} Hz")
    if not corpus.split("valid"):
        raise InputError(f"{corpus.folder}: no validation piece (synthnet corpus build --valid NAME chooses one)")
    folders_by_name = other_folders(audio, corpus)
    if at_any_rate:
        evaluate_harmonic(checkpoint, corpus, folders_by_name, print_json)
        return
    lengths = piece_lengths(corpus, piece_seconds)
    if not lengths and (piece_seconds or plot_path or audio):
        raise InputError("no piece to play in one go: it takes 3 s (--piece-seconds)")
    if plot_path:
        check_picture(plot_path)  # reported before the piece is played
    network = checkpoint.build(choose_device(device_name))
    (figures,) = evaluate_network(network, [spread_places(corpus, seconds, voice.style)], seed)
    runs: list[PieceRun] = []
    for piece, n_samples in lengths:
        say(f"{piece.name}: playing {n_samples / rate:.1f} s in one go (--piece-seconds makes it shorter, or 0)")
        with progress_bar(n_samples, rate) as advance:
            part = Part(corpus, piece, n_samples, voice.style)
            (run,) = play_pieces(network, [part], seed=seed, progress=advance)
        if plot_path and not runs:
            plot_comparison(plot_path, run.target, run.mean, rate, f"{voice.name}, {piece.name}", run.notes)
            say(f"{plot_path}: the picture")
        runs.append(run)
    plain = {**figures.as_dict(), "pieces": [run.as_dict() for run in runs]}
    if keep:
        keep_figures(checkpoint_path, checkpoint, voice.name, plain)
    systems: Systems = {}
    if audio:
        heard = [Heard(run.piece, run.target, run.notes, {"sample": run.sample, "mean": run.mean}) for run in runs]
        systems = measure_systems(heard, folders_by_name, rate, partials_of(corpus.instrument))
        plain["systems"] = plain_systems(systems)
    if print_json:
        show(as_json(plain))
    else:
        heading = f"{checkpoint_path} on {corpus.folder}, {voice.name}\n"
        texts = [heading + figures.text(), *(run.text() for run in runs)]
        show("\n\n".join([*texts, table(systems)] if audio else texts))


def evaluate_harmonic(checkpoint: Checkpoint, corpus: Corpus, folders: dict[str, list[Path]], print_json: bool) -> None:
    """Print the figures of a harmonic instrument, of its baselines and of other programs on the validation pieces."""
    rate, players, heard = corpus.sample_rate_hz, harmonic_players(checkpoint, corpus), []
    for piece in corpus.split("valid"):
        target, notes = corpus.read_samples(piece).astype(np.float32) / FULL_SCALE, corpus.read_notes(piece)
        sounds = {player: play(notes, piece.n_samples, rate) for player, play in players.items()}
        heard.append(Heard(piece, target, notes, sounds))
    systems = measure_systems(heard, folders, rate, partials_of(corpus.instrument))
    show(as_json(plain_systems(systems)) if print_json else table(systems))


class Heard(NamedTuple):
    """A piece: the reference [n], its notes, and sounds [n] by the name of the system."""

    piece: Piece
    target: np.ndarray
    notes: tuple[Note, ...]
    sounds: dict[str, np.ndarray]


Systems = dict[str, list[dict[str, SystemFigures]]]  # by system, training and piece


def other_folders(audio: Sequence[str], corpus: Corpus) -> dict[str, list[Path]]:
    """Folders by name from `--audio`; InputError for one that is not there or lacks a validation piece."""
    folders: dict[str, list[Path]] = {}
    for word in audio:
        name, _, folder = word.partition("=")
        if not name or not Path(folder).is_dir() or not folder:
            raise InputError(f"--audio {word}: must be NAME=FOLDER, a folder of sound files")
        for piece in corpus.split("valid"):
            playing_path(Path(folder), piece.name)
        folders.setdefault(name, []).append(Path(folder))
    return folders


def measure_systems(
    pieces: Sequence[Heard], folders: dict[str, list[Path]], rate: int, partials: tuple[float, ...]
) -> Systems:
    """The figures of all systems; the reference itself comes last, as what the measures of notes can reach."""
    systems: Systems = {}
    for piece, target, notes, own in pieces:
        others = {
            name: [read_playing(folder, piece.name, target, rate) for folder in several]
            for name, several in folders.items()
        }
        sounds = {name: [sound] for name, sound in own.items()} | others | {"reference": [target]}
        for name, several in sounds.items():
            trainings = systems.setdefault(name, [{} for _ in several])
            for training, sound in zip(trainings, several, strict=True):
                training[piece.name] = system_figures(target, sound, notes, rate, piece, partials)
    return systems


def plain_systems(systems: Systems) -> dict[str, Any]:
    """Plain values, for JSON: of a single training by piece, of several as a list, with means and intervals."""
    plain: dict[str, Any] = {}
    for name, trainings in systems.items():
        each = [{piece: one.as_dict() for piece, one in training.items()} for training in trainings]
        pooled = {"trainings": each, "over_trainings": over_trainings(trainings)} if len(each) > 1 else each[0]
        plain[name] = pooled
    return plain


def keep_figures(path: Path, checkpoint: Checkpoint, instrument: str, figures: dict[str, Any]) -> None:
    """Write an instrument's figures into its checkpoint, without the lists of single notes and seconds."""
    plain = json.loads(as_json(figures))
    for piece in plain["pieces"]:
        for output in (piece["sample"], piece["expectation"]):
            del output["wrong_notes"], output["collapsed_seconds"]
    kept = {**checkpoint.figures.get("evaluations", {}), instrument: plain}
    save_checkpoint(path, replace(checkpoint, figures={**checkpoint.figures, "evaluations": kept}))
    say(f"{path}: keeps these figures")
