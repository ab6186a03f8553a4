"""tanh, sigmoid and exp in float32, to be called inside compiled (numba) loops.

numba calls libm once a number. These are polynomials without branches, which LLVM inlines and vectorises over the loop
that calls them. Bounds, over all finite float32 arguments:

- tanh: absolute error below 3e-7 (rational minimax approximation as in Eigen and XLA);
- sigmoid: absolute error below 2e-7;
- exp: relative error below 2e-7 between the underflow limit -87.3, below which it is exactly 0 (never a denormal
  number, which would be slow), and the overflow limit 88.3, above which it stays at exp(88.3). (Cephes `expf`.)

NaN gives NaN, so that a diverging network shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from synthnet.kernels import CACHE

# No fast-math flag that assumes finite numbers or reorders sums: only fused multiply-add.
COMPILE: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy", "nogil": True, "cache": CACHE}

# numba would compute in float64 with Python's numbers, hence the typed constants, highest power first.
ONE, HALF = np.float32(1.0), np.float32(0.5)
TANH_LIMIT = np.float32(7.90531110763549805)  # beyond it tanh is 1 within the error
A13, A11, A9, A7, A5, A3, A1 = np.array(
    [-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05,
     6.37261928875436e-04, 4.89352455891786e-03], np.float32
)  # fmt: skip
B6, B4, B2, B0 = np.array(
    [1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03], np.float32
)

EXP_LOWEST, EXP_HIGHEST = np.float32(-87.3), np.float32(88.3)
LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH = np.float32(0.693359375)  # few bits, so that its product with a whole number is exact
LN2_LOW = np.float32(-2.12194440e-4)
E7, E6, E5, E4, E3, E2 = np.array(
    [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1], np.float32
)


@njit(forceinline=True, **COMPILE)
def tanh(x: np.float32) -> np.float32:
    """Hyperbolic tangent of a float32 number."""
    x = TANH_LIMIT if x > TANH_LIMIT else x
    x = -TANH_LIMIT if x < -TANH_LIMIT else x
    square = x * x
    odd = (((((A13 * square + A11) * square + A9) * square + A7) * square + A5) * square + A3) * square + A1
    even = ((B6 * square + B4) * square + B2) * square + B0
    return x * odd / even


@njit(forceinline=True, **COMPILE)
def sigmoid(x: np.float32) -> np.float32:
    """Logistic function 1 / (1 + exp(-x)) of a float32 number."""
    return HALF + HALF * tanh(HALF * x)


@njit(forceinline=True, **COMPILE)
def exp(x: np.float32) -> np.float32:
    """e to the power of a float32 number."""
    bounded = EXP_HIGHEST if x > EXP_HIGHEST else x
    bounded = EXP_LOWEST if bounded < EXP_LOWEST else bounded
    power = np.floor(bounded * LOG2_E + HALF)  # e^x = 2^power * e^rest, |rest| <= ln(2) / 2
    rest = bounded - power * LN2_HIGH - power * LN2_LOW
    tail = ((((E7 * rest + E6) * rest + E5) * rest + E4) * rest + E3) * rest + E2
    mantissa = tail * rest * rest + rest + ONE
    scale = np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)  # 2^power, bit by bit
    return np.float32(0.0) if x < EXP_LOWEST else mantissa * scale
