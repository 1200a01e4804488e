"""Rounding at run time: an accumulator, a multiplier and a shift give an integer result; divisions and roots.

Rule numbers (R1, R2, ...) are those of `docs/arithmetic.md`, which also proves each lane exact. Multipliers and shifts
are run-time arrays; a lane is chosen from what is known before: the proven interval of the accumulator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict, TypeVar, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from .arithmetic import INT32, LARGEST, Interval, within
from .types import DType

HALVES_UP = frozenset({"single_half_up", "tosa_double", "mul16", "pot_half_up"})
"""The profiles in which a plain rounded shift (of a sum, rule R9) rounds halves up."""

RECIPROCAL_FRACTION = 61
"""What a reciprocal root is a fraction of: `reciprocal_root` gives R with R * 2**(e - 61) near 1 / sqrt(x)."""

Factor = TypeVar("Factor", jax.Array, np.ndarray)

_EXACT_PRODUCT = 1 << 21
_MAGIC = 1.5 * 2.0**52


class Ends(TypedDict):
    """How rounded numbers are stored: with the zero point added, limited to [low, high], as `dtype`."""

    zero_point: int
    low: int
    high: int
    dtype: DType


def symmetric(limit: int) -> Ends:
    """Numbers of 32 bits from -limit to limit."""
    return {"zero_point": 0, "low": -limit, "high": limit, "dtype": DType.I32}


def requantize(
    accumulator: jax.Array,
    multiplier: jax.Array,
    shift: jax.Array,
    *,
    rounding: str,
    interval: Interval,
    **ends: Unpack[Ends],
) -> jax.Array:
    """clamp(round(accumulator * multiplier / 2**shift) + zero_point, low, high), rounded as the profile says.

    `multiplier` and `shift` are int32 and broadcast to the accumulator; `interval` holds every value of it, proven.
    Exact for `dtype` up to 32 bits. Needs `jax.enable_x64(True)`.
    """
    if rounding == "single_half_up" and max(-interval[0], interval[1]) <= _EXACT_PRODUCT:
        unit = power_of_two(-shift)
        product = accumulator.astype(jnp.float64) * (multiplier.astype(jnp.float64) * unit)
        return round_half_up(product, 0.5 * unit, **ends)
    wide, m, s = (array.astype(jnp.int64) for array in (accumulator, multiplier, shift))
    if rounding == "single_half_up" and not within(interval, INT32):
        rounded = _single_half_up_wide(wide, m, s)
    else:
        rounded = _PROFILES[rounding](wide, m, s)
    return clamp(rounded, **ends)


def rounded_shift(accumulator: jax.Array, shift: jax.Array, *, rounding: str, **ends: Unpack[Ends]) -> jax.Array:
    """clamp(round(accumulator / 2**shift) + zero_point, low, high) of an int64 accumulator below 2**61: rule R9.

    Halves go up in the profiles of `HALVES_UP` and away from zero in the others; `floor` drops every fraction.
    """
    wide, s = accumulator.astype(jnp.int64), shift.astype(jnp.int64)
    half = _one(s - 1)
    if rounding == "floor":
        rounded = wide >> s
    elif rounding in HALVES_UP:
        rounded = (wide + half) >> s
    else:
        rounded = jnp.sign(wide) * ((jnp.abs(wide) + half) >> s)
    return clamp(rounded, **ends)


def round_half_up(exact: jax.Array, tie: jax.Array, *, zero_point: int, low: int, high: int, dtype: DType) -> jax.Array:
    """clamp(floor(exact + 1/2) + zero_point, low, high) of exact float64 multiples of 2 * `tie`: rule A4.

    Adding `tie` lifts halves and nothing else over the edge, so that the hardware's half-to-even gives half-up; the
    sum with 1.5 * 2**52 rounds and leaves the integer in the low bits, without a saturating conversion. Requires
    |exact| < 2**53 * `tie` - 1, which keeps the first sum exact.
    """
    limited = jax.lax.clamp(float(low - zero_point), exact + tie, float(high - zero_point))
    bits = jax.lax.bitcast_convert_type(limited + (_MAGIC + zero_point), jnp.int64)
    return bits.astype(dtype.numpy)


def power_of_two(exponent: jax.Array) -> jax.Array:
    """2.0**exponent in float64 from its bits: `exp2` is not exact on XLA:CPU. Normal numbers only."""
    bits = (exponent.astype(jnp.int64) + 1023) << 52
    return jax.lax.bitcast_convert_type(bits, jnp.float64)


def clamp(rounded: jax.Array, *, zero_point: int, low: int, high: int, dtype: DType) -> jax.Array:
    """clamp(rounded + zero_point, low, high) of int64 numbers."""
    return jnp.clip(rounded + zero_point, low, high).astype(dtype.numpy)


def _one(shift: jax.Array) -> jax.Array:
    one: jax.Array = jnp.int64(1) << shift
    return one


def _single_half_up(a: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
    """R1: one rounding of the whole product, halves up."""
    return (a * m + _one(s - 1)) >> s


def _single_half_up_wide(a: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
    """R1 for accumulators to 2**53: drop the product's lowest bits first, which do not affect the rounded result."""
    dropped = jnp.clip(s - 2, 0, 22)
    upper = jnp.clip(a >> dropped, -(1 << 31), 1 << 31)
    lower = a & (_one(dropped) - 1)
    left = s - dropped
    return (upper * m + ((lower * m) >> dropped) + _one(left - 1)) >> left


def _tflite_double(a: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
    """R2: the doubled high half, rounded half up, then a right shift that rounds halves away from zero."""
    shifted = jnp.clip(a << jnp.maximum(31 - s, 0), *INT32)
    high = high_product(shifted, m)
    right = jnp.maximum(s - 31, 0)
    mask = _one(right) - 1
    return (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))


def high_product(a: Factor, b: Factor) -> Factor:
    """The doubled high half of a product of int32 numbers in int64, rounded half up: the h of R2."""
    high: Factor = (a * b + (1 << 30)) >> 31
    return high


def _tosa_double(a: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
    """R3: one shift with both roundings added before it, the first one away from zero."""
    first = jnp.where(s > 31, jnp.where(a >= 0, 1 << 30, -(1 << 30)), 0)
    return (a * m + _one(s - 1) + first) >> s


def _mul16(a: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
    """R4: the multiplier rounded to its upper 15 bits, then R1 with 16 bits less to shift."""
    reduced = jnp.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF)
    return _single_half_up(a, reduced, s - 16)


def _pot_half_up(a: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
    """R5: R1 with M = 2**30, a plain shift by s - 30."""
    return _single_half_up(a, jnp.full_like(m, 1 << 30), s)


def _pot_half_away(a: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
    """R6: R5 of the magnitude, then the sign."""
    return jnp.sign(a) * _pot_half_up(jnp.abs(a), m, s)


def _floor(a: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
    """R7: the product shifted, all fractions dropped."""
    return (a * m) >> s


def _half_away(a: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
    """R8: R1 of the magnitude, then the sign."""
    return jnp.sign(a) * _single_half_up(jnp.abs(a), m, s)


_PROFILES: Mapping[str, Callable[[jax.Array, jax.Array, jax.Array], jax.Array]] = {
    "single_half_up": _single_half_up,
    "tflite_double": _tflite_double,
    "tosa_double": _tosa_double,
    "mul16": _mul16,
    "pot_half_up": _pot_half_up,
    "pot_half_away": _pot_half_away,
    "floor": _floor,
    "half_away": _half_away,
}

assert _PROFILES.keys() == LARGEST.keys()


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
