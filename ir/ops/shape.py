"""Ops that move elements and change none: they take every element type and carry a per-tensor scale along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from ..errors import require
from ..op import Bounds, Movement, Op, T, hull, op
from ..types import DType, Shape, TensorType
from .elementwise import broadcast


@op("reshape")
class Reshape(Movement):
    """The same elements, in row-major order, in another shape."""

    shape: Shape

    def infer(self, x: TensorType) -> TensorType:
        require(x.size == math.prod(self.shape), f"{x.size} elements do not fill {self.shape}")
        return x.with_shape(*self.shape)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.reshape(x, self.shape)


@op("transpose")
class Transpose(Movement):
    """Axes in another order: result axis i is operand axis order[i]."""

    order: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        """Permute the sizes; a quantization axis moves along."""
        require(sorted(self.order) == list(range(x.rank)), f"{self.order} is no order of {x.rank} axes")
        quant = x.quant
        if quant is not None and quant.axis is not None:
            quant = quant.on_axis(self.order.index(quant.axis))
        return TensorType(x.dtype, tuple(x.shape[axis] for axis in self.order), quant)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.transpose(x, self.order)


@op("slice")
class Slice(Movement):
    """Every `steps`-th element from `starts` up to but not including `stops`, an entry per axis.

    Starts and stops count from the front; with a negative step a stop of -1 lies before the first element.
    """

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        for values in (self.starts, self.stops, self.steps):
            require(len(values) == x.rank, f"{values} on {x.rank} axes")
        require(0 not in self.steps, f"steps {self.steps}: none may be 0")
        for size, kept in zip(x.shape, self.ranges, strict=True):
            inside = not kept or (min(kept[0], kept[-1]) >= 0 and max(kept[0], kept[-1]) < size)
            require(inside, f"elements {kept.start} to {kept.stop} step {kept.step} of {size}")
        return x.with_shape(*map(len, self.ranges))

    @property
    def ranges(self) -> tuple[range, ...]:
        """The indices that each axis keeps, in order."""
        return tuple(map(range, self.starts, self.stops, self.steps))

    def evaluate(self, x: jax.Array) -> jax.Array:
        """Take what is wanted front to back, then turn the axes that run backwards."""
        forward = [kept if kept.step > 0 else kept[::-1] for kept in self.ranges]
        stops = [kept[-1] + 1 if kept else 0 for kept in forward]
        starts = [kept[0] if kept else 0 for kept in forward]
        taken = jax.lax.slice(x, starts, stops, [kept.step for kept in forward])
        backward = tuple(axis for axis, step in enumerate(self.steps) if step < 0)
        return jnp.flip(taken, backward) if backward else taken


@op("concat")
class Concat(Op):
    """The operands one after the other along `axis`; quantized ones share one per-tensor scale."""

    axis: int

    def infer(self, first: TensorType, *others: TensorType) -> TensorType:
        require(0 <= self.axis < first.rank, f"axis {self.axis} of {first.rank} axes")
        for other in others:
            require(other.dtype is first.dtype, f"operands of {first.dtype} and {other.dtype}, one element type wanted")
            require(other.quant == first.quant, f"operands {first} and {other}, one scale wanted")
            require(other.rank == first.rank, f"operands of rank {first.rank} and {other.rank}")
            for axis, (one, two) in enumerate(zip(first.shape, other.shape, strict=True)):
                require(axis == self.axis or one == two, f"sizes {one} and {two} on axis {axis}, equal ones wanted")
        along = sum(operand.shape[self.axis] for operand in (first, *others))
        return first.with_shape(*first.shape[: self.axis], along, *first.shape[self.axis + 1 :])

    def evaluate(self, *operands: jax.Array) -> jax.Array:
        return jnp.concatenate(operands, self.axis)

    def moved(self, operands: Sequence[T]) -> Sequence[T]:
        return operands


@op("pad")
class Pad(Movement):
    """New elements before and after each axis: a `value` (as stored), the edge, its mirror image, or the other end."""

    padding: tuple[tuple[int, int], ...]
    mode: Literal["constant", "edge", "reflect", "wrap"] = "constant"
    value: float = 0.0

    def infer(self, x: TensorType) -> TensorType:
        require(len(self.padding) == x.rank, f"{self.padding} on {x.rank} axes")
        for size, (before, after) in zip(x.shape, self.padding, strict=True):
            require(before >= 0 and after >= 0, f"padding ({before}, {after}): slice to remove elements")
            enough = self.mode == "constant" or size > (self.mode == "reflect") or before == after == 0
            require(enough, f"{self.mode} padding of {size} elements")
        if x.dtype.is_integer and self.mode == "constant":
            low, high = x.dtype.range
            require(self.value.is_integer() and low <= self.value <= high, f"{self.value!r} in {x.dtype} elements")
        return x.with_shape(
            *(size + before + after for size, (before, after) in zip(x.shape, self.padding, strict=True))
        )

    def evaluate(self, x: jax.Array) -> jax.Array:
        if self.mode != "constant":
            return jnp.pad(x, self.padding, self.mode)
        value = int(self.value) if DType.of(x.dtype).is_integer else self.value
        return jnp.pad(x, self.padding, constant_values=jnp.asarray(value, x.dtype))

    def bounds(self, x: Bounds) -> Bounds:
        return hull(x, (self.value, self.value)) if self.mode == "constant" else x


@op("tile")
class Tile(Movement):
    """The whole operand `repeats` times along each axis."""

    repeats: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        require(len(self.repeats) == x.rank, f"{self.repeats} on {x.rank} axes")
        require(min(self.repeats, default=0) >= 0, f"repeats {self.repeats}: none may be negative")
        return x.with_shape(*(size * count for size, count in zip(x.shape, self.repeats, strict=True)))

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.tile(x, self.repeats)


@op("expand")
class Expand(Movement):
    """The operand broadcast to `shape` as in NumPy."""

    shape: Shape

    def infer(self, x: TensorType) -> TensorType:
        require(broadcast(x.shape, self.shape) == self.shape, f"{x.shape} does not broadcast to {self.shape}")
        return x.with_shape(*self.shape)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.broadcast_to(x, self.shape)


@op("gather")
class Gather(Movement):
    """The slices of x along `axis` that `indices` name; negative ones count from the end, others are clamped."""

    axis: int

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        """Put the shape of the indices in the place of the axis."""
        check_indices(x, indices, self.axis)
        return x.with_shape(*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :])

    def evaluate(self, x: jax.Array, indices: jax.Array) -> jax.Array:
        return jnp.take(x, from_front(indices, x.shape[self.axis]), self.axis, mode="clip")


@op("gather_elements")
class GatherElements(Movement):
    """Each element's index along `axis` replaced by the one that `indices` hold there; they may be fewer than x."""

    axis: int

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        check_element_indices(x, indices, self.axis)
        return x.with_shape(*indices.shape)

    def evaluate(self, x: jax.Array, indices: jax.Array) -> jax.Array:
        sizes = (size if axis == self.axis else indices.shape[axis] for axis, size in enumerate(x.shape))
        kept = x[tuple(map(slice, sizes))]
        return jnp.take_along_axis(kept, from_front(indices, x.shape[self.axis]), self.axis, mode="clip")


