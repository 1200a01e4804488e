"""Ops that move elements and change none: they take every element type and carry a per-tensor scale along."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ..errors import require
from ..op import Op, op
from ..types import Shape, TensorType


@op("reshape")
@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Op):
    """The same elements, in row-major order, in another shape."""

    shape: Shape

    def infer(self, x: TensorType) -> TensorType:
        """Keep the number of elements."""
        require(x.size == math.prod(self.shape), f"{x.size} elements do not fill {self.shape}")
        return x.with_shape(*self.shape)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.reshape(x, self.shape)


@op("transpose")
@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(Op):
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
