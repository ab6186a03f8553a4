"""Mu-law classes, the dither that is added before encoding, and its entropy floor.

Class k of a sample x is floor((f(x) + 1) / 2 * 255 + 0.5), clamped to 0 to 255, with f(x) = sign(x) ln(1 + 255 |x|) /
ln 256. It takes boundary[k] <= x < boundary[k + 1], where f(boundary[k]) = (2 k - 256) / 255.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr

CLASSES = 256
SILENCE = 128
DITHER_WIDTH = 0.009


def _expand(f: np.ndarray) -> np.ndarray:
    """The inverse of f."""
    return np.sign(f) * np.expm1(np.abs(f) * np.log(256)) / 255


CLASS_BOUNDARIES = _expand((2 * np.arange(1, CLASSES) - 256) / 255)  # float64 [255], those of classes 1 to 255
_DECODED = _expand(2 * np.arange(CLASSES) / 255 - 1).astype(np.float32)


def encode_mu_law(x: np.ndarray) -> np.ndarray:
    """Classes (uint8, any shape) of samples, to the last bit those of `dithered_class_probabilities`."""
    return np.searchsorted(CLASS_BOUNDARIES, x, side="right").astype(np.uint8)


def decode_mu_law(classes: np.ndarray) -> np.ndarray:
    """Samples (float32, any shape, -1 to 1) of classes: the inverse of f at 2 class / 255 - 1."""
    return _DECODED[classes]


def dither(n: int, rng: np.random.Generator) -> np.ndarray:
    """Triangular noise (float32 [n]) on (-0.009, 0.009) with mode 0, to be added before `encode_mu_law`."""
    return rng.triangular(-DITHER_WIDTH, 0.0, DITHER_WIDTH, n).astype(np.float32)


def dithered_class_probabilities(clean: np.ndarray) -> np.ndarray:
    """Exact probability (float64 [n, 256]) of every class for clean samples [n] once dither is added."""
    boundaries = np.concatenate([[-np.inf], CLASS_BOUNDARIES, [np.inf]])
    u = np.clip((boundaries - np.asarray(clean, np.float64)[:, None]) / DITHER_WIDTH, -1.0, 1.0)  # [n, 257]
    cumulative = np.where(u < 0, (1 + u) ** 2 / 2, 1 - (1 - u) ** 2 / 2)
    return np.diff(cumulative, axis=1)


def dither_floor_nats(clean: np.ndarray) -> float:
    """Mean entropy in nats of the dithered class given the clean samples [n], full scale +-1.

    No model of the dithered signal has a lower mean negative log likelihood. Raises ValueError for no samples.
    """
    if not len(clean):
        raise ValueError("no samples to average over")
    levels, counts = np.unique(clean, return_counts=True)  # 16-bit audio repeats its 65,536 levels
    total = 0.0
    for start in range(0, len(levels), 8192):  # [8192, 256] float64 is 16 MiB
        block = slice(start, start + 8192)
        total += counts[block] @ entr(dithered_class_probabilities(levels[block])).sum(axis=1)
    return total / len(clean)
