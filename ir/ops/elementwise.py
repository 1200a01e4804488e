"""Pointwise float ops: one operand, or two that broadcast as in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import RuleError, require
from ..op import Op, op
from ..types import Shape, TensorType


class Unary(Op):
    """A function of one number, applied to each element: same shape, same element type, no quantization."""

    __slots__ = ()

    def infer(self, x: TensorType) -> TensorType:
        """Keep shape and element type."""
        require(x.dtype.is_float, f"{x.dtype} operand, a float wanted")
        return x


class Binary(Op):
    """A function of two numbers of one element type, with NumPy broadcasting."""

    __slots__ = ()

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        """Broadcast the shapes."""
        require(x.dtype is y.dtype, f"operands of {x.dtype} and {y.dtype}, one element type wanted")
        require(x.quant is None and y.quant is None, "quantized operands; dequantize them first")
        return TensorType(x.dtype, broadcast(x.shape, y.shape))


U = TypeVar("U", bound=Op)


def broadcast(*shapes: Shape) -> Shape:
    """The shape that NumPy broadcasting gives."""
    try:
        return tuple(int(size) for size in np.broadcast_shapes(*shapes))
    except ValueError:
        raise RuleError(f"shapes {' and '.join(map(str, shapes))} do not broadcast") from None


@op("relu")
@dataclass(frozen=True, slots=True)
class Relu(Unary):
    """max(x, 0)."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.maximum(x, jnp.zeros((), x.dtype))


@op("clip")
@dataclass(frozen=True, slots=True, kw_only=True)
class Clip(Unary):
    """x limited to [low, high]."""

    low: float = -np.inf
    high: float = np.inf

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.clip(x, np.asarray(self.low, x.dtype), np.asarray(self.high, x.dtype))


@op("sigmoid")
@dataclass(frozen=True, slots=True)
class Sigmoid(Unary):
    """1 / (1 + exp(-x))."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(x)


@op("add")
@dataclass(frozen=True, slots=True)
class Add(Binary):
    """x + y."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y


@op("mul")
@dataclass(frozen=True, slots=True)
class Mul(Binary):
    """x * y."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x * y
