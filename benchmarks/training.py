"""Speed of training steps of the preset `small`: straightforward PyTorch, ours of PyTorch's operations, and compiled.

Straightforward is WaveNet's layers as its paper has them: every convolution over every sample of the slice, the score's
too; and the sinusoids that go in, all partials of all notes that sound. All give the same gradients. A step makes these
inputs, then loss, gradients and Adam on one slice, as in training. The ways take turns, so that what else the machine
does slows all of them alike; the figure is the median of the repeats.

    python benchmarks/training.py [--repeats N] [--json PATH]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from synthnet.audio import decode_mu_law
from synthnet.machine import machine, machine_line
from synthnet.models import Network, build_model, fused, preset_config
from synthnet.models.config import CLASSES
from synthnet.models.inputs import EveryLayerScore
from synthnet.roll import (
    ATTACKS_S,
    ENVELOPES_S,
    FUNDAMENTALS_HZ,
    HIGHEST_PARTIAL,
    KNOTS_S,
    RINGS_OUT,
    RollEvents,
    excitation,
    noises,
    rasterise,
    roll_events,
)
from synthnet.score import Note
from synthnet.spectral import spectral_distance
from synthnet.training import PHASE_WEIGHT, LossModule, training_config

RATE_HZ = 16_000
SEED = (0,)  # of the noises
STEPS = 3  # timed in a row, after one that is not


def straightforward_loss(network: Network, batch: dict[str, Tensor]) -> Tensor:
    """The loss of NSF, sample by sample instead of event by event."""
    score, tones = network.score, network.oscillator_map
    assert isinstance(score, EveryLayerScore)
    assert tones is not None
    n_predicted = batch["target_x"].shape[1]
    rows = batch["oscillators"]
    stream = torch.tanh(tones(rows[:, : network.config.oscillators]))[:, :, -network.stack_lengths(n_predicted)[0] :]
    keys = score.convolution(batch["roll"].float())
    skips = torch.zeros(())
    for layer, gate in zip(network.stack, score.gates, strict=True):
        filters, openings = (layer.convolution(stream) + gate(keys[:, :, -stream.shape[2] :])).chunk(2, dim=1)
        change = layer.residual(torch.tanh(filters) * torch.sigmoid(openings))
        skips = skips + change[:, :, -n_predicted:]
        stream = stream[:, :, -change.shape[2] :] + change
    levels = torch.from_numpy(decode_mu_law(np.arange(CLASSES)))
    means = (network.head(skips).softmax(dim=1) * levels[:, None]).sum(dim=1) + rows[:, -1, -n_predicted:]
    distance, discord = spectral_distance(means, batch["target_clean"], RATE_HZ)
    return distance + PHASE_WEIGHT * discord


class Heard(NamedTuple):
    """What the inputs of a slice are made of: the notes, and where in them it is."""

    events: RollEvents
    start: int
    stop: int


def straightforward_inputs(network: Network, heard: Heard) -> Tensor:
    """`synthnet.roll.excitation` of PyTorch's operations, by its definition: [1, O, N]."""
    events, start, stop = heard
    config, partials, rate = network.config, network.partials, events.sample_rate_hz
    assert partials is not None
    assert partials.levels is not None
    assert partials.releases_s is not None
    assert partials.attacks is not None
    n = stop + 1 - start  # the measured part is that of the next sample
    waves = torch.zeros(config.envelopes, 2, config.harmonics, n)
    together, measured = torch.zeros(config.envelopes, n), torch.zeros(n)
    knots_s, tails = torch.from_numpy(KNOTS_S), network.oscillator_tails(rate)
    for key, onset, release in zip(events.pitch, events.onset, events.release, strict=True):
        first, last = max(onset, start), min(release + tails[key], stop + 1)
        if first >= last:
            continue
        here = slice(first - start, last - start)
        exact_s = torch.arange(first - onset, last - onset).double() / rate
        age_s = exact_s.float()
        up_s = (torch.arange(first, last) - release).clamp(min=0) / rate
        constants_s = ((float("inf"), partials.releases_s[key]), *ENVELOPES_S[: config.envelopes - 1])
        amplitudes = torch.stack(
            [torch.exp(-(age_s - up_s) / down - up_s / up) * (up_s < RINGS_OUT * up) for down, up in constants_s]
        )
        attack = np.interp(age_s.numpy(), ATTACKS_S, partials.attacks[key]).astype(np.float32)
        amplitudes *= torch.where(age_s < ATTACKS_S[-1], torch.from_numpy(attack), 1.0)
        hz = torch.from_numpy(partials.ratios[key].astype(np.float64) * FUNDAMENTALS_HZ[key])
        turns = torch.from_numpy(partials.phases[key])[:, None] + hz[:, None] * exact_s
        angles = (2 * torch.pi * (turns - turns.floor())).float()
        audible = (hz < HIGHEST_PARTIAL * rate)[:, None]
        sines, cosines = (
            torch.sin(angles) * audible,
            torch.cos(angles[: config.harmonics]) * audible[: config.harmonics],
        )
        tones = torch.stack([sines[: config.harmonics], cosines])
        waves[..., here] += amplitudes[:, None, None] * tones
        together[:, here] += amplitudes
        knot = (torch.searchsorted(knots_s, exact_s) - 1).clamp(0, len(knots_s) - 2)
        along = ((exact_s - knots_s[knot]) / knots_s.diff()[knot]).clamp(min=0).float()
        levels = torch.from_numpy(partials.levels[key])
        rises = levels[:, knot + 1] - levels[:, knot]
        nats = levels[:, knot] + torch.where(rises < 0, along, along.clamp(max=1)) * rises
        measured[here] += (torch.exp(nats) * sines).sum(dim=0) * amplitudes[0]
    noise = torch.from_numpy(noises(start, stop, config.noises, rate, SEED))
    return torch.cat([waves.flatten(0, 2)[:, :-1], together[:, :-1], noise, measured[None, 1:]])[None]


