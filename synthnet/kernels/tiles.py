"""Small matrix products for compiled loops: the weights in panels of 16 outputs, the sums in vector registers.

`add_product` computes out += x @ weights for a few rows (one a stream) and weights that were packed once by `panels`.
LLVM cannot be relied on to keep sums in registers across a loop over inputs (it would have to prove that the arrays
do not overlap), so the inner loop is written as LLVM vectors of 16 float32: one AVX-512 register, two of AVX2, four
of NEON. Up to 6 rows share each load of the weights (6 x 16 is the usual tile for AVX2: 12 sums, 2 weights, 1 input);
a single row takes 4 panels at once, so that enough sums are under way to hide the latency of the multiply-add.

Each sum runs over the inputs in order, whatever the number of rows: a stream does not depend on its company.
"""

from __future__ import annotations

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


def panels(matrix: np.ndarray) -> np.ndarray:
    """[inputs, outputs] to [outputs / 16, inputs, 16], outputs filled up with zeros."""
    inputs, outputs = matrix.shape
    packed = aligned_zeros((padded(outputs) // LANES, inputs, LANES))
    wide = np.zeros((inputs, padded(outputs)), np.float32)
    wide[:, :outputs] = matrix
    packed[:] = wide.reshape(inputs, -1, LANES).transpose(1, 0, 2)
    return packed


def prefetch(builder: Any, pointer: Any) -> None:
    """Ask for the cache line of a float32 number, to lie in the second-level cache when it is needed."""
    address, flag = builder.bitcast(pointer, ir.IntType(8).as_pointer()), ir.IntType(32)
    signature = ir.FunctionType(ir.VoidType(), [address.type, flag, flag, flag])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [address.type], signature)
    builder.call(fetch, [address, flag(0), flag(2), flag(1)])  # to read, of locality 2 of 3, data


def product_tile(rows: int, columns: int) -> Any:
    """An intrinsic that adds x @ weights for so many rows and columns (panels of 16) at once.

    With several rows the weights come more slowly than the processor's own prefetching expects, and each panel
    begins cold: the tile asks for the next one while it works. With one row, at the pace of memory, that only delays.
    """

    @intrinsic
    def add_tile(_context, out, out_at, out_stride, x, x_at, x_stride, weights, weights_at, depth):  # type: ignore
        def generate(context, builder, signature, arguments):  # type: ignore
            def pointer(array: int, at: Any) -> Any:
                struct = context.make_array(signature.args[array])(context, builder, value=arguments[array])
                return builder.gep(struct.data, [at])

            def times(a: Any, b: Any) -> Any:
                return builder.mul(a, b, flags=["nsw"])

            def vector_at(start: Any, at: Any) -> Any:
                return builder.bitcast(builder.gep(start, [at]), VECTOR.as_pointer())

            integer = arguments[8].type
            out_start, x_start = pointer(0, arguments[1]), pointer(3, arguments[4])
            weights_start, stride, depth = pointer(6, arguments[7]), arguments[5], arguments[8]
            lanes = integer(LANES)
            out_at = [
                vector_at(out_start, builder.add(times(integer(row), arguments[2]), integer(LANES * column)))
                for row in range(rows)
                for column in range(columns)
            ]
            sums = [cgutils.alloca_once_value(builder, builder.load(place, align=4)) for place in out_at]
            with cgutils.for_range(builder, depth) as loop:
                across = []
                for column in range(columns):
                    at = times(builder.add(times(integer(column), depth), loop.index), lanes)
                    across.append(builder.load(vector_at(weights_start, at), align=4))
                    if rows > 1:
                        ahead = builder.add(at, times(depth, integer(LANES * columns)))
                        prefetch(builder, builder.gep(weights_start, [ahead]))
                for row in range(rows):
                    value = builder.load(builder.gep(x_start, [builder.add(times(integer(row), stride), loop.index)]))
                    first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.IntType(32)(0))
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                    spread = builder.shuffle_vector(first, first, mask)
                    for column in range(columns):
                        place = sums[row * columns + column]
                        # "contract" makes the pair one fused multiply-add where the machine has it.
                        product = builder.fmul(spread, across[column], flags=["contract"])
                        builder.store(builder.fadd(product, builder.load(place), flags=["contract"]), place)
            for place, total in zip(out_at, sums, strict=True):
                builder.store(builder.load(total), place, align=4)
            return context.get_dummy_value()

        return types.void(out, out_at, out_stride, x, x_at, x_stride, weights, weights_at, depth), generate

    return add_tile


TILE_1x4 = product_tile(1, 4)
TILE_1x1 = product_tile(1, 1)
TILE_2x1 = product_tile(2, 1)
TILE_3x1 = product_tile(3, 1)
TILE_4x1 = product_tile(4, 1)
TILE_5x1 = product_tile(5, 1)
TILE_6x1 = product_tile(6, 1)


@njit(**LOOP)
def add_product(out, x, first_row, matrices, number, depth):  # type: ignore
    """out[row] += x[first_row + row, :depth] @ matrix, for all rows of `out`.

    Args:
        out: contiguous float32 [rows, N], N a multiple of 16.
        x: contiguous float32 [at least first_row + rows, at least depth].
        matrices: contiguous float32 [any, depth x N]: of these packed matrices (`panels`) one is used.
    """
    (rows, out_stride), x_stride = out.shape, x.shape[1]
    n_panels, size = out_stride // LANES, depth * LANES
    x_at, weights, weights_at = first_row * x_stride, matrices, number * n_panels * size
    if rows == 1:
        panel = 0
        while panel + 4 <= n_panels:
            TILE_1x4(out, panel * LANES, out_stride, x, x_at, x_stride, weights, weights_at + panel * size, depth)
            panel += 4
        while panel < n_panels:
            TILE_1x1(out, panel * LANES, out_stride, x, x_at, x_stride, weights, weights_at + panel * size, depth)
            panel += 1
        return
    for panel in range(n_panels):
        w_at = weights_at + panel * size
        row = 0
        while row < rows:
            o_at, i_at, left = row * out_stride + panel * LANES, x_at + row * x_stride, rows - row
            if left >= 6:
                TILE_6x1(out, o_at, out_stride, x, i_at, x_stride, weights, w_at, depth)
            elif left == 5:
                TILE_5x1(out, o_at, out_stride, x, i_at, x_stride, weights, w_at, depth)
            elif left == 4:
                TILE_4x1(out, o_at, out_stride, x, i_at, x_stride, weights, w_at, depth)
            elif left == 3:
                TILE_3x1(out, o_at, out_stride, x, i_at, x_stride, weights, w_at, depth)
            elif left == 2:
                TILE_2x1(out, o_at, out_stride, x, i_at, x_stride, weights, w_at, depth)
            else:
                TILE_1x1(out, o_at, out_stride, x, i_at, x_stride, weights, w_at, depth)
            row += 6
