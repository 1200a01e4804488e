"""Comparisons, truth values, choices by them, bits of integers, and changes of element type."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ..errors import require
from ..op import Op, T, define, op
from ..types import DType, TensorType
from .elementwise import broadcast


class Comparison(Op):
    """A question about two numbers of one element type, with NumPy broadcasting; the answer is a bool."""

    __slots__ = ()

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        require(x.dtype is y.dtype, f"operands of {x.dtype} and {y.dtype}, one element type wanted")
        require(x.quant is None and y.quant is None, "quantized operands; dequantize them first")
        return TensorType(DType.BOOL, broadcast(x.shape, y.shape))


class Connective(Op):
    """A function of truth values, with NumPy broadcasting."""

    __slots__ = ()

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        for operand in (x, y):
            require(operand.dtype is DType.BOOL, f"{operand.dtype} operand, bool wanted")
        return TensorType(DType.BOOL, broadcast(x.shape, y.shape))


Equal = define(Comparison, "equal", jnp.equal, "x == y.")
Greater = define(Comparison, "greater", jnp.greater, "x > y.")
GreaterOrEqual = define(Comparison, "greater_or_equal", jnp.greater_equal, "x >= y.")
Less = define(Comparison, "less", jnp.less, "x < y.")
LessOrEqual = define(Comparison, "less_or_equal", jnp.less_equal, "x <= y.")
And = define(Connective, "and", jnp.logical_and, "Both.")
Or = define(Connective, "or", jnp.logical_or, "At least one.")
Xor = define(Connective, "xor", jnp.logical_xor, "Exactly one.")


@op("not", jnp.logical_not)
class Not(Op):
    """The opposite truth value."""

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype is DType.BOOL, f"{x.dtype} operand, bool wanted")
        return x


class Classification(Op):
    """A question about a float."""

    __slots__ = ()

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype.is_float, f"{x.dtype} operand, a float wanted")
        return x.with_dtype(DType.BOOL)


IsNan = define(Classification, "is_nan", jnp.isnan, "Whether x is no number.")


@op("is_inf")
class IsInf(Classification):
    """Whether x is infinite, of a sign that is asked for."""

    positive: bool = True
    negative: bool = True

    def evaluate(self, x: jax.Array) -> jax.Array:
        return (self.positive & jnp.isposinf(x)) | (self.negative & jnp.isneginf(x))


@op("where", jnp.where)
class Where(Op):
    """x where the condition holds, else y; operands of one per-tensor scale keep it."""

    def infer(self, condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
        require(condition.dtype is DType.BOOL, f"{condition.dtype} condition, bool wanted")
        require(x.dtype is y.dtype, f"operands of {x.dtype} and {y.dtype}, one element type wanted")
        require(x.quant == y.quant, f"operands {x} and {y}, one scale wanted")
        require(x.quant is None or x.quant.axis is None, "a scale per slice; one per tensor wanted")
        return TensorType(x.dtype, broadcast(condition.shape, x.shape, y.shape), x.quant)

    def moved(self, operands: Sequence[T]) -> Sequence[T]:
        return operands[1:]


@op("cast")
class Cast(Op):
    """The same numbers in another element type: floats to integers toward zero, to bool by `!= 0`."""

    to: DType

    def infer(self, x: TensorType) -> TensorType:
        require(x.quant is None, "quantized operand; dequantize it first")
        return x.with_dtype(self.to)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return x.astype(self.to.numpy)


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


BitwiseAnd = define(Bitwise, "bitwise_and", jnp.bitwise_and, "The bits that both have.")
BitwiseOr = define(Bitwise, "bitwise_or", jnp.bitwise_or, "The bits that at least one has.")
BitwiseXor = define(Bitwise, "bitwise_xor", jnp.bitwise_xor, "The bits that exactly one has.")


@op("bitwise_not", jnp.bitwise_not)
class BitwiseNot(Op):
    """The bits that x lacks."""

    def infer(self, x: TensorType) -> TensorType:
        check_bits(x)
        return x


ShiftLeft = define(
    Bitwise,
    "shift_left",
    jnp.left_shift,
    "x * 2^y without what no longer fits; 0 by a negative y, or one of all bits and more.",
)
ShiftRight = define(
    Bitwise,
    "shift_right",
    jnp.right_shift,
    "x / 2^y rounded down; by a negative y, or one of all bits and more, 0 or -1.",
)
