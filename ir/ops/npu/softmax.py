"""The softmax of TFLite's reference kernels: a fixed-point reciprocal in the place of a division."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ...errors import require
from ...op import no_products, op
from ...requantize import clamp, high_product
from ...types import DType, TensorType
from .result import Clamped

LONGEST = 511
"""The most elements whose exponentials, at most 2**19 each, sum to less than 2**28."""

FIRST, SLOPE = 1515870810, -1010580540
"""48/17 and -32/17 in 29 fraction bits: the line from which Newton's steps toward a reciprocal begin."""


@op("npu.softmax_fixed")
class SoftmaxFixed(Clamped):
    """exp(x - max(x)) by table, times the reciprocal of their sum in 31 fraction bits: rule T5.

    `table` i32 [256] holds exponentials in 31 fraction bits, the last one that of 0; the result's scale is 2**-8.
    """

    axis: int
    zero_point: int = -128
    macs = no_products

    def infer(self, x: TensorType, table: TensorType) -> TensorType:
        require(x.dtype is DType.I8, f"{x.dtype} operand, i8 wanted")
        require(0 <= self.axis < x.rank, f"axis {self.axis} of rank {x.rank}")
        require(table == TensorType(DType.I32, (256,)), f"table {table}, i32[256] wanted")
        require(0 < x.shape[self.axis] <= LONGEST, f"softmax over {x.shape[self.axis]} elements, 1 to {LONGEST} wanted")
        return self.stored(x.shape)

    def evaluate(self, x: jax.Array, table: jax.Array) -> jax.Array:
        wide = x.astype(jnp.int32)
        below = wide - wide.max(self.axis, keepdims=True)
        e = table.at[below + 255].get(mode="promise_in_bounds").astype(jnp.int64)
        sums = ((e + (1 << 11)) >> 12).sum(self.axis, keepdims=True)
        room = jax.lax.clz(sums.astype(jnp.int32)).astype(jnp.int64)
        shift = 35 - room
        products = high_product(_reciprocal(sums << room), e)
        rounded = (products + (jnp.int64(1) << (shift - 1))) >> shift
        return clamp(rounded, **self.ends)


def _reciprocal(d: jax.Array) -> jax.Array:
    """2**62 / d nearly, for int64 d in [2**31, 2**32), at most 2**31 - 1."""
    half = d >> 1
    x = FIRST + high_product(half, jnp.full_like(half, SLOPE))
    for _ in range(3):
        x = x + 4 * high_product(x, (1 << 29) - high_product(half, x))
    return jnp.clip(2 * x, 0, (1 << 31) - 1)
