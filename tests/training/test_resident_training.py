"""Training as on a GPU, on a CPU in plain torch: its steps, loss scale, resuming, and several processes."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run

import synthnet.kernels
from synthnet.corpus.corpus import Corpus
from synthnet.files import InputError
from synthnet.kernels.products import gated
from synthnet.models import MODELS, preset_config
from synthnet.models.checkpoint import Checkpoint, load_checkpoint
from synthnet.models.time_major import Parts
from synthnet.training import resident
from synthnet.training.resident import LossScale, ResidentTrainer
from synthnet.training.settings import GPU, Span, TrainingConfig, training_config
from tests.device import ELSEWHERE, OnOneDevice
from tests.training.runs import assert_same_files, network_trainer, run_to

TRAINING = training_config("tiny", n_predicted=300, muon=False, anneal_minutes=None, anneal_steps=40)


@pytest.fixture(autouse=True)
def plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter is slow; the kernels have tests of their own."""
    monkeypatch.setattr(resident, "fast_parts", lambda device: None)


def trainer_for(folder: Path, corpus: Corpus, precision: str = "float32", **more: Any) -> ResidentTrainer:
    options = {name: more.pop(name) for name in ("model", "resume") if name in more}
    training = dataclasses.replace(TRAINING, **more)
    return network_trainer(ResidentTrainer, folder, corpus, training, precision=precision, **options)


@pytest.mark.parametrize("model", MODELS)
def test_losses_and_gradients_stay_on_the_device(
    tmp_path: Path, tiny_corpus: Corpus, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = pytest.importorskip("synthnet.kernels.fused", reason="Triton is not installed")
    monkeypatch.setattr(fused, "launch", lambda *arguments, **sizes: None)  # a kernel needs values
    trainer = trainer_for(tmp_path / "run", tiny_corpus, model=model, precision="float16")
    for part in (trainer.network, trainer.scale):
        part.to(ELSEWHERE)
    trainer.device, trainer.losses, trainer.number = (
        ELSEWHERE,
        trainer.losses.to(ELSEWHERE),
        trainer.number.to(ELSEWHERE),
    )
    trainer.prepare()
    for trainer.parts in (Parts(), Parts(fused.stack)):
        with OnOneDevice() as watch:
            trainer.backward()
        assert any("addmm" in call for call in watch.calls)
    assert all(gradient.device == ELSEWHERE for gradient in trainer.gradients())


@pytest.mark.parametrize(("model", "precision"), [("synthnet", "float16"), ("wavenet", "float32")])
def test_it_learns_and_resumes_to_the_bit(tmp_path: Path, tiny_corpus: Corpus, model: str, precision: str) -> None:
    options = {"model": model, "precision": precision, "batch": 2, "learning_rate": 0.02}
    whole = trainer_for(tmp_path / "whole", tiny_corpus, **options)
    run_to(whole, 1)
    before = whole.losses.clone()
    run_to(whole, 16)
    whole.number.fill_(0)
    whole.backward()  # the first slices again
    assert all(whole.losses < before - 0.1)
    run_to(trainer_for(tmp_path / "parts", tiny_corpus, **options), 7)
    resumed = trainer_for(tmp_path / "parts", tiny_corpus, resume=True, **options)
    assert resumed.step == 7
    run_to(resumed, 16)
    assert_same_files(tmp_path / "whole", tmp_path / "parts")
    assert load_checkpoint(tmp_path / "parts" / "last.safetensors").training["samples"] == 16 * 2 * 300


def test_a_step_is_adam_s_on_the_gradient_without_scale(tmp_path: Path, tiny_corpus: Corpus) -> None:
    networks = []
    for precision, scale in (("float16", 64.0), ("float32", 1.0)):
        trainer = trainer_for(tmp_path / precision, tiny_corpus, precision=precision)
        trainer.scale.value.fill_(scale)
        module = trainer.prepare()
        for _ in range(3):
            trainer.train_step(module, {}, 0.0)
            trainer.step += 1
        networks.append(torch.cat([p.detach().flatten() for p in trainer.network.parameters()]))
        networks.append(torch.cat([s["exp_avg"].flatten() for s in trainer.adam.state.values()]))
    half, half_moment, single, single_moment = networks
    assert (half_moment - single_moment).norm() < 0.02 * single_moment.norm()
    assert (half - single).norm() < 1e-3 * single.norm()


def test_an_overflow_leaves_the_step_out_and_halves_the_scale(tmp_path: Path, tiny_corpus: Corpus) -> None:
    trainer = trainer_for(tmp_path / "run", tiny_corpus, precision="float16")
    module = trainer.prepare()
    before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
    trainer.scale.value.fill_(2.0**40)
    trainer.train_step(module, {}, 0.0)
    assert float(trainer.scale.value) == 2.0**39
    assert all(torch.equal(old, new) for old, new in zip(before, trainer.network.parameters(), strict=True))
    for _ in range(30):
        trainer.train_step(module, {}, 0.0)
    assert float(trainer.scale.value) < 2.0**30
    assert not torch.equal(before[0], next(trainer.network.parameters()))
    assert all(bool(torch.isfinite(parameter).all()) for parameter in trainer.network.parameters())


def test_the_scale_doubles_after_many_good_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "GROW_AFTER", 50)
    scale, good, bad = LossScale(dynamic=True), torch.tensor(0.0), torch.tensor(1.0)
    first = float(scale.value)
    for _ in range(49):
        scale.update(good)
    scale.update(bad)
    assert float(scale.value) == first / 2
    for _ in range(100):
        scale.update(good)
    assert float(scale.value) == 2 * first


