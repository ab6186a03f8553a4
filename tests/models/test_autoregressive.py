"""The networks against the paper's parameter counts, causality, torch's convolutions, and themselves step by step."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import itertools
import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from synthnet.files import InputError
from synthnet.models import MODELS, ModelConfig, Network, build_model, config_from, preset_config, preset_rate_hz
from synthnet.models.layers import DepthwiseGates, distinct_windows, look_up

PARAMETERS = {  # counted by hand from the definitions; they agree with the paper's Table 3 to its three digits
    ("synthnet", "L24"): 7_354_112,
    ("synthnet", "L26"): 7_795_456,
    ("synthnet", "L48"): 13_641_472,
    ("wavenet", "L24"): 82_345_088,
    ("wavenet", "L26"): 61_836_928,
    ("wavenet", "L48"): 113_797_760,
    ("deepvoice", "L24"): 89_040_512,
    ("deepvoice", "L26"): 68_927_104,
    ("deepvoice", "L48"): 126_666_368,
}
VARIANTS = [
    pytest.param(model, changes, id=f"{model}-{name}")
    for model in MODELS
    for name, changes in {
        "plain": {},
        "wide": {"filter_width": 3, "blocks": 2, "dilations": 3},
        "instruments-velocity": {"styles": 3, "velocity": True},
    }.items()
]


def small_network(model: str, changes: dict[str, int]) -> Network:
    torch.manual_seed(1)
    return build_model(preset_config(model, "tiny", **changes)).double()


def inputs_for(config: ModelConfig, n_predicted: int, batch: int = 2) -> dict[str, torch.Tensor]:
    """Random audio and a roll with events at random places, among them runs that begin within a filter's width."""
    generator = torch.Generator().manual_seed(2)
    length = config.receptive_field - 1 + n_predicted
    roll = torch.zeros(batch, 128, length, dtype=torch.float32 if config.velocity else torch.uint8)
    for piece in range(batch):
        for onset in torch.randint(0, length - 3, (12,), generator=generator).tolist():
            key, held = torch.randint(0, 128, (1,), generator=generator).item(), 1 + onset % 9
            roll[piece, key, onset : onset + held] = (1 + onset % 127) / 127 if config.velocity else 1
    inputs = {"x": torch.randint(0, 256, (batch, length), generator=generator), "roll": roll}
    if config.styles:
        inputs["instruments"] = torch.eye(config.styles, dtype=torch.double)[[0, config.styles - 1][:batch]]
    return inputs


@pytest.mark.parametrize(("model", "preset"), PARAMETERS)
def test_parameter_counts_are_the_papers(model: str, preset: str) -> None:
    with torch.device("meta"):
        network = build_model(preset_config(model, preset))
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[model, preset]


def test_each_ablation_step_changes_what_it_says() -> None:
    """Parameters gained and lost by each of the six changes, counted by hand: C channels, F taps, L layers."""
    config = preset_config("deepvoice", "L26")
    channels, taps, layers = 512, 2, 26
    gained = [
        256 * channels - (256 * taps + 1) * channels,  # an embedding for a convolution of one-hot vectors
        channels * (channels + 1) - layers * 2 * channels * (taps * channels + 1),  # Vh for the V of each layer
        -layers * channels * (channels + 1),  # the skips' 1x1
        layers * 2 * channels * taps * (1 - channels),  # taps of one channel each
        0,  # the activation has none
        128 * (channels + 1),  # Vout
    ]
    networks = []
    for model in ("deepvoice", *(name for name in MODELS if name.startswith("ablation")), "synthnet"):
        with torch.device("meta"):
            networks.append(build_model(dataclasses.replace(config, model=model)))
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    assert [after - before for before, after in itertools.pairwise(counts)] == gained
    activations = [network.head.activation for network in networks]
    assert activations == 5 * [torch.relu] + 2 * [functional.selu]


@pytest.mark.parametrize(("preset", "field"), [("L24", 16_383), ("L26", 16_384), ("L48", 16_382)])
def test_receptive_fields_are_the_papers(preset: str, field: int) -> None:
    assert preset_config("synthnet", preset).receptive_field == field


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_output_depends_on_exactly_its_receptive_field(model: str, changes: dict[str, int]) -> None:
    """A changed input moves no output before it, and none a receptive field after it; in between, the ends do move."""
    network = small_network(model, changes)
    field, n_predicted = network.config.receptive_field, 40
    inputs = inputs_for(network.config, n_predicted)
    before = network(**inputs)
    changed = field - 1 + 17  # an input of the stretch that is predicted: output t sees inputs t to t + field - 1
    for name in ("x", "roll"):
        other = {key: value.clone() for key, value in inputs.items()}
        if name == "x":
            other["x"][:, changed] = (other["x"][:, changed] + 100) % 256
        else:
            other["roll"][:, :, changed] = 1 - other["roll"][:, :, changed]
        moved = (network(**other) - before).abs().amax(dim=(0, 1)) > 0
        assert not moved[:17].any(), f"a later {name} moved an earlier output"
        assert moved[17], f"an output ignores the latest {name}"
        if name == "x":
            assert not moved[17 + field :].any()


