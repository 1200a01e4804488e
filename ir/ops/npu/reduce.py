"""Integer sums over axes, whole and up to each element."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from ...arithmetic import INT32, Interval, within
from ...errors import require
from ...op import no_products, op
from ...types import TensorType
from ..reduce import check_axis, cumulative_sum
from .result import Operand, Requantized, centred, require_integers, total


@op("npu.reduce_sum")
class ReduceSum(Requantized):
    """The sum of x - input_zero_point over `axes`, requantized by one M and s: a mean has 1/n in M."""

    axes: tuple[int, ...]
    keep: bool = False
    input_zero_point: int = 0
    macs = no_products

    def infer(self, x: TensorType, multiplier: TensorType, shift: TensorType) -> TensorType:
        require_integers(x, zero_points=(self.input_zero_point,))
        known = sorted(set(self.axes)) == sorted(self.axes) and all(0 <= axis < x.rank for axis in self.axes)
        require(known, f"axes {self.axes} of rank {x.rank}")
        sizes = ((1 if axis in self.axes else size) for axis, size in enumerate(x.shape))
        shape = tuple(size for axis, size in enumerate(sizes) if self.keep or axis not in self.axes)
        return self.rescaled(shape, multiplier, shift, (1,), bound=self.type_bounds(x))

    def evaluate(self, x: jax.Array, multiplier: jax.Array, shift: jax.Array) -> jax.Array:
        count = math.prod(x.shape[axis] for axis in self.axes)
        bound = self.type_bounds(x)
        wide = jnp.int32 if within(bound, INT32) else jnp.int64
        sums = x.sum(self.axes, dtype=wide, keepdims=self.keep) - self.input_zero_point * count
        return self.finish(sums, multiplier, shift, bound=bound)

    def accumulator_bounds(self, x: Operand, *factors: Operand) -> Interval:
        return total(centred(x.bounds, self.input_zero_point), math.prod(x.type.shape[axis] for axis in self.axes))


@op("npu.cumsum")
class CumSum(Requantized):
    """The sum of x - input_zero_point up to each element along `axis`, requantized by one M and s: rule P3.

    It starts from the end if `reverse` and leaves the element itself out if `exclusive`.
    """

    axis: int
    exclusive: bool = False
    reverse: bool = False
    input_zero_point: int = 0
    macs = no_products

    def infer(self, x: TensorType, multiplier: TensorType, shift: TensorType) -> TensorType:
        require_integers(x, zero_points=(self.input_zero_point,))
        check_axis(self.axis, x.rank)
        return self.rescaled(x.shape, multiplier, shift, (1,), bound=self.type_bounds(x))

    def evaluate(self, x: jax.Array, multiplier: jax.Array, shift: jax.Array) -> jax.Array:
        bound = self.type_bounds(x)
        wide = jnp.int32 if within(bound, INT32) else jnp.int64
        terms = x.astype(wide) - self.input_zero_point
        sums = cumulative_sum(terms, self.axis, exclusive=self.exclusive, reverse=self.reverse)
        return self.finish(sums, multiplier, shift, bound=bound)

    def accumulator_bounds(self, x: Operand, *factors: Operand) -> Interval:
        return total(centred(x.bounds, self.input_zero_point), x.type.shape[self.axis])
