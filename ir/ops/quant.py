"""Between real numbers and their integers: the ops of the fake-quant level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import RuleError, require
from ..op import Bounds, Op, op
from ..types import DType, Quantization, TensorType


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled(Op):
    """An op with scales and zero points: one of each, or one per slice of `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...] = (0,)
    axis: int | None = None

    @classmethod
    def of(cls, quant: Quantization, **others: Any) -> Self:
        """The op of a quantization; `others` are its other attributes."""
        return cls(scales=quant.scales, zero_points=quant.zero_points, axis=quant.axis, **others)

    @property
    def quant(self) -> Quantization:
        zero_points = self.zero_points if len(self.zero_points) > 1 else self.zero_points * len(self.scales)
        return Quantization(self.scales, zero_points, self.axis)


@op("quantize")
class Quantize(Scaled):
    """q = clamp(round_half_even(x / scale) + zero_point): rule Q1 of docs/arithmetic.md.

    `low` and `high` are the limits of the clamp.
    """

    dtype: DType = DType.I8
    low: int = -128
    high: int = 127

    @classmethod
    def to(cls, dtype: DType, quant: Quantization) -> Quantize:
        """The op that gives any integers of an element type."""
        low, high = dtype.range
        return cls.of(quant, dtype=dtype, low=low, high=high)

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype is DType.F32, f"{x.dtype} operand, f32 wanted")
        low, high = self.dtype.range
        require(low <= self.low <= self.high <= high, f"clamp [{self.low}, {self.high}] outside {self.dtype}'s")
        return TensorType(self.dtype, x.shape, self.quant)

    def evaluate(self, x: jax.Array) -> jax.Array:
        integers: jax.Array = to_integers(x.astype(jnp.float64), self.quant, self.low, self.high)
        return integers.astype(self.dtype.numpy)

    def bounds(self, x: Bounds) -> Bounds:
        return self.low, self.high


def to_integers(x: Any, quant: Quantization, low: int, high: int, *, half_away: bool = False) -> Any:
    """The integers of reals, a float64 array of NumPy or JAX: rule Q1, its one definition.

    With `half_away`, for a NumPy array alone, halves are rounded away from zero: constants of targets that say so.
    The scale's reciprocal is rounded to float64 first: XLA might turn a division into just that product.
    """
    reciprocals = 1.0 / np.asarray(quant.scales, np.float64)
    zero_points = np.asarray(quant.zero_points, np.float64)
    scaled = x * along(reciprocals, quant.axis, x.ndim)
    rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled) if half_away else scaled.round()
    return (rounded + along(zero_points, quant.axis, x.ndim)).clip(low, high)


@op("dequantize")
class Dequantize(Scaled):
    """x = scale * (q - zero_point): rule Q2 of docs/arithmetic.md."""

    def infer(self, q: TensorType) -> TensorType:
        if q.quant != self.quant:
            raise RuleError(f"operand {q}, scales {self.scales} and zero points {self.zero_points} wanted")
        return TensorType(DType.F32, q.shape)

    def evaluate(self, q: jax.Array) -> jax.Array:
        reals: jax.Array = to_reals(q, self.quant)
        return reals


def to_reals(q: Any, quant: Quantization) -> Any:
    """The float32 reals of integers, an array of NumPy or JAX: rule Q2, its one definition.

    Subtract exactly, multiply once; biases of 64 bits keep all of them until then.
    """
    wide = np.dtype(np.int64 if q.dtype.itemsize == 8 else np.int32)
    centred = q.astype(wide) - along(np.asarray(quant.zero_points, wide), quant.axis, q.ndim)
    return centred.astype(np.float32) * along(np.asarray(quant.scales, np.float32), quant.axis, q.ndim)


def to_float64(q: np.ndarray, quant: Quantization) -> np.ndarray:
    """The reals of integers in float64, for measures and corrections."""
    centred = q.astype(np.float64) - along(np.asarray(quant.zero_points, np.float64), quant.axis, q.ndim)
    return np.asarray(centred * along(np.asarray(quant.scales, np.float64), quant.axis, q.ndim))


def along(values: np.ndarray, axis: int | None, rank: int) -> np.ndarray:
    """Values shaped to broadcast along one axis; a single value is a scalar."""
    if axis is None or values.size == 1:
        return values.reshape(())
    return values.reshape([-1 if index == axis else 1 for index in range(rank)])
