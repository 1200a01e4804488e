"""Types of values: element type, shape and, for quantized values, what their integers mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import ml_dtypes
import numpy as np

from .errors import RuleError, require

Shape = tuple[int, ...]


class DType(StrEnum):
    """An element type; its value is its spelling in the text IR."""

    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    F64 = "f64"
    BOOL = "bool"
    I4 = "i4"
    I8 = "i8"
    U8 = "u8"
    I16 = "i16"
    U16 = "u16"
    I32 = "i32"
    U32 = "u32"
    I64 = "i64"
    U64 = "u64"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype of the same width and meaning."""
        return _NUMPY[self]

    @property
    def is_float(self) -> bool:
        return self in (DType.F16, DType.BF16, DType.F32, DType.F64)

    @property
    def is_integer(self) -> bool:
        return not self.is_float and self is not DType.BOOL

    @property
    def is_signed(self) -> bool:
        return self.is_integer and self.value[0] == "i"

    @property
    def bits(self) -> int:
        """The width in bits; a bool takes a byte."""
        return 8 if self is DType.BOOL else int(self.value.lstrip("bfiu"))

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest integer."""
        require(self.is_integer, f"{self} has no integer range")
        return (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) if self.is_signed else (0, (1 << self.bits) - 1)

    def limit(self, sign: int) -> np.ndarray:
        """The least (-1) or the greatest (1) number, infinite among floats."""
        if self is DType.BOOL:
            return np.asarray(sign > 0)
        return np.asarray(sign * math.inf if self.is_float else self.range[sign > 0]).astype(self.numpy)

    @classmethod
    def of(cls, dtype: object) -> DType:
        """Give the element type of a NumPy or JAX dtype; refuse what the IR lacks."""
        name = np.dtype(dtype).name  # type: ignore[call-overload]  # whatever NumPy takes as a dtype
        require(name in _BY_NUMPY, f"element type {name} is not supported")
        return _BY_NUMPY[name]


_NUMPY_NAMES = "float16 bfloat16 float32 float64 bool int4 int8 uint8 int16 uint16 int32 uint32 int64 uint64"
_BY_NUMPY = dict(zip(_NUMPY_NAMES.split(), DType, strict=True))
_NUMPY = {dtype: np.dtype(getattr(ml_dtypes, name, name)) for name, dtype in _BY_NUMPY.items()}


@dataclass(frozen=True, slots=True)
class Quantization:
    """What integers mean: `real = scale * (q - zero_point)`, per tensor or per slice of `axis`.

    Scales are float32 numbers, held as Python floats; zero points lie in the storage type's range.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        require(
            len(self.scales) == len(self.zero_points), f"{len(self.scales)} scales, {len(self.zero_points)} zero points"
        )
        require(self.axis is not None or len(self.scales) == 1, f"{len(self.scales)} scales need an axis")
        scales = np.array(self.scales, np.float64)
        with np.errstate(over="ignore", under="ignore"):
            exact = scales.astype(np.float32) == scales
        for right, rule in ((np.isfinite(scales) & (scales > 0), "finite and positive"), (exact, "a float32 number")):
            if not right.all():
                raise RuleError(f"a scale must be {rule}, not {float(scales[~right][0])!r}")

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int = 0) -> Quantization:
        """One scale, rounded to float32, and one zero point for the whole tensor."""
        return cls((float(np.float32(scale)),), (int(zero_point),))

    @property
    def scale(self) -> float:
        """The one scale of a per-tensor quantization."""
        require(self.axis is None, "one scale wanted, this type has one per slice")
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        """The one zero point of a per-tensor quantization."""
        require(self.axis is None, "one zero point wanted, this type has one per slice")
        return self.zero_points[0]

    def on_axis(self, axis: int) -> Quantization:
        """The same scales on another axis, for ops that move axes."""
        return replace(self, axis=axis)


@dataclass(frozen=True, slots=True)
class TensorType:
    """The type of a value: element type, static shape and, where it is quantized, its quantization."""

    dtype: DType
    shape: Shape
    quant: Quantization | None = None

    def __post_init__(self) -> None:
        if min(self.shape, default=0) < 0:
            raise RuleError(f"a dimension must not be negative: {self.shape}")
        if self.quant is None:
            return
        require(self.dtype.is_integer, f"{self.dtype} cannot carry a scale")
        (low, high), zero_points = self.dtype.range, self.quant.zero_points
        for zero_point in (min(zero_points, default=0), max(zero_points, default=0)):
            require(low <= zero_point <= high, f"zero point {zero_point} is outside {self.dtype}'s [{low}, {high}]")
        if self.quant.axis is not None:
            require(
                0 <= self.quant.axis < len(self.shape), f"quantization axis {self.quant.axis} of rank {len(self.shape)}"
            )
            wanted = self.shape[self.quant.axis]
            require(len(self.quant.scales) == wanted, f"{len(self.quant.scales)} scales on an axis of {wanted}")

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The bytes it takes in memory, sub-byte elements packed."""
        return (self.size * self.dtype.bits + 7) // 8

    @property
    def bare(self) -> TensorType:
        """The type without its quantization."""
        return replace(self, quant=None)

    def with_shape(self, *shape: int) -> TensorType:
        """The type with another shape; a per-axis quantization does not survive."""
        kept = self.quant if self.quant is None or self.quant.axis is None else None
        return TensorType(self.dtype, tuple(int(size) for size in shape), kept)

    def with_dtype(self, dtype: DType) -> TensorType:
        """The type with another element type and no quantization."""
        return TensorType(dtype, self.shape)

    def with_quant(self, quant: Quantization | None) -> TensorType:
        return replace(self, quant=quant)

    def accepts(self, declared: TensorType) -> bool:
        """Whether `declared` may stand where this type was inferred: equal, or it names the scale of bare integers."""
        return declared == self or (self.quant is None and declared.bare == self)

    def __str__(self) -> str:
        return type_text(self, inline)


def inline(numbers: tuple[float, ...]) -> str:
    """Write scales in full."""
    return ", ".join(repr(number) for number in numbers)


def type_text(type_: TensorType, many: Callable[[tuple[float, ...]], str]) -> str:
    """Write a type; `many` writes the scales of a per-axis quantization."""
    shape = f"[{','.join(str(size) for size in type_.shape)}]"
    quant = type_.quant
    if quant is None:
        return f"{type_.dtype}{shape}"
    kind = "q" if type_.dtype.is_signed else "qu"
    if quant.axis is None:
        zero_point = f":{quant.zero_point}" if quant.zero_point else ""
        return f"{kind}{type_.dtype.bits}<{quant.scale!r}{zero_point}>{shape}"
    zero_points = ""
    if any(quant.zero_points):
        zero_points = ":" + ",".join(str(zero_point) for zero_point in quant.zero_points)
    return f"{kind}{type_.dtype.bits}<axis={quant.axis}: {many(quant.scales)}{zero_points}>{shape}"
