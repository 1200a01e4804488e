"""Functions of one 16-bit element: interpolation between the points of a table."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from ...errors import require
from ...op import Bounds, no_products, op
from ...types import DType, TensorType
from .result import Integer

LENGTHS = (8, 9, 10, 11, 12)
"""The n of tables with 2**n + 1 entries."""


@op("npu.interpolate")
class Interpolate(Integer):
    """base + ((slope * offset + half) >> b) of an int16 x, between 2**(16 - b) + 1 entries of a table: rule L2.

    One table, or one per channel on the last axis. `worst` is the greatest distance, in steps of the result, from the
    function that the table was made of, over all 65 536 x: what the compiler found, without influence on the result.
    """

    worst: float = 0.0
    macs = no_products

    def infer(self, x: TensorType, table: TensorType) -> TensorType:
        require(x.dtype is DType.I16, f"{x.dtype} operand, i16 wanted")
        require(table.dtype in (DType.I8, DType.I16), f"table of {table.dtype}, i8 or i16 wanted")
        lengths = [(1 << n) + 1 for n in LENGTHS]
        fits = table.rank > 0 and table.shape[-1] in lengths and table.shape[:-1] in ((), x.shape[-1:])
        wanted = f"{', '.join(map(str, lengths))} entries, once or per channel, wanted"
        require(fits, f"table of shape {table.shape} for {x.shape}: {wanted}")
        require(math.isfinite(self.worst) and self.worst >= 0, f"worst error {self.worst}, finite and positive wanted")
        return TensorType(table.dtype, x.shape)

    def evaluate(self, x: jax.Array, table: jax.Array) -> jax.Array:
        """Tables per channel lie behind each other."""
        first = table.shape[-1] * jnp.arange(table.shape[0], dtype=jnp.int32) if table.ndim == 2 else 0
        return interpolated(table.reshape(-1), x, table.shape[-1], first).astype(table.dtype)

    def bounds(self, x: Bounds, table: Bounds) -> Bounds:
        return table


def interpolated(table: jax.Array, x: jax.Array, length: int = 0, first: jax.Array | int = 0) -> jax.Array:
    """Rule L2 in int32: x, of 16 bits, in tables of `length` entries (by default all) that begin at entry `first`.

    Two gathers; slope times offset is below 2**24.
    """
    bits = 17 - (length or table.shape[0]).bit_length()
    place = x.astype(jnp.int32) + 32768
    index, offset = (place >> bits) + first, place & ((1 << bits) - 1)
    base, end = (table.at[at].get(mode="promise_in_bounds").astype(jnp.int32) for at in (index, index + 1))
    return base + (((end - base) * offset + (1 << (bits - 1))) >> bits)
