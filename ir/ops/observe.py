"""The op of the observed level: exact integer statistics of one value."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from ..errors import require
from ..op import Op, op
from ..types import DType, TensorType

LEAST_EXPONENT = -126
"""The finest cell is 2^-126, the smallest normal float32, so that 2^-exponent is a float32 too."""


@op("observe")
@dataclass(frozen=True, slots=True, kw_only=True)
class Observe(Op):
    """Least and greatest element, zeros, and a histogram whose cells are a power of two wide.

    Results: minimum f32[], maximum f32[], zeros i32[], exponent i32[], counts i32[4 * bins]. A cell is 2^exponent
    wide, and cell `2 * bins + i` counts the elements with trunc(|x| / 2^exponent) = i for x >= 0, `= -1 - i` mirrored
    for x < 0. The exponent is the least one at which all elements fit, so at least `bins` cells lie between
    zero and the element of greatest magnitude. Subnormal numbers count as zeros, because devices differ in them.
    """

    bins: int = 2048

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        """Give three scalars, the exponent and the counts."""
        require(x.dtype is DType.F32, f"{x.dtype} operand, f32 wanted")
        require(x.size > 0, "nothing to observe in an empty operand")
        require(2 <= self.bins <= 1 << 20, f"{self.bins} bins, 2 to {1 << 20} wanted")
        require(self.bins & (self.bins - 1) == 0, f"{self.bins} bins, a power of two wanted")
        number, count = TensorType(DType.F32, ()), TensorType(DType.I32, ())
        return number, number, count, count, TensorType(DType.I32, (4 * self.bins,))

    def evaluate(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Two passes: the extremes fix the exponent, then every element counts in its cell."""
        x = flushed(jnp.ravel(x))
        low, high = jnp.min(x), jnp.max(x)
        exponent = least_exponent(jnp.maximum(jnp.abs(low), jnp.abs(high)), self.bins)
        counts = jnp.zeros(4 * self.bins, jnp.int32).at[cells(x, exponent, self.bins)].add(1)
        return low, high, jnp.sum(x == 0, dtype=jnp.int32), exponent, counts


def flushed(x: jax.Array) -> jax.Array:
    """The float32 numbers with subnormal ones and -0 replaced by +0, whatever the device's own mode is."""
    magnitude = lax.bitcast_convert_type(x, jnp.int32) & 0x7FFFFFFF
    return jnp.where(magnitude < 0x00800000, jnp.zeros((), x.dtype), x)


def least_exponent(magnitude: jax.Array, bins: int) -> jax.Array:
    """The least e with magnitude < 2 * bins * 2^e, read from the number's own exponent bits."""
    bits = lax.bitcast_convert_type(magnitude, jnp.int32)
    above = (bits >> 23) - 126
    return jnp.maximum(above - bins.bit_length(), LEAST_EXPONENT)


def cells(x: jax.Array, exponent: jax.Array, bins: int) -> jax.Array:
    """The cell of each flushed number: the product with a power of two is exact, or truncates to 0 in any mode."""
    scale = lax.bitcast_convert_type((127 - exponent) << 23, jnp.float32)
    steps = (jnp.abs(x) * scale).astype(jnp.int32)
    return jnp.where(x < 0, ~steps, steps) + 2 * bins
