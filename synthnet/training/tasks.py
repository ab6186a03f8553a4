"""How each kind of model is trained and measured: a line of `TASKS` each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from synthnet.corpus.corpus import Corpus
from synthnet.corpus.slices import NoteSlices, SliceDataset, recordings_of
from synthnet.evaluation.baselines import harmonic_play, harmonic_players
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.free_run import seconds_at, spread_places
from synthnet.evaluation.likelihood import fit, split_floor_nats
from synthnet.evaluation.measure import measure_beside, measure_instrument
from synthnet.evaluation.pieces import Part, PieceRun, evaluate, piece_lengths, play_pieces
from synthnet.files import InputError
from synthnet.models import HarmonicConfig, ModelConfig, Network
from synthnet.models.checkpoint import Checkpoint, arrays_of
from synthnet.models.losses import spectral_distance
from synthnet.models.measuring import measure
from synthnet.models.vibrato import measure_vibrato
from synthnet.score.general_midi import find_instrument
from synthnet.training.settings import TrainingConfig

VALIDATED_S = 24  # seconds of the validation piece that a harmonic instrument plays


@dataclass(frozen=True)
class Task:
    """Everything that a model needs in order to be trained on some corpora."""

    config: Any  # of the model, completed by measurements in the corpora
    dataset: Dataset[dict[str, Tensor]]  # training slices
    validate: Callable[[Any], tuple[dict[str, float], str]]  # figures, among them "rmse_cqt_db", and a line on them
    remark: str  # about the loss, for the first line of a run
    floor_nats: float = 0.0  # lower bound of the loss; 0: none
    measured: Mapping[str, np.ndarray] = field(default_factory=dict)  # weights, by name, to begin with


def autoregressive_task(
    corpora: Sequence[Corpus], config: ModelConfig, training: TrainingConfig, evaluation_seconds: int
) -> Task:
    """Slices of classes and rolls; validation by fit and by free-running seconds."""
    dataset = SliceDataset(
        corpora,
        "train",
        n_predicted=training.n_predicted,
        n_context=config.receptive_field - 1,
        seed=training.seed,
        dithered=config.dither,
        velocity=config.velocity,
    )
    floor = {split: split_floor_nats(corpora, split, config.dither) for split in ("train", "valid")}

    def validate(network: Network) -> tuple[dict[str, float], str]:
        found = fit(network, corpora, n_slices=16)
        one_hot = np.eye(len(corpora)) if config.styles else [None]
        played = zip(corpora, one_hot, strict=True)
        runs = seconds_at(network, [spread_places(corpus, evaluation_seconds, style) for corpus, style in played])
        figures = {
            "valid_nll": found.nll,
            "dither_floor": floor["valid"],
            "valid_excess": found.nll - floor["valid"],
            "score_gain": found.score_gain,
            "rmse_cqt_db": float(np.mean([run.rmse_db(run.sample)[0].mean() for run in runs])),
            "rmse_cqt_expectation_db": float(np.mean([run.rmse_db(run.mean)[0].mean() for run in runs])),
        }
        line = (
            "validation {valid_nll:.3f} nats, {valid_excess:+.3f} over the floor, score gain {score_gain:.2f}; "
            "free-running RMSE-CQT {rmse_cqt_db:.1f} dB (mean {rmse_cqt_expectation_db:.1f})"
        )
        return figures, line.format_map(figures)

    remark = f"dither floor {floor['train']:.3f} nats a sample: no loss can be lower"
    return Task(config, dataset, validate, remark, floor["train"])


def harmonic_task(
    corpora: Sequence[Corpus], config: HarmonicConfig, training: TrainingConfig, evaluation_seconds: int
) -> Task:
    """Slices of audio and notes; frequencies are measured first; validation on the first 24 s of a piece.

    Raises:
        InputError: more than one corpus, or slices too short for the loss.
    """
    if len(corpora) != 1:
        raise InputError("a harmonic instrument learns one instrument; several in one network: --model synthnet")
    (corpus,) = corpora
    rate, piece = corpus.sample_rate_hz, corpus.split("valid")[0]
    if training.n_predicted < (shortest := spectral_distance(rate).shortest):
        raise InputError(
            f"n_predicted: slices of {training.n_predicted} samples are too short for the spectra of a harmonic "
            f"instrument at {rate} Hz; at least {shortest}"
        )
    recordings = recordings_of(corpus, "train")
    config, measured = measure(recordings, rate, config)
    played = [] if corpus.soundfont else recordings  # by a person; a teacher's vibrato is in its envelopes
    vibrato_hz, vibrato_cents = measure_vibrato(played, measured["cents"], rate)
    config = replace(config, vibrato_hz=vibrato_hz, vibrato_cents=vibrato_cents)
    reference = corpus.read_audio(piece)[: VALIDATED_S * rate]
    notes = corpus.read_notes(piece)

    def validate(network: torch.nn.Module) -> tuple[dict[str, float], str]:
        weights = arrays_of(network.state_dict())
        sound = harmonic_play(Checkpoint(config, rate, (), {}, weights))(notes, len(reference), rate)
        theirs, mine = (piece.measured(samples, rate) for samples in (reference, sound))
        at_80, at_50 = rmse_cqt_at_floors(theirs, mine, rate).mean(axis=1).tolist()
        line = f"{piece.name}: RMSE-CQT {at_80:.2f} dB, {at_50:.2f} dB with the floor at -50 dB"
        return {"rmse_cqt_db": at_80, "rmse_cqt_50_db": at_50}, line

    dataset = NoteSlices(corpus, "train", training.n_predicted, training.seed)
    return Task(config, dataset, validate, "the loss is a distance of spectra", measured=measured)


def play_beside(
    network: Network,
    checkpoint: Checkpoint,
    corpora: Sequence[Corpus],
    seconds: int | None,
    progress: Callable[[int], object] = lambda n_samples: None,
) -> dict[str, tuple[PieceRun, dict[str, Any]]]:
    """By instrument, what a network plays of the first validation piece, and figures of others (`measure_beside`).

    Args:
        seconds: of the piece, in one go; None: all of it, in chunks (quick on a GPU alone). Pieces shorter than 3 s are
            not played.
    """
    parts = [
        Part(corpus, piece, n_samples, checkpoint.voice(corpus.instrument).style)
        for corpus in corpora
        for piece, n_samples in piece_lengths(corpus, seconds)[:1]
    ]
    n_chunks = None if seconds is None else 1
    runs = play_pieces(network, parts, n_chunks=n_chunks, progress=progress) if parts else []
    return {
        part.corpus.instrument: (run, {name: one.as_dict() for name, one in measure_beside(*part[:3]).items()})
        for part, run in zip(parts, runs, strict=True)
    }


def measure_autoregressive(
    checkpoint: Checkpoint,
    corpora: Sequence[Corpus],
    device: torch.device,
    seconds: int,
    whole_piece: bool | None,
    progress: Callable[[int], object],
) -> dict[str, Any]:
    """The figures of `evaluate` for so many seconds, and as "piece" those of `play_beside`."""
    network = checkpoint.build(device)
    places = [spread_places(corpus, seconds, checkpoint.voice(corpus.instrument).style) for corpus in corpora]
    figures = evaluate(network, places, progress=progress)
    by_name = {corpus.instrument: one.as_dict() for corpus, one in zip(corpora, figures, strict=True)}
    played = play_beside(network, checkpoint, corpora, None if whole_piece else seconds, progress)
    for name, (run, beside) in played.items():
        by_name[name]["piece"] = run.as_dict() | {"beside": beside}
    return by_name


def measure_harmonic(checkpoint: Checkpoint, corpora: Sequence[Corpus], *_: Any) -> dict[str, Any]:
    """Figures of the instrument beside its two baselines, see `measure_instrument`."""
    (corpus,) = corpora
    players = harmonic_players(checkpoint, corpus)
    return {corpus.instrument: measure_instrument(corpus, find_instrument(corpus.instrument), players).as_dict()}


class Kind(NamedTuple):
    """How a kind of model is trained and measured."""

    task: Callable[..., Task]
    measure: Callable[..., dict[str, Any]]  # the figures of a trained model in a recipe, by instrument
    on_gpu: bool  # else it is trained on the processor, whatever else there is


TASKS = {
    ModelConfig.kind: Kind(autoregressive_task, measure_autoregressive, on_gpu=True),
    HarmonicConfig.kind: Kind(harmonic_task, measure_harmonic, on_gpu=False),
}
