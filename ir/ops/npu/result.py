"""What integer ops have in common: their traits, and how they end with one rounding, a zero point and a clamp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from ...arithmetic import INT32, Interval, accumulator_interval, meet, require_rounding
from ...errors import require
from ...op import Bounds, Op
from ...requantize import Ends, requantize
from ...types import DType, Shape, TensorType
from .products import whole_bytes


@dataclass(frozen=True, slots=True)
class Operand:
    """What is known of an operand when a program is made: type, bounds, and the array of a constant."""

    type: TensorType
    bounds: Interval
    array: np.ndarray | None = None

    @property
    def known(self) -> np.ndarray:
        """The array of a constant; raises `RuleError` for a computed operand."""
        require(self.array is not None, f"operand {self.type} is computed, a constant wanted")
        return np.asarray(self.array)


class Integer(Op):
    """An op of the integer level: it runs on the NPU alone. Its operands and results are integers."""

    __slots__ = ()
    weight_operands: ClassVar[tuple[int, ...]] = ()
    """The positions of known weights, which set the width of the products."""
    wide_operands: ClassVar[int] = 0
    """The number of leading operands that may be i32, of `WIDE_BITS` bits."""
    signed_multipliers: ClassVar[bool] = False
    pre_shifts: ClassVar[bool] = False
    """Whether operands may be shifted left first, by a target's `rescale_pre_shift`."""


class Accumulating(Integer):
    """An integer op that requantizes sums; `accumulator` holds every partial sum in any order: the compiler's proof."""

    __slots__ = ()
    rounding: str
    accumulator: Interval
    sums_have_64_bits: ClassVar[bool] = False
    """Whether the sums have 64 bits, whatever the target's accumulators have."""

    def accumulator_bounds(self, *operands: Any) -> Interval:
        """The least interval that the bounds of the operands prove for every partial sum."""
        raise NotImplementedError

    def type_bounds(self, *operands: TensorType | jax.Array) -> Interval:
        """`accumulator_bounds` of operands of which the types alone are known."""
        types = (x if isinstance(x, TensorType) else TensorType(DType.of(x.dtype), x.shape) for x in operands)
        return self.accumulator_bounds(*(Operand(type_, type_.dtype.range) for type_ in types))


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamped(Integer):
    """An op whose result is clamped to [low, high] around a zero point and stored as `dtype`."""

    zero_point: int = 0
    low: int = -128
    high: int = 127
    dtype: DType = DType.I8

    @property
    def ends(self) -> Ends:
        return {"zero_point": self.zero_point, "low": self.low, "high": self.high, "dtype": self.dtype}

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

    def bounds(self, *operands: Bounds) -> Bounds:
        return self.low, self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantized(Clamped, Accumulating):
    """An op whose result is a requantized accumulator: the rules R1 to R7 of docs/arithmetic.md.

    The lane of evaluation follows from the interval of the accumulator.
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
        self, accumulator: jax.Array, multiplier: jax.Array, shift: jax.Array, *, bound: Interval | None = None
    ) -> jax.Array:
        """Requantize; multipliers and shifts broadcast to the accumulator, one of each to any shape."""
        if multiplier.shape == (1,):
            multiplier, shift = multiplier[0], shift[0]
        interval = self.proven(bound)
        return requantize(accumulator, multiplier, shift, rounding=self.rounding, interval=interval, **self.ends)


class Weighted(Requantized):
    """A product of data with known weights, operand 1, plus a known bias, operand 2."""

    __slots__ = ()
    weight_operands: ClassVar[tuple[int, ...]] = (1,)

    def evaluate(self, x: jax.Array, w: jax.Array, bias: jax.Array, *factors: jax.Array) -> jax.Array:
        """Sums in the lane that the accumulator's interval allows, one rounding."""
        sums = self.sums(x, whole_bytes(w))
        return self.finish(sums + bias.astype(sums.dtype), *factors)

    def sums(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """The accumulators without the bias, int32 or int64; weights are int8 or int16."""
        raise NotImplementedError

    def accumulator_bounds(self, x: Operand, w: Operand, bias: Operand, *factors: Operand) -> Interval:
        """Rule A1."""
        return accumulator_interval(w.known, bias.known, *x.bounds)


def require_factors(multiplier: TensorType, shift: TensorType, *shapes: Shape) -> None:
    """Require multipliers and shifts of one shape among `shapes`."""
    for what, type_ in (("multiplier", multiplier), ("shift", shift)):
        require(type_.dtype is DType.I32, f"{what} of {type_.dtype}, i32 wanted")
        require(type_.shape in shapes, f"{what} of shape {type_.shape}, {' or '.join(map(str, shapes))} wanted")
    require(multiplier.shape == shift.shape, f"multipliers {multiplier.shape} and shifts {shift.shape} differ in shape")


def centred(interval: Interval, zero_point: int) -> Interval:
    """The interval of an operand's integers less their zero point."""
    low, high = interval
    return low - zero_point, high - zero_point


def product(first: Interval, second: Interval) -> Interval:
    """The interval of the products of two factors."""
    ends = [one * other for one in first for other in second]
    return min(ends), max(ends)


def total(term: Interval, count: int) -> Interval:
    """The interval of every partial sum of `count` terms."""
    return min(term[0], 0) * count, max(term[1], 0) * count


def require_integers(*operands: TensorType, bits: int = 16, zero_points: tuple[int, ...] = ()) -> None:
    """Require integer operands of at most `bits` bits, and their zero points among these integers."""
    for operand, zero_point in zip(operands, zero_points or (0,) * len(operands), strict=True):
        fits = operand.dtype.is_integer and operand.dtype.bits <= bits
        require(fits, f"{operand.dtype} operand, an integer of at most {bits} bits wanted")
        require_zero_point(operand.dtype, zero_point)


def require_zero_point(dtype: DType, zero_point: int) -> None:
    """Require an operand's zero point among its integers."""
    low, high = dtype.range
    require(low <= zero_point <= high, f"input zero point {zero_point} outside {dtype}'s [{low}, {high}]")
