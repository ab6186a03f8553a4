"""The network of a harmonic instrument as an ONNX file: notes and times in, amplitudes and frequencies out.

The graph computes `EnvelopeNetwork.amplitudes` at any times, in single precision. `examples/play_onnx.py` plays it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from synthnet.files import InputError, atomic_write
from synthnet.generation.library import Seat
from synthnet.kernels.voices import BANDS_HZ
from synthnet.models import HarmonicConfig
from synthnet.models.config import LONGEST_RELEASE_S, NOTE_FEATURES, RELEASE_BUMPS, TIME_BUMPS
from synthnet.models.envelopes import (
    BENT_S,
    EARLIEST_S,
    FADE_SHARE,
    N_KEYS,
    TABLE_SCALE,
    WOBBLE_S,
    frequencies_of,
)

MARK = "SynthNet"
FLOAT, INT64 = 1, 7  # ONNX's numbers of types
# N notes: MIDI key, velocity 1 to 127, touch and step (0 for a note alone); K times in seconds since the onset, and
# since the release (negative: held).
SIGNATURE = """
<ir_version: 8, opset_import: ["": 17], producer_name: "{mark}">
harmonic (float[N,4] notes, float[N,K] time_s, float[N,K] release_s)
  => (float[N,K,{partials}] amplitudes, float[N,K,{bands}] noise_magnitudes, double[N,{partials}] frequencies_hz,
      float[N,1] end_s)
{{
}}
"""


class Graph:
    """ONNX nodes, made by calls of operators: `graph.Add(x, 1.0)` gives the name of the sum.

    Inputs are names; arrays and numbers become constants, floats in single precision.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[Any, Any] = {}

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        return functools.partial(self.add, operator)

    def add(self, operator: str, *inputs: Any, outputs: Sequence[str] = (), **attributes: Any) -> Any:
        """Add a node; its one output, or all of them where they are named."""
        from onnx import helper

        names = outputs or [f"{operator.lower()}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(operator, [self.name(value) for value in inputs], names, **attributes))
        return names if outputs else names[0]

    def name(self, value: Any) -> str:
        """The name of an input."""
        from onnx import numpy_helper

        if isinstance(value, str):
            return value
        array = np.asarray(value, np.float32 if isinstance(value, float) else None)
        constant = numpy_helper.from_array(array, f"constant_{len(self.constants)}")
        return self.constants.setdefault((array.dtype, array.shape, array.tobytes()), constant).name


def envelope_graph(config: HarmonicConfig, weights: dict[str, NDArray]) -> Graph:
    """The formulas of `EnvelopeNetwork`, for notes [N, 4] and times [N, K]; what is of a note alone is [N, 1, any]."""
    g, w, longest_s = Graph(), weights, config.longest_s
    key, velocity, touch, step = g.Split("notes", outputs=["key", "velocity", "touch", "step"], axis=1)
    pitch = g.Cast(key, to=INT64)
    learned = g.Gather(w["nearest"].astype(np.int64), pitch)
    f0_hz, ratios = frequencies_of(np.arange(N_KEYS), w["cents"], w["stretch"], w["ratios"])
    g.Squeeze(g.Gather(f0_hz[:, None] * ratios, pitch), [1], outputs=["frequencies_hz"])
    (end_s,) = g.Gather(w["release_s"], pitch, outputs=["end_s"])

    v = g.Div(velocity, 127.0)
    log_v, leap = g.Log(v), g.Mul(touch, g.Clip(g.Div(step, 12.0), -2.0, 2.0))
    features = g.Concat(g.Div(g.Sub(key, 64.0), 24.0), log_v, v, g.Mul(v, v), touch, leap, axis=1)
    note = g.Concat(g.Gather(w["key.weight"], learned), g.Unsqueeze(features, [1]), axis=2)
    hidden, n_note = w["hidden.0.weight"].T, config.embedding + NOTE_FEATURES
    of_note = g.Add(g.MatMul(note, hidden[:n_note]), w["hidden.0.bias"])
    slopes = w["slopes.weight"].T
    struck = g.MatMul(g.Unsqueeze(g.Concat(log_v, v, axis=1), [1]), slopes[:2])
    struck = g.Add(struck, g.Gather(TABLE_SCALE * w["gain.weight"], learned))
    fall = g.Add(g.Gather(TABLE_SCALE * w["fall.weight"], learned), slopes[2])

    def bumps(time_s: str, n: int, last_s: float) -> str:
        centres = np.linspace(np.log(EARLIEST_S), np.log(last_s), n, dtype=np.float32)
        off = g.Div(g.Sub(g.Log(g.Max(time_s, 1e-4)), centres), centres[1] - centres[0])
        return g.Exp(g.Mul(g.Mul(off, off), -0.5))

    def log_amplitudes(time_s: Any, release_s: Any) -> str:
        t, r = (g.Unsqueeze(times, [2]) for times in (time_s, release_s))
        gone = g.Cast(g.GreaterOrEqual(r, 0.0), to=FLOAT)
        bent = g.Sub(1.0, g.Exp(g.Div(t, -BENT_S)))
        released = g.Mul(bumps(r, RELEASE_BUMPS, LONGEST_RELEASE_S), gone)
        times = g.Concat(bumps(t, TIME_BUMPS, longest_s), bent, released, gone, axis=2)
        x = g.Add(g.MatMul(times, hidden[n_note:]), of_note)
        for name in ("hidden.2", "hidden.4", "out"):
            x = g.Add(g.MatMul(g.LeakyRelu(x, alpha=0.1), w[f"{name}.weight"].T), w[f"{name}.bias"])
        return g.Add(g.Add(x, struck), g.Mul(fall, g.Mul(bent, BENT_S)))

    beyond = g.Sub("time_s", longest_s)
    to_and_fro = g.Abs(g.Sub(g.Mod(beyond, 2 * WOBBLE_S, fmod=1), WOBBLE_S))
    folded = g.Where(g.Greater(beyond, 0.0), g.Add(to_and_fro, longest_s - WOBBLE_S), "time_s")
    ends = np.array([[longest_s - WOBBLE_S, longest_s]], np.float32)
    first, last = g.Split(log_amplitudes(ends, np.full_like(ends, -1)), outputs=["first", "last"], axis=1)
    falling = g.Min(g.Div(g.Sub(last, first), WOBBLE_S), 0.0)
    level = g.Add(log_amplitudes(folded, "release_s"), g.Mul(falling, g.Unsqueeze(g.Sub("time_s", folded), [2])))
    fade = g.Clip(g.Div(g.Sub(end_s, "release_s"), g.Mul(end_s, FADE_SHARE)), 0.0, 1.0)
    amplitudes = g.Mul(g.Exp(g.Min(level, 0.0)), g.Unsqueeze(fade, [2]))
    g.Split(amplitudes, [config.partials, config.bands], outputs=["amplitudes", "noise_magnitudes"], axis=2)
    return g


def export_onnx(seat: Seat, path: Path, credit: str, force: bool) -> None:
    """Write a harmonic instrument's network atomically.

    The file's metadata have the instrument's name and credit, its `level` (the factor to its teacher's), the centres of
    the lowest and highest noise band, and the player's vibrato.

    Raises:
        InputError: the package onnx is not here; or the file was not made here, unless forced.
    """
    if path.exists() and not force and MARK.encode() not in path.read_bytes()[:64]:
        raise InputError(f"{path}: not made by SynthNet; choose another name, or --force to overwrite it")
    try:
        from onnx import checker, helper, parser
    except ImportError:
        raise InputError("an ONNX file needs onnx: pip install onnx") from None
    config = cast(HarmonicConfig, seat.checkpoint.config)
    model = parser.parse_model(SIGNATURE.format(mark=MARK, partials=config.partials, bands=config.bands))
    weights = {name: np.asarray(value, np.float32) for name, value in seat.checkpoint.weights.items()}
    graph = envelope_graph(config, weights)
    model.graph.node.extend(graph.nodes)
    model.graph.initializer.extend(graph.constants.values())
    low, high = BANDS_HZ
    facts = {"instrument": seat.voice.name, "credit": credit, "level": seat.level, "bands_hz": f"{low:g} {high:g}"}
    facts |= {"vibrato_hz": config.vibrato_hz, "vibrato_cents": config.vibrato_cents}
    helper.set_model_props(model, {name: str(value) for name, value in facts.items()})
    checker.check_model(model, full_check=True)
    with atomic_write(path) as beside:
        beside.write_bytes(model.SerializeToString())
