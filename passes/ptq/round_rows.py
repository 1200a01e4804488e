"""Rounding of rows of weights, each weight down or up, to the least squared error of their products."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BLOCK = 64
"""The columns that are decided one by one before one product updates all others."""

SWEEPS = 20
"""The most passes of the search over all columns; it mostly converges earlier."""

ON_GRID = 1e-3
"""A weight this near to a step is rounded to it."""

LEAST_GAIN = 1e-6
"""A change must gain this share of its own cost: less is float32 rounding."""

Pair = tuple[jax.Array, jax.Array]


def round_rows(
    weights: np.ndarray, steps: np.ndarray, squares: np.ndarray, products: np.ndarray, most: int
) -> np.ndarray:
    """Integers q [o, k], each next below or above weights / steps, with a small mean of (y - steps q x)^2.

    `weights` [o, k], `steps` [o, 1], `squares` [k, k] the mean of x x, positive definite, `products` [o, k] that of
    y x; the integers lie in -most to most. Later weights make up for the errors of earlier ones (Frantar et al., GPTQ,
    2023, here between two integers); then single ones change for as long as that helps.
    """
    below, above = np.floor(weights / steps + ON_GRID), np.ceil(weights / steps - ON_GRID)
    block = min(BLOCK, weights.shape[1])
    pad = -weights.shape[1] % block
    lows, highs, sums = (np.pad(one, ((0, 0), (0, pad))) for one in (below, above, products))
    whole = np.pad(squares, ((0, pad), (0, pad))) + np.diag(np.repeat([0.0, 1.0], [weights.shape[1], pad]))
    inverse = np.linalg.inv(whole)
    factor = np.linalg.cholesky(inverse).T
    limits = (lows.clip(-most, most).astype(np.float32), highs.clip(-most, most).astype(np.float32))
    each = np.float32(steps)
    chosen = _one_after_another(limits, each, np.float32(sums @ inverse), np.float32(factor))
    chosen = _descended(chosen, limits, each, np.float32(whole), np.float32(sums), block=block)
    return np.asarray(chosen, np.float64)[:, : weights.shape[1]]


@jax.jit
def _one_after_another(limits: Pair, steps: jax.Array, wanted: jax.Array, factor: jax.Array) -> jax.Array:
    """Round column by column; `factor` is the upper Cholesky factor of the inverse of the squares."""

    def column(index: jax.Array, carry: Pair) -> Pair:
        left, chosen = carry
        one, row = _column(left, index), lax.dynamic_slice_in_dim(factor, index, 1, 0)
        q = jnp.clip(jnp.round(one / steps), *(_column(limit, index) for limit in limits))
        left = left - (one - q * steps) / _column(row, index) * row
        return left, lax.dynamic_update_slice_in_dim(chosen, q, index, 1)

    found: Pair = lax.fori_loop(0, wanted.shape[1], column, (wanted, jnp.zeros_like(wanted)))
    return found[1]


@partial(jax.jit, static_argnames="block")
def _descended(
    chosen: jax.Array, limits: Pair, steps: jax.Array, squares: jax.Array, products: jax.Array, *, block: int
) -> jax.Array:
    """Change each row of each column to its other integer where that reduces its error, until nothing changes.

    `left` is y x less the products of the chosen integers: a change by d gains 2 d left - d^2 squares.
    """

    def column(index: jax.Array, carry: tuple[Pair, Pair, jax.Array]) -> tuple[Pair, Pair, jax.Array]:
        (q, left), (both, inside), changes = carry
        one, row = _column(q, index), lax.dynamic_slice_in_dim(inside, index, 1, 0)
        other = _column(both, index) - one
        change = (other - one) * steps
        cost = jnp.square(change) * _column(row, index)
        better = 2 * change * _column(left, index) > (1 + LEAST_GAIN) * cost
        q = lax.dynamic_update_slice_in_dim(q, jnp.where(better, other, one), index, 1)
        return (q, left - jnp.where(better, change, 0) * row), (both, inside), changes + better.sum()

    def columns(index: jax.Array, carry: tuple[Pair, jax.Array]) -> tuple[Pair, jax.Array]:
        (chosen, left), changes = carry
        at = index * block
        across = lax.dynamic_slice_in_dim(squares, at, block, 0)
        q, near, both = (lax.dynamic_slice_in_dim(one, at, block, 1) for one in (chosen, left, limits[0] + limits[1]))
        start = ((q, near), (both, lax.dynamic_slice_in_dim(across, at, block, 1)), changes)
        (found, _), _, changes = lax.fori_loop(0, block, column, start)
        left = left - jnp.matmul((found - q) * steps, across, precision=lax.Precision.HIGHEST)
        return (lax.dynamic_update_slice_in_dim(chosen, found, at, 1), left), changes

    def sweep(carry: tuple[Pair, jax.Array, jax.Array]) -> tuple[Pair, jax.Array, jax.Array]:
        arrays, _, count = carry
        none = jnp.zeros((), jnp.int32)
        arrays, changes = lax.fori_loop(0, squares.shape[0] // block, columns, (arrays, none))
        return arrays, changes, count + 1

    left = products - jnp.matmul(chosen * steps, squares, precision=lax.Precision.HIGHEST)
    start = ((chosen, left), jnp.ones((), jnp.int32), jnp.zeros((), jnp.int32))
    found: tuple[Pair, jax.Array, jax.Array] = lax.while_loop(
        lambda carry: (carry[1] > 0) & (carry[2] < SWEEPS), sweep, start
    )
    return found[0][0]


def _column(array: jax.Array, index: jax.Array) -> jax.Array:
    return lax.dynamic_slice_in_dim(array, index, 1, 1)
