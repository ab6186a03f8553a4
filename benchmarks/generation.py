"""Speed of generation: the full pass a sample, the cached step in PyTorch, the compiled engine alone and in a batch.

Beside samples a second stands the share of two ceilings measured in the same run on all cores: a float32 matrix
product, and reading memory (every weight once a step, whatever the batch; above 100% the weights stay in cache). The
ways alternate with the probes, so that other load on the machine slows all of them alike; figures are medians of the
repeats. The past is random numbers instead of a primed one: the speed does not depend on it.

    python benchmarks/generation.py [--quick] [--repeats N] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from synthnet.experiments.machine import Machine, machine
from synthnet.experiments.results import number, table, write_text
from synthnet.generation.compiled import CompiledEngine, available_cores
from synthnet.generation.engine import Engine, TorchEngine
from synthnet.models import Network, build_model, preset_config
from synthnet.models.autoregressive import Cache

SAMPLE_RATE_HZ = 16_000
STREAMS_A_CORE = 12
SECONDS = 0.4  # at least so long a measurement


class Row(NamedTuple):
    """A network of the table."""

    model: str
    preset: str
    channels: int


ROWS = (
    Row("synthnet", "cpu", 64),
    Row("synthnet", "L24", 64),
    Row("synthnet", "L24", 128),
    Row("synthnet", "L24", 256),
    Row("synthnet", "L24", 512),
    Row("deepvoice", "L26", 512),
)
QUICK_ROWS = ROWS[:2]


def random_cache(network: Network, n_streams: int) -> Cache:
    """A cache as `Network.prime` makes it, of random numbers."""
    classes = torch.randint(0, 256, (n_streams, network.config.filter_width - 1))
    rings = [0.1 * torch.randn(layer.reach, n_streams, network.config.channels) for layer in network.stack]
    return Cache(classes, rings)


def weights_of_a_step(network: Network) -> int:
    """Multiply-adds of a sample, and weights that it reads: those of the layers and of the head."""
    parts = [network.head, *(part for layer in network.stack for part in layer.children())]
    return sum(weight.numel() for part in parts for weight in part.parameters())


def samples_per_s(advance: Callable[[], int]) -> float:
    """How fast a function makes samples; it returns how many it made."""
    done, begun = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begun) < SECONDS or not done:
        done += advance()
    return done / elapsed


def engine_speed(engine: Engine, network: Network, n_streams: int, block: int) -> Callable[[], float]:
    """A measurement of an engine that generates blocks, warmed up."""
    field, width = network.config.receptive_field, network.config.filter_width
    x = torch.full((n_streams, field), 128)
    network.prime = lambda x, *_: random_cache(network, len(x))  # type: ignore[method-assign]
    engine.prime(x, torch.zeros(n_streams, 128, field, dtype=torch.uint8), None)
    reach = field + block + width
    roll = (torch.rand(n_streams, 128, 1 + reach // 400) < 0.02).repeat_interleave(400, dim=2).to(torch.uint8)
    with torch.no_grad():
        needed = [block] * (1 + len(network.stack))
        conditioning = network.condition(roll, None, needed)
    uniforms, drawn = np.random.default_rng(0).random((n_streams, block)), np.zeros(n_streams, bool)

    def advance() -> int:
        engine.advance(conditioning, uniforms, 1.0, drawn)
        return n_streams * block

    engine.advance(conditioning, uniforms[:, :2], 1.0, drawn)
    return lambda: samples_per_s(advance)


def naive_speed(network: Network) -> float:
    """Samples a second of one full pass over a receptive field for each."""
    field = network.config.receptive_field
    x, roll = torch.randint(0, 256, (1, field)), torch.zeros(1, 128, field)

    def advance() -> int:
        with torch.no_grad():
            network(x, roll)
        return 1

    advance()  # compiles
    return samples_per_s(advance)


def matrix_product_gflops() -> float:
    """Speed of a float32 matrix product on all cores."""
    n = 1536
    a = torch.randn(n, n)
    return 2e-9 * n**3 * samples_per_s(lambda: (a @ a).shape[0] // n)


def memory_gigabytes_per_s() -> float:
    """Speed of reading 256 MB on all cores, by a matrix-vector product (faster here than PyTorch's sum)."""
    matrix, x = torch.from_numpy(np.ones((8000, 8000), np.float32)), torch.ones(8000)
    return 0.256 * samples_per_s(lambda: len(matrix @ x) // len(x))


def measure_row(row: Row, repeats: int) -> dict[str, Any]:
    """All ways for a network, and the ceilings beside them."""
    torch.manual_seed(0)
    network = build_model(preset_config(row.model, row.preset, channels=row.channels)).eval().requires_grad_(False)
    n_streams = STREAMS_A_CORE * available_cores()
    step = weights_of_a_step(network)
    block = max(8, min(2000, 20_000_000_000 // step // 50))  # steps in a call: a few tenths of a second
    ways: dict[str, Callable[[], float]] = {
        "matrix product, GFLOP/s": matrix_product_gflops,
        "memory, GB/s": memory_gigabytes_per_s,
        "cached torch": engine_speed(TorchEngine(network), network, 1, 20),
        "compiled": engine_speed(CompiledEngine(network), network, 1, block),
        f"compiled, {n_streams} streams": engine_speed(
            CompiledEngine(network), network, n_streams, max(8, block // 16)
        ),
    }
    figures: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            figures[name].append(way())
    medians = {name: statistics.median(each) for name, each in figures.items()}
    product, memory = medians.pop("matrix product, GFLOP/s"), medians.pop("memory, GB/s")
    return {
        "network": f"{row.model} {row.preset}, {row.channels} channels",
        "weights": step,
        "matrix_product_gflops": product,
        "memory_gb_per_s": memory,
        "ways": [
            {
                "way": name,
                "samples_per_s": speed,
                "times_real_time": speed / SAMPLE_RATE_HZ,
                "share_of_matrix_product": 2e-9 * step * speed / product,
                "share_of_memory": 4e-9 * step * speed / (n_streams if "streams" in name else 1) / memory,
            }
            for name, speed in {"full pass": naive_speed(network), **medians}.items()
        ],
    }


def as_markdown(figures: dict[str, Any]) -> str:
    """The machine, the table, and the ceilings."""
    rows = []
    for row in figures["rows"]:
        cached = next(way["samples_per_s"] for way in row["ways"] if way["way"] == "cached torch")
        for way in row["ways"]:
            speed = way["samples_per_s"]
            rows.append({
                "network": row["network"],
                "way": way["way"],
                "samples/s": number(speed, 0 if speed >= 100 else 2),
                "times real time": f"{way['times_real_time']:.3g}",
                "over cached torch": f"{speed / cached:.3g}",
                "of matrix product": f"{way['share_of_matrix_product']:.0%}",
                "of memory reading": f"{way['share_of_memory']:.0%}",
            })  # fmt: skip
    lines = [str(Machine(**figures["machine"])), "", table(list(rows[0]), [list(row.values()) for row in rows]), ""]
    for row in figures["rows"]:
        lines.append(
            f"- {row['network']}: {row['weights'] / 1e6:.2f} M weights a step; beside it the matrix product ran at "
            f"{row['matrix_product_gflops']:.0f} GFLOP/s and memory was read at {row['memory_gb_per_s']:.0f} GB/s"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only the small networks, once")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    rows, repeats = (QUICK_ROWS, 1) if arguments.quick else (ROWS, arguments.repeats)
    measured = [measure_row(row, repeats) for row in rows]
    figures = {"machine": machine().as_dict(), "repeats": repeats, "rows": measured}
    print(as_markdown(figures))
    if arguments.json:
        write_text(arguments.json, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
