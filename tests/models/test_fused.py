"""The compiled layers and head against the ones of PyTorch: values, gradients, and the same bits on every run."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from synthnet.models import MODELS, Network, build_model, fused, preset_config
from synthnet.models.config import ModelConfig

N_PREDICTED = 2 * fused.STRIP + 77  # three strips or more, the last one short


def network_and_batch(
    width: int, styles: int, batch: int, channels: int = 12, dilations: int = 11, model: str = "synthnet", seed: int = 0
) -> tuple[Network, dict[str, Tensor]]:
    """A network whose longest reach is a strip or more, and a batch for it."""
    torch.manual_seed(seed)
    config = ModelConfig(model, width, 1, dilations, channels, styles)
    network = build_model(config)
    length = config.receptive_field - 1 + N_PREDICTED
    roll = (torch.rand(batch, 128, 5) < 0.03).to(torch.uint8).repeat_interleave(length // 5 + 1, 2)[:, :, : length + 1]
    values = {
        "x": torch.randint(0, 256, (batch, length)),
        "roll": roll[:, :, :-1],
        "target_x": torch.randint(0, 256, (batch, N_PREDICTED)),
        "target_roll": roll[:, :, -N_PREDICTED:],
    }
    if styles:
        values["style"] = torch.arange(batch) % styles
    return network, values


def loss_and_gradients(network: Network, batch: dict[str, Tensor], compiled: bool) -> tuple[float, dict[str, Tensor]]:
    network.compiled = compiled
    network.zero_grad()
    losses = network.loss(batch)
    losses.total.backward()
    return losses.audio.item(), {
        name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None
    }


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("styles", [0, 3])
@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("model", MODELS)
def test_loss_and_gradients_equal_the_reference(model: str, width: int, styles: int, batch: int) -> None:
    # A rectifier's input may lie so near 0 that rounding decides on which side: then another draw tells.
    errors = [largest_error(*network_and_batch(width, styles, batch, model=model))]
    while errors[-1][0] >= 2e-5 and len(errors) < 3:
        errors.append(largest_error(*network_and_batch(width, styles, batch, model=model, seed=len(errors))))
    assert errors[-1][0] < 2e-5, errors


def largest_error(network: Network, values: dict[str, Tensor]) -> tuple[float, str]:
    """The largest relative error among the gradients of all parameters, and whose it is; the losses are equal."""
    assert network.runs_compiled
    expected_nll, expected = loss_and_gradients(network, values, compiled=False)
    nll, gradients = loss_and_gradients(network, values, compiled=True)
    assert nll == pytest.approx(expected_nll, rel=1e-6)
    assert expected.keys() <= gradients.keys() <= dict(network.named_parameters()).keys()
    for name in gradients.keys() - expected.keys():  # skips of their own leave the last residual unused
        assert not gradients[name].any()
    return max((float((gradients[name] - expected[name]).norm() / expected[name].norm()), name) for name in expected)


def random_stream(network: Network, length: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, network.config.channels, length, generator=torch.Generator().manual_seed(1))


def test_logits_equal_the_reference_with_and_without_gradients() -> None:
    network, values = network_and_batch(2, 0, 2)
    inputs = values["x"], values["roll"]
    network.compiled = False
    expected = network(*inputs).detach()
    network.compiled = True
    torch.testing.assert_close(network(*inputs).detach(), expected, rtol=0, atol=2e-6)
    with torch.no_grad():  # streams are then overwritten as soon as they have been read
        torch.testing.assert_close(network(*inputs), expected, rtol=0, atol=2e-6)


def test_input_gradient_equals_the_reference_in_float64() -> None:
    network, _ = network_and_batch(3, 0, 1, dilations=9)
    stream = random_stream(network, 3000, batch=2).requires_grad_()
    gates: list[Tensor | None] = [None] * len(network.layers)
    output = fused.run_layers(network.stack, stream, gates, None)
    direction = torch.randn_like(output)
    (gradient,) = torch.autograd.grad(output, stream, direction)

    network.double()
    exact_stream = stream.detach().double().requires_grad_()
    exact = exact_stream
    for layer in network.stack:
        exact, _ = layer(exact, None)
    (exact_gradient,) = torch.autograd.grad(exact, exact_stream, direction.double())
    torch.testing.assert_close(output.double(), exact, rtol=0, atol=5e-6)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-4, atol=1e-5)


def test_same_bits_on_any_number_of_threads_and_on_every_run() -> None:
    network, values = network_and_batch(2, 0, 1, channels=32)
    stream = random_stream(network, values["x"].shape[1] - 1).requires_grad_()
    gates: list[Tensor | None] = [None] * len(network.layers)
    parameters = [stream, *network.layers.parameters(), *network.head.parameters()]
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 2, 3):
            torch.set_num_threads(count)
            output = fused.run_layers(network.stack, stream, gates, None)
            loss = fused.head_loss(network.head, output, values["target_x"])
            results.append([loss, output, *torch.autograd.grad(loss, parameters)])
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for mine, first in zip(result, results[0], strict=True):
            assert torch.equal(mine, first)


def test_threads_go_to_the_tasks_and_come_back() -> None:
    seen: set[int] = set()
    meeting = threading.Barrier(2, timeout=30)

    def meet(layer: int, strip: fused.Strip) -> None:
        meeting.wait()
        seen.add(threading.get_ident())

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with fused.threads_to_tasks():
            assert torch.get_num_threads() == 1
            fused.run_tasks(1, fused.strips_of(1, 2 * fused.STRIP), 0, meet)
        assert len(seen) == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_an_error_in_a_task_reaches_the_caller_and_nobody_waits_for_it() -> None:
    def fail(layer: int, strip: fused.Strip) -> None:
        if (layer, strip.number) == (1, 2):
            raise ZeroDivisionError("in a task")

    with pytest.raises(ZeroDivisionError, match="in a task"):
        fused.run_tasks(3, fused.strips_of(1, 5 * fused.STRIP), 1, fail)


def test_a_task_runs_once_and_after_its_neighbours_in_the_layer_before() -> None:
    finished: list[tuple[int, int]] = []

    def run(layer: int, strip: fused.Strip) -> None:
        before = [(layer - 1, near) for near in range(strip.number - 2, strip.number + 3) if layer and 0 <= near < 7]
        assert set(before) <= set(finished)
        finished.append((layer, strip.number))

    fused.run_tasks(4, fused.strips_of(1, 7 * fused.STRIP - 5), 2, run)
    assert sorted(finished) == [(layer, number) for layer in range(4) for number in range(7)]


def test_what_would_index_past_an_array_is_refused() -> None:
    network, _ = network_and_batch(2, 0, 1, dilations=3)
    stream = random_stream(network, 50)
    with pytest.raises(ValueError, match=r"classes \[1, 49\] for a stream \[1, 12, 50\]"):
        fused.head_loss(network.head, stream, torch.zeros(1, 49, dtype=torch.int64))
    for wrong in (-1, 256):
        with pytest.raises(ValueError, match="classes run from 0 to 255"):
            fused.head_loss(network.head, stream, torch.full((1, 50), wrong))
    with pytest.raises(ValueError, match="6 samples are fewer than the layers look at"):
        fused.run_layers(network.stack, stream[:, :, :6], [None] * 3, None)


def test_not_a_number_stays_visible() -> None:
    network, values = network_and_batch(2, 0, 1, dilations=3)
    with torch.no_grad():
        network.layers[1].residual.bias[0] = torch.nan
    assert network.runs_compiled
    assert network.loss(values).audio.isnan()


@pytest.mark.parametrize("model", MODELS)
def test_everything_else_takes_the_reference(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError("the compiled path was taken")

    network, values = network_and_batch(2, 0, 1, dilations=3, model=model)
    assert network.runs_compiled
    monkeypatch.setattr(fused, "run_layers", refuse)
    monkeypatch.setattr(fused, "head_loss", refuse)
    with torch.autocast("cpu", torch.bfloat16):
        network.loss(values)
    network.double().loss(values)
    with pytest.raises(AssertionError, match="compiled path"):
        network.float().loss(values)


def test_the_benchmark_s_straightforward_network_has_the_same_loss_and_gradients() -> None:
    """What the compiled layers are timed against computes the same."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "training.py"
    spec = importlib.util.spec_from_file_location("benchmark_training", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    torch.manual_seed(0)
    network = build_model(preset_config("synthnet", "cpu", channels=16, dilations=5))
    batch = benchmark.example(network, 4_000)
    losses, gradients = [], []
    for loss_of in (benchmark.straightforward_loss, benchmark.own_loss):
        network.zero_grad()
        loss = loss_of(network, batch)
        loss.backward()
        losses.append(loss.item())
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for expected, ours in zip(*gradients, strict=True):
        assert (ours - expected).norm() <= 1e-3 * expected.norm()
