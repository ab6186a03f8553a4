"""Training on a GPU: gradients, time of a step, seconds an epoch, beside the same network in eager torch.

An epoch is 8.64 million samples, as in the paper. Eager is the loop that a CPU has, in bfloat16 (autocast), on one
slice that is on the card already. Ours draws its slices; the time is that of whole steps with Adam. The limit is the
time of the products at the rate of a large product on this card, plus that of the traffic at the rate of a large copy.
Traffic counts each operand of each kernel once.

    python benchmarks/gpu.py [--json PATH] [--tiles]      # under 6 minutes on an H100
    python benchmarks/gpu.py --device cpu --tiny          # TRITON_INTERPRET=1 runs the kernels, too
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import default_collate

from synthnet.corpus.resident import ResidentSlices
from synthnet.corpus.slices import SliceDataset
from synthnet.experiments.machine import machine
from synthnet.experiments.results import table, write_text
from synthnet.files import InputError, commit
from synthnet.models import ModelConfig, Network, build_model, preset_config
from synthnet.models.checkpoint import Checkpoint
from synthnet.models.time_major import Parts, slice_loss
from synthnet.score.notes import Note
from synthnet.training.resident import EAGER_STEPS, PRECISIONS, ResidentTrainer, fast_parts
from synthnet.training.settings import TrainingConfig
from synthnet.training.trainer import Trainer

EPOCH, RATE_HZ = 8_640_000, 16_000
# Model, preset, the goal in seconds an epoch.
NETWORKS = (
    ("synthnet", "L24", 2.0), ("synthnet", "L26", 2.2), ("synthnet", "L48", 4.0),
    ("wavenet", "L26", 20.0), ("deepvoice", "L26", 20.0),
)  # fmt: skip
GOALS = {"float32": 1e-5, "float16": 0.02}  # of gradients, relative
GRADIENT_SCALE = 1024.0
TRIED = {
    "gate": [(4, 512, 4), (8, 512, 4), (16, 256, 4), (8, 256, 4), (16, 128, 4), (8, 128, 4), (4, 256, 4)],
    "gate_gradient": [(32, 64, 4), (64, 64, 8), (32, 32, 4), (64, 32, 4), (32, 128, 8), (16, 128, 4), (16, 64, 4)],
    "input_gradient": [(4, 512, 4), (8, 512, 4), (16, 256, 4), (8, 256, 4), (16, 128, 4), (8, 128, 4), (4, 256, 4)],
}


class Sizes(NamedTuple):
    """What is measured: the card's sizes, or tiny ones."""

    seconds: int  # of music
    slices: tuple[int, ...]  # lengths for ours; eager is given the first two
    checked: int  # samples predicted in the check of gradients
    steps: int
    large: int  # side of the matrices, for the limit
    shape: dict[str, int]


CARD = Sizes(540, (16_000, 65_536, 131_072), 4_000, 20, 8_192, {})
TINY = Sizes(20, (100,), 40, 1, 128, {"channels": 8, "blocks": 1, "dilations": 3})


class Music:
    """Noise and four notes a second, in the form of a corpus."""

    folder, sample_rate_hz = Path("noise"), RATE_HZ

    def __init__(self, seconds: int) -> None:
        rng = np.random.default_rng(0)
        self.samples = rng.integers(-8_000, 8_000, seconds * RATE_HZ).astype(np.int16)
        self.notes = [Note(int(rng.integers(36, 84)), 80, n / 4, n / 4 + 0.3) for n in range(4 * seconds - 2)]

    def split(self, name: str) -> tuple[SimpleNamespace]:
        """One piece."""
        return (SimpleNamespace(n_samples=len(self.samples), left_out=()),)

    def read_samples(self, piece: object) -> np.ndarray:
        """int16."""
        return self.samples

    def read_notes(self, piece: object) -> list[Note]:
        """Sorted."""
        return self.notes


def dataset_of(music: Any, config: ModelConfig, n_predicted: int) -> SliceDataset:
    """Slices of the music for a network."""
    return SliceDataset([music], "train", n_predicted=n_predicted, n_context=config.receptive_field - 1, seed=0)


def seconds_of(device: torch.device, work: Callable[[], Any], repeats: int) -> float:
    """Median of single runs, or on a GPU the mean of all in a row."""
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - begun) / repeats
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def step_of(kind: type[Trainer], music: Music, config: ModelConfig, n: int, device: torch.device, folder: Path) -> Any:
    """A function that takes a step of this kind of trainer, warmed up."""
    dataset = dataset_of(music, config, n)
    training = TrainingConfig(n_predicted=n, ema_decay=0.995)
    trainer = kind(folder, Checkpoint(config, RATE_HZ, ("noise",), {}, {}), training, dataset, device=device)
    batch = {} if kind is ResidentTrainer else default_collate([dataset[0]])
    batch = {name: value.to(device) for name, value in batch.items()}
    module = trainer.prepare()

    def step() -> None:
        trainer.train_step(module, batch, 0.0)
        trainer.step += 1

    for _ in range(EAGER_STEPS + 2 if device.type == "cuda" else 0):
        step()
    return step


