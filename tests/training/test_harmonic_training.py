"""A small harmonic instrument in the training loop: it learns, and resumes to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthnet.corpus.corpus import Corpus
from synthnet.corpus.slices import NoteSlices
from synthnet.files import InputError
from synthnet.models import HarmonicConfig, build_model
from synthnet.models.checkpoint import Checkpoint, load_checkpoint
from synthnet.training import tasks
from synthnet.training.settings import training_config
from synthnet.training.tasks import harmonic_task
from synthnet.training.trainer import LossModule, Trainer
from tests.training.runs import assert_same_files, run_to

TRAINED = HarmonicConfig(partials=30, bands=16, width=32, embedding=8)
TINY = training_config("harmonic", n_predicted=9_000, batch=2, warmup_steps=0, anneal_steps=60, anneal_minutes=None)


def trainer_for(folder: Path, corpus: Corpus, resume: bool = False, **changes: Any) -> Trainer:
    folder.mkdir(exist_ok=True)
    training = replace(TINY, **changes)
    task = harmonic_task([corpus], TRAINED, training, 4)
    begin = Checkpoint(task.config, corpus.sample_rate_hz, ("trumpet",), {}, task.measured)
    trainer = Trainer(folder, begin, training, task.dataset, device=torch.device("cpu"))
    if resume:
        trainer.load()
    return trainer


def test_only_a_person_has_a_vibrato(tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "measure_vibrato", lambda played, cents, rate: (6.2, 14.0 if played else 0.0))
    recorded = replace(tiny_corpus, soundfont="")
    teacher, person = (harmonic_task([corpus], TRAINED, TINY, 4).config for corpus in (tiny_corpus, recorded))
    assert (teacher.vibrato_cents, person.vibrato_cents, person.vibrato_hz) == (0, 14, 6.2)


def test_thirty_steps_lower_the_distance_of_other_slices(tmp_path: Path, tiny_corpus: Corpus) -> None:
    trainer = trainer_for(tmp_path / "run", tiny_corpus, learning_rate=3e-2)
    others = NoteSlices.collate([trainer.dataset[i] for i in range(1_000, 1_008)])
    distances = []
    for batch, _ in zip(trainer.batches(), range(31), strict=False):
        if trainer.step % 30 == 0:
            with torch.no_grad():
                distances.append(trainer.learner.network.loss(others).audio.item())
        trainer.train_step(LossModule(trainer.learner.network), batch, 0.0)
        trainer.step += 1
    assert distances[1] < 0.75 * distances[0]


def test_resumed_is_the_same_to_the_bit(tmp_path: Path, tiny_corpus: Corpus) -> None:
    run_to(trainer_for(tmp_path / "whole", tiny_corpus), 12)
    run_to(trainer_for(tmp_path / "parts", tiny_corpus), 6)
    resumed = trainer_for(tmp_path / "parts", tiny_corpus, resume=True)
    assert resumed.step == 6
    run_to(resumed, 12)
    assert_same_files(tmp_path / "whole", tmp_path / "parts")


def test_what_is_measured_is_not_trained(tmp_path: Path, tiny_corpus: Corpus) -> None:
    trainer = trainer_for(tmp_path / "run", tiny_corpus)
    start = {name: value.clone() for name, value in trainer.learner.network.state_dict().items()}
    run_to(trainer, 5)  # the first update of the average
    weights = load_checkpoint(tmp_path / "run" / "last.safetensors").weights
    for name in ("cents", "stretch", "ratios", "release_s", "nearest"):
        np.testing.assert_array_equal(weights[name], start[name])
    for name in ("key.weight", "hidden.0.weight", "out.weight", "gain.weight", "fall.weight"):
        assert not np.array_equal(weights[name], start[name])


def test_validation_plays_the_network(tiny_corpus: Corpus) -> None:
    task = harmonic_task([tiny_corpus], TRAINED, TINY, 4)
    network: Any = build_model(task.config)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in task.measured.items()}, strict=False)
    figures, line = task.validate(network)
    assert 0 < figures["rmse_cqt_50_db"] < figures["rmse_cqt_db"] < 80
    assert "tiny_prelude" in line


def test_what_it_cannot_learn_from_is_refused(tiny_corpus: Corpus) -> None:
    with pytest.raises(InputError, match="learns one instrument"):
        harmonic_task([tiny_corpus, tiny_corpus], TRAINED, TINY, 4)
    with pytest.raises(InputError, match=r"n_predicted: slices of 8192 samples are too short .* at least 8193"):
        harmonic_task([tiny_corpus], TRAINED, replace(TINY, n_predicted=8_192), 4)
    harmonic_task([tiny_corpus], TRAINED, replace(TINY, n_predicted=8_193), 4)
