"""Pointwise arithmetic: one operand, or two that broadcast as in NumPy; activations stand in `activation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import RuleError, require
from ..op import Bounds, Movement, Op, T, op
from ..types import Shape, TensorType


class Unary(Op):
    """A function of one number, applied to each element: same shape, same element type, no quantization."""

    __slots__ = ()
    integers: ClassVar[bool] = False
    """Whether integers are taken as well as floats."""

    def infer(self, x: TensorType) -> TensorType:
        """Keep shape and element type."""
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
        """Broadcast the shapes."""
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
        """Broadcast the shapes, keep the scale."""
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
        """Keep the type."""
        return x

    def evaluate(self, x: jax.Array) -> jax.Array:
        return x


@op("abs")
class Abs(Unary):
    """The absolute value; the least signed integer stays itself."""

    integers: ClassVar[bool] = True

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.abs(x)


@op("neg")
class Neg(Unary):
    """-x."""

    integers: ClassVar[bool] = True

    def evaluate(self, x: jax.Array) -> jax.Array:
        return -x


@op("sign")
class Sign(Unary):
    """-1, 0 or 1."""

    integers: ClassVar[bool] = True

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.sign(x)


@op("reciprocal")
class Reciprocal(Unary):
    """1 / x."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.reciprocal(x)


@op("sqrt")
class Sqrt(Unary):
    """The square root; NaN below zero."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.sqrt(x)


@op("exp")
class Exp(Unary):
    """e to the power x."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.exp(x)


@op("log")
class Log(Unary):
    """The natural logarithm; NaN below zero."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.log(x)


@op("erf")
class Erf(Unary):
    """The Gauss error function."""

    image: ClassVar[Bounds] = (-1.0, 1.0)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jax.scipy.special.erf(x)


@op("sin")
class Sin(Unary):
    """The sine of x radians."""

    image: ClassVar[Bounds] = (-1.0, 1.0)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.sin(x)


@op("cos")
class Cos(Unary):
    """The cosine of x radians."""

    image: ClassVar[Bounds] = (-1.0, 1.0)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.cos(x)


@op("floor")
class Floor(Unary):
    """The greatest integer not above x."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.floor(x)


@op("ceil")
class Ceil(Unary):
    """The least integer not below x."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.ceil(x)


@op("round")
class Round(Unary):
    """The nearest integer, halves to even."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.round(x)


@op("add")
class Add(Binary):
    """x + y."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y


@op("sub")
class Sub(Binary):
    """x - y."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x - y


@op("mul")
class Mul(Binary):
    """x * y."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x * y


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


@op("pow")
class Pow(Binary):
    """x to the power y."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.power(x, y)


@op("maximum")
class Maximum(Choice):
    """The greater of both; NaN where one is."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.maximum(x, y)


@op("minimum")
class Minimum(Choice):
    """The lesser of both; NaN where one is."""

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.minimum(x, y)


@op("hypot")
class Hypot(Binary):
    """sqrt(x * x + y * y)."""

    integers: ClassVar[bool] = False

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sqrt(x * x + y * y)
