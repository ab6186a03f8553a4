"""The vectorisable functions against numpy in float64, over a lattice of all float32 numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from synthnet.kernels import fastmath


def applied(function: Callable[[np.float32], np.float32], x: NDArray[np.float32]) -> NDArray[np.float64]:
    """The function in a compiled loop, as it is meant to be used."""

    @njit(fastmath={"contract", "nsz"}, error_model="numpy")
    def loop(x, y):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            y[i] = function(x[i])

    y = np.empty_like(x)
    loop(x, y)
    return y.astype(np.float64)


@pytest.fixture(scope="module")
def lattice() -> NDArray[np.float32]:
    """Every 997th of the finite float32 numbers, and the usual arguments densely."""
    bits = np.arange(0, 2**32, 997, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.concatenate([bits[np.isfinite(bits)], np.linspace(-100, 100, 1_000_001, dtype=np.float32)])


def test_tanh(lattice: NDArray[np.float32]) -> None:
    assert np.abs(applied(fastmath.tanh, lattice) - np.tanh(lattice.astype(np.float64))).max() < 3e-7


def test_tanh_is_relatively_right_near_zero() -> None:
    x = np.geomspace(1e-30, 1, 10_000).astype(np.float32)
    np.testing.assert_allclose(applied(fastmath.tanh, x), np.tanh(x.astype(np.float64)), rtol=5e-7)
    np.testing.assert_array_equal(applied(fastmath.tanh, -x), -applied(fastmath.tanh, x))


def test_sigmoid(lattice: NDArray[np.float32]) -> None:
    x = np.clip(lattice.astype(np.float64), -700, 700)
    assert np.abs(applied(fastmath.sigmoid, lattice) - 1 / (1 + np.exp(-x))).max() < 2e-7


def test_exp(lattice: NDArray[np.float32]) -> None:
    y, x = applied(fastmath.exp, lattice), lattice.astype(np.float64)
    inside = (x > -87.3) & (x < 88.3)
    np.testing.assert_allclose(y[inside], np.exp(x[inside]), rtol=2e-7)
    assert (y[x < np.float32(-87.3)] == 0).all()
    np.testing.assert_allclose(y[x >= 88.3], np.exp(88.3), rtol=1e-5)


@pytest.mark.parametrize("function", [fastmath.tanh, fastmath.sigmoid, fastmath.exp])
def test_nan_gives_nan(function: Callable[[np.float32], np.float32]) -> None:
    assert np.isnan(applied(function, np.array([np.nan, 1.0], np.float32))).tolist() == [True, False]
