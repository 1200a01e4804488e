"""Exact sums of products, and the emitters of matrix products.

Convolutions run in ConvInteger on unsigned 8-bit lanes with unsigned weights: the one combination whose int32 sums are
exact in onnxruntime on every processor (signed weights go through 16-bit saturating pairs on x86 without VNNI).
Matrix products run in float64, exact while every partial sum is within 2**53, as the graph's proofs ensure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npuq.ir import DType, require
from npuq.ir.ops.npu.matrix import BatchMatMul, MatMul

from .rounding import clamped, requantized
from .writer import ExactWriter, emits

MOST_TERMS = ((1 << 31) - 1) // (255 * 255)
"""The number of products of two unsigned bytes whose sum fits int32."""

_MIDDLE = 128

Lane = tuple[int, str, int]
"""A factor, unsigned bytes, and the byte that means zero."""


def convolution(
    write: ExactWriter, x: str, dtype: DType, weights: np.ndarray, pads: Sequence[int], **attributes: Any
) -> str:
    """The sums, int64 [N, O, H, W], of x [N, C, H, W] with integer weights [O, C / groups, KH, KW]; padding is 0."""
    terms = int(np.prod(weights.shape[1:]))
    require(terms <= MOST_TERMS, f"sums of {terms} products, at most {MOST_TERMS} fit the exact ONNX form")
    sums = ""
    for x_factor, data, x_zero in _data_lanes(write, x, dtype):
        for w_factor, bytes_, w_zero in _weight_lanes(write, weights):
            zeros = (write.constant(np.asarray(zero, np.uint8), "zero") for zero in (x_zero, w_zero))
            part = write.step("ConvInteger", data, bytes_, *zeros, pads=pads, **attributes)
            wide = write.cast(part, DType.I64)
            factor = x_factor * w_factor
            scaled = write.step("Mul", wide, write.scalar(factor)) if factor > 1 else wide
            sums = write.step("Add", sums, scaled) if sums else scaled
    return sums


def matrix_product(write: ExactWriter, a: str, b: str) -> str:
    """a [..., M, K] times b [..., K, N], both float64 integers, as int64."""
    return write.cast(write.step("MatMul", a, b), DType.I64)


def weights_product(write: ExactWriter, x: str, weights: np.ndarray) -> str:
    """x [..., M, K] times known integers [K, N], as int64; the model stores their own type and widens it."""
    narrow = DType.I8 if weights.size == 0 or abs(weights).max() <= 127 else DType.I16
    w = write.cast(write.constant(weights.astype(narrow.numpy), "w"), DType.F64)
    return matrix_product(write, write.cast(x, DType.F64), w)


def _data_lanes(write: ExactWriter, x: str, dtype: DType) -> list[Lane]:
    """x = sum of factor * (bytes - zero)."""
    low = write.cast(x, DType.U8)
    middle = write.constant(np.asarray(_MIDDLE, np.uint8), "middle")
    if dtype.bits <= 8:
        return [(1, write.step("BitwiseXor", low, middle), _MIDDLE)]
    wide = write.step("Add", write.cast(x, DType.I32), write.scalar(1 << 15, np.int32))
    upper = write.step("Div", wide, write.scalar(256, np.int32))
    return [(256, write.cast(upper, DType.U8), _MIDDLE), (1, low, 0)]


def _weight_lanes(write: ExactWriter, weights: np.ndarray) -> list[Lane]:
    """weights = sum of factor * (bytes - zero); one lane where they fit a byte."""
    if weights.size == 0 or (weights.min() >= -128 and weights.max() <= 127):
        return [(1, write.constant((weights + _MIDDLE).astype(np.uint8), "w"), _MIDDLE)]
    upper = write.constant(((weights >> 8) + _MIDDLE).astype(np.uint8), "w")
    return [(256, upper, _MIDDLE), (1, write.constant((weights & 255).astype(np.uint8), "w"), 0)]


@emits(MatMul)
def matmul(write: ExactWriter, op: MatMul) -> None:
    x, *_ = write.operands
    sums = weights_product(write, x, write.known(1, "weights"))
    sums = write.step("Add", sums, write.constant(write.known(2, "bias"), "bias"))
    write.store(clamped(write, requantized(write, sums, op, *write.factors(3))))


@emits(BatchMatMul)
def batch_matmul(write: ExactWriter, op: BatchMatMul) -> None:
    """Subtract both zero points first."""
    a, b = (write.centred(index, zero_point, DType.F64) for index, zero_point in enumerate(op.zero_points))
    sums = matrix_product(write, a, b)
    write.store(clamped(write, requantized(write, sums, op, *write.factors(2))))
