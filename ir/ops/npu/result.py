"""How integer ops end: one rounding, a zero point, a clamp."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from ...arithmetic import INT32, Interval, meet, require_rounding
from ...errors import require
from ...op import Op
from ...requantize import requantize
from ...types import DType, Shape, TensorType


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamped(Op):
    """An op whose result is clamped to [low, high] around a zero point and stored as `dtype`."""

    zero_point: int = 0
    low: int = -128
    high: int = 127
    dtype: DType = DType.I8

    def stored(self, shape: Shape) -> TensorType:
        """The bare result type; requires the clamp and the zero point inside it, and at most 32 bits."""
        require(self.dtype.is_integer and self.dtype.bits <= 32, f"{self.dtype} result, an integer to 32 bits wanted")
        least, greatest = self.dtype.range
        require(
            least <= self.low <= self.high <= greatest,
            f"clamp [{self.low}, {self.high}] outside {self.dtype}'s [{least}, {greatest}]",
        )
        require(
            least <= self.zero_point <= greatest,
            f"zero point {self.zero_point} outside {self.dtype}'s [{least}, {greatest}]",
        )
        return TensorType(self.dtype, shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantized(Clamped):
    """An op whose result is a requantized accumulator: the rules R1 to R7 of docs/arithmetic.md.

    `accumulator` holds every partial sum in any order, proven by the compiler; the lane of evaluation follows from it.
    """

    rounding: str = "single_half_up"
    accumulator: Interval = INT32

    def rescaled(
        self, shape: Shape, multiplier: TensorType, shift: TensorType, *rescalings: Shape, bound: Interval | None = None
    ) -> TensorType:
        """The result type; requires multipliers and shifts in one of the shapes `rescalings`."""
        require_rounding(self.rounding, self.proven(bound))
        require_factors(multiplier, shift, *rescalings)
        return self.stored(shape)

    def proven(self, bound: Interval | None) -> Interval:
        """The accumulator's interval: as stated and, where the operand types bound it too, as bounded."""
        return self.accumulator if bound is None else meet(self.accumulator, bound)

    def finish(
        self, accumulator: jax.Array, multiplier: jax.Array, shift: jax.Array, bound: Interval | None = None
    ) -> jax.Array:
        """Requantize; multipliers and shifts broadcast to the accumulator, one of each to any shape."""
        if multiplier.shape == (1,):
            multiplier, shift = multiplier[0], shift[0]
        return requantize(
            accumulator,
            multiplier,
            shift,
            zero_point=self.zero_point,
            low=self.low,
            high=self.high,
            rounding=self.rounding,
            interval=self.proven(bound),
            dtype=self.dtype,
        )


def require_factors(multiplier: TensorType, shift: TensorType, *shapes: Shape) -> None:
    """Require multipliers and shifts of one shape among `shapes`."""
    for what, type_ in (("multiplier", multiplier), ("shift", shift)):
        require(type_.dtype is DType.I32, f"{what} of {type_.dtype}, i32 wanted")
        require(type_.shape in shapes, f"{what} of shape {type_.shape}, {' or '.join(map(str, shapes))} wanted")
    require(multiplier.shape == shift.shape, f"multipliers {multiplier.shape} and shifts {shift.shape} differ in shape")


def centred(dtype: DType, zero_point: int) -> Interval:
    """The interval of an operand's integers less their zero point."""
    low, high = dtype.range
    return low - zero_point, high - zero_point


def product(first: Interval, second: Interval) -> Interval:
    """The interval of the products of two factors."""
    ends = [one * other for one in first for other in second]
    return min(ends), max(ends)


def total(term: Interval, count: int) -> Interval:
    """The interval of every partial sum of `count` terms."""
    return min(term[0], 0) * count, max(term[1], 0) * count


def require_integers(*operands: TensorType, bits: int = 16) -> None:
    """Require integer operands of at most `bits` bits."""
    for operand in operands:
        fits = operand.dtype.is_integer and operand.dtype.bits <= bits
        require(fits, f"{operand.dtype} operand, an integer of at most {bits} bits wanted")


def require_zero_point(dtype: DType, zero_point: int) -> None:
    """Require an operand's zero point among its integers."""
    low, high = dtype.range
    require(low <= zero_point <= high, f"input zero point {zero_point} outside {dtype}'s [{low}, {high}]")