def test_two_processes_are_one_with_twice_the_batch(
    tmp_path: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = trainer_for(tmp_path / "alone", tiny_corpus, batch=2)
    alone.prepare()
    alone.backward()
    sent: list[torch.Tensor] = []
    for rank in (0, 1):
        trainer = trainer_for(tmp_path / f"rank{rank}", tiny_corpus)
        trainer.rank, trainer.world = rank, 2

        def all_reduce(flat: torch.Tensor) -> None:
            sent.append(flat.clone())
            if len(sent) == 2:
                flat += sent[0]

        monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
        trainer.train_step(trainer.prepare(), {}, 0.0)
    for one, pair in zip(alone.gradients(), trainer.gradients(), strict=True):
        torch.testing.assert_close(pair, one, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_is_refused(tmp_path: Path, tiny_corpus: Corpus) -> None:
    with pytest.raises(InputError, match="unknown precision 'half'"):
        trainer_for(tmp_path / "run", tiny_corpus, precision="half")
    trainer = trainer_for(tmp_path / "nan", tiny_corpus)
    with torch.no_grad():
        trainer.network.head.logits.bias[3] = math.nan
    with pytest.raises(InputError, match="no longer finite"):
        run_to(trainer, 3)


def test_where_triton_does_not_run_a_line_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.delattr(synthnet.kernels, "fused", raising=False)
    monkeypatch.setitem(sys.modules, "synthnet.kernels.fused", None)
    parts = resident.fast_parts(torch.device("cpu"))
    assert parts == resident.Parts()
    assert "Training is slower here: Triton's kernels do not run" in capsys.readouterr().err


def test_a_gate_that_cannot_be_compiled_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr("torch._dynamo.config.suppress_errors", False)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=broken))
    monkeypatch.setattr(resident, "compiled_gate", resident.compiled_gate.__wrapped__)
    gates = torch.randn(5, 8, requires_grad=True)
    resident.fast_gated(gates).sum().backward()
    assert gates.grad is not None
    assert torch.equal(gates.grad, torch.autograd.grad(gated(gates).sum(), gates)[0])


def test_with_a_gpu_synthnet_l24_trains_there_for_nine_minutes(
    run: Run, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    class Stopped(InputError):
        pass

    class Seen(ResidentTrainer):
        def __init__(self, folder: Path, begin: Checkpoint, training: TrainingConfig, *_: Any, **more: Any) -> None:
            seen.update(training=training, config=begin.config, **more)
            raise Stopped("seen")

    for module in ("training.run", "generation.engine"):
        monkeypatch.setattr(f"synthnet.{module}.choose_device", lambda name: torch.device("cuda"), raising=False)
    monkeypatch.setattr("synthnet.training.run.ResidentTrainer", Seen)
    words = ["train", "--corpus", tiny_corpus.folder, "--set", "ema_decay=0.5", "--set", "precision=bfloat16"]
    result = run(*words)
    assert seen, result.err
    assert "SynthNet L24, the paper's network, for nine minutes" in result.err.splitlines()[0]
    assert seen["config"] == preset_config("synthnet", "L24")
    assert seen["training"] == dataclasses.replace(GPU, ema_decay=0.5)
    assert (seen["span"], seen["precision"], seen["device"].type) == (Span(minutes=9.0), "bfloat16", "cuda")
    run(*words, "--preset", "L26", "--minutes", "3")
    assert (seen["config"].dilations, seen["training"].n_predicted, seen["span"]) == (13, 16_000, Span(minutes=3.0))


def test_graphs_replay_the_steps(tmp_path: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of things on a GPU, where a replay computes anew into the gradients that were captured."""
    captures = []

    def captured(work: Callable[[], None]) -> Callable[[], None]:
        captures.append(work)

        def replay() -> None:
            if work != trainer.update:
                trainer.network.zero_grad(set_to_none=True)
            work()

        return replay

    monkeypatch.setattr(resident, "captured", captured)
    weights = []
    for device, world in ((torch.device("cpu"), 1), (torch.device("cuda"), 1), (torch.device("cuda"), 2)):
        trainer = trainer_for(tmp_path / f"{device.type}{world}", tiny_corpus)
        trainer.world = world
        monkeypatch.setattr("torch.distributed.all_reduce", lambda flat: flat.mul_(2))  # another one alike
        monkeypatch.setattr(ResidentTrainer, "slices_per_step", 1)
        module = trainer.prepare()
        trainer.device = device  # from here on, only the order depends on it
        for _ in range(resident.EAGER_STEPS + 3):
            trainer.train_step(module, {}, 0.0)
            trainer.step += 1
        weights.append(torch.cat([parameter.detach().flatten() for parameter in trainer.network.parameters()]))
    assert [work.__name__ for work in captures] == ["backward_and_update", "backward", "update"]
    torch.testing.assert_close(weights[1], weights[0])
    torch.testing.assert_close(weights[2], weights[0])
