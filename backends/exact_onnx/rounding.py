"""The rounding rules R1 to R9 of docs/arithmetic.md on int64 tensors of an ONNX model.

On int64 only Add, Sub, Mul, Div, Abs, Where, comparisons, bit operations and casts are used: onnxruntime's Min, Max,
Clip and Sign compare the lower halves of some numbers. So limits are applied in float64, where rounding a number beyond
a limit changes nothing. An arithmetic shift is a logical shift of the number plus 2**63.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

from npuq.ir import DType, Node
from npuq.ir.arithmetic import INT32, Interval, within
from npuq.ir.ops.npu.result import Clamped
from npuq.ir.requantize import HALVES_UP

from .writer import ExactWriter

Round = Callable[[ExactWriter, Node, str, np.ndarray, np.ndarray], str]

_SIGN = np.uint64(1 << 63)
_MOST_DROPPED = 22


class Rescaling(Protocol):
    """The requantization fields of an op."""

    @property
    def rounding(self) -> str: ...

    @property
    def accumulator(self) -> Interval: ...


def requantized(write: ExactWriter, node: Node, a: str, op: Rescaling, m: np.ndarray, s: np.ndarray) -> str:
    """round(a * m / 2**s) of the int64 accumulators of an op; m and s are int64 and broadcast to them."""
    if op.rounding == "single_half_up" and not within(op.accumulator, INT32):
        return _single_half_up_wide(write, node, a, m, s)
    return rescaled(write, node, a, op.rounding, m, s)


def rescaled(write: ExactWriter, node: Node, a: str, rounding: str, m: np.ndarray, s: np.ndarray) -> str:
    """round(a * m / 2**s) of int64 numbers a of 32 bits."""
    return _PROFILES[rounding](write, node, a, m, s)


def rounded_shift(write: ExactWriter, node: Node, a: str, s: np.ndarray, rounding: str) -> str:
    """round(a / 2**s) of sums a below 2**61: rule R9."""
    half = np.left_shift(np.int64(1), s - 1)
    if rounding == "floor":
        return shifted(write, node, a, s)
    if rounding in HALVES_UP:
        return shifted(write, node, _plus(write, node, a, half), s)
    return _signed(write, node, a, lambda size: shifted(write, node, _plus(write, node, size, half), s))


def clamped(write: ExactWriter, node: Node, rounded: str) -> str:
    """The rounded value plus the zero point, limited by the op's clamp; float64."""
    op = node.op
    assert isinstance(op, Clamped)
    moved = _plus(write, node, rounded, op.zero_point) if op.zero_point else rounded
    return limited(write, node, moved, op.low, op.high)


def limited(write: ExactWriter, node: Node, v: str, low: int, high: int) -> str:
    """clamp(v) of int64 numbers to limits within 2**53, as float64."""
    ends = (write.scalar(end, np.float64) for end in (low, high))
    return write.step(node, "Clip", write.cast(node, v, DType.F64), *ends)


def shifted(write: ExactWriter, node: Node, v: str, s: np.ndarray) -> str:
    """v >> s, rounding toward minus infinity, for every int64 v and s in [1, 63]."""
    assert s.size == 0 or 1 <= s.min() <= s.max() <= 63, s
    lifted = write.step(node, "BitwiseXor", write.cast(node, v, DType.U64), write.scalar(_SIGN, np.uint64))
    right = write.constant(s.astype(np.uint64), "shift")
    moved = write.cast(node, write.step(node, "BitShift", lifted, right, direction="RIGHT"), DType.I64)
    return write.step(node, "Sub", moved, write.constant(np.left_shift(np.int64(1), 63 - s), "lift"))


def _plus(write: ExactWriter, node: Node, a: str, b: np.ndarray | int) -> str:
    return write.step(node, "Add", a, write.constant(np.asarray(b, np.int64), "addend"))


def _times(write: ExactWriter, node: Node, a: str, b: np.ndarray | int) -> str:
    return write.step(node, "Mul", a, write.constant(np.asarray(b, np.int64), "factor"))


