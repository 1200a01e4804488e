"""Emitters of integer ops of single elements, of two tensors that broadcast, and of the softmax."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType, Node
from npuq.ir.ops.npu_pointwise import SOFTMAX_FRACTION, Add, Lut, Mul, Requantize, Softmax

from .rounding import clamped, requantized, rounded_shift
from .writer import ExactWriter, emits


@emits(Requantize)
def requantize(write: ExactWriter, node: Node) -> None:
    op = node.op
    assert isinstance(op, Requantize)
    centred = write.centred(node, 0, op.input_zero_point, DType.I64)
    write.store(node, clamped(write, node, requantized(write, node, centred, op, *write.factors(node, 1))))


@emits(Add)
def add(write: ExactWriter, node: Node) -> None:
    """Rule B1."""
    op = node.op
    assert isinstance(op, Add)
    multipliers, shift = write.known(node, 2, "multipliers"), write.known(node, 3, "shift").reshape(())
    first, second = (
        write.step(node, "Mul", write.centred(node, index, op.zero_points[index], DType.I64), write.scalar(factor))
        for index, factor in enumerate(multipliers)
    )
    rounded = rounded_shift(write, node, write.step(node, "Add", first, second), shift, op.rounding)
    write.store(node, clamped(write, node, rounded))


@emits(Mul)
def mul(write: ExactWriter, node: Node) -> None:
    """Rule B2."""
    op = node.op
    assert isinstance(op, Mul)
    a, b = (write.centred(node, index, zero, DType.I64) for index, zero in enumerate(op.zero_points))
    product = write.step(node, "Mul", a, b)
    write.store(node, clamped(write, node, requantized(write, node, product, op, *write.factors(node, 2))))


@emits(Lut)
def lut(write: ExactWriter, node: Node) -> None:
    """Rule L1; tables per channel stand one behind the other."""
    x, _ = write.operands(node)
    table = write.graph.constant(node.operands[1])
    if table is None:
        table = write.known(node, 1, "table")
    starts = np.asarray(128) if table.ndim == 1 else 128 + 256 * np.arange(table.shape[0])
    index = write.step(node, "Add", write.cast(node, x, DType.I32), write.constant(starts.astype(np.int32), "starts"))
    write.last(node, "Gather", write.constant(table.reshape(-1), "table"), index)


@emits(Softmax)
def softmax(write: ExactWriter, node: Node) -> None:
    """Rule S1: a division of integers that are not negative rounds down."""
    op = node.op
    assert isinstance(op, Softmax)
    x, _ = write.operands(node)
    table = write.constant(write.known(node, 1, "table"), "table")
    axes = write.integers((op.axis,), "axes")
    wide = write.cast(node, x, DType.I32)
    below = write.step(node, "Sub", wide, write.step(node, "ReduceMax", wide, axes, keepdims=1))
    e = write.step(node, "Gather", table, write.step(node, "Add", below, write.scalar(255, np.int32)))
    total = write.step(node, "ReduceSum", e, axes, keepdims=1)
    half = write.step(node, "Mul", total, write.scalar(1 << (SOFTMAX_FRACTION - 1)))
    above = write.step(node, "Add", write.step(node, "Mul", e, write.scalar(op.steps)), half)
    quotient = write.step(node, "Div", above, write.step(node, "Mul", total, write.scalar(1 << SOFTMAX_FRACTION)))
    write.store(node, clamped(write, node, quotient))
