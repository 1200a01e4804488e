"""Integer normalization by the statistics of the data: exact sums, one reciprocal root, one rounding an element."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from ...arithmetic import require_rounding
from ...errors import require
from ...op import no_products, op
from ...requantize import RECIPROCAL_FRACTION, reciprocal_root, rounded_shift
from ...types import DType, TensorType
from ..elementwise import broadcast
from .result import Clamped, require_zero_point

LARGEST_EPSILON = 1 << 60
LARGEST_BIAS = 1 << 59
LONGEST = 1 << 14
"""The most elements that share their statistics: with 16 bits all sums stay inside 63 bits."""


WIDE_BITS = 20
"""The bits of an i32 operand, whose greatest elements are many times the others."""


def variance_fraction(count: int, bits: int) -> int:
    """The greatest `fraction` for `count` integers of so many bits: n^2 * 4^bits * 4^fraction stays within 2^60."""
    return 30 - (count - 1).bit_length() - bits


def operand_bits(dtype: DType) -> int:
    """The bits that an operand's elements have; those of i32 are no more than `WIDE_BITS`."""
    return min(dtype.bits, WIDE_BITS)


def normal_fraction(count: int) -> int:
    """F: normalized elements are carried as multiples of 2^-F, so that the greatest one stays below 2^29."""
    return 29 - ((count - 1).bit_length() + 1) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalized(Clamped):
    """An op that normalizes over the axes from `axis` on; rules N1 and N2.

    n^2 times the variance is carried in units of 4^-fraction, and so is `epsilon`. Multiplier i32 and bias i64 have one
    shape that broadcasts to x; the shift i32[1] takes the bits of z and those of the multiplier away at once.
    """

    wide_operands: ClassVar[int] = 1
    signed_multipliers: ClassVar[bool] = True
    macs = no_products

    axis: int
    fraction: int
    epsilon: int = 1
    input_zero_point: int = 0
    rounding: str = "single_half_up"

    def infer(self, x: TensorType, multiplier: TensorType, bias: TensorType, shift: TensorType) -> TensorType:
        require(x.dtype in (DType.I8, DType.I16, DType.I32), f"{x.dtype} operand, i8, i16 or i32 wanted")
        require(0 <= self.axis < x.rank, f"axis {self.axis} of rank {x.rank}")
        count = math.prod(x.shape[self.axis :])
        require(1 <= count <= LONGEST, f"statistics of {count} elements, 1 to {LONGEST} wanted")
        most = variance_fraction(count, operand_bits(x.dtype))
        require(0 <= self.fraction <= most, f"fraction {self.fraction}, 0 to {most} wanted")
        require(1 <= self.epsilon <= LARGEST_EPSILON, f"epsilon {self.epsilon}, 1 to 2^60 wanted")
        require(multiplier.dtype is DType.I32, f"multiplier of {multiplier.dtype}, i32 wanted")
        require(bias == TensorType(DType.I64, multiplier.shape), f"bias {bias}, i64 of {multiplier.shape} wanted")
        require(
            broadcast(x.shape, multiplier.shape) == x.shape, f"multiplier of {multiplier.shape} for data of {x.shape}"
        )
        require(shift == TensorType(DType.I32, (1,)), f"shift {shift}, i32[1] wanted")
        require_rounding(self.rounding, (0, 0))
        require_zero_point(x.dtype, self.input_zero_point)
        return self.stored(x.shape)

    def scaled(self, x: jax.Array, distances: jax.Array, variance: jax.Array, *factors: jax.Array) -> jax.Array:
        """Rule N2: n times the distances from the mean over the root of n^2 times the variance, times the factors."""
        multiplier, bias, shift = factors
        reciprocal, e = reciprocal_root((variance << (2 * self.fraction)) + self.epsilon)
        # A variance of 0 leaves distances of 0, whatever they are shifted by.
        kept = normal_fraction(math.prod(x.shape[self.axis :]))
        drop = jnp.maximum(RECIPROCAL_FRACTION - e - self.fraction - kept, 1)
        z = (distances * reciprocal + (jnp.int64(1) << (drop - 1))) >> drop
        return rounded_shift(z * multiplier.astype(jnp.int64) + bias, shift[0], rounding=self.rounding, **self.ends)

    def axes(self, rank: int) -> tuple[int, ...]:
        """The axes that share their statistics."""
        return tuple(range(self.axis, rank))


@op("npu.layer_norm")
class LayerNorm(Normalized):
    """z * multiplier + bias, shifted, of z = (x - mean) / sqrt(variance + epsilon) over the axes from `axis` on."""

    def evaluate(self, x: jax.Array, multiplier: jax.Array, bias: jax.Array, shift: jax.Array) -> jax.Array:
        """n * x - sum(x), and n * sum(x^2) - sum(x)^2: no division before the root."""
        wide, axes = x.astype(jnp.int64), self.axes(x.ndim)
        count = math.prod(x.shape[self.axis :])
        sums = wide.sum(axes, keepdims=True)
        variance = count * (wide * wide).sum(axes, keepdims=True) - sums * sums
        return self.scaled(x, count * wide - sums, variance, multiplier, bias, shift)


@op("npu.rms_norm")
class RmsNorm(Normalized):
    """z * multiplier + bias, shifted, of z = c / sqrt(mean(c * c) + epsilon), c = x - zero point, from `axis` on."""

    def evaluate(self, x: jax.Array, multiplier: jax.Array, bias: jax.Array, shift: jax.Array) -> jax.Array:
        """As a layer norm whose mean is the zero point."""
        wide = x.astype(jnp.int64) - self.input_zero_point
        count = math.prod(x.shape[self.axis :])
        square = count * (wide * wide).sum(self.axes(x.ndim), keepdims=True)
        return self.scaled(x, count * wide, square, multiplier, bias, shift)
