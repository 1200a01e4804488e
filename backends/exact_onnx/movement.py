"""Emitters of ops that are not the integer level's own.

Those that move, select and compare have their exporters, in an element type with kernels; floats become integers and
integers floats by rules Q1 and Q2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npuq.ir import DType, Op
from npuq.ir.ops import elementwise, reduce, resize, shape
from npuq.ir.ops.quant import Dequantize, Quantize, along

from ..qdq.writer import EXPORTERS
from .writer import ExactWriter, emits

WIDENED: tuple[type[Op], ...] = (
    elementwise.Maximum,
    elementwise.Minimum,
    reduce.ReduceMax,
    reduce.ReduceMin,
    reduce.ArgMax,
    reduce.ArgMin,
    resize.Resize,
    shape.Pad,
)
"""Ops of which onnxruntime lacks kernels for 16-bit integers."""


@emits(*WIDENED)
def widened(write: ExactWriter, op: Op) -> None:
    """16-bit integers pass through 32 bits."""
    node, export = write.node, EXPORTERS[type(op)]
    if not any(write.types[operand].dtype in (DType.I16, DType.U16) for operand in node.operands):
        export(write, op)
        return
    operands = []
    for operand, name in zip(node.operands, write.operands, strict=True):
        wide = write.cast(name, DType.I32)
        write.names[wide], write.types[wide] = wide, write.types[operand].with_dtype(DType.I32)
        operands.append(wide)
    if node.type.dtype not in (DType.I16, DType.U16):
        write.at(replace(node, operands=tuple(operands)), export)
        return
    result = write.fresh(f"{write.names[node.result]}.wide")
    write.names[result] = result
    types = (node.type.with_dtype(DType.I32),)
    write.at(replace(node, operands=tuple(operands), results=(result,), types=types), export)
    write.node = node
    write.store(result)


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
