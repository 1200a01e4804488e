"""Emitters of ops that move, select and compare integers: those of floats, in an element type with kernels."""

from __future__ import annotations

from dataclasses import replace

from npuq.ir import DType, Op
from npuq.ir.ops import elementwise, reduce, resize, shape

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
