"""Trigonometric and hyperbolic functions of one number, in radians; sine, cosine and tanh stand with their like."""

from __future__ import annotations

import math
from typing import ClassVar

import jax.numpy as jnp

from ..op import Bounds, op
from .elementwise import Unary


@op("tan", jnp.tan)
class Tan(Unary):
    """The tangent."""


@op("asin", jnp.arcsin)
class Asin(Unary):
    """The angle of [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1]."""

    image: ClassVar[Bounds] = (-math.pi / 2, math.pi / 2)


@op("acos", jnp.arccos)
class Acos(Unary):
    """The angle of [0, pi] whose cosine is x; NaN outside [-1, 1]."""

    image: ClassVar[Bounds] = (0.0, math.pi)


@op("atan", jnp.arctan)
class Atan(Unary):
    """The angle of (-pi/2, pi/2) whose tangent is x."""

    image: ClassVar[Bounds] = (-math.pi / 2, math.pi / 2)


@op("sinh", jnp.sinh)
class Sinh(Unary):
    """The hyperbolic sine."""


@op("cosh", jnp.cosh)
class Cosh(Unary):
    """The hyperbolic cosine."""


@op("asinh", jnp.arcsinh)
class Asinh(Unary):
    """The number whose hyperbolic sine is x."""


@op("acosh", jnp.arccosh)
class Acosh(Unary):
    """The number not below 0 whose hyperbolic cosine is x; NaN below 1."""


@op("atanh", jnp.arctanh)
class Atanh(Unary):
    """The number whose hyperbolic tangent is x; NaN outside [-1, 1]."""