@pytest.mark.parametrize("model", MODELS)
def test_first_output_sees_the_oldest_input(model: str) -> None:
    network = small_network(model, {})
    inputs = inputs_for(network.config, 1, batch=1)
    before = network(**inputs)
    # An embedding sees only the last class: of the very first input, only the score is seen.
    if MODELS[model].audio == "embedding":
        inputs["roll"][:, 60, 0] = 1 - inputs["roll"][:, 60, 0]
    else:
        inputs["x"][:, 0] = (inputs["x"][:, 0] + 100) % 256
    assert (network(**inputs) - before).abs().max() > 0


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_gradient_reaches_every_parameter(model: str, changes: dict[str, int]) -> None:
    network = small_network(model, changes)
    inputs = inputs_for(network.config, 50)
    instruments = inputs.pop("instruments", None)
    batch = {
        **inputs,
        "target_x": torch.randint(0, 256, (2, 50)),
        "target_roll": torch.randint(0, 2, (2, 128, 50), dtype=torch.uint8),
    }
    if instruments is not None:
        batch["style"] = instruments.argmax(dim=1)
        network = network.float()
    network.loss(batch).total.backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    # Skips of their own leave the last layer's residual 1x1 unused, in the paper's count of Deep Voice too.
    last = f"layers.{len(network.stack) - 1}.residual"
    assert without == ({f"{last}.weight", f"{last}.bias"} if network.layers[0].skip is not None else set())
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.abs().sum() > 0, name


def test_depthwise_taps_equal_a_grouped_convolution() -> None:
    torch.manual_seed(3)
    for width, dilation in [(2, 1), (2, 8), (3, 4), (4, 3)]:
        gates = DepthwiseGates(6, width).double()
        x = torch.randn(2, 6, 50, dtype=torch.double)
        # torch keeps a group's outputs together: filter and gate of channel 0, filter and gate of channel 1, ...
        weight = gates.weight.transpose(0, 1).reshape(12, 1, width)
        bias = gates.bias.transpose(0, 1).reshape(12)
        grouped = functional.conv1d(x, weight, bias, dilation=dilation, groups=6)
        expected = torch.cat([grouped[:, 0::2], grouped[:, 1::2]], dim=1)
        torch.testing.assert_close(gates(x, dilation), expected, rtol=0, atol=1e-12)


def test_one_hot_look_up_equals_the_convolution_of_one_hot_vectors() -> None:
    network = small_network("deepvoice", {"filter_width": 3})
    x = torch.randint(0, 256, (2, 30))
    one_hot = functional.one_hot(x, 256).double().transpose(1, 2)
    expected = torch.tanh(network.audio.convolution(one_hot))
    torch.testing.assert_close(network.enter(x, None), expected, rtol=0, atol=1e-12)


def test_scalar_input_equals_the_convolution_of_the_scaled_classes() -> None:
    network = small_network("wavenet", {"filter_width": 3})
    x = torch.randint(0, 256, (2, 30))
    expected = network.audio.convolution(x[:, None].double() / 127.5 - 1)
    torch.testing.assert_close(network.enter(x, None), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [2, 3])
