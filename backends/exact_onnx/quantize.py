"""Emitters that convert floats and integers, at inputs, outputs and host segments: rules Q1 and Q2."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType
from npuq.ir.ops.quant import Dequantize, Quantize

from ..qdq.writer import along
from .writer import ExactWriter, emits


@emits(Quantize)
def quantize(write: ExactWriter, op: Quantize) -> None:
    """Rule Q1 in float64: QuantizeLinear divides in float32, which sometimes rounds differently."""
    (x,) = write.operands
    reciprocals = along(1.0 / np.asarray(op.scales, np.float64), op.axis, write.node.type.rank)
    scaled = write.step("Mul", write.cast(x, DType.F64), write.constant(reciprocals, "reciprocal"))
    rounded = write.step("Round", scaled)
    if any(op.zero_points):
        zero_points = along(np.asarray(op.zero_points, np.float64), op.axis, write.node.type.rank)
        rounded = write.step("Add", rounded, write.constant(zero_points, "zero"))
    limits = (write.scalar(limit, np.float64) for limit in (op.low, op.high))
    write.store(write.step("Clip", rounded, *limits))


@emits(Dequantize)
def dequantize(write: ExactWriter, op: Dequantize) -> None:
    """Rule Q2: an exact subtraction in int64, a conversion, one float32 product."""
    (q,) = write.operands
    if any(op.zero_points):
        zero_points = along(np.asarray(op.quant.zero_points, np.int64), op.axis, write.node.type.rank)
        q = write.step("Sub", write.cast(q, DType.I64), write.constant(zero_points, "zero"))
    scales = along(np.asarray(op.scales, np.float32), op.axis, write.node.type.rank)
    write.last("Mul", write.cast(q, DType.F32), write.constant(scales, "scale"))