def check_indices(x: TensorType, indices: TensorType, axis: int) -> None:
    """Require an axis of x that has elements, and bare integers as indices on it."""
    require(0 <= axis < x.rank, f"axis {axis} of {x.rank} axes")
    require(indices.dtype.is_integer and indices.quant is None, f"indices {indices}, bare integers wanted")
    require(x.shape[axis] > 0 or indices.size == 0, f"axis {axis} is empty")


def check_element_indices(x: TensorType, indices: TensorType, axis: int) -> None:
    """Require indices that are shaped like x, with at most as many on the other axes."""
    check_indices(x, indices, axis)
    require(indices.rank == x.rank, f"indices of rank {indices.rank}, {x.rank} wanted")
    for other, (size, count) in enumerate(zip(x.shape, indices.shape, strict=True)):
        require(other == axis or count <= size, f"{count} indices for {size} elements on axis {other}")


def from_front(indices: jax.Array, size: int) -> jax.Array:
    """Indices on an axis, those below 0 counted from the end, clamped before JAX makes them narrower."""
    if indices.dtype.itemsize < 4:
        indices = indices.astype(jnp.int32)
    if jnp.issubdtype(indices.dtype, jnp.signedinteger):
        indices = jnp.where(indices < 0, indices + size, indices)
    return jnp.clip(indices, 0, max(size - 1, 0))
