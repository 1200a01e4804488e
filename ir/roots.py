"""Rounded division, square roots and their reciprocals of int64: rules I1 to I3 of `docs/arithmetic.md`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

RECIPROCAL_FRACTION = 61
"""What a reciprocal root is a fraction of: `reciprocal_root` gives R with R * 2**(e - 61) near 1 / sqrt(x)."""


def rounded_division(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """floor(numerator / denominator + 1/2): rule I1. Any int64 numerator, a positive denominator."""
    quotient = jnp.floor_divide(numerator, denominator)
    rest = numerator - quotient * denominator
    return quotient + (rest >= denominator - rest)


def rounded_root(x: jax.Array) -> jax.Array:
    """The integer nearest to sqrt(x), 0 <= x < 2**62: rule I2.

    The float64 root is less than 2**-20 off, so that its integer part is off by at most one, which the squares tell.
    """
    guess = jnp.sqrt(x.astype(jnp.float64)).astype(jnp.int64)
    guess = guess - (guess * guess > x)
    rest = x - guess * guess
    guess, rest = jnp.where(rest > 2 * guess, guess + 1, guess), jnp.where(rest > 2 * guess, rest - 2 * guess - 1, rest)
    return guess + (rest > guess)


def reciprocal_root(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(R, e) with R in [2**30, 2**31] and R * 2**(e - 61) = (1 + d) / sqrt(x), |d| <= 2**-30: rule I3.

    Requires 1 <= x < 2**62.
    """
    e = (jax.lax.clz(x) - 2) >> 1
    root = rounded_root(x << (2 * e))
    return rounded_division(jnp.full_like(root, 1 << RECIPROCAL_FRACTION), root), e
