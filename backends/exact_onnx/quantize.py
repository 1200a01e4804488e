"""Emitters that convert floats and integers, at inputs, outputs and host segments: rules Q1 and Q2."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType, Node
from npuq.ir.ops.quant import Dequantize, Quantize

from ..qdq.writer import along
from .writer import ExactWriter, emits


@emits(Quantize)
def quantize(write: ExactWriter, node: Node) -> None:
    """Rule Q1 in float64: QuantizeLinear divides in float32, which sometimes rounds differently."""
    op = node.op
    assert isinstance(op, Quantize)
    (x,) = write.operands(node)
    reciprocals = along(1.0 / np.asarray(op.scales, np.float64), op.axis, node.type.rank)
    scaled = write.step(node, "Mul", write.cast(node, x, DType.F64), write.constant(reciprocals, "reciprocal"))
    rounded = write.step(node, "Round", scaled)
    if any(op.zero_points):
        zero_points = along(np.asarray(op.zero_points, np.float64), op.axis, node.type.rank)
        rounded = write.step(node, "Add", rounded, write.constant(zero_points, "zero"))
    limits = (write.scalar(limit, np.float64) for limit in (op.low, op.high))
    write.store(node, write.step(node, "Clip", rounded, *limits))


@emits(Dequantize)
def dequantize(write: ExactWriter, node: Node) -> None:
    """Rule Q2: an exact subtraction in int64, a conversion, one float32 product."""
    op = node.op
    assert isinstance(op, Dequantize)
    (q,) = write.operands(node)
    if any(op.zero_points):
        zero_points = along(np.asarray(op.quant.zero_points, np.int64), op.axis, node.type.rank)
        q = write.step(node, "Sub", write.cast(node, q, DType.I64), write.constant(zero_points, "zero"))
    scales = along(np.asarray(op.scales, np.float32), op.axis, node.type.rank)
    write.last(node, "Mul", write.cast(node, q, DType.F32), write.constant(scales, "scale"))
