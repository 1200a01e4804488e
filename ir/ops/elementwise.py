"""Pointwise arithmetic: one operand, or two that broadcast as in NumPy; activations stand in `activation`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import RuleError, require
from ..op import Bounds, Movement, Op, T, define, op
from ..types import Shape, TensorType


class Unary(Op):
    """A function of one number, applied to each element: same shape, same element type, no quantization."""

    __slots__ = ()
    integers: ClassVar[bool] = False
    """Whether integers are taken as well as floats."""

    def infer(self, x: TensorType) -> TensorType:
        wanted = "a number" if self.integers else "a float"
        require(x.dtype.is_float or (self.integers and x.dtype.is_integer), f"{x.dtype} operand, {wanted} wanted")
        require(x.quant is None, "quantized operand; dequantize it first")
        return x


class Binary(Op):
    """A function of two numbers of one element type, with NumPy broadcasting."""

    __slots__ = ()
    integers: ClassVar[bool] = True
    """Whether integers are taken as well as floats."""

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        require(x.dtype is y.dtype, f"operands of {x.dtype} and {y.dtype}, one element type wanted")
        wanted = "numbers" if self.integers else "floats"
        require(x.dtype.is_float or (self.integers and x.dtype.is_integer), f"{x.dtype} operands, {wanted} wanted")
        require(x.quant is None and y.quant is None, "quantized operands; dequantize them first")
        return TensorType(x.dtype, broadcast(x.shape, y.shape))


class Choice(Binary):
    """A binary op that gives one of its operands: quantized ones of one per-tensor scale keep it."""

    __slots__ = ()

    def moved(self, operands: Sequence[T]) -> Sequence[T]:
        return operands

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        require(x.quant == y.quant, f"operands {x} and {y}, one scale wanted")
        require(x.quant is None or x.quant.axis is None, "a scale per slice; one per tensor wanted")
        # Not super(): a slotted dataclass is a second class, and the implicit cell still holds the first.
        return Binary.infer(self, x.bare, y.bare).with_quant(x.quant)


def broadcast(*shapes: Shape) -> Shape:
    """The shape that NumPy broadcasting gives."""
    try:
        return tuple(int(size) for size in np.broadcast_shapes(*shapes))
    except ValueError:
        raise RuleError(f"shapes {' and '.join(map(str, shapes))} do not broadcast") from None


@op("identity")
class Identity(Movement):
    """x itself, of any type."""

    def infer(self, x: TensorType) -> TensorType:
        return x

    def evaluate(self, x: jax.Array) -> jax.Array:
        return x


_QUARTERS: Bounds = (-math.pi / 2, math.pi / 2)
"""The angles of the quarters on both sides of 0."""

Abs = define(Unary, "abs", jnp.abs, "The absolute value; the least signed integer stays itself.", integers=True)
Neg = define(Unary, "neg", jnp.negative, "-x.", integers=True)
Sign = define(Unary, "sign", jnp.sign, "-1, 0 or 1.", integers=True)
Reciprocal = define(Unary, "reciprocal", jnp.reciprocal, "1 / x.")
Sqrt = define(Unary, "sqrt", jnp.sqrt, "The square root; NaN below zero.")
Exp = define(Unary, "exp", jnp.exp, "e to the power x.")
Log = define(Unary, "log", jnp.log, "The natural logarithm; NaN below zero.")
Erf = define(Unary, "erf", jax.scipy.special.erf, "The Gauss error function.", image=(-1.0, 1.0))
Sin = define(Unary, "sin", jnp.sin, "The sine of x radians.", image=(-1.0, 1.0))
Cos = define(Unary, "cos", jnp.cos, "The cosine of x radians.", image=(-1.0, 1.0))
Tan = define(Unary, "tan", jnp.tan, "The tangent.")
Asin = define(
    Unary, "asin", jnp.arcsin, "The angle of [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1].", image=_QUARTERS
)
Acos = define(
    Unary, "acos", jnp.arccos, "The angle of [0, pi] whose cosine is x; NaN outside [-1, 1].", image=(0.0, math.pi)
)
Atan = define(Unary, "atan", jnp.arctan, "The angle of (-pi/2, pi/2) whose tangent is x.", image=_QUARTERS)
Sinh = define(Unary, "sinh", jnp.sinh, "The hyperbolic sine.")
Cosh = define(Unary, "cosh", jnp.cosh, "The hyperbolic cosine.")
Asinh = define(Unary, "asinh", jnp.arcsinh, "The number whose hyperbolic sine is x.")
Acosh = define(Unary, "acosh", jnp.arccosh, "The number not below 0 whose hyperbolic cosine is x; NaN below 1.")
Atanh = define(Unary, "atanh", jnp.arctanh, "The number whose hyperbolic tangent is x; NaN outside [-1, 1].")
Floor = define(Unary, "floor", jnp.floor, "The greatest integer not above x.")
Ceil = define(Unary, "ceil", jnp.ceil, "The least integer not below x.")
Round = define(Unary, "round", jnp.round, "The nearest integer, halves to even.")


@op("add", jnp.add)
class Add(Binary):
    """x + y."""


@op("sub", jnp.subtract)
class Sub(Binary):
    """x - y."""


@op("mul", jnp.multiply)
class Mul(Binary):
    """x * y."""


@op("div")
class Div(Binary):
    """x / y; of integers the quotient rounded toward zero."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jax.lax.div(*jnp.broadcast_arrays(x, y))


@op("mod")
class Mod(Binary):
    """The remainder of x / y: of the quotient rounded down, or (`truncate`) toward zero as C's fmod."""

    truncate: bool = False

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.fmod(x, y) if self.truncate else jnp.mod(x, y)


Pow = define(Binary, "pow", jnp.power, "x to the power y.")


@op("maximum", jnp.maximum)
class Maximum(Choice):
    """The greater of both; NaN where one is."""


@op("minimum", jnp.minimum)
class Minimum(Choice):
    """The lesser of both; NaN where one is."""


@op("hypot")
class Hypot(Binary):
    """sqrt(x * x + y * y)."""

    integers: ClassVar[bool] = False

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sqrt(x * x + y * y)
