"""Integer division of two activations."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ..errors import require
from ..op import op
from ..roots import rounded_division
from ..types import TensorType
from .elementwise import broadcast
from .npu_result import Clamped, require_integers, require_zero_point

DIVISION_SHIFTS = (0, 44)
"""The shifts of a division's factor: divisors of 17 bits stay inside 62."""


@op("npu.div")
@dataclass(frozen=True, slots=True, kw_only=True)
class Div(Clamped):
    """(a - za) * factor / ((b - zb) * 2**shift), rounded once, halves up: rule D1.

    Division by zero gives the greatest result for positive a, the least for negative a, and the zero point for a = za.
    """

    factor: int
    shift: int
    zero_points: tuple[int, int] = (0, 0)

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        """Broadcast the shapes."""
        require_integers(a, b)
        for operand, zero_point in zip((a, b), self.zero_points, strict=True):
            require_zero_point(operand.dtype, zero_point)
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
        rounded = jnp.where(divisor == 0, endless, quotient) + self.zero_point
        return jnp.clip(rounded, self.low, self.high).astype(self.dtype.numpy)