def test_score_vectors_once_an_event_equal_the_convolution_of_every_sample(width: int) -> None:
    network = small_network("synthnet", {"filter_width": width})
    inputs = inputs_for(network.config, 80)
    roll = inputs["roll"]
    n = roll.shape[2] - width + 1
    hidden = torch.tanh(network.score.convolution(roll.double()))  # [B, C, n], every sample by itself
    expected = torch.tanh(network.score.hidden(hidden.transpose(1, 2))).transpose(1, 2)
    torch.testing.assert_close(network.score(roll, [n]).entry, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("model", ["wavenet", "deepvoice"])
def test_gates_once_an_event_equal_the_convolutions_of_every_sample(model: str, width: int) -> None:
    network = small_network(model, {"filter_width": width, "blocks": 2})
    roll = inputs_for(network.config, 80)["roll"]
    score = network.score.convolution(roll.double())  # y_l, every sample by itself
    for samples in (network.stack_lengths(80), [80] * (1 + len(network.stack))):
        gates = network.condition(roll, None, samples).gates
        for n, layer, convolution, gate in zip(samples[1:], network.stack, network.score.gates, gates, strict=True):
            expected = convolution(score[:, :, -(n + layer.reach) :], layer.dilation)
            torch.testing.assert_close(gate, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("velocity", [False, True])
def test_midi_loss_equals_the_sum_over_every_sample_whatever_the_velocity(velocity: bool) -> None:
    network = small_network("synthnet", {"velocity": velocity})
    roll, n_predicted = inputs_for(network.config, 80)["roll"], 50
    v = network.score(roll[:, :, :-1], [n_predicted]).entry
    logits = network.score.next_frame(v.transpose(1, 2)).transpose(1, 2)
    binary = (roll[:, :, -n_predicted:] > 0).double()
    expected = functional.binary_cross_entropy_with_logits(logits, binary, reduction="none").sum(1).mean()
    torch.testing.assert_close(network.score.midi_loss(roll, n_predicted).double(), expected, rtol=1e-5, atol=0)


def test_runs_of_windows_put_together_are_the_sequence() -> None:
    torch.manual_seed(4)
    frames = torch.randint(0, 2, (3, 2, 8)).repeat_interleave(5, dim=2)
    for width in (1, 2, 4):
        windows, runs = distinct_windows(frames, width)
        n = 40 - width + 1
        assert runs.shape == (3, n)
        assert len(windows) == runs[-1, -1] + 1 < 3 * n
        for tap in range(width):
            rebuilt = look_up(runs, windows[None, :, :, tap].double(), n)
            assert torch.equal(rebuilt, frames[:, :, tap : tap + n].double())


@pytest.mark.parametrize("model", ["synthnet", "deepvoice"])
def test_the_traced_loss_has_the_same_value_and_gradients(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through torch's tracing, without its code generation, which takes minutes."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr("synthnet.models.autoregressive.SMALLEST_COMPILED", 8)
    network = small_network(model, {"blocks": 1, "dilations": 2})
    batch = {**inputs_for(network.config, 50), "target_x": torch.randint(0, 256, (2, 50))}
    batch["target_roll"] = batch["roll"][:, :, -50:]
    found = []
    for compiled in (False, True):
        if compiled:
            network.compile_loss()
        network.zero_grad()
        loss = network.loss(batch).total
        loss.backward()
        found.append([loss.detach(), *(value.grad for value in network.parameters() if value.grad is not None)])
    assert network.nll is not type(network).nll
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected)


def test_without_a_compiler_training_goes_on_and_says_so(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("InvalidCxxCompiler: no C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda function, **_: refuse)
    network = build_model(preset_config("synthnet", "tiny", channels=32))
    network.compile_loss()
    assert "nll" not in vars(network)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_benchmark_s_straightforward_network_has_the_same_loss_and_gradients() -> None:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "training.py"
    spec = importlib.util.spec_from_file_location("benchmark_training", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    torch.manual_seed(0)
    network = build_model(preset_config("synthnet", "cpu", channels=16, dilations=5))
    batch = benchmark.example(network, 4_000)
    found = []
    for loss_of in (benchmark.straightforward_loss, benchmark.own_loss):
        network.zero_grad()
        loss = loss_of(network, batch)
        loss.backward()
        found.append([loss.detach(), *(value.grad.clone() for value in network.parameters())])
    for expected, ours in zip(*found, strict=True):
        assert (ours - expected).norm() <= 1e-3 * expected.norm()


def test_a_config_comes_back_from_its_plain_values() -> None:
    config = preset_config("wavenet", "cpu", styles=3, velocity=True, dither=False)
    assert config_from(config.kind, json.loads(json.dumps(config.as_dict()))) == config


def test_velocities_act_on_the_output() -> None:
    network = small_network("synthnet", {"velocity": True})
    inputs = inputs_for(network.config, 80)
    softer = inputs | {"roll": inputs["roll"] / 2}
    assert (network(**softer) - network(**inputs)).abs().max() > 1e-6


def test_the_scale_of_two_cores_hears_a_second_at_8_khz() -> None:
    config = preset_config("synthnet", "cpu")
    assert config.receptive_field == 8_191
    assert preset_rate_hz("cpu") == 8_000
    assert preset_rate_hz("L24") == 16_000
    assert sum(parameter.numel() for parameter in build_model(config).parameters()) == 171_952


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda: preset_config("synthnet", "L25"), "unknown preset 'L25'; known: L24, L26, L48, cpu, tiny"),
        (lambda: build_model(preset_config("synthnot", "L24")), "unknown model 'synthnot'"),
        (lambda: preset_config("synthnet", "L24", channels=0), "channels must be a whole number from 4 to 8,192"),
        (lambda: ModelConfig.from_dict({"model": "synthnet", "chanels": 3}), "unknown setting 'chanels'"),
        (lambda: ModelConfig.from_dict({"model": "synthnet"}), "incomplete"),
        (lambda: preset_config("synthnet", "tiny", velocity=1), "velocity must be true or false, not 1"),
        (lambda: config_from("harmonica", {}), "unknown kind of model 'harmonica'; known: autoregressive"),
    ],
)
def test_faults_are_named(call, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)
