"""Normalization by stored statistics, and by those of the data itself over the last axes."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import RuleError, require
from ..op import Op, op
from ..types import TensorType


@op("batch_norm")
class BatchNorm(Op):
    """scale * (x - mean) / sqrt(variance + epsilon) + offset, all four per channel: x [N, C, *space]."""

    epsilon: float = 1e-5

    def infer(
        self, x: TensorType, scale: TensorType, offset: TensorType, mean: TensorType, variance: TensorType
    ) -> TensorType:
        require(x.dtype.is_float and x.rank >= 2, f"operand {x}, floats of rank 2 or more wanted")
        wanted = TensorType(x.dtype, (x.shape[1],))
        for name, type_ in (("scale", scale), ("offset", offset), ("mean", mean), ("variance", variance)):
            if type_ != wanted:
                raise RuleError(f"{name} {type_}, {wanted} wanted")
        return x

    def evaluate(
        self, x: jax.Array, scale: jax.Array, offset: jax.Array, mean: jax.Array, variance: jax.Array
    ) -> jax.Array:
        factor = scale / jnp.sqrt(variance + np.asarray(self.epsilon, x.dtype))
        column = (-1,) + (1,) * (x.ndim - 2)
        return x * jnp.reshape(factor, column) + jnp.reshape(offset - mean * factor, column)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OverLastAxes(Op):
    """An op that normalizes over the axes from `axis` on; its factors have the shape of those axes."""

    axis: int = -1
    epsilon: float = 1e-5

    def normalized(self, x: TensorType, *factors: TensorType) -> TensorType:
        """Keep the type; requires floats, an axis of them, and factors of the shape from it on."""
        require(x.dtype.is_float, f"operand {x}, floats wanted")
        require(-x.rank <= self.axis < x.rank, f"axis {self.axis} of rank {x.rank}")
        require(self.epsilon >= 0, f"epsilon {self.epsilon}, at least 0 wanted")
        wanted = TensorType(x.dtype, x.shape[self.axis % x.rank :])
        require(0 not in wanted.shape, f"statistics of no elements, shape {wanted.shape}")
        for factor in factors:
            require(factor == wanted, f"factor {factor}, {wanted} wanted")
        return x

    def axes(self, rank: int) -> tuple[int, ...]:
        """The axes that share their statistics."""
        return tuple(range(self.axis % rank, rank))


@op("layer_norm")
class LayerNorm(_OverLastAxes):
    """scale * (x - mean) / sqrt(variance + epsilon) + bias over the axes from `axis` on; scale, bias: their shape."""

    def infer(self, x: TensorType, scale: TensorType, bias: TensorType | None = None) -> TensorType:
        return self.normalized(x, scale, *(() if bias is None else (bias,)))

    def evaluate(self, x: jax.Array, scale: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        """The variance is that of the centred elements, which no cancellation hurts."""
        axes = self.axes(x.ndim)
        centred = x - jnp.mean(x, axes, keepdims=True)
        variance = jnp.mean(centred * centred, axes, keepdims=True)
        y = centred / jnp.sqrt(variance + np.asarray(self.epsilon, x.dtype)) * scale
        return y if bias is None else y + bias


@op("rms_norm")
class RmsNorm(_OverLastAxes):
    """scale * x / sqrt(mean(x * x) + epsilon) over the axes from `axis` on; scale: their shape."""

    def infer(self, x: TensorType, scale: TensorType) -> TensorType:
        return self.normalized(x, scale)

    def evaluate(self, x: jax.Array, scale: jax.Array) -> jax.Array:
        square = jnp.mean(x * x, self.axes(x.ndim), keepdims=True)
        return x / jnp.sqrt(square + np.asarray(self.epsilon, x.dtype)) * scale