def own_inputs(network: Network, heard: Heard) -> Tensor:
    """As in training."""
    config = network.config
    assert network.partials is not None
    shape = config.harmonics, config.envelopes, config.noises
    return torch.from_numpy(excitation(*heard, network.partials, *shape, SEED))[None]


class Way(NamedTuple):
    """How a step is computed."""

    name: str
    inputs: Callable[[Network, Heard], Tensor]
    loss: Callable[[Network, dict[str, Tensor]], Tensor]
    compiled: bool
    threads: int


def own_loss(network: Network, batch: dict[str, Tensor]) -> Tensor:
    """As in training."""
    return LossModule(network, RATE_HZ)(batch, 0.0)[0]


WAYS = (
    Way("straightforward PyTorch, 1 thread", straightforward_inputs, straightforward_loss, False, 1),
    Way("straightforward PyTorch, 2 threads", straightforward_inputs, straightforward_loss, False, 2),
    Way("PyTorch, score by event, 1 thread", own_inputs, own_loss, False, 1),
    Way("PyTorch, score by event, 2 threads", own_inputs, own_loss, False, 2),
    Way("compiled, 1 thread", own_inputs, own_loss, True, 1),
    Way("compiled, 2 threads", own_inputs, own_loss, True, 2),
)


def example(network: Network, n_predicted: int) -> tuple[dict[str, Tensor], Heard]:
    """A slice without its inputs: noise, and a score with a note every quarter of a second, and those before it."""
    length = network.config.receptive_field - 1 + n_predicted
    before_s, every_s = 3.0, 0.25
    onsets_s = np.arange(0.0, before_s + length / RATE_HZ, every_s)
    notes = [Note(48 + number % 24, 80, onset_s, onset_s + 0.24) for number, onset_s in enumerate(onsets_s)]
    heard = Heard(roll_events(notes, RATE_HZ), int(before_s * RATE_HZ), int(before_s * RATE_HZ) + length)
    roll = torch.from_numpy(rasterise(heard.events, heard.start, heard.stop + 1))[None]
    batch = {
        "x": torch.randint(0, 256, (1, length)),
        "roll": roll[:, :, :-1],
        "target_x": torch.randint(0, 256, (1, n_predicted)),
        "target_clean": 0.1 * torch.randn(1, n_predicted),
        "target_roll": roll[:, :, -n_predicted:],
    }
    return batch, heard


def example_network(**changes: int) -> Network:
    """A tuned network whose partials die away, as if they had been measured."""
    torch.manual_seed(0)
    network = build_model(preset_config(None, "small", **changes))
    network.levels[:] = torch.linspace(-3, -7, len(KNOTS_S)) - torch.linspace(0, 4, network.levels.shape[1])[:, None]
    network.attacks[:] = torch.linspace(0.1, 1, len(ATTACKS_S))
    return network


def seconds_a_step(
    way: Way, network: Network, optimiser: torch.optim.Optimizer, batch: dict[str, Tensor], heard: Heard
) -> tuple[float, float]:
    """Of a few steps in a row, means: making the inputs, and the rest."""
    network.compiled = way.compiled
    torch.set_num_threads(way.threads)
    inputs_s = begun = 0.0
    with fused.threads_to_tasks() if way.compiled else contextlib.nullcontext():
        for step in range(STEPS + 1):
            if step == 1:
                begun, inputs_s = time.perf_counter(), 0.0
            started = time.perf_counter()
            oscillators = way.inputs(network, heard)
            inputs_s += time.perf_counter() - started
            loss = way.loss(network, batch | {"oscillators": oscillators})
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return inputs_s / STEPS, (time.perf_counter() - begun - inputs_s) / STEPS


def measure(repeats: int) -> dict[str, Any]:
    """Samples a second of each way, and the machine."""
    network = example_network()
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    n_predicted = training_config("nsf", "small").n_predicted
    slice_ = example(network, n_predicted)
    times: dict[str, list[tuple[float, float]]] = {way.name: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            times[way.name].append(seconds_a_step(way, network, optimiser, *slice_))
    return {
        "machine": machine(),
        "repeats": repeats,
        "samples_per_step": n_predicted,
        "inputs_s": {name: statistics.median(inputs for inputs, _ in each) for name, each in times.items()},
        "rest_s": {name: statistics.median(rest for _, rest in each) for name, each in times.items()},
        "samples_per_s": {
            name: round(n_predicted / statistics.median(sum(both) for both in each)) for name, each in times.items()
        },
    }


def table(figures: dict[str, Any]) -> str:
    """Markdown."""
    speeds, inputs_s, rest_s = figures["samples_per_s"], figures["inputs_s"], figures["rest_s"]
    reference = max((name for name in speeds if name.startswith("straightforward")), key=speeds.__getitem__)
    lines = [
        machine_line(figures["machine"]),
        "",
        "| `small`, one slice a step | samples/s | over straightforward | inputs, ms | the rest, ms | over it |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, speed in speeds.items():
        lines.append(
            f"| {name} | {speed:,} | {speed / speeds[reference]:.1f} | {1000 * inputs_s[name]:.0f} | "
            f"{1000 * rest_s[name]:.0f} | {rest_s[reference] / rest_s[name]:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    figures = measure(arguments.repeats)
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
