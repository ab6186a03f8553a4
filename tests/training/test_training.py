"""The loop: resuming to the bit, interruption, divergence, annealing, and the classic fit of one slice."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import synthnet
from synthnet.corpus.corpus import Corpus
from synthnet.files import InputError, append_line, only_one
from synthnet.models import KINDS, Kind, Losses, Model, build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, arrays_of, load_checkpoint
from synthnet.training.run import training_rows
from synthnet.training.settings import TrainingConfig, annealed, training_config
from synthnet.training.trainer import Interrupted, LossModule, Trainer
from tests.training.runs import assert_same_files, network_trainer, run_to

trainer_for = partial(network_trainer, Trainer)


def run(trainer: Trainer, steps: int, show: Callable[[float, float], None] | None = None) -> None:
    """Validate after seven steps and at the end."""
    run_to(trainer, steps, show=show, validated_at=7, figure=sum_of_weights)


def sum_of_weights(network: torch.nn.Module) -> float:
    return next(network.parameters()).detach().abs().sum().item()


TINY = training_config("tiny", n_predicted=300, batch=2)


def test_resumed_with_workers_is_the_same_to_the_bit(tmp_path: Path, tiny_corpus: Corpus) -> None:
    training = dataclasses.replace(TINY, anneal_steps=25, anneal_minutes=None)
    run(trainer_for(tmp_path / "whole", tiny_corpus, training), 20)
    run(trainer_for(tmp_path / "parts", tiny_corpus, training, workers=2), 9)
    resumed = trainer_for(tmp_path / "parts", tiny_corpus, training, resume=True, workers=2)
    assert resumed.step == 9
    run(resumed, 20)
    assert_same_files(tmp_path / "whole", tmp_path / "parts")


def test_a_run_starts_from_weights_and_resumes_without_them(tmp_path: Path, tiny_corpus: Corpus) -> None:
    torch.manual_seed(5)
    weights = arrays_of(build_model(preset_config("synthnet", "tiny")).state_dict())
    training = dataclasses.replace(TINY, anneal_steps=25, anneal_minutes=None)
    options = {"start": weights, "provenance": {"started_from": {"file": "x"}}}
    whole = trainer_for(tmp_path / "whole", tiny_corpus, training, **options)
    # Averaged weights of the old and of fresh ones would be neither's.
    for network in (whole.learner.network, whole.learner.average):
        assert all(np.array_equal(value, weights[name]) for name, value in arrays_of(network.state_dict()).items())
    assert whole.learner.optimisers["adam"].state_dict()["state"] == {}
    run(whole, 9)
    trained = arrays_of(whole.learner.network.state_dict())
    assert not np.array_equal(trained["head.logits.bias"], weights["head.logits.bias"])  # the source stays as it was
    parts = trainer_for(tmp_path / "parts", tiny_corpus, training, **options)
    run(parts, 4)
    resumed = trainer_for(tmp_path / "parts", tiny_corpus, training, resume=True)
    run(resumed, 9)
    for name, value in whole.learner.average.state_dict().items():
        assert torch.equal(value, resumed.learner.average.state_dict()[name])
    last = load_checkpoint(tmp_path / "parts" / "last.safetensors")
    assert last.training["started_from"] == {"file": "x"}


def test_a_run_leaves_its_files(tmp_path: Path, tiny_corpus: Corpus) -> None:
    seen = []
    trainer = trainer_for(tmp_path / "run", tiny_corpus, TINY)
    run(trainer, 20, lambda loss, error: seen.append((trainer.step, loss, error)))
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"best.safetensors", "last.safetensors", "state.safetensors", "metrics.jsonl", "tensorboard"}
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "rmse_cqt_db" in row] == [7, 20]
    assert [step for step, _, _ in seen] == [1, 10, 20]
    assert all(loss > error > 0 for _, loss, error in seen)  # the auxiliary loss comes on top
    last = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert last.training["steps"] == 20
    assert last.training["samples"] == 20 * 2 * 300


def test_a_signal_saves_and_stops(tmp_path: Path, tiny_corpus: Corpus) -> None:
    trainer = trainer_for(tmp_path / "run", tiny_corpus, TINY)
    for number in (signal.SIGINT, signal.SIGTERM):

        def interrupt(*progress: float, number: int = number) -> None:
            os.kill(os.getpid(), number)

        before = trainer.step
        with pytest.raises(Interrupted):
            run(trainer, 1000, interrupt)
        assert before < trainer.step < before + 12
        trainer = trainer_for(tmp_path / "run", tiny_corpus, TINY, resume=True)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, tiny_corpus: Corpus
) -> None:
    run(trainer_for(tmp_path / "run", tiny_corpus, TINY), 5)
    good = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")}
    trainer = trainer_for(tmp_path / "run", tiny_corpus, TINY, resume=True)
    with torch.no_grad():
        trainer.learner.network.head.logits.bias[3] = math.nan
    with pytest.raises(InputError, match="no longer finite"):
        run(trainer, 30)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")} == good


def test_resuming_something_else_is_refused(tmp_path: Path, tiny_corpus: Corpus) -> None:
    run(trainer_for(tmp_path / "run", tiny_corpus, TINY), 2)
    with pytest.raises(InputError, match="was trained with seed 0, not 5"):
        trainer_for(tmp_path / "run", tiny_corpus, dataclasses.replace(TINY, seed=5), resume=True)
    (tmp_path / "run" / "state.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"state\.safetensors: damaged"):
        trainer_for(tmp_path / "run", tiny_corpus, TINY, resume=True)


def test_one_slice_can_be_learned_by_heart(tmp_path: Path, tiny_corpus: Corpus) -> None:
    training = dataclasses.replace(TINY, ema_decay=0.0)
    trainer = trainer_for(tmp_path / "run", tiny_corpus, training)
    batch = next(trainer.batches())
    losses = [trainer.learner.network.loss(batch).audio.item()]
    for _ in range(150):
        trainer.train_step(LossModule(trainer.learner.network), dict(batch), 0.0)
        trainer.step += 1
    losses.append(trainer.learner.network.loss(batch).audio.item())
    assert losses[1] < losses[0] - 2


def test_muon_trains_the_matrices_and_adam_the_rest(tmp_path: Path, tiny_corpus: Corpus) -> None:
    trainer = trainer_for(tmp_path / "run", tiny_corpus, dataclasses.replace(TINY, muon=True))
    adam, muon = (
        {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
        for optimiser in trainer.learner.optimisers.values()
    )
    assert not adam & muon
    assert adam | muon == {id(parameter) for parameter in trainer.learner.network.parameters()}
    assert id(trainer.learner.network.head.hidden.weight) in adam  # 6 rows, fewer than Muon is for
    assert id(trainer.learner.network.stack[0].residual.weight) in muon
    other = trainer_for(tmp_path / "other", tiny_corpus, dataclasses.replace(TINY, muon=False))
    assert list(other.learner.optimisers) == ["adam"]


def test_annealing_is_a_cosine_with_a_warm_up() -> None:
    training = TrainingConfig(learning_rate=1.0, warmup_steps=10, anneal_steps=100)
    assert annealed(training, 0, 0.0) == pytest.approx(0.1)
    assert annealed(training, 50, 0.0) == pytest.approx(0.525)
    assert annealed(training, 100, 0.0) == pytest.approx(0.05)
    assert annealed(training, 1000, 0.0) == annealed(training, 100, 0.0)
    by_clock = dataclasses.replace(training, anneal_steps=None, anneal_minutes=2.0)
    assert annealed(by_clock, 50, 60.0) == pytest.approx(0.525)
    paper = TrainingConfig()
    assert annealed(paper, 0, 0.0) == annealed(paper, 10**6, 1e6) == 1e-3


@dataclass(frozen=True)
class LineConfig:
    """The config of a model of another kind: a line through points."""

    kind: ClassVar[str] = "line"
    model: ClassVar[str] = "line"
    styles: ClassVar[int] = 0
    slope: float = 1.0

    as_dict = dataclasses.asdict

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LineConfig:
        return cls(**values)


class Line(Model):
    error_name = "square"

    def __init__(self, config: LineConfig) -> None:
        super().__init__()
        self.slope, self.offset = torch.nn.Parameter(torch.tensor(config.slope)), torch.nn.Parameter(torch.zeros(()))

    def loss(self, batch: Mapping[str, torch.Tensor]) -> Losses:
        square = (self.slope * batch["x"] + self.offset - batch["y"]).square().mean()
        return Losses(square + 0.1 * self.slope.square(), square)


class Points(Dataset[dict[str, torch.Tensor]]):
    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        x = torch.tensor(float(i % 7))
        return {"x": x, "y": 3 * x + 1}


def test_a_model_of_another_kind_is_trained_by_the_same_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "line", Kind(LineConfig, Line))
    training = TrainingConfig(learning_rate=0.1, batch=3)

    def line_trainer(folder: str, resume: bool = False) -> Trainer:
        (tmp_path / folder).mkdir(exist_ok=True)
        begin = Checkpoint(LineConfig(), 44_100, ("line",), {}, {})
        trainer = Trainer(tmp_path / folder, begin, training, Points(), device=torch.device("cpu"))
        if resume:
            trainer.load()
        return trainer

    whole = line_trainer("whole")
    first = whole.learner.network.loss(next(whole.batches()))
    run(whole, 200)
    assert whole.learner.network.loss(next(whole.batches())).audio < 0.05 * first.audio
    rows = [json.loads(row) for row in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert "train_square" in rows[-2] | rows[-1]
    run(line_trainer("parts"), 50)
    parts = line_trainer("parts", resume=True)
    run(parts, 200)
    checkpoint = load_checkpoint(tmp_path / "parts" / "last.safetensors")
    assert checkpoint.config == LineConfig()
    for name, value in arrays_of(whole.learner.network.state_dict()).items():
        assert np.array_equal(value, checkpoint.weights[name])
    other = Checkpoint(preset_config("synthnet", "tiny"), 44_100, ("line",), {}, {})
    with pytest.raises(InputError, match="kind line, not autoregressive"):
        Trainer(tmp_path / "parts", other, training, Points(), device=torch.device("cpu")).load()


def test_average_of_the_weights_is_the_recurrence(tmp_path: Path, tiny_corpus: Corpus) -> None:
    trainer = trainer_for(tmp_path / "run", tiny_corpus, TINY)
    mean = trainer.learner.network.head.logits.bias.detach().clone()
    for batch, _ in zip(trainer.batches(), range(20), strict=False):
        trainer.train_step(LossModule(trainer.learner.network), batch, 0.0)
        trainer.step += 1
        if trainer.step % 5 == 0:
            updates = trainer.step // 5
            decay = min(TINY.ema_decay, (1 + updates) / (10 + updates))
            mean = decay * mean + (1 - decay) * trainer.learner.network.head.logits.bias.detach()
    torch.testing.assert_close(trainer.learner.average.head.logits.bias.detach(), mean)


def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path, tiny_corpus: Corpus) -> None:
    common = [
        "train",
        "--preset",
        "tiny",
        "--corpus",
        str(tiny_corpus.folder),
        "--set",
        "n_predicted=300",
        "--steps",
        "6",
    ]
    common += ["--device", "cpu", "--set", "evaluate_every=100steps"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "synthnet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one = [sys.executable, "-m", "synthnet"]
    for name, words in {"pair": [*launch, *common], "single": [*one, *common, "--set", "batch=2"]}.items():
        words += ["--out", str(tmp_path / name)]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=600)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("no loss can be lower") == 1  # rank 0 alone talks
    theirs, mine = (load_checkpoint(tmp_path / name / "last.safetensors").weights for name in ("pair", "single"))
    for name in mine:
        np.testing.assert_allclose(theirs[name], mine[name], rtol=1e-3, atol=1e-4)
    before = arrays_of(build_model(preset_config("synthnet", "tiny")).state_dict())
    assert not np.allclose(before["audio.embedding.weight"], mine["audio.embedding.weight"])


def test_half_a_line_of_metrics_is_passed_over(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    rows = [{"step": 200, "elapsed_s": 19.5, "loss": 70.5}, {"step": 210, "elapsed_s": 20.5, "loss": 60.5}]
    foreign = [
        "[]",
        "3",
        '{"step": "x", "elapsed_s": 1}',
        '{"elapsed_s": 1}',
        '{"step": 5, "elapsed_s": null}',
        "[" * 10**5,
    ]
    metrics.write_text("\n".join([*foreign, json.dumps(rows[0]), '{"step": 210, "elap']))
    append_line(metrics, json.dumps(rows[1]))
    append_line(metrics, json.dumps(rows[1]))
    assert metrics.read_text().splitlines()[-3:] == ['{"step": 210, "elap', *[json.dumps(rows[1])] * 2]
    assert training_rows(tmp_path) == rows


def test_a_folder_is_one_process_s(tmp_path: Path) -> None:
    script = "import sys, pathlib, time; from synthnet.files import only_one\n"
    script += "with only_one(pathlib.Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(InputError, match="another process"), only_one(tmp_path):
            pass
        other.kill()
    with only_one(tmp_path), only_one(tmp_path):  # the lock of a dead process is nobody's
        pass


def test_tensorflow_is_not_loaded_and_may_be_broken(tmp_path: Path) -> None:
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("print('loaded')")
    script = "from pathlib import Path; from synthnet.training.state import tensorboard_writer\n"
    script += "with tensorboard_writer(Path('log')) as board: board.add_scalar('loss', 1.0, 1)"
    path = os.pathsep.join([str(Path(synthnet.__file__).parents[1]), str(tmp_path)])
    words = [sys.executable, "-P", "-c", script]
    done = subprocess.run(
        words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert len(list((tmp_path / "log").iterdir())) == 1
