"""Reductions, positions of extremes, the softmax pair, sums and orders along axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from ..errors import require
from ..op import Bounds, Movement, Op, hull, no_products, op
from ..types import DType, Shape, TensorType


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction(Op):
    """One number made of all elements along `axes` (not negative, each once); `keep` leaves sizes of 1 there."""

    axes: tuple[int, ...]
    keep: bool = False

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype is not DType.BOOL, f"{x.dtype} operand, a number wanted")
        require(x.quant is None, "quantized operand; dequantize it first")
        return x.with_shape(*reduced(x.shape, self.axes, self.keep))

    def evaluate(self, x: jax.Array) -> jax.Array:
        return self.function(x, self.axes, dtype=x.dtype, keepdims=self.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatReduction(Reduction):
    """A reduction whose result is no integer."""

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype.is_float, f"{x.dtype} operand, a float wanted")
        return x.with_shape(*reduced(x.shape, self.axes, self.keep))

    def evaluate(self, x: jax.Array) -> jax.Array:
        return self.function(x, self.axes, keepdims=self.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extreme(Reduction, Movement):
    """A reduction that gives one of the elements, and so keeps a per-tensor scale."""

    def infer(self, x: TensorType) -> TensorType:
        return x.with_shape(*reduced(x.shape, self.axes, self.keep))


def reduced(shape: Shape, axes: tuple[int, ...], keep: bool) -> Shape:
    """The shape that a reduction over `axes` leaves."""
    require(len(set(axes)) == len(axes), f"axes {axes}: one occurs twice")
    for axis in axes:
        check_axis(axis, len(shape))
    if keep:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def check_axis(axis: int, rank: int) -> None:
    """Require a normalized axis."""
    require(0 <= axis < rank, f"axis {axis} of {rank} axes")


@op("reduce_sum", jnp.sum)
class ReduceSum(Reduction):
    """The sum; of nothing 0."""


@op("reduce_prod", jnp.prod)
class ReduceProd(Reduction):
    """The product; of nothing 1."""


@op("reduce_mean", jnp.mean)
class ReduceMean(FloatReduction):
    """The mean."""

    def bounds(self, x: Bounds) -> Bounds:
        return hull(x, (0.0, 0.0))


@op("reduce_log_sum_exp", jax.nn.logsumexp)
class ReduceLogSumExp(FloatReduction):
    """log(sum(exp(x))), computed without overflow."""


@op("reduce_max")
class ReduceMax(Extreme):
    """The greatest element; of nothing the least number."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.max(x, self.axes, keepdims=self.keep, initial=DType.of(x.dtype).limit(-1))


@op("reduce_min")
class ReduceMin(Extreme):
    """The least element; of nothing the greatest number."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.min(x, self.axes, keepdims=self.keep, initial=DType.of(x.dtype).limit(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position(Op):
    """Where an extreme stands along `axis`: the first of equals, or the `last`."""

    axis: int
    keep: bool = False
    last: bool = False
    macs = no_products

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype is not DType.BOOL, f"{x.dtype} operand, a number wanted")
        shape = reduced(x.shape, (self.axis,), self.keep)
        require(x.shape[self.axis] > 0, f"axis {self.axis} is empty")
        return TensorType(DType.I64, shape)

    def evaluate(self, x: jax.Array) -> jax.Array:
        found = self.function(jnp.flip(x, self.axis) if self.last else x, self.axis, keepdims=self.keep)
        return (x.shape[self.axis] - 1 - found if self.last else found).astype(jnp.int64)


@op("argmax", jnp.argmax)
class ArgMax(Position):
    """The index of the greatest element."""


@op("argmin", jnp.argmin)
class ArgMin(Position):
    """The index of the least element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization(Op):
    """A function of each slice along `axis`."""

    axis: int

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype.is_float, f"{x.dtype} operand, a float wanted")
        check_axis(self.axis, x.rank)
        return x

    def evaluate(self, x: jax.Array) -> jax.Array:
        return self.function(x, self.axis)


@op("softmax", jax.nn.softmax)
class Softmax(Normalization):
    """exp(x) / sum(exp(x)), computed without overflow."""

    image: ClassVar[Bounds] = (0.0, 1.0)


@op("log_softmax", jax.nn.log_softmax)
class LogSoftmax(Normalization):
    """The logarithm of the softmax."""


@op("cumsum")
class CumSum(Op):
    """The sum of the elements up to each one along `axis`: from the end if `reverse`, without it if `exclusive`."""

    axis: int
    exclusive: bool = False
    reverse: bool = False

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype is not DType.BOOL, f"{x.dtype} operand, a number wanted")
        require(x.quant is None, "quantized operand; dequantize it first")
        check_axis(self.axis, x.rank)
        return x

    def evaluate(self, x: jax.Array) -> jax.Array:
        return cumulative_sum(x, self.axis, exclusive=self.exclusive, reverse=self.reverse)


def cumulative_sum(x: jax.Array, axis: int, *, exclusive: bool, reverse: bool) -> jax.Array:
    """The sums of `cumsum`; an exclusive one leaves out the last element before it adds, not behind."""
    ordered = jnp.flip(x, axis) if reverse else x
    if exclusive:
        before = [(0, 0)] * x.ndim
        before[axis] = (1, 0)
        ordered = jax.lax.slice_in_dim(jnp.pad(ordered, before), 0, x.shape[axis], axis=axis)
    sums = jnp.cumsum(ordered, axis, dtype=x.dtype)
    return jnp.flip(sums, axis) if reverse else sums


@op("top_k")
class TopK(Op):
    """The `count` greatest (or least) elements along `axis`, in order, and their indices; equal ones by index."""

    axis: int
    count: int
    largest: bool = True

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        """The elements, which keep a per-tensor scale, and places in 64 bits."""
        check_axis(self.axis, x.rank)
        require(x.dtype is not DType.BOOL, f"{x.dtype} operand, a number wanted")
        size = x.shape[self.axis]
        require(0 <= self.count <= size, f"{self.count} of {size} elements")
        found = x.with_shape(*x.shape[: self.axis], self.count, *x.shape[self.axis + 1 :])
        return found, TensorType(DType.I64, found.shape)

    def evaluate(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        order = jnp.argsort(x, self.axis, stable=True, descending=self.largest)
        kept = jax.lax.slice_in_dim(order, 0, self.count, axis=self.axis)
        return jnp.take_along_axis(x, kept, self.axis, mode="clip"), kept.astype(jnp.int64)
