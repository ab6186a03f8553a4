"""The network of a harmonic instrument as an ONNX file: notes and times in, amplitudes and frequencies out.

The graph computes `EnvelopeNetwork.amplitudes` at any times, in single precision. `examples/play_onnx.py` plays it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

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
# N notes: MIDI key, velocity 1 to 127, touch and step (0 for a note alone); K times in seconds since the onset, and
# since the release (negative: held). Lines follow `EnvelopeNetwork`; names in capitals are constants.
GRAPH = """
<ir_version: 8, opset_import: ["": 17], producer_name: "{mark}">
harmonic (float[N,4] notes, float[N,K] time_s, float[N,K] release_s)
  => (float[N,K,{partials}] amplitudes, float[N,K,{bands}] noise_magnitudes, double[N,{partials}] frequencies_hz,
      float[N,1] end_s)
{{
  key, velocity, touch, step = Split<axis = 1>(notes)
  key_column = Cast<to = 7>(key)
  pitch = Squeeze(key_column, ONE)
  frequencies_hz = Gather(FREQUENCIES, pitch)
  end_s = Gather(RELEASE_S, key_column)
  learned = Gather(NEAREST, pitch)

  height = Sub(key, MIDDLE)
  v = Div(velocity, LOUDEST)
  log_v = Log(v)
  square_v = Mul(v, v)
  bounded = Clip(step, DOWN, UP)
  leap = Mul(touch, bounded)
  embedding = Gather(EMBEDDING, learned)
  of_note = Concat<axis = 1>(embedding, height, log_v, v, square_v, touch, leap)
  hidden_of_note = Gemm(of_note, NOTE_WEIGHT, HIDDEN_0_BIAS)
  by_note = Unsqueeze(hidden_of_note, ONE)

  beyond = Sub(time_s, LONGEST)
  to_and_fro = Mod<fmod = 1>(beyond, TWICE_WOBBLE)
  shifted = Sub(to_and_fro, WOBBLE)
  distance = Abs(shifted)
  reflected = Add(distance, LONGEST_BUT_WOBBLE)
  is_beyond = Greater(beyond, ZERO)
  folded = Where(is_beyond, reflected, time_s)
  none = Mul(key, ZERO)
  tips = Add(none, TIPS)
  held = Sub(none, TIPS)
  times = Concat<axis = 1>(folded, tips)
  releases = Concat<axis = 1>(release_s, held)
  t = Unsqueeze(times, TWO_AXIS)
  r = Unsqueeze(releases, TWO_AXIS)

  t_and_r = Concat<axis = 2>(t, r)
  positive = Max(t_and_r, SHORTEST)
  log = Log(positive)
  log_of_bump = MatMul(log, BUMPS)
  off = Sub(log_of_bump, CENTRES)
  square = Mul(off, off)
  exponent = Mul(square, MINUS_HALF)
  bumps = Exp(exponent)
  t_bumps, r_gaussians = Split<axis = 2>(bumps, N_BUMPS)
  is_released = GreaterOrEqual(r, ZERO)
  gone = Cast<to = 1>(is_released)
  r_bumps = Mul(r_gaussians, gone)
  t_by_bend = Div(t, MINUS_BENT)
  t_decay = Exp(t_by_bend)
  bent_share = Sub(ONE_FLOAT, t_decay)
  of_time = Concat<axis = 2>(t_bumps, bent_share, r_bumps, gone)

  by_time = MatMul(of_time, TIME_WEIGHT)
  sum_0 = Add(by_time, by_note)
  hidden_0 = LeakyRelu<alpha = 0.1>(sum_0)
  product_2 = MatMul(hidden_0, HIDDEN_2_WEIGHT)
  sum_2 = Add(product_2, HIDDEN_2_BIAS)
  hidden_2 = LeakyRelu<alpha = 0.1>(sum_2)
  product_4 = MatMul(hidden_2, HIDDEN_4_WEIGHT)
  sum_4 = Add(product_4, HIDDEN_4_BIAS)
  hidden_4 = LeakyRelu<alpha = 0.1>(sum_4)
  product_out = MatMul(hidden_4, OUT_WEIGHT)
  out = Add(product_out, OUT_BIAS)

  velocities = Concat<axis = 1>(log_v, v)
  gain = Gather(GAIN, learned)
  level_of_note = Gemm(velocities, VELOCITY_SLOPES, gain)
  level_by_note = Unsqueeze(level_of_note, ONE)
  fall_of_key = Gather(FALL, learned)
  fall_of_note = Add(fall_of_key, TIME_SLOPES)
  fall_by_note = Unsqueeze(fall_of_note, ONE)
  bent = Mul(bent_share, BENT)
  fallen = Mul(fall_by_note, bent)
  at_onset = Add(out, level_by_note)
  levels = Add(at_onset, fallen)

  level = Slice(levels, START, BEFORE_TIPS, ONE)
  first_tip = Slice(levels, BEFORE_TIPS, LAST_TIP, ONE)
  last_tip = Slice(levels, LAST_TIP, END, ONE)
  change = Sub(last_tip, first_tip)
  slope = Div(change, WOBBLE)
  falling = Min(slope, ZERO)
  late_s = Sub(time_s, folded)
  late = Unsqueeze(late_s, TWO_AXIS)
  trend = Mul(falling, late)
  with_trend = Add(level, trend)
  log_amplitude = Min(with_trend, ZERO)
  unfaded = Exp(log_amplitude)
  left_s = Sub(end_s, release_s)
  fade_s = Mul(end_s, FADE_SHARE)
  left = Div(left_s, fade_s)
  fade_of_time = Clip(left, ZERO, ONE_FLOAT)
  fade = Unsqueeze(fade_of_time, TWO_AXIS)
  faded = Mul(unfaded, fade)
  amplitudes, noise_magnitudes = Split<axis = 2>(faded, SIZES)
}}
"""


def onnx_model(seat: Seat, credit: str) -> Any:
    """The model of a harmonic instrument, an `onnx.ModelProto`.

    Its metadata have the instrument's name and credit, its `level` (the factor to its teacher's), the centres of the
    lowest and highest noise band, and the player's vibrato.

    Raises:
        InputError: the package onnx is not here.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise InputError("an ONNX file needs onnx: pip install onnx") from None
    config = cast(HarmonicConfig, seat.checkpoint.config)
    model = onnx.parser.parse_model(GRAPH.format(mark=MARK, partials=config.partials, bands=config.bands))
    arrays = _constants(config, {name: np.asarray(value) for name, value in seat.checkpoint.weights.items()})
    model.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in arrays.items())
    low, high = BANDS_HZ
    facts = {"instrument": seat.voice.name, "credit": credit, "level": seat.level, "bands_hz": f"{low:g} {high:g}"}
    facts |= {"vibrato_hz": config.vibrato_hz, "vibrato_cents": config.vibrato_cents}
    onnx.helper.set_model_props(model, {name: str(value) for name, value in facts.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _constants(config: HarmonicConfig, weights: dict[str, NDArray]) -> dict[str, NDArray]:
    """The initializers of `GRAPH` by name."""
    w = {name: value if name == "nearest" else value.astype(np.float32) for name, value in weights.items()}
    f0_hz, ratios = frequencies_of(np.arange(N_KEYS), w["cents"], w["stretch"], w["ratios"])
    n_note, slopes = config.embedding + NOTE_FEATURES, w["slopes.weight"].T
    note_weight, longest_s = w["hidden.0.weight"][:, :n_note].T.copy(), config.longest_s
    note_weight[config.embedding] /= 24  # `note_features` divides keys and steps
    note_weight[-1] /= 12
    scales = [  # of a time: places of the bumps' centres, and their width
        np.linspace(np.log(EARLIEST_S), np.log(last_s), n, dtype=np.float32)
        for n, last_s in ((TIME_BUMPS, longest_s), (RELEASE_BUMPS, LONGEST_RELEASE_S))
    ]
    widths = [np.full(len(centres), centres[1] - centres[0]) for centres in scales]
    arrays = {
        "NOTE_WEIGHT": note_weight,
        "TIME_WEIGHT": w["hidden.0.weight"][:, n_note:].T,
        "HIDDEN_0_BIAS": w["hidden.0.bias"],
        "BUMPS": block_diag(*(1 / width for width in widths)),
        "CENTRES": np.concatenate([centres / width for centres, width in zip(scales, widths, strict=True)]),
        "EMBEDDING": w["key.weight"],
        "GAIN": TABLE_SCALE * w["gain.weight"],
        "FALL": TABLE_SCALE * w["fall.weight"],
        "VELOCITY_SLOPES": slopes[:2],
        "TIME_SLOPES": slopes[2],
        "RELEASE_S": w["release_s"],
        "TIPS": [longest_s - WOBBLE_S, longest_s],
    }
    for layer in ("hidden.2", "hidden.4", "out"):
        name = layer.replace(".", "_").upper()
        arrays |= {f"{name}_WEIGHT": w[f"{layer}.weight"].T, f"{name}_BIAS": w[f"{layer}.bias"]}
    arrays |= {"ZERO": 0, "ONE_FLOAT": 1, "MINUS_HALF": -0.5, "SHORTEST": 1e-4, "FADE_SHARE": FADE_SHARE}
    arrays |= {"MIDDLE": 64, "LOUDEST": 127, "DOWN": -24, "UP": 24, "BENT": BENT_S, "MINUS_BENT": -BENT_S}
    arrays |= {"WOBBLE": WOBBLE_S, "TWICE_WOBBLE": 2 * WOBBLE_S}
    arrays |= {"LONGEST": longest_s, "LONGEST_BUT_WOBBLE": longest_s - WOBBLE_S}
    whole: dict[str, Any] = {
        "ONE": [1],
        "TWO_AXIS": [2],
        "START": [0],
        "BEFORE_TIPS": [-2],
        "LAST_TIP": [-1],
        "END": [2**31],
    }
    whole |= {"SIZES": [config.partials, config.bands], "N_BUMPS": [TIME_BUMPS, RELEASE_BUMPS], "NEAREST": w["nearest"]}
    return {
        "FREQUENCIES": f0_hz[:, None] * ratios,
        **{name: np.asarray(value, np.float32) for name, value in arrays.items()},
        **{name: np.asarray(value, np.int64) for name, value in whole.items()},
    }


def export_onnx(seat: Seat, path: Path, credit: str, force: bool) -> None:
    """Write a harmonic instrument's network atomically.

    Raises:
        InputError: as `onnx_model`; also a file that was not made here, unless forced.
    """
    if path.exists() and not force and MARK.encode() not in path.read_bytes()[:64]:
        raise InputError(f"{path}: not made by SynthNet; choose another name, or --force to overwrite it")
    model = onnx_model(seat, credit)
    with atomic_write(path) as beside:
        beside.write_bytes(model.SerializeToString())
