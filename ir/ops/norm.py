"""Normalization by stored statistics."""

from __future__ import annotations

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