def _signed(write: ExactWriter, node: Node, a: str, of_magnitude: Callable[[str], str]) -> str:
    """sign(a) * f(|a|), for f(0) = 0."""
    negative = write.step(node, "Less", a, write.scalar(0))
    sign = write.step(node, "Where", negative, write.scalar(-1), write.scalar(1))
    return write.step(node, "Mul", sign, of_magnitude(write.step(node, "Abs", a)))


def _single_half_up(write: ExactWriter, node: Node, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R1, by A5."""
    half = np.left_shift(np.int64(1), s - 1)
    return shifted(write, node, _plus(write, node, _times(write, node, a, m), half), s)


def _single_half_up_wide(write: ExactWriter, node: Node, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R1 for accumulators to 2**53, by A6; at least one bit is dropped, which s >= 2 allows."""
    dropped = np.clip(s - 2, 1, _MOST_DROPPED)
    within_reach = limited(write, node, shifted(write, node, a, dropped), -(1 << 31), 1 << 31)
    upper = _times(write, node, write.cast(node, within_reach, DType.I64), m)
    mask = write.constant(np.left_shift(np.int64(1), dropped) - 1, "mask")
    lower = shifted(write, node, _times(write, node, write.step(node, "BitwiseAnd", a, mask), m), dropped)
    left = s - dropped
    total = write.step(node, "Add", upper, lower)
    return shifted(write, node, _plus(write, node, total, np.left_shift(np.int64(1), left - 1)), left)


def _tflite_double(write: ExactWriter, node: Node, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R2; h >> n is computed as 2h >> n + 1, since n may be 0."""
    up = _times(write, node, a, np.left_shift(np.int64(1), np.maximum(31 - s, 0)))
    saturated = write.cast(node, limited(write, node, up, *INT32), DType.I64)
    product = _plus(write, node, _times(write, node, saturated, m), 1 << 30)
    h = shifted(write, node, product, np.full_like(s, 31))
    n = np.maximum(s - 31, 0)
    mask = np.left_shift(np.int64(1), n) - 1
    quotient = shifted(write, node, _times(write, node, h, 2), n + 1)
    rest = write.step(node, "BitwiseAnd", h, write.constant(mask, "mask"))
    negative = write.cast(node, write.step(node, "Less", h, write.scalar(0)), DType.I64)
    tie = _plus(write, node, negative, mask >> 1)
    above = write.cast(node, write.step(node, "Greater", rest, tie), DType.I64)
    return write.step(node, "Add", quotient, above)


def _tosa_double(write: ExactWriter, node: Node, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R3."""
    first = np.where(s > 31, np.int64(1 << 30), np.int64(0))
    half = np.left_shift(np.int64(1), s - 1)
    negative = write.step(node, "Less", a, write.scalar(0))
    addend = write.step(
        node, "Where", negative, write.constant(half - first, "below"), write.constant(half + first, "above")
    )
    return shifted(write, node, write.step(node, "Add", _times(write, node, a, m), addend), s)


def _mul16(write: ExactWriter, node: Node, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R4."""
    reduced = np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF)
    return _single_half_up(write, node, a, reduced, s - 16)


def _pot_half_up(write: ExactWriter, node: Node, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R5."""
    return _single_half_up(write, node, a, np.full_like(m, 1 << 30), s)


def _pot_half_away(write: ExactWriter, node: Node, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R6."""
    return _signed(write, node, a, lambda size: _pot_half_up(write, node, size, m, s))


def _floor(write: ExactWriter, node: Node, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R7."""
    return shifted(write, node, _times(write, node, a, m), s)


def _half_away(write: ExactWriter, node: Node, a: str, m: np.ndarray, s: np.ndarray) -> str:
    """R8."""
    return _signed(write, node, a, lambda size: _single_half_up(write, node, size, m, s))


_PROFILES: Mapping[str, Round] = MappingProxyType(
    {
        "single_half_up": _single_half_up,
        "tflite_double": _tflite_double,
        "tosa_double": _tosa_double,
        "mul16": _mul16,
        "pot_half_up": _pot_half_up,
        "pot_half_away": _pot_half_away,
        "floor": _floor,
        "half_away": _half_away,
    }
)
