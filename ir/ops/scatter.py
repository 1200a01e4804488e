"""Ops that read or write elements at computed places; indices below 0 count from the end, others are clamped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from ..errors import require
from ..op import Movement, Op, T, no_products, op
from ..types import DType, TensorType
from .shape import check_element_indices, from_front

__all__ = ["GatherNd", "ScatterElements", "ScatterNd"]

Reduction = Literal["none", "add", "mul", "max", "min"]


@op("gather_nd")
class GatherNd(Movement):
    """The slices of x whose first indices, behind `batch` axes in common, are the last axis of `indices`."""

    batch: int = 0

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        """Put the shape of the indices, without their last axis, in the place of the axes that they name."""
        depth = checked_places(x, indices, self.batch)
        require(0 <= self.batch < indices.rank, f"batch {self.batch} of indices of rank {indices.rank}")
        same = x.shape[: self.batch] == indices.shape[: self.batch]
        require(same, f"{self.batch} common axes of shapes {x.shape} and {indices.shape}")
        return x.with_shape(*indices.shape[:-1], *x.shape[self.batch + depth :])

    def evaluate(self, x: jax.Array, indices: jax.Array) -> jax.Array:
        taken = _taken
        for _ in range(self.batch):
            taken = jax.vmap(taken)
        return taken(x, indices)


def _taken(x: jax.Array, indices: jax.Array) -> jax.Array:
    return x.at[places(x, indices)].get(mode="clip")


class Scatter(Op):
    """x with `updates` written to, or joined with, the elements that indices name."""

    __slots__ = ()
    reduction: Reduction
    macs = no_products

    def moved(self, operands: Sequence[T]) -> Sequence[T]:
        """x and the updates, where these are written."""
        return operands[::2] if self.reduction == "none" else ()


@op("scatter_nd")
class ScatterNd(Scatter):
    """x with `updates` written to (or joined with) the slices whose first indices are the last axis of `indices`.

    Of several writes to a place the last one counts, which ONNX leaves open; joined ones all count.
    """

    reduction: Reduction = "none"

    def infer(self, x: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        depth = checked_places(x, indices, 0)
        check_updates(x, updates, self.reduction)
        wanted = (*indices.shape[:-1], *x.shape[depth:])
        require(updates.shape == wanted, f"updates of shape {updates.shape}, {wanted} wanted")
        return x

    def evaluate(self, x: jax.Array, indices: jax.Array, updates: jax.Array) -> jax.Array:
        return _joined(x, places(x, indices), updates, self.reduction)


@op("scatter_elements")
class ScatterElements(Scatter):
    """x with each of the `updates` written to (or joined with) its own place, but for the index along `axis`.

    Of several writes to a place the last one counts, which ONNX leaves open; joined ones all count.
    """

    axis: int
    reduction: Reduction = "none"

    def infer(self, x: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        check_element_indices(x, indices, self.axis)
        require(updates.shape == indices.shape, f"updates of shape {updates.shape}, {indices.shape} wanted")
        check_updates(x, updates, self.reduction)
        return x

    def evaluate(self, x: jax.Array, indices: jax.Array, updates: jax.Array) -> jax.Array:
        where = list(jnp.indices(indices.shape, sparse=True))
        where[self.axis] = from_front(indices, x.shape[self.axis])
        return _joined(x, tuple(where), updates, self.reduction)


def checked_places(x: TensorType, indices: TensorType, batch: int) -> int:
    """The number of axes behind the `batch` ones that indices name in their last axis."""
    require(indices.dtype.is_integer and indices.quant is None, f"indices {indices}, bare integers wanted")
    require(indices.rank > 0, "indices of rank 0, at least 1 wanted")
    depth = indices.shape[-1]
    require(depth > 0, f"indices of shape {indices.shape}, at least one for each place wanted")
    require(batch + depth <= x.rank, f"{depth} indices behind {batch} axes, the operand's rank is {x.rank}")
    named = x.shape[batch : batch + depth]
    require(0 not in named or indices.size == 0, f"an axis of {named} is empty")
    return depth


def check_updates(x: TensorType, updates: TensorType, reduction: Reduction) -> None:
    """Require what is written to be like what it is written to; only choices keep a scale."""
    require(updates.dtype is x.dtype, f"updates of {updates.dtype}, {x.dtype} wanted")
    require(updates.quant == x.quant, f"operands {x} and {updates}, one scale wanted")
    if reduction in ("add", "mul"):
        require(x.quant is None, "quantized operand; dequantize it first")
    require(reduction == "none" or x.dtype is not DType.BOOL, f"{reduction} of {x.dtype}, numbers wanted")


def places(x: jax.Array, indices: jax.Array) -> tuple[jax.Array, ...]:
    """An array of indices per axis that the last axis of `indices` names."""
    return tuple(from_front(indices[..., axis], x.shape[axis]) for axis in range(indices.shape[-1]))


def _joined(x: jax.Array, where: tuple[jax.Array, ...], updates: jax.Array, reduction: Reduction) -> jax.Array:
    if reduction == "none":
        return _written(x, where, updates)
    joined: jax.Array = getattr(x.at[where], {"mul": "multiply"}.get(reduction, reduction))(updates, mode="clip")
    return joined


def _written(x: jax.Array, where: tuple[jax.Array, ...], updates: jax.Array) -> jax.Array:
    """Each place takes the last of the updates that name it, in row-major order; a scatter alone promises no order."""
    depth = len(where)
    named = jnp.broadcast_shapes(*(part.shape for part in where))
    count = math.prod(named)
    if not count:
        return x
    slices = updates.reshape(count, *x.shape[depth:])
    numbers = jnp.arange(count, dtype=jnp.int32).reshape(named)
    last = jnp.full(x.shape[:depth], -1, jnp.int32).at[where].max(numbers, mode="clip")
    is_named = (last >= 0).reshape(last.shape + (1,) * (x.ndim - depth))
    return jnp.where(is_named, jnp.take(slices, last, axis=0, mode="clip"), x)