def epoch_seconds(
    kind: type[Trainer], music: Music, config: ModelConfig, lengths: Sequence[int], device: torch.device, steps: int
) -> dict[int, float]:
    """By length of the slices, without those that fail, for which the card may have too little memory."""
    found, step = {}, None
    for n in lengths:
        step = None  # and with it the trainer before
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        with tempfile.TemporaryDirectory() as folder:
            try:
                step = step_of(kind, music, config, n, device, Path(folder))
                found[n] = EPOCH / n * seconds_of(device, step, steps)
            except (RuntimeError, InputError) as error:
                print(f"{config.model}, slices of {n}: {str(error).splitlines()[0]}")
    return found


def gradient_errors(music: Music, config: ModelConfig, n: int, device: torch.device, parts: Parts) -> dict[str, float]:
    """By precision, the largest relative distance of a parameter's gradient from eager torch's in float64."""
    torch.manual_seed(0)
    network: Network = build_model(config).to(device)
    width = config.filter_width
    piece = ResidentSlices(dataset_of(music, config, n), width, device).draw(torch.tensor(1, device=device))
    frames = piece.windows[piece.runs]  # [N, 128, F + 1]
    exact = copy.deepcopy(network).double()
    batch = {"x": piece.classes[:-1], "roll": frames[:, :, width - 1].t(), "style": piece.instrument}
    batch |= {"target_x": piece.classes[-n:], "target_roll": frames[-n:, :, width].t()}
    exact.loss({name: value[None] for name, value in batch.items()}).total.backward()
    errors = {}
    for name, dtype in PRECISIONS.items():
        scale = GRADIENT_SCALE if name == "float16" else 1.0
        network.zero_grad()
        (slice_loss(network, piece, dtype, parts).total * scale).backward()
        pairs = zip(network.parameters(), exact.parameters(), strict=True)
        errors[name] = max(
            float((mine.grad / scale - right.grad).norm() / right.grad.norm())
            for mine, right in pairs
            if mine.grad is not None and right.grad is not None
        )
    return errors


def work_of(config: ModelConfig, n: int) -> tuple[float, float]:
    """Floating-point operations of the products, and bytes of the traffic, of a step in half precision."""
    channels, width = config.channels, config.filter_width
    separable, own_skip = config.model == "synthnet", config.model == "deepvoice"
    flops = 6.0 * n * config.head_channels * (channels + 256)
    rows = n + sum((width - 1) * dilation for dilation in config.layer_dilations)
    passes = 0.0  # of [rows, channels]
    for dilation in config.layer_dilations:
        rows -= (width - 1) * dilation
        flops += 6.0 * rows * channels * channels * (1 if separable else 1 + 2 * width)
        flops += 6.0 * n * channels * channels * own_skip
        if separable:  # forward: gate 2, residual 3; backward: products 4, gate 4, taps 4
            passes += 17 * rows
        else:  # taps, gate, residual; backward the same twice, with slices filled up; score: products with [rows, U]
            forward = (5 * width - 2) + (4 * width + 4) + 3 + 5
            backward = 9 + 4 + 5 + 12 * width + 2 * width + 2
            passes += (forward + backward) * rows + 8 * n
    return flops, passes * channels * 2


