"""Trigonometric and hyperbolic functions of one number, in radians; sine, cosine and tanh stand with their like."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from ..op import Bounds, op
from .elementwise import Unary


@op("tan")
class Tan(Unary):
    """The tangent."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.tan(x)


@op("asin")
class Asin(Unary):
    """The angle of [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1]."""

    image: ClassVar[Bounds] = (-math.pi / 2, math.pi / 2)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.arcsin(x)


@op("acos")
class Acos(Unary):
    """The angle of [0, pi] whose cosine is x; NaN outside [-1, 1]."""

    image: ClassVar[Bounds] = (0.0, math.pi)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.arccos(x)


@op("atan")
class Atan(Unary):
    """The angle of (-pi/2, pi/2) whose tangent is x."""

    image: ClassVar[Bounds] = (-math.pi / 2, math.pi / 2)

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.arctan(x)


@op("sinh")
class Sinh(Unary):
    """The hyperbolic sine."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.sinh(x)


@op("cosh")
class Cosh(Unary):
    """The hyperbolic cosine."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.cosh(x)


@op("asinh")
class Asinh(Unary):
    """The number whose hyperbolic sine is x."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.arcsinh(x)


@op("acosh")
class Acosh(Unary):
    """The number not below 0 whose hyperbolic cosine is x; NaN below 1."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.arccosh(x)


@op("atanh")
class Atanh(Unary):
    """The number whose hyperbolic tangent is x; NaN outside [-1, 1]."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.arctanh(x)
