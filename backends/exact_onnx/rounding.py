"""The rounding rules R1 to R9 of docs/arithmetic.md on int64 tensors of an ONNX model.

On int64 only Add, Sub, Mul, Div, Abs, Where, comparisons, bit operations and casts are used: onnxruntime's Min, Max,
Clip and Sign compare the lower halves of some numbers. So limits are applied in float64, where rounding a number beyond
a limit changes nothing. An arithmetic shift is a logical shift of the number plus 2**63.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from npuq.ir import DType
from npuq.ir.arithmetic import INT32, within
from npuq.ir.ops.npu.result import Accumulating, Clamped
from npuq.ir.requantize import HALVES_UP

from .writer import ExactWriter

Round = Callable[[ExactWriter, str, np.ndarray, np.ndarray], str]

_SIGN = np.uint64(1 << 63)
_MOST_DROPPED = 22


def requantized(write: ExactWriter, a: str, op: Accumulating, m: np.ndarray, s: np.ndarray) -> str:
    """round(a * m / 2**s) of the int64 accumulators of an op; m and s are int64 and broadcast to them."""
    if op.rounding == "single_half_up" and not within(op.accumulator, INT32):
        return _single_half_up_wide(write, a, m, s)
    return rescaled(write, a, op.rounding, m, s)


def rescaled(write: ExactWriter, a: str, rounding: str, m: np.ndarray, s: np.ndarray) -> str:
    """round(a * m / 2**s) of int64 numbers a of 32 bits."""
    return _PROFILES[rounding](write, a, m, s)


def rounded_shift(write: ExactWriter, a: str, s: np.ndarray, rounding: str) -> str:
    """round(a / 2**s) of sums a below 2**61: rule R9."""
    half = np.left_shift(np.int64(1), s - 1)
    if rounding == "floor":
        return shifted(write, a, s)
    if rounding in HALVES_UP:
        return shifted(write, _plus(write, a, half), s)
    return _signed(write, a, lambda size: shifted(write, _plus(write, size, half), s))


def clamped(write: ExactWriter, rounded: str) -> str:
    """The rounded value plus the zero point, limited by the op's clamp; float64."""
    op = write.node.op
    assert isinstance(op, Clamped)
    moved = _plus(write, rounded, op.zero_point) if op.zero_point else rounded
    return limited(write, moved, op.low, op.high)


def limited(write: ExactWriter, v: str, low: int, high: int) -> str:
    """clamp(v) of int64 numbers to limits within 2**53, as float64."""
    ends = (write.scalar(end, np.float64) for end in (low, high))
    return write.step("Clip", write.cast(v, DType.F64), *ends)


def shifted(write: ExactWriter, v: str, s: np.ndarray) -> str:
    """v >> s, rounding toward minus infinity, for every int64 v and s in [1, 63]."""
    assert s.size == 0 or 1 <= s.min() <= s.max() <= 63, s
    lifted = write.step("BitwiseXor", write.cast(v, DType.U64), write.scalar(_SIGN, np.uint64))
    right = write.constant(s.astype(np.uint64), "shift")
    moved = write.cast(write.step("BitShift", lifted, right, direction="RIGHT"), DType.I64)
    return write.step("Sub", moved, write.constant(np.left_shift(np.int64(1), 63 - s), "lift"))


def _plus(write: ExactWriter, a: str, b: np.ndarray | int) -> str:
    return write.step("Add", a, write.constant(np.asarray(b, np.int64), "addend"))


def _times(write: ExactWriter, a: str, b: np.ndarray | int) -> str:
    return write.step("Mul", a, write.constant(np.asarray(b, np.int64), "factor"))


def _signed(write: ExactWriter, a: str, of_magnitude: Callable[[str], str]) -> str:
    """sign(a) * f(|a|), for f(0) = 0."""
    negative = write.step("Less", a, write.scalar(0))
    sign = write.step("Where", negative, write.scalar(-1), write.scalar(1))
    return write.step("Mul", sign, of_magnitude(write.step("Abs", a)))


def _single_half_up(write: ExactWriter, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R1, by A5."""
    half = np.left_shift(np.int64(1), s - 1)
    return shifted(write, _plus(write, _times(write, a, m), half), s)


def _single_half_up_wide(write: ExactWriter, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R1 for accumulators to 2**53, by A6; at least one bit is dropped, which s >= 2 allows."""
    dropped = np.clip(s - 2, 1, _MOST_DROPPED)
    within_reach = limited(write, shifted(write, a, dropped), -(1 << 31), 1 << 31)
    upper = _times(write, write.cast(within_reach, DType.I64), m)
    mask = write.constant(np.left_shift(np.int64(1), dropped) - 1, "mask")
    lower = shifted(write, _times(write, write.step("BitwiseAnd", a, mask), m), dropped)
    left = s - dropped
    total = write.step("Add", upper, lower)
    return shifted(write, _plus(write, total, np.left_shift(np.int64(1), left - 1)), left)


def _tflite_double(write: ExactWriter, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R2; h >> n is computed as 2h >> n + 1, since n may be 0."""
    up = _times(write, a, np.left_shift(np.int64(1), np.maximum(31 - s, 0)))
    saturated = write.cast(limited(write, up, *INT32), DType.I64)
    product = _plus(write, _times(write, saturated, m), 1 << 30)
    h = shifted(write, product, np.full_like(s, 31))
    n = np.maximum(s - 31, 0)
    mask = np.left_shift(np.int64(1), n) - 1
    quotient = shifted(write, _times(write, h, 2), n + 1)
    rest = write.step("BitwiseAnd", h, write.constant(mask, "mask"))
    negative = write.cast(write.step("Less", h, write.scalar(0)), DType.I64)
    tie = _plus(write, negative, mask >> 1)
    above = write.cast(write.step("Greater", rest, tie), DType.I64)
    return write.step("Add", quotient, above)


def _tosa_double(write: ExactWriter, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R3."""
    first = np.where(s > 31, np.int64(1 << 30), np.int64(0))
    half = np.left_shift(np.int64(1), s - 1)
    negative = write.step("Less", a, write.scalar(0))
    addend = write.step("Where", negative, write.constant(half - first, "below"), write.constant(half + first, "above"))
    return shifted(write, write.step("Add", _times(write, a, m), addend), s)


def _mul16(write: ExactWriter, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R4."""
    reduced = np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF)
    return _single_half_up(write, a, reduced, s - 16)


def _pot_half_up(write: ExactWriter, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R5."""
    return _single_half_up(write, a, np.full_like(m, 1 << 30), s)


def _pot_half_away(write: ExactWriter, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R6."""
    return _signed(write, a, lambda size: _pot_half_up(write, size, m, s))


def _floor(write: ExactWriter, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R7."""
    return shifted(write, _times(write, a, m), s)


def _half_away(write: ExactWriter, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R8."""
    return _signed(write, a, lambda size: _single_half_up(write, size, m, s))


_PROFILES: Mapping[str, Round] = {
    "single_half_up": _single_half_up,
    "tflite_double": _tflite_double,
    "tosa_double": _tosa_double,
    "mul16": _mul16,
    "pot_half_up": _pot_half_up,
    "pot_half_away": _pot_half_away,
    "floor": _floor,
    "half_away": _half_away,
}
