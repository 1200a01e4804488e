"""Activations: pointwise functions of one float, most with constants that the network's author chose."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import require
from ..op import Bounds, Op, define, op
from ..types import TensorType
from .elementwise import Unary, broadcast

Sigmoid = define(Unary, "sigmoid", jax.nn.sigmoid, "1 / (1 + exp(-x)).", image=(0.0, 1.0))
Tanh = define(Unary, "tanh", jnp.tanh, "The hyperbolic tangent.", image=(-1.0, 1.0))
Silu = define(Unary, "silu", jax.nn.silu, "x * sigmoid(x), also named swish.")
Mish = define(Unary, "mish", jax.nn.mish, "x * tanh(softplus(x)).")
Softplus = define(Unary, "softplus", jax.nn.softplus, "log(1 + exp(x)).")
Softsign = define(Unary, "softsign", jax.nn.soft_sign, "x / (1 + |x|).", image=(-1.0, 1.0))


@op("relu")
class Relu(Unary):
    """max(x, 0)."""

    integers: ClassVar[bool] = True

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.maximum(x, jnp.zeros((), x.dtype))

    def bounds(self, x: Bounds) -> Bounds:
        return 0.0, max(x[1], 0.0)


@op("clip")
class Clip(Unary):
    """min(max(x, low), high): `high` wins where it is below `low`."""

    integers: ClassVar[bool] = True
    low: float = -math.inf
    high: float = math.inf

    def evaluate(self, x: jax.Array) -> jax.Array:
        if self.low > -math.inf:
            x = jnp.maximum(x, np.asarray(self.low).astype(x.dtype))
        if self.high < math.inf:
            x = jnp.minimum(x, np.asarray(self.high).astype(x.dtype))
        return x

    def bounds(self, x: Bounds) -> Bounds:
        low, high = (min(max(end, self.low), self.high) for end in x)
        return low, high


@op("leaky_relu")
class LeakyRelu(Unary):
    """x, and alpha * x below zero."""

    alpha: float = 0.01

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.where(x < 0, self.alpha * x, x)


@op("prelu")
class PRelu(Op):
    """x, and slope * x below zero; the slope is shaped to broadcast to x."""

    def infer(self, x: TensorType, slope: TensorType) -> TensorType:
        require(x.dtype.is_float and x.dtype is slope.dtype, f"{x.dtype} and {slope.dtype}, one float type wanted")
        require(
            broadcast(x.shape, slope.shape) == x.shape, f"slope of shape {slope.shape} does not broadcast to {x.shape}"
        )
        return x

    def evaluate(self, x: jax.Array, slope: jax.Array) -> jax.Array:
        return jnp.where(x < 0, slope * x, x)


@op("hard_sigmoid")
class HardSigmoid(Unary):
    """alpha * x + beta, limited to [0, 1]."""

    image: ClassVar[Bounds] = (0.0, 1.0)

    alpha: float = 0.2
    beta: float = 0.5

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jnp.clip(self.alpha * x + self.beta, 0.0, 1.0)


@op("hard_swish")
class HardSwish(Unary):
    """x * hard_sigmoid(x) with alpha = 1/6 and beta = 1/2."""

    def evaluate(self, x: jax.Array) -> jax.Array:
        return x * jnp.clip(x * (1 / 6) + 0.5, 0.0, 1.0)


@op("elu")
class Elu(Unary):
    """x, and alpha * (exp(x) - 1) below zero."""

    alpha: float = 1.0

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jax.nn.elu(x, self.alpha)


@op("selu")
class Selu(Unary):
    """gamma * elu(x)."""

    alpha: float = 1.67326319217681884765625
    gamma: float = 1.05070102214813232421875

    def evaluate(self, x: jax.Array) -> jax.Array:
        return self.gamma * jax.nn.elu(x, self.alpha)


@op("celu")
class Celu(Unary):
    """x, and alpha * (exp(x / alpha) - 1) below zero."""

    alpha: float = 1.0

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jax.nn.celu(x, self.alpha)


@op("gelu")
class Gelu(Unary):
    """x times the normal distribution function of x, or its tanh approximation."""

    approximate: Literal["none", "tanh"] = "none"

    def evaluate(self, x: jax.Array) -> jax.Array:
        return jax.nn.gelu(x, approximate=self.approximate == "tanh")
