"""Small matrix products for compiled loops: the weights in panels of 16 outputs, the sums in vector registers.

`add_product` computes out += x @ weights for a few rows (one a stream) and weights that `panels` packed once. LLVM does
not keep sums in registers across a loop over inputs (it would have to prove that the arrays do not overlap). The inner
loop is therefore written as LLVM vectors of 16 float32: one AVX-512 register, two of AVX2, four of NEON. Up to 6 rows
share each load of the weights (6 x 16 is the usual tile for AVX2: 12 sums, 2 weights, 1 input). A single row takes 4
panels at once: enough sums are then under way to hide the latency of the multiply-add.

Each sum runs over the inputs in order, whatever the number of rows: a stream does not depend on its company.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from synthnet.kernels.fastmath import COMPILE

# Without numba's run-time, which would count references to each array of a tuple that a function is handed.
LOOP: dict[str, Any] = {**COMPILE, "_nrt": False}
LANES = 16
VECTOR = ir.VectorType(ir.FloatType(), LANES)
INT32 = ir.IntType(32)
MOST_ROWS = 6
BYTES_ALIGNED = 64  # a cache line, and a vector


def padded(n: int) -> int:
    """The next multiple of the vector length."""
    return -(-n // LANES) * LANES


def aligned_zeros(shape: tuple[int, ...]) -> np.ndarray:
    """float32 zeros that start at a cache line, so that no vector straddles two."""
    n_bytes = 4 * int(np.prod(shape))
    memory = np.zeros(n_bytes + BYTES_ALIGNED, np.uint8)
    start = -memory.ctypes.data % BYTES_ALIGNED
    return memory[start : start + n_bytes].view(np.float32).reshape(shape)


def widened(values: np.ndarray) -> np.ndarray:
    """An aligned float32 copy whose last axis is filled up with zeros to whole vectors."""
    wide = aligned_zeros((*values.shape[:-1], padded(values.shape[-1])))
    wide[..., : values.shape[-1]] = values
    return wide


def panels(matrix: np.ndarray) -> np.ndarray:
    """[inputs, outputs] to [outputs / 16, inputs, 16], both filled up with zeros."""
    wide = widened(widened(matrix).T).T
    return widened(wide.reshape(len(wide), -1, LANES).transpose(1, 0, 2))


def product_tile(row_counts: Sequence[int], columns: int) -> Any:
    """An intrinsic that adds x @ weights for one of these numbers of rows, and columns (panels of 16), at once.

    With several rows the weights come more slowly than the processor's own prefetching expects, and each panel
    begins cold: the tile asks for the next one while it works. With one row, at the pace of memory, that only delays.
    """

    @intrinsic
    def add_tile(_context, rows, out, out_at, out_stride, x, x_at, depth, weights, weights_at):  # type: ignore
        def generate(context, builder, signature, arguments):  # type: ignore
            n_rows, _, out_at, out_stride, _, x_at, depth, _, weights_at = arguments
            integer = depth.type

            def place_of(array: int, *offsets: Any) -> Any:
                """The address of an element of an array."""
                struct = context.make_array(signature.args[array])(context, builder, value=arguments[array])
                return builder.gep(struct.data, [functools.reduce(builder.add, offsets)])

            def times(a: Any, b: int) -> Any:
                return builder.mul(a, integer(b), flags=["nsw"])

            def vector(place: Any) -> Any:
                return builder.bitcast(place, VECTOR.as_pointer())

            def add_rows(rows: int) -> None:
                places = [
                    vector(place_of(1, out_at, times(out_stride, row), integer(LANES * column)))
                    for row in range(rows)
                    for column in range(columns)
                ]
                sums = [cgutils.alloca_once_value(builder, builder.load(place, align=4)) for place in places]
                with cgutils.for_range(builder, depth) as loop:
                    across = []
                    for column in range(columns):
                        panel = builder.add(times(depth, LANES * column), times(loop.index, LANES))
                        across.append(builder.load(vector(place_of(7, weights_at, panel)), align=4))
                        if rows > 1:
                            prefetch(builder, place_of(7, weights_at, panel, times(depth, LANES * columns)))
                    for row in range(rows):
                        value = builder.load(place_of(4, x_at, times(depth, row), loop.index))
                        first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, INT32(0))
                        spread = builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(INT32, LANES), None))
                        for total, weights in zip(sums[row * columns :], across, strict=False):
                            # "contract" makes the pair one fused multiply-add where the machine has it.
                            product = builder.fmul(spread, weights, flags=["contract"])
                            builder.store(builder.fadd(product, builder.load(total), flags=["contract"]), total)
                for place, total in zip(places, sums, strict=True):
                    builder.store(builder.load(total), place, align=4)

            for count in row_counts:
                with builder.if_then(builder.icmp_signed("==", n_rows, integer(count))):
                    add_rows(count)
            return context.get_dummy_value()

        arguments = (rows, out, out_at, out_stride, x, x_at, depth, weights, weights_at)
        return types.void(*arguments), generate

    return add_tile


def prefetch(builder: Any, place: Any) -> None:
    """Ask for the cache line of a float32 number, to lie in the second-level cache when it is needed."""
    address = builder.bitcast(place, ir.IntType(8).as_pointer())
    signature = ir.FunctionType(ir.VoidType(), [address.type, INT32, INT32, INT32])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [address.type], signature)
    builder.call(fetch, [address, INT32(0), INT32(2), INT32(1)])  # to read, of locality 2 of 3, data


ADD_ROW_TO_FOUR = product_tile([1], 4)
ADD_ROWS = product_tile(range(1, MOST_ROWS + 1), 1)


@njit(**LOOP)
def add_product(out, x, first_row, matrices, number):  # type: ignore
    """out[row] += x[first_row + row] @ matrix, for all rows of `out`.

    Args:
        out: contiguous float32 [rows, N].
        x: contiguous float32 [at least first_row + rows, depth]; depth and N are multiples of 16.
        matrices: contiguous float32 [any, depth x N]: of these packed matrices (`panels`) one is used.
    """
    (rows, width), depth = out.shape, x.shape[1]
    x_at, first, column = first_row * depth, number * depth * width, 0
    while rows == 1 and column + 4 * LANES <= width:
        ADD_ROW_TO_FOUR(rows, out, column, width, x, x_at, depth, matrices, first + column * depth)
        column += 4 * LANES
    while column < width:
        for row in range(0, rows, MOST_ROWS):
            count, out_at = min(rows - row, MOST_ROWS), row * width + column
            ADD_ROWS(count, out, out_at, width, x, x_at + row * depth, depth, matrices, first + column * depth)
        column += LANES
