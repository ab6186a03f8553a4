"""Speed of training steps of SynthNet, preset `cpu`: straightforward PyTorch, ours eager, ours by torch.compile.

Straightforward is the network as its paper has it: every convolution over every sample of the slice, the score's too.
All give the same gradients. A step is loss, gradients and Adam on one slice. The ways alternate, so that other load on
the machine slows all of them alike; the figure is the median of the repeats.

    python benchmarks/training.py [--repeats N] [--json PATH]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from synthnet.experiments.machine import Machine, machine
from synthnet.experiments.results import table, write_text
from synthnet.models import Network, build_model, preset_config
from synthnet.models.autoregressive import FirstLayerScore
from synthnet.score.notes import Note
from synthnet.score.roll import rasterise, roll_events
from synthnet.training.settings import training_config

PRESET, RATE_HZ = "cpu", 8_000
STEPS = 3  # timed in a row, after one that is not


def straightforward_loss(network: Network, batch: dict[str, Tensor]) -> Tensor:
    """The loss of SynthNet, sample by sample instead of event by event."""
    score = network.score
    assert isinstance(score, FirstLayerScore)
    assert score.next_frame is not None
    keys = torch.tanh(score.convolution(batch["roll"].float()))
    v = torch.tanh(score.hidden(keys.transpose(1, 2)))  # [B, N, C]
    stream = functional.embedding(batch["x"], network.audio.tables()[0])[:, -v.shape[1] :] + v
    stream = stream.transpose(1, 2)
    for layer in network.stack:
        taps, bias = layer.convolution.weight, layer.convolution.bias  # [2, C, F], [2, C]
        weight = taps.transpose(0, 1).reshape(-1, 1, taps.shape[2])
        grouped = functional.conv1d(
            stream, weight, bias.transpose(0, 1).reshape(-1), dilation=layer.dilation, groups=stream.shape[1]
        )
        change = layer.residual(torch.tanh(grouped[:, 0::2]) * torch.sigmoid(grouped[:, 1::2]))
        stream = stream[:, :, -change.shape[2] :] + change
    n_predicted = batch["target_x"].shape[1]
    nll = functional.cross_entropy(network.head(stream[:, :, -n_predicted:]), batch["target_x"])
    logits = score.next_frame(v[:, -n_predicted:]).transpose(1, 2)
    midi = functional.binary_cross_entropy_with_logits(logits, batch["target_roll"].float(), reduction="none")
    return nll + midi.sum(dim=1).mean()


def own_loss(network: Network, batch: dict[str, Tensor]) -> Tensor:
    """As in training."""
    return network.loss(batch).total


class Way(NamedTuple):
    """How a step is computed."""

    name: str
    loss: Callable[[Network, dict[str, Tensor]], Tensor]
    compiled: bool
    threads: int


WAYS = tuple(
    Way(f"{name}, {threads} thread{'s' * (threads > 1)}", loss, compiled, threads)
    for threads in (1, 2)
    for name, loss, compiled in (
        ("straightforward PyTorch", straightforward_loss, False),
        ("ours, eager", own_loss, False),
        ("ours, torch.compile", own_loss, True),
    )
)


def example(network: Network, n_predicted: int) -> dict[str, Tensor]:
    """A slice of noise, and a score with a note every quarter of a second."""
    length = network.config.receptive_field - 1 + n_predicted
    onsets_s = np.arange(0.0, length / RATE_HZ, 0.25)
    notes = [Note(48 + number % 24, 80, onset_s, onset_s + 0.24) for number, onset_s in enumerate(onsets_s)]
    roll = torch.from_numpy(rasterise(roll_events(notes, RATE_HZ), 0, length + 1))[None]
    return {
        "x": torch.randint(0, 256, (1, length)),
        "roll": roll[:, :, :-1],
        "target_x": torch.randint(0, 256, (1, n_predicted)),
        "target_roll": roll[:, :, -n_predicted:],
    }


def seconds_a_step(way: Way, network: Network, batch: dict[str, Tensor]) -> float:
    """Mean of a few steps in a row."""
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    begun = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            begun = time.perf_counter()
        loss = way.loss(network, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (time.perf_counter() - begun) / STEPS


def measure(repeats: int) -> dict[str, Any]:
    """Samples a second of each way, and the machine; torch compiles anew for each number of threads."""
    torch.manual_seed(0)
    network = build_model(preset_config("synthnet", PRESET))
    n_predicted = training_config(PRESET).n_predicted
    batch = example(network, n_predicted)
    times: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for threads in sorted({way.threads for way in WAYS}):
        torch.set_num_threads(threads)
        compiled = copy.deepcopy(network)
        compiled.compile_loss()
        for _ in range(repeats):
            for way in (way for way in WAYS if way.threads == threads):
                times[way.name].append(seconds_a_step(way, compiled if way.compiled else network, batch))
    return {
        "machine": machine().as_dict(),
        "repeats": repeats,
        "samples_per_step": n_predicted,
        "samples_per_s": {name: round(n_predicted / statistics.median(each)) for name, each in times.items()},
    }


def as_markdown(figures: dict[str, Any]) -> str:
    """The machine and the table."""
    speeds = figures["samples_per_s"]
    reference = max(speed for name, speed in speeds.items() if name.startswith("straightforward"))
    rows = [[name, f"{speed:,}", f"{speed / reference:.1f}"] for name, speed in speeds.items()]
    head = ["SynthNet `cpu`, one slice a step", "samples/s", "over straightforward"]
    return f"{Machine(**figures['machine'])}\n\n{table(head, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    figures = measure(arguments.repeats)
    print(as_markdown(figures))
    if arguments.json:
        write_text(arguments.json, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
