"""Ops on the bits of integers, with NumPy broadcasting."""

from __future__ import annotations

import jax.numpy as jnp

from ..errors import require
from ..op import Op, op
from ..types import TensorType
from .elementwise import broadcast


class Bitwise(Op):
    """A function of two integers of one element type, bit by bit."""

    __slots__ = ()

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        require(x.dtype is y.dtype, f"operands of {x.dtype} and {y.dtype}, one element type wanted")
        check_bits(x, y)
        return TensorType(x.dtype, broadcast(x.shape, y.shape))


def check_bits(*operands: TensorType) -> None:
    """Require integers that mean themselves."""
    for operand in operands:
        require(operand.dtype.is_integer, f"{operand.dtype} operand, an integer wanted")
        require(operand.quant is None, "quantized operand; dequantize it first")


@op("bitwise_and", jnp.bitwise_and)
class BitwiseAnd(Bitwise):
    """The bits that both have."""


@op("bitwise_or", jnp.bitwise_or)
class BitwiseOr(Bitwise):
    """The bits that at least one has."""


@op("bitwise_xor", jnp.bitwise_xor)
class BitwiseXor(Bitwise):
    """The bits that exactly one has."""


@op("bitwise_not", jnp.bitwise_not)
class BitwiseNot(Op):
    """The bits that x lacks."""

    def infer(self, x: TensorType) -> TensorType:
        check_bits(x)
        return x


@op("shift_left", jnp.left_shift)
class ShiftLeft(Bitwise):
    """x * 2^y without what no longer fits; by a negative y, or one of all bits and more, 0."""


@op("shift_right", jnp.right_shift)
class ShiftRight(Bitwise):
    """x / 2^y rounded down; by a negative y, or one of all bits and more, the sign: 0 or -1."""
