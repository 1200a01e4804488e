"""Emitters of integer ops of single elements, of two tensors that broadcast, and of the softmax."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType, Node
from npuq.ir.ops.npu_interpolate import Interpolate
from npuq.ir.ops.npu_pointwise import SOFTMAX_FRACTION, Add, Lut, Mul, Requantize, Softmax

from .rounding import clamped, requantized, rounded_shift, shifted
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


@emits(Interpolate)
def interpolate(write: ExactWriter, node: Node) -> None:
    """Rule L2."""
    x = write.cast(node, write.operands(node)[0], DType.I64)
    write.store(node, interpolated(write, node, write.known(node, 1, "table"), x))


def interpolated(write: ExactWriter, node: Node, table: np.ndarray, x: str) -> str:
    """Rule L2 in a table of 2^n + 1 entries, or one per channel, at int64 numbers of 16 bits."""
    intervals = table.shape[-1] - 1
    bits = 17 - intervals.bit_length()
    place = write.step(node, "Add", x, write.scalar(1 << 15))
    index = write.step(node, "Div", place, write.scalar(1 << bits))
    if table.ndim == 2:
        starts = write.constant(intervals * np.arange(table.shape[0]), "starts")
        index = write.step(node, "Add", index, starts)
    offset = write.step(node, "BitwiseAnd", place, write.scalar((1 << bits) - 1))
    base = write.step(node, "Gather", write.constant(table[..., :-1].reshape(-1), "table"), index)
    slope = write.step(node, "Gather", write.constant(np.diff(table).reshape(-1), "slopes"), index)
    product = write.step(node, "Mul", slope, offset)
    half = write.step(node, "Add", product, write.scalar(1 << (bits - 1)))
    return write.step(node, "Add", base, shifted(write, node, half, np.asarray(bits)))


@emits(Softmax)
def softmax(write: ExactWriter, node: Node) -> None:
    """Rules S1 and S2: a division of integers that are not negative rounds down."""
    op = node.op
    assert isinstance(op, Softmax)
    x, _ = write.operands(node)
    axes = write.integers((op.axis,), "axes")
    wide = write.cast(node, x, DType.I32)
    below = write.step(node, "Sub", wide, write.step(node, "ReduceMax", wide, axes, keepdims=1))
    e = _exponentials(write, node, write.known(node, 1, "table"), below)
    total = write.step(node, "ReduceSum", e, axes, keepdims=1)
    half = write.step(node, "Mul", total, write.scalar(1 << (SOFTMAX_FRACTION - 1)))
    above = write.step(node, "Add", write.step(node, "Mul", e, write.scalar(op.steps)), half)
    quotient = write.step(node, "Div", above, write.step(node, "Mul", total, write.scalar(1 << SOFTMAX_FRACTION)))
    write.store(node, clamped(write, node, quotient))


def _exponentials(write: ExactWriter, node: Node, table: np.ndarray, below: str) -> str:
    """The exponentials of differences that are not positive: one table, or the product of two for 16 bits."""
    if table.ndim == 1:
        place = write.step(node, "Add", below, write.scalar(255, np.int32))
        return write.step(node, "Gather", write.constant(table, "table"), place)
    place = write.step(node, "Add", write.cast(node, below, DType.I64), write.scalar(65535))
    upper = write.step(node, "Div", place, write.scalar(256))
    lower = write.step(node, "BitwiseAnd", place, write.scalar(255))
    parts = (
        write.step(node, "Gather", write.constant(half, name), index)
        for half, name, index in zip(table, ("upper", "lower"), (upper, lower), strict=True)
    )
    product = write.step(node, "Add", write.step(node, "Mul", *parts), write.scalar(1 << 29))
    return write.step(node, "Div", product, write.scalar(1 << 30))
