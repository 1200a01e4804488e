"""Integer division of two activations, and the length of the vector that they make."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from ...arithmetic import Interval
from ...errors import require
from ...op import no_products, op
from ...requantize import clamp, rounded_division, rounded_root
from ...types import TensorType
from ..elementwise import broadcast
from .result import Clamped, Operand, Requantized, centred, require_integers

DIVISION_SHIFTS = (0, 44)
"""The shifts of a division's factor: divisors of 17 bits stay inside 62."""


@op("npu.div")
class Div(Clamped):
    """(a - za) * factor / ((b - zb) * 2**shift), rounded once, halves up: rule D1.

    Division by zero gives the greatest result for positive a, the least for negative a, and the zero point for a = za.
    """

    factor: int
    shift: int
    zero_points: tuple[int, int] = (0, 0)
    macs = no_products

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        require_integers(a, b, zero_points=self.zero_points)
        least, greatest = DIVISION_SHIFTS
        require(least <= self.shift <= greatest, f"shift {self.shift}, {least} to {greatest} wanted")
        require(0 < self.factor < 1 << 31, f"factor {self.factor}, 1 to 2147483647 wanted")
        return self.stored(broadcast(a.shape, b.shape))

    def evaluate(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """A quotient of int64, whose sign moves into the numerator."""
        numerator, divisor = (x.astype(jnp.int64) - z for x, z in zip((a, b), self.zero_points, strict=True))
        numerator = jnp.where(divisor < 0, -numerator, numerator) * self.factor
        denominator = jnp.maximum(jnp.abs(divisor), 1) << self.shift
        quotient = rounded_division(numerator, denominator)
        endless = jnp.sign(numerator) * (1 << 40)
        return clamp(jnp.where(divisor == 0, endless, quotient), **self.ends)


LARGEST_SIDE = 1 << 13
"""The greatest weight of a side: the squares of two such products of 17 bits sum to less than 2^62."""


@op("npu.hypot")
class Hypot(Requantized):
    """sqrt(((a - za) * wa)^2 + ((b - zb) * wb)^2) * M / 2**s of `weights` (wa, wb): rule D2. M and s are i32[1]."""

    weights: tuple[int, int] = (LARGEST_SIDE, LARGEST_SIDE)
    zero_points: tuple[int, int] = (0, 0)
    macs = no_products

    def infer(self, a: TensorType, b: TensorType, multiplier: TensorType, shift: TensorType) -> TensorType:
        require_integers(a, b, zero_points=self.zero_points)
        fits = all(0 <= weight <= LARGEST_SIDE for weight in self.weights)
        require(fits, f"weights {self.weights}, 0 to {LARGEST_SIDE} wanted")
        return self.rescaled(broadcast(a.shape, b.shape), multiplier, shift, (1,), bound=self.type_bounds(a, b))

    def evaluate(self, a: jax.Array, b: jax.Array, multiplier: jax.Array, shift: jax.Array) -> jax.Array:
        x, y = (
            (side.astype(jnp.int64) - zero_point) * weight
            for side, zero_point, weight in zip((a, b), self.zero_points, self.weights, strict=True)
        )
        return self.finish(rounded_root(x * x + y * y), multiplier, shift, bound=self.type_bounds(a, b))

    def accumulator_bounds(self, a: Operand, b: Operand, *factors: Operand) -> Interval:
        ends = (centred(side.bounds, zero_point) for side, zero_point in zip((a, b), self.zero_points, strict=True))
        squares = ((max(-low, high, 0) * weight) ** 2 for (low, high), weight in zip(ends, self.weights, strict=True))
        return 0, math.isqrt(sum(squares)) + 1
