"""`synthnet evaluate`: how good a network is, beside baselines and other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from synthnet.cli.corpora import corpus_of
from synthnet.cli.options import FiniteRange, Pair, as_json, path_type, progress_bar, say, show
from synthnet.corpus.corpus import Corpus, Piece
from synthnet.evaluation import pieces, plots, systems
from synthnet.evaluation.baselines import harmonic_players
from synthnet.evaluation.free_run import LEAD_IN_S, spread_places
from synthnet.files import InputError
from synthnet.generation.engine import choose_device
from synthnet.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from synthnet.score.general_midi import partials_of


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
    type=Pair("NAME=FOLDER"),
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
    audio: tuple[tuple[str, str], ...],
    keep: bool,
    print_json: bool,
) -> None:
    """All figures of quality, on a corpus's validation pieces.

    For the paper's networks: likelihood; RMSE-CQT of separate seconds; and of whole pieces played in one go: RMSE-CQT,
    right notes, level, bursts at the start, drift, collapse, each beside what is good. A large network takes long over
    a whole piece: --piece-seconds 20 is enough for all but drift.

    For a harmonic instrument: distances from the validation pieces beside its two baselines. Only --corpus, --audio,
    --keep and --json matter.

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
    others = other_folders(audio, corpus)
    if at_any_rate:
        measured = measure_systems(corpus, play_harmonic(checkpoint, corpus), others)
        if keep:
            found = measured["network"][0].items()
            of_pieces = [{"name": name, "expectation": one.as_dict()} for name, one in found]
            keep_figures(checkpoint_path, checkpoint, voice.name, {"pieces": of_pieces})
        show(as_json(plain_systems(measured)) if print_json else systems.table(measured))
        return
    lengths = pieces.piece_lengths(corpus, piece_seconds)
    if not lengths and (piece_seconds or plot_path or audio):
        raise InputError("no piece to play in one go: it takes 3 s (--piece-seconds)")
    if plot_path:
        plots.check_picture(plot_path)  # reported before the piece is played
    network = checkpoint.build(choose_device(device_name))
    places, second = [spread_places(corpus, seconds, voice.style)], round((LEAD_IN_S + 1) * rate)  # made side by side
    with progress_bar(second * seconds, rate) as advance:
        (figures,) = pieces.evaluate(network, places, seed, lambda n: advance(n * seconds, "separate seconds"))
    runs: list[pieces.PieceRun] = []
    for piece, n in lengths:
        say(f"{piece.name}: playing {n / rate:.1f} s in one go (--piece-seconds makes it shorter, or 0)")
        with progress_bar(n + second, rate) as advance:
            part = pieces.Part(corpus, piece, n, voice.style)
            (run,) = pieces.play_pieces(network, [part], seed=seed, progress=advance)
        if plot_path and not runs:
            plots.plot_comparison(plot_path, run.target, run.mean, rate, f"{voice.name}, {piece.name}", run.notes)
            say(f"{plot_path}: the picture")
        runs.append(run)
    plain = {**figures.as_dict(), "pieces": [run.as_dict() for run in runs]}
    if keep:
        keep_figures(checkpoint_path, checkpoint, voice.name, plain)
    texts = [f"{checkpoint_path} on {corpus.folder}, {voice.name}\n{figures.text()}", *(run.text() for run in runs)]
    if audio:
        own = [(run.piece, {"sample": run.sample, "mean": run.mean}) for run in runs]
        measured = measure_systems(corpus, own, others)
        plain["systems"] = plain_systems(measured)
        texts.append(systems.table(measured))
    show(as_json(plain) if print_json else "\n\n".join(texts))


Sounds = Sequence[tuple[Piece, Mapping[str, np.ndarray]]]  # of each piece, samples [n] by the name of the system
Systems = dict[str, list[dict[str, systems.SystemFigures]]]  # by system, training and piece


def play_harmonic(checkpoint: Checkpoint, corpus: Corpus) -> Sounds:
    """The validation pieces as a harmonic instrument and its baselines play them."""
    players, rate = harmonic_players(checkpoint, corpus), corpus.sample_rate_hz
    sounds = [(piece, dict[str, np.ndarray]()) for piece in corpus.split("valid")]
    with progress_bar(len(players) * sum(piece.n_samples for piece, _ in sounds), rate) as advance:
        for piece, by_player in sounds:
            for name, play in players.items():
                by_player[name] = play(corpus.read_notes(piece), piece.n_samples, rate)
                advance(piece.n_samples, f"playing: {name}, {piece.name}")
    return sounds


def other_folders(audio: Sequence[tuple[str, str]], corpus: Corpus) -> dict[str, list[Path]]:
    """Folders by name from `--audio`; InputError for one that is not there or lacks a validation piece."""
    folders: dict[str, list[Path]] = {}
    for name, folder in audio:
        if not Path(folder).is_dir():
            raise InputError(f"--audio {name}={folder}: not a folder of sound files")
        for piece in corpus.split("valid"):
            systems.playing_path(Path(folder), piece.name)
        folders.setdefault(name, []).append(Path(folder))
    return folders


def measure_systems(corpus: Corpus, own: Sounds, folders: Mapping[str, Sequence[Path]]) -> Systems:
    """The figures of all systems; the reference itself comes last, as what the measures of notes can reach."""
    rate, partials = corpus.sample_rate_hz, partials_of(corpus.instrument)
    measured: Systems = {}
    n_sounds = len(own[0][1]) + sum(map(len, folders.values())) + 1
    lengths = [len(next(iter(sounds.values()))) for _, sounds in own]
    with progress_bar(n_sounds * sum(lengths), rate) as advance:
        for (piece, sounds), n in zip(own, lengths, strict=True):
            notes, target = corpus.read_notes(piece), corpus.read_audio(piece)[:n]
            takes = {name: [sound] for name, sound in sounds.items()}
            for name, others in folders.items():
                takes[name] = [systems.read_playing(folder, piece.name, target, rate) for folder in others]
            takes["reference"] = [target]
            for name, several in takes.items():
                trainings = measured.setdefault(name, [{} for _ in several])
                for training, sound in zip(trainings, several, strict=True):
                    advance(0, f"{name}, {piece.name}")
                    training[piece.name] = systems.system_figures(target, sound, notes, rate, piece, partials)
                    advance(n, f"{name}, {piece.name}")
    return measured


def plain_systems(measured: Systems) -> dict[str, Any]:
    """Plain values, for JSON: of a single training by piece, of several as a list, with means and intervals."""
    plain: dict[str, Any] = {}
    for name, trainings in measured.items():
        each = [{piece: one.as_dict() for piece, one in training.items()} for training in trainings]
        plain[name] = each[0]
        if len(each) > 1:
            plain[name] = {"trainings": each, "over_trainings": systems.over_trainings(trainings)}
    return plain


def keep_figures(path: Path, checkpoint: Checkpoint, instrument: str, figures: dict[str, Any]) -> None:
    """Write an instrument's figures into its checkpoint, without the lists of single notes and seconds."""
    plain = json.loads(as_json(figures))
    for piece in plain["pieces"]:
        for output in (piece.get("sample", {}), piece["expectation"]):
            for what in ("wrong_notes", "collapsed_seconds"):
                output.pop(what, None)
    kept = {**checkpoint.figures.get("evaluations", {}), instrument: plain}
    save_checkpoint(path, replace(checkpoint, figures={**checkpoint.figures, "evaluations": kept}))
    say(f"{path}: keeps these figures")
