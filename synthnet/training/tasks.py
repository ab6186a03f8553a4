"""Training slices and validation of each kind of model: a line of `TASKS` each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from synthnet.corpus.corpus import FULL_SCALE, Corpus
from synthnet.corpus.slices import NoteSlices, SliceDataset, piece_notes, recordings_of
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.free_run import seconds_at, spread_places
from synthnet.evaluation.likelihood import fit, split_floor_nats
from synthnet.files import InputError
from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.models import HarmonicConfig, ModelConfig, Network
from synthnet.models.checkpoint import arrays_of
from synthnet.models.losses import spectral_distance
from synthnet.models.measuring import measure
from synthnet.models.vibrato import measure_vibrato
from synthnet.training.settings import TrainingConfig

VALIDATED_S = 24  # seconds of the validation piece that a harmonic instrument plays


@dataclass(frozen=True)
class Validation:
    """Figures of a model by their names in metrics.jsonl, among them "rmse_cqt_db", and a line about them."""

    figures: dict[str, float]
    line: str


@dataclass(frozen=True)
class Task:
    """Everything that a model needs in order to be trained on some corpora."""

    config: Any  # of the model, completed by measurements in the corpora
    dataset: Dataset[dict[str, Tensor]]  # training slices
    validate: Callable[[Any], Validation]
    remark: str  # about the loss, for the first line of a run
    floor_nats: float = 0.0  # lower bound of the loss; 0: none
    measured: Mapping[str, np.ndarray] = field(default_factory=dict)  # weights, by name, that are not trained


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

    def validate(network: Network) -> Validation:
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
        return Validation(figures, line.format_map(figures))

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
    reference = corpus.read_samples(piece)[: VALIDATED_S * rate].astype(np.float32) / FULL_SCALE
    part = Part(piece_notes(corpus, piece, rate))

    def validate(network: torch.nn.Module) -> Validation:
        sound = HarmonicPlayer(config, arrays_of(network.state_dict()), rate).play(part, 0, len(reference))
        theirs, mine = (piece.measured(samples, rate) for samples in (reference, sound))
        at_80, at_50 = rmse_cqt_at_floors(theirs, mine, rate).mean(axis=1).tolist()
        line = f"{piece.name}: RMSE-CQT {at_80:.2f} dB, {at_50:.2f} dB with the floor at -50 dB"
        return Validation({"rmse_cqt_db": at_80, "rmse_cqt_50_db": at_50}, line)

    dataset = NoteSlices(corpus, "train", training.n_predicted, training.seed)
    return Task(config, dataset, validate, "the loss is a distance of spectra", measured=measured)


TASKS: dict[str, Callable[..., Task]] = {
    ModelConfig.kind: autoregressive_task,
    HarmonicConfig.kind: harmonic_task,
}
