"""Integer ops of single elements, of two tensors that broadcast, and the softmax."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from ...arithmetic import INT32, Interval, require_rounding
from ...errors import require
from ...op import Bounds, no_products, op
from ...requantize import HALVES_UP, clamp, power_of_two, requantize, round_half_up, rounded_shift, symmetric
from ...types import DType, TensorType
from ..elementwise import broadcast
from .result import Clamped, Integer, Operand, Requantized, centred, product, require_factors, require_integers


@op("npu.requantize")
class Requantize(Requantized):
    """(x - input_zero_point) * M / 2**s, rounded: another scale, width or zero point. M, s: one or per channel."""

    pre_shifts: ClassVar[bool] = True
    macs = no_products

    input_zero_point: int = 0

    def infer(self, x: TensorType, multiplier: TensorType, shift: TensorType) -> TensorType:
        require_integers(x, bits=32, zero_points=(self.input_zero_point,))
        return self.rescaled(x.shape, multiplier, shift, (1,), x.shape[-1:] or (1,), bound=self.type_bounds(x))

    def evaluate(self, x: jax.Array, multiplier: jax.Array, shift: jax.Array) -> jax.Array:
        """In int64 where 32 bits and a zero point may leave int32."""
        wide = x.astype(jnp.int64 if x.dtype.itemsize == 4 else jnp.int32)
        return self.finish(wide - self.input_zero_point, multiplier, shift, bound=self.type_bounds(x))

    def accumulator_bounds(self, x: Operand, *factors: Operand) -> Interval:
        return centred(x.bounds, self.input_zero_point)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairwise(Requantized):
    """An op of two integer tensors that broadcast as in NumPy; `zero_points` are theirs."""

    zero_points: tuple[int, int] = (0, 0)

    def intervals(self, a: Interval, b: Interval) -> tuple[Interval, Interval]:
        """The intervals of the operands less their zero points."""
        return centred(a, self.zero_points[0]), centred(b, self.zero_points[1])


LARGEST_TERM = (1 << 30) - 1
"""What a rescaled operand of a sum is limited to, so that two of them fit 32 bits."""


@op("npu.add")
class Add(_Pairwise):
    """((a - za) * M0 + (b - zb) * M1) / 2**s, rounded once: rule B1. A negative M1 subtracts.

    With a `left_shift` both operands, shifted by it, and then their sum are rescaled on their own: rule T1.
    """

    wide_operands: ClassVar[int] = 2
    signed_multipliers: ClassVar[bool] = True
    pre_shifts: ClassVar[bool] = True
    sums_have_64_bits: ClassVar[bool] = True
    macs = no_products

    left_shift: int = 0

    def infer(self, a: TensorType, b: TensorType, multiplier: TensorType, shift: TensorType) -> TensorType:
        """Broadcast the shapes; M is i32[2], s is i32[1]; i32 operands stay below 2^29, so that sums fit.

        With a `left_shift` M and s are i32[3], for the operands and the sum.
        """
        require_integers(a, b, bits=16 if self.left_shift else 32, zero_points=self.zero_points)
        shape = broadcast(a.shape, b.shape)
        if self.left_shift:
            first, second = self.intervals(a.dtype.range, b.dtype.range)
            reach = max(map(abs, (*first, *second)))
            require(0 < self.left_shift <= 31 - reach.bit_length(), f"left_shift {self.left_shift} of {reach}")
            return self.rescaled(shape, multiplier, shift, (3,), bound=INT32)
        require(multiplier == TensorType(DType.I32, (2,)), f"multipliers {multiplier}, i32[2] wanted")
        require_factors(shift, shift, (1,))
        require_rounding(self.rounding, (0, 0))
        return self.stored(shape)

    def evaluate(self, a: jax.Array, b: jax.Array, multiplier: jax.Array, shift: jax.Array) -> jax.Array:
        """Half-up sums of 16-bit integers and 31-bit multipliers are exact in float64; other profiles take int64."""
        za, zb = self.zero_points
        if self.left_shift:
            sizes = jnp.abs(multiplier.astype(jnp.int64))
            terms = [
                jnp.sign(multiplier[index])
                * requantize(
                    (x.astype(jnp.int64) - zero_point) << self.left_shift,
                    sizes[index],
                    shift[index],
                    rounding=self.rounding,
                    interval=INT32,
                    **symmetric(LARGEST_TERM),
                )
                for index, (x, zero_point) in enumerate(((a, za), (b, zb)))
            ]
            return self.finish(terms[0] + terms[1], sizes[2], shift[2], bound=INT32)
        if self.rounding not in HALVES_UP or max(a.dtype.itemsize, b.dtype.itemsize) > 2:
            m = multiplier.astype(jnp.int64)
            sums = (a.astype(jnp.int64) - za) * m[0] + (b.astype(jnp.int64) - zb) * m[1]
            return rounded_shift(sums, shift, rounding=self.rounding, **self.ends)
        unit = power_of_two(-shift[0])
        first, second = multiplier[0] * unit, multiplier[1] * unit
        real = a.astype(jnp.float64) * first + b.astype(jnp.float64) * second - (za * first + zb * second)
        return round_half_up(real, 0.5 * unit, **self.ends)

    def accumulator_bounds(self, a: Operand, b: Operand, *factors: Operand) -> Interval:
        """The sum of the products with the multipliers; of the rescaled terms where there is a `left_shift`."""
        if self.left_shift:
            return -2 * LARGEST_TERM, 2 * LARGEST_TERM
        terms = zip(self.intervals(a.bounds, b.bounds), factors[0].known.tolist(), strict=True)
        (low, high), (least, greatest) = (product(term, (factor, factor)) for term, factor in terms)
        return low + least, high + greatest


@op("npu.mul")
class Mul(_Pairwise):
    """(a - za) * (b - zb) * M / 2**s, rounded once."""

    def infer(self, a: TensorType, b: TensorType, multiplier: TensorType, shift: TensorType) -> TensorType:
        """Broadcast the shapes; M and s are i32[1]."""
        require_integers(a, b, zero_points=self.zero_points)
        return self.rescaled(broadcast(a.shape, b.shape), multiplier, shift, (1,), bound=self.type_bounds(a, b))

    def evaluate(self, a: jax.Array, b: jax.Array, multiplier: jax.Array, shift: jax.Array) -> jax.Array:
        """8-bit products fit int32, 16-bit ones may not."""
        wide = jnp.int32 if max(a.dtype.itemsize, b.dtype.itemsize) == 1 else jnp.int64
        products = (a.astype(wide) - self.zero_points[0]) * (b.astype(wide) - self.zero_points[1])
        return self.finish(products, multiplier, shift, bound=self.type_bounds(a, b))

    def accumulator_bounds(self, a: Operand, b: Operand, *factors: Operand) -> Interval:
        return product(*self.intervals(a.bounds, b.bounds))

    def macs(self, a: TensorType, b: TensorType, *factors: TensorType) -> int:
        return math.prod(broadcast(a.shape, b.shape))


@op("npu.lut")
class Lut(Integer):
    """table[x + 128] of an int8 x: rule L1. One table of 256 entries, or one per channel on the last axis."""

    macs = no_products

    def infer(self, x: TensorType, table: TensorType) -> TensorType:
        require(x.dtype is DType.I8, f"{x.dtype} operand, i8 wanted")
        require(table.dtype.is_integer, f"table of {table.dtype}, integers wanted")
        wanted = ((256,), (*x.shape[-1:], 256))
        require(table.shape in wanted, f"table of shape {table.shape}, {wanted[0]} or {wanted[1]} wanted")
        return TensorType(table.dtype, x.shape)

    def evaluate(self, x: jax.Array, table: jax.Array) -> jax.Array:
        index = x.astype(jnp.int32) + 128
        if table.ndim == 2:
            index = index + 256 * jnp.arange(table.shape[0], dtype=jnp.int32)
        return table.reshape(-1).at[index].get(mode="promise_in_bounds")

    def bounds(self, x: Bounds, table: Bounds) -> Bounds:
        return table


SOFTMAX_FRACTION = 8
"""Bits after the point of a softmax's steps, so that its result may have any scale."""


