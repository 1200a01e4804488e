"""Exact sums of integer products: which lane of the machine computes them.

8-bit operands go to XLA's native int8 products with int32 sums; 32-bit sums wrap, so that only the proven final sum
need fit. 16-bit data with 8-bit weights are two 8-bit lanes. What may leave int32 there, and products of two 16-bit
operands, are carried in float64, exact to 2**53.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ...arithmetic import INT32, Interval, within

_LANE_DEPTH = ((1 << 31) - 1) // (128 * 128)
"""The products of 8-bit operands that an int32 surely holds."""

Product = Callable[[jax.Array, jax.Array, jax.typing.DTypeLike], jax.Array]


def exact_products(product: Product, x: jax.Array, w: jax.Array, depth: int, interval: Interval) -> jax.Array:
    """`product(x, w, dtype)`, bilinear with `depth` terms a sum, in int32 or, where `interval` leaves that, in int64.

    `x` is int8 or int16 and `w` is int8, or both are int16; every partial sum lies in `interval`.
    """
    small = within(interval, INT32)
    if x.dtype == jnp.int8 and w.dtype == jnp.int8 and (small or depth <= _LANE_DEPTH):
        sums = product(x, w, jnp.int32)
        return sums if small else sums.astype(jnp.int64)
    if w.dtype == jnp.int8 and (small or depth <= _LANE_DEPTH):
        wide = jnp.int32 if small else jnp.int64
        upper = (x >> 8).astype(jnp.int8)
        lower = ((x & 255) - 128).astype(jnp.int8)
        middle = product(jnp.ones_like(upper), w, jnp.int32)
        return (
            product(upper, w, jnp.int32).astype(wide) * 256
            + product(lower, w, jnp.int32).astype(wide)
            + middle.astype(wide) * 128
        )
    sums = product(x.astype(jnp.float64), w.astype(jnp.float64), jnp.float64)
    return sums.astype(jnp.int32 if small else jnp.int64)


def whole_bytes(w: jax.Array) -> jax.Array:
    """Weights as int8 or int16: 4-bit ones are carried in bytes."""
    return w if w.dtype == jnp.int16 else w.astype(jnp.int8)


def dot(x: jax.Array, w: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """x [..., M, K] times w [..., K, N], leading axes broadcast."""
    return jnp.matmul(x, w, preferred_element_type=dtype, precision=jax.lax.Precision.HIGHEST)
