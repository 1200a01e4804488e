"""Ops on the bits of integers, with NumPy broadcasting."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..errors import require
from ..op import Op, op
from ..types import TensorType
from .elementwise import broadcast


class Bitwise(Op):
    """A function of two integers of one element type, bit by bit."""

    __slots__ = ()

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        """Broadcast the shapes."""
        require(x.dtype is y.dtype, f"operands of {x.dtype} and {y.dtype}, one element type wanted")
        check_bits(x, y)
        return TensorType(x.dtype, broadcast(x.shape, y.shape))


def check_bits(*operands: TensorType) -> None:
    """Require integers that mean themselves."""
    for operand in operands:
        require(operand.dtype.is_integer, f"{operand.dtype} operand, an integer wanted")
        require(operand.quant is None, "quantized operand; dequantize it first")


@op("bitwise_and")
class BitwiseAnd(Bitwise):
    """The bits that both have."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.bitwise_and(x, y)


@op("bitwise_or")
class BitwiseOr(Bitwise):
    """The bits that at least one has."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.bitwise_or(x, y)


@op("bitwise_xor")
class BitwiseXor(Bitwise):
    """The bits that exactly one has."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.bitwise_xor(x, y)


@op("bitwise_not")
class BitwiseNot(Op):
    """The bits that x lacks."""

    def infer(self, x: TensorType) -> TensorType:
        """Require an integer."""
        check_bits(x)
        return x

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.bitwise_not(x)


@op("shift_left")
class ShiftLeft(Bitwise):
    """x * 2^y without what no longer fits; by a negative y, or one of all bits and more, 0."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.left_shift(x, y)


@op("shift_right")
class ShiftRight(Bitwise):
    """x / 2^y rounded down; by a negative y, or one of all bits and more, the sign: 0 or -1."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.right_shift(x, y)