@op("npu.softmax")
class Softmax(Clamped):
    """floor((e * steps + 2**7 * sum) / (2**8 * sum)) + zero_point with e = table[x - max(x) + 255]: rule S1.

    `table` i32 [256] holds exponentials, the last one that of 0 and positive; the result's scale is 2**8 / steps. An
    int16 x has two of them, i32 [2, 256] of 30 fraction bits, for the upper and the lower byte: rule S2.
    """

    axis: int
    steps: int
    macs = no_products

    def infer(self, x: TensorType, table: TensorType) -> TensorType:
        """Keep the shape; the sum of at most 2**16 entries times the steps stays inside 63 bits."""
        require(x.dtype in (DType.I8, DType.I16), f"{x.dtype} operand, i8 or i16 wanted")
        require(0 <= self.axis < x.rank, f"axis {self.axis} of rank {x.rank}")
        wanted = TensorType(DType.I32, (256,) if x.dtype is DType.I8 else (2, 256))
        require(table == wanted, f"table {table}, {wanted} wanted")
        require(0 < self.steps < 1 << 31, f"{self.steps} steps, 1 to 2147483647 wanted")
        require(0 < x.shape[self.axis] <= 1 << 16, f"softmax over {x.shape[self.axis]} elements, 1 to 65536 wanted")
        return self.stored(x.shape)

    def evaluate(self, x: jax.Array, table: jax.Array) -> jax.Array:
        wide = x.astype(jnp.int32)
        below = wide - wide.max(self.axis, keepdims=True)
        if table.ndim == 1:
            e = table.at[below + 255].get(mode="promise_in_bounds").astype(jnp.int64)
        else:
            index = below + 65535
            upper = table[0].at[index >> 8].get(mode="promise_in_bounds").astype(jnp.int64)
            lower = table[1].at[index & 255].get(mode="promise_in_bounds").astype(jnp.int64)
            e = (upper * lower + (1 << 29)) >> 30
        sums = e.sum(self.axis, keepdims=True)
        half = 1 << (SOFTMAX_FRACTION - 1)
        quotient = jax.lax.div(e * self.steps + sums * half, jnp.broadcast_to(sums << SOFTMAX_FRACTION, e.shape))
        return clamp(quotient, **self.ends)
