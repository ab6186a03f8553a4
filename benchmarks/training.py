"""Speed of training steps of the preset `small`: straightforward PyTorch, ours of PyTorch's operations, and compiled.

Straightforward is WaveNet's layers as its paper has them: every convolution over every sample of the slice, the score's
too. All give the same gradients. A step is loss, gradients and Adam on one slice, as in training, without making the
slice. The ways take turns, so that what else the machine does slows all of them alike; the figure is the median of
the repeats.

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
from synthnet.spectral import spectral_distance
from synthnet.training import PHASE_WEIGHT, LossModule, training_config

RATE_HZ = 16_000
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


class Way(NamedTuple):
    """How a step is computed."""

    name: str
    loss: Callable[[Network, dict[str, Tensor]], Tensor]
    compiled: bool
    threads: int


def own_loss(network: Network, batch: dict[str, Tensor]) -> Tensor:
    """As in training."""
    return LossModule(network, RATE_HZ)(batch, 0.0)[0]


WAYS = (
    Way("straightforward PyTorch, 1 thread", straightforward_loss, False, 1),
    Way("straightforward PyTorch, 2 threads", straightforward_loss, False, 2),
    Way("PyTorch, score by event, 1 thread", own_loss, False, 1),
    Way("PyTorch, score by event, 2 threads", own_loss, False, 2),
    Way("compiled, 1 thread", own_loss, True, 1),
    Way("compiled, 2 threads", own_loss, True, 2),
)


def example(network: Network, n_predicted: int) -> dict[str, Tensor]:
    """A slice: noise, and a score with a note every quarter of a second or so."""
    length = network.config.receptive_field - 1 + n_predicted
    roll = torch.zeros(1, 128, length + 1, dtype=torch.uint8)
    for number, start in enumerate(range(0, length, 4000)):
        roll[:, 48 + number, start : start + 3900] = 1
    return {
        "x": torch.randint(0, 256, (1, length)),
        "roll": roll[:, :, :-1],
        "oscillators": torch.cat(
            [torch.randn(1, network.config.oscillators, length), 0.1 * torch.randn(1, 1, length)], dim=1
        ),
        "target_x": torch.randint(0, 256, (1, n_predicted)),
        "target_clean": 0.1 * torch.randn(1, n_predicted),
        "target_roll": roll[:, :, -n_predicted:],
    }


def seconds_a_step(way: Way, network: Network, optimiser: torch.optim.Optimizer, batch: dict[str, Tensor]) -> float:
    """Mean of a few steps in a row."""
    network.compiled = way.compiled
    torch.set_num_threads(way.threads)
    begun = 0.0
    with fused.threads_to_tasks() if way.compiled else contextlib.nullcontext():
        for step in range(STEPS + 1):
            if step == 1:
                begun = time.perf_counter()
            loss = way.loss(network, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return (time.perf_counter() - begun) / STEPS


def measure(repeats: int) -> dict[str, Any]:
    """Samples a second of each way, and the machine."""
    torch.manual_seed(0)
    network = build_model(preset_config(None, "small"))
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    n_predicted = training_config("nsf", "small").n_predicted
    batch = example(network, n_predicted)
    times: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            times[way.name].append(seconds_a_step(way, network, optimiser, batch))
    return {
        "machine": machine(),
        "repeats": repeats,
        "samples_per_s": {name: round(n_predicted / statistics.median(each)) for name, each in times.items()},
        "best_samples_per_s": {name: round(n_predicted / min(each)) for name, each in times.items()},
    }


def table(figures: dict[str, Any]) -> str:
    """Markdown."""
    medians, best = figures["samples_per_s"], figures["best_samples_per_s"]
    reference = max(speed for name, speed in medians.items() if name.startswith("straightforward"))
    lines = [
        machine_line(figures["machine"]),
        "",
        "| `small`, one slice a step | samples/s (median) | over straightforward | best |",
        "|---|---:|---:|---:|",
    ]
    for name, speed in medians.items():
        lines.append(f"| {name} | {speed:,} | {speed / reference:.1f} | {best[name]:,} |")
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
