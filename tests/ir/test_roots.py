"""Rounded division, roots and reciprocal roots against Python integers, at random and around every power and square."""

from __future__ import annotations

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from npuq.ir.requantize import reciprocal_root, rounded_division, rounded_root

MOST = (1 << 62) - 1


def hard_numbers() -> np.ndarray:
    """Numbers below 2^62: small ones, the neighbours of powers of two, of squares and of k(k + 1), random ones."""
    rng = np.random.default_rng(0)
    roots = {*range(1, 300), *rng.integers(1, 1 << 31, 3000).tolist(), (1 << 31) - 1}
    roots |= {(1 << k) + d for k in range(2, 31) for d in (-2, -1, 0, 1, 2)}
    near = {k * k + d for k in roots for d in (-1, 0, 1)} | {k * (k + 1) + d for k in roots for d in (-1, 0, 1)}
    near |= {(1 << k) + d for k in range(62) for d in (-2, -1, 0, 1, 2)} | {MOST, MOST - 1}
    near |= {int(x) >> int(s) for x, s in zip(rng.integers(0, MOST, 3000), rng.integers(0, 62, 3000), strict=True)}
    return np.array(sorted(x for x in near if 1 <= x <= MOST), np.int64)


def test_the_nearest_root() -> None:
    numbers = hard_numbers()
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(rounded_root)(jnp.asarray(numbers)))
        assert int(rounded_root(jnp.int64(0))) == 0
    for x, got in zip(numbers.tolist(), found.tolist(), strict=True):
        floor = math.isqrt(x)
        assert got == floor + (x - floor * floor > floor), x


def test_reciprocal_roots_stay_within_two_to_the_minus_30() -> None:
    """|R 2^(e - 61) sqrt(x) - 1| <= 2^-30, decided on squares, which are exact."""
    numbers = hard_numbers()
    with jax.enable_x64(True):
        roots, exponents = map(np.asarray, jax.jit(reciprocal_root)(jnp.asarray(numbers)))
    low, high = (1 - Fraction(1, 1 << 30)) ** 2, (1 + Fraction(1, 1 << 30)) ** 2
    assert (roots.min(), roots.max()) == (1 << 30, 1 << 31)
    for x, r, e in zip(numbers.tolist(), roots.tolist(), exponents.tolist(), strict=True):
        assert 1 << 60 <= x << (2 * e) < 1 << 62
        assert low <= Fraction(r * r * x << (2 * e), 1 << 122) <= high, x


def test_divisions_round_once_halves_up() -> None:
    rng = np.random.default_rng(1)
    tops = np.concatenate(
        [rng.integers(-MOST, MOST, 3000) >> rng.integers(0, 62, 3000), [MOST, -MOST, 0, 1, -1, 5, -5]]
    )
    bottoms = np.concatenate([rng.integers(1, MOST, 3000) >> rng.integers(0, 61, 3000), [MOST, 1, 2, 2, 2, 10, 10]])
    bottoms = np.maximum(bottoms, 1)
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(rounded_division)(jnp.asarray(tops), jnp.asarray(bottoms)))
    for top, bottom, got in zip(tops.tolist(), bottoms.tolist(), found.tolist(), strict=True):
        assert got == math.floor(Fraction(top, bottom) + Fraction(1, 2))