def card_rates(device: torch.device, side: int) -> tuple[float, float]:
    """Operations a second of a half-precision product, and bytes a second of a copy (read and written)."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    product = seconds_of(device, lambda: a @ b, 10)
    source = torch.zeros(4 * side * side, device=device)
    target = torch.empty_like(source)
    copied = seconds_of(device, lambda: target.copy_(source), 10)
    return 2.0 * side**3 / product, 2.0 * source.numel() * source.element_size() / copied


def try_tiles(channels: int, device: torch.device) -> dict[str, Any]:
    """Milliseconds of each kernel with other tiles, on 73,726 samples; the best become `TILES` of this process."""
    from synthnet.kernels import fused

    n, dilation, width, found = 73_726, 64, 3, {}
    x, d_hidden = (torch.randn(n + 2 * dilation, channels, device=device).half() for _ in range(2))
    taps, bias = torch.randn(width, 2, channels, device=device), torch.randn(2, channels, device=device)
    hidden, d_gates = torch.empty_like(x), torch.empty(n, 2 * channels, device=device, dtype=torch.float16)
    sums = torch.empty(n // 8, 2 * width + 2, channels, device=device)
    calls = {
        "gate": (n, x, taps, bias, hidden, n, dilation),
        "gate_gradient": (n, x, d_hidden, taps, bias, d_gates, sums, n, dilation),
        "input_gradient": (len(x), d_hidden, d_gates, taps, hidden, n, len(x), dilation),
    }
    for name, tiles in TRIED.items():
        times = {}
        for tile in tiles:
            fused.TILES[name] = tile
            work = lambda name=name: fused.launch(getattr(fused, name), *calls[name], channels=channels, width=width)  # noqa: E731
            times[tile] = round(1e3 * seconds_of(device, work, 20), 4)
        fused.TILES[name] = min(times, key=lambda tile: times[tile])
        found[name] = {str(tile): ms for tile, ms in times.items()}
    return found


def measure(device: torch.device, sizes: Sizes, tiles: bool) -> dict[str, Any]:
    """All figures."""
    torch.backends.cuda.matmul.allow_tf32 = False
    parts, music = fast_parts(device), Music(sizes.seconds)
    if device.type == "cpu" and parts != Parts():  # the interpreter is slow by the tile
        from synthnet.kernels import fused

        fused.TILES = dict.fromkeys(fused.TILES, (256, 512, 4))
    figures: dict[str, Any] = {
        "machine": machine().as_dict(),
        "commit": commit(),
        "device": device.type,
        "networks": [],
    }
    if tiles:
        figures["tiles_ms"] = try_tiles(512, device)
    products, copies = figures["products_per_s"], figures["bytes_per_s"] = card_rates(device, sizes.large)
    for model, preset, goal in NETWORKS:
        config = preset_config(model, preset, **sizes.shape)
        errors = gradient_errors(music, config, sizes.checked, device, parts)
        eager = epoch_seconds(Trainer, music, config, sizes.slices[:2], device, sizes.steps)
        ours = epoch_seconds(ResidentTrainer, music, config, sizes.slices, device, sizes.steps)
        if not ours:
            continue
        best = min(ours, key=lambda n: ours[n])
        flops, traffic = work_of(config, best)
        step_s, limit_s = ours[best] * best / EPOCH, flops / products + traffic / copies
        figures["networks"].append({
            "network": f"{model} {preset}", "parameters": sum(p.numel() for p in build_model(config).parameters()),
            "gradient_errors": errors, "slice": best, "step_ms": 1e3 * step_s, "epoch_s": ours[best], "goal_s": goal,
            "epoch_s_by_slice": ours, "eager_epoch_s_by_slice": eager,
            "traffic_gb_a_step": traffic / 1e9, "traffic_gb_per_s": traffic / 1e9 / step_s,
            "limit_epoch_s": EPOCH / best * limit_s, "share_of_limit": limit_s / step_s,
        })  # fmt: skip
        print(json.dumps(figures["networks"][-1]), flush=True)  # whatever stops the rest
    if device.type == "cuda":
        figures["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return figures


def as_markdown(figures: dict[str, Any]) -> str:
    """The card and the table."""
    about, rates = figures["machine"], (figures["products_per_s"] / 1e12, figures["bytes_per_s"] / 1e12)
    rows = []
    for row in figures["networks"]:
        errors = (
            f"{error:.1e}" + ("" if error < GOALS.get(name, 1.0) else " (too far)")
            for name, error in row["gradient_errors"].items()
        )
        eager = (f"{seconds:.3g} ({n:,})" for n, seconds in row["eager_epoch_s_by_slice"].items())
        rows.append({
            "network": row["network"],
            "step, ms (slice)": f"{row['step_ms']:.3g} ({row['slice']:,})",
            "s an epoch": f"{row['epoch_s']:.3g}",
            "goal": str(row["goal_s"]),
            "eager, s (slice)": "; ".join(eager),
            "traffic, GB a step": f"{row['traffic_gb_a_step']:.3g}",
            "TB/s": f"{row['traffic_gb_per_s'] / 1e3:.3g}",
            "of limit": f"{row['share_of_limit']:.0%}",
            "gradients: float16, bfloat16, float32": ", ".join(errors),
        })  # fmt: skip
    return (
        f"{about['gpu'] or about['processor']}, PyTorch {about['torch']}, commit {figures['commit']}\n"
        f"beside it a large product ran at {rates[0]:.3g} TFLOP/s and a copy at {rates[1]:.3g} TB/s\n\n"
        + table(list(rows[0]), [list(row.values()) for row in rows])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to see that everything runs")
    parser.add_argument("--tiles", action="store_true", help="time the kernels with other tiles first; use the best")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    figures = measure(torch.device(arguments.device), TINY if arguments.tiny else CARD, arguments.tiles)
    print(as_markdown(figures))
    print(json.dumps(figures))
    if arguments.json:
        write_text(arguments.json, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
