"""Second moments of the inputs and exact results of a node with weights, for learned rounding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from npuq.ir import Node
from npuq.ir.ops.conv import Conv

POSITIONS = 512
"""The most positions of a sample that are used, evenly spread: neighbours are alike."""

Inputs = tuple[jax.Array, jax.Array, jax.Array]
"""Of one sample: the input as the rounded weights see it, the exact input, the exact result."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and second moments over positions and samples, f64, by group of channels.

    `squares` [groups, k, k] are the moments of the inputs of a row of weights, `products` [groups, o, k] those of exact
    results and inputs, `inputs` [groups, k] and `results` [groups, o] the means, `count` the number of positions.
    """

    squares: np.ndarray
    products: np.ndarray
    inputs: np.ndarray
    results: np.ndarray
    count: int

    def centred(self) -> Moments:
        """The moments about the means, for a node whose bias absorbs the difference of means."""
        squares = self.squares - self.inputs[:, :, None] * self.inputs[:, None, :]
        products = self.products - self.results[:, :, None] * self.inputs[:, None, :]
        return Moments(squares, products, self.inputs, self.results, self.count)


def moments(node: Node, weights: np.ndarray, samples: Iterable[Inputs], drop: float) -> Moments:
    """The moments of a convolution or a matrix product over samples.

    With `drop` each element of the quantized input is the exact one with that probability (Wei et al., QDrop: randomly
    dropping quantization, 2022). The mean over all draws needs no draw: the input is x + drop (exact - x), and each
    element's square has drop (1 - drop) (exact - x)^2 more.
    """
    groups = rows(node, weights).shape[0]
    run = jax.jit(partial(_sums, node, weights.shape, groups, drop))
    totals: list[np.ndarray] = []
    count = 0
    for sample in samples:
        *sums, positions = run(*sample)
        parts = [np.asarray(part, np.float64) for part in sums]
        totals = [total + part for total, part in zip(totals, parts, strict=True)] if totals else parts
        count += int(positions)
    squares, products, inputs, results = (total / count for total in totals)
    return Moments(squares, products, inputs, results, count)


def rows(node: Node, weights: np.ndarray) -> np.ndarray:
    """Weights as [groups, o, k]: a row for each result channel."""
    if isinstance(node.op, Conv):
        return weights.reshape(node.op.groups, weights.shape[0] // node.op.groups, -1)
    return weights.T[None]


def from_rows(node: Node, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows as the node's weights."""
    return rows.reshape(shape) if isinstance(node.op, Conv) else rows[0].T


def _sums(node: Node, shape: tuple[int, ...], groups: int, drop: float, *sample: jax.Array) -> tuple[jax.Array, ...]:
    """The sums of the `Inputs` of one sample, and the number of positions."""
    rounded, exact, result = sample
    arrays = _columns(node, shape, rounded), _columns(node, shape, exact), _by_position(node, result)
    at = np.linspace(0, len(arrays[0]) - 1, min(len(arrays[0]), POSITIONS)).astype(np.int32)
    x, real, y = (array[at].reshape(len(at), groups, -1).swapaxes(0, 1) for array in arrays)
    apart = drop * (1 - drop) * jnp.square(real - x).sum(axis=1)
    x = x + drop * (real - x)
    squares = _product(x, x) + apart[:, :, None] * jnp.eye(x.shape[2], dtype=x.dtype)
    return squares, _product(y, x), x.sum(axis=1), y.sum(axis=1), jnp.int32(len(at))


def _product(one: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.einsum("gpo,gpk->gok", one, other, precision=jax.lax.Precision.HIGHEST)


def _columns(node: Node, shape: tuple[int, ...], x: jax.Array) -> jax.Array:
    """The inputs of the rows of weights at each position of the result, [positions, groups * k]."""
    op = node.op
    if isinstance(op, Conv):
        x = jax.lax.conv_general_dilated_patches(
            x, shape[2:], op.stride, op.padding, rhs_dilation=op.dilation, precision=jax.lax.Precision.HIGHEST
        )
    return _by_position(node, x)


def _by_position(node: Node, array: jax.Array) -> jax.Array:
    """An input or a result as [positions, channels]."""
    axis = 1 if isinstance(node.op, Conv) else array.ndim - 1
    return jnp.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])
