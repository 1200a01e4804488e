"""Emitters of integer ops of single elements, of two tensors that broadcast, and of the softmax."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType, Node
from npuq.ir.ops.npu.interpolate import Interpolate
from npuq.ir.ops.npu.pointwise import LARGEST_TERM, SOFTMAX_FRACTION, Add, Lut, Mul, Requantize, Softmax
from npuq.ir.ops.npu.softmax import FIRST, SLOPE, SoftmaxFixed

from .rounding import clamped, limited, requantized, rescaled, rounded_shift, shifted
from .writer import ExactWriter, emits


@emits(Requantize)
def requantize(write: ExactWriter, node: Node) -> None:
    op = node.op
    assert isinstance(op, Requantize)
    centred = write.centred(node, 0, op.input_zero_point, DType.I64)
    write.store(node, clamped(write, node, requantized(write, node, centred, op, *write.factors(node, 1))))


@emits(Add)
def add(write: ExactWriter, node: Node) -> None:
    """Rules B1 and T1."""
    op = node.op
    assert isinstance(op, Add)
    if op.left_shift:
        _shifted_add(write, node, op)
        return
    multipliers, shift = write.known(node, 2, "multipliers"), write.known(node, 3, "shift").reshape(())
    first, second = (
        write.step(node, "Mul", write.centred(node, index, op.zero_points[index], DType.I64), write.scalar(factor))
        for index, factor in enumerate(multipliers)
    )
    rounded = rounded_shift(write, node, write.step(node, "Add", first, second), shift, op.rounding)
    write.store(node, clamped(write, node, rounded))


def _shifted_add(write: ExactWriter, node: Node, op: Add) -> None:
    """Rule T1."""
    multipliers, shifts = (write.known(node, index, name).astype(np.int64) for index, name in ((2, "m"), (3, "s")))
    terms = []
    for index, zero_point in enumerate(op.zero_points):
        centred = write.centred(node, index, zero_point, DType.I64)
        lifted = write.step(node, "Mul", centred, write.scalar(1 << op.left_shift))
        scaled = rescaled(write, node, lifted, op.rounding, np.abs(multipliers[index]), shifts[index])
        term = write.cast(node, limited(write, node, scaled, -LARGEST_TERM, LARGEST_TERM), DType.I64)
        terms.append(write.step(node, "Mul", term, write.scalar(int(np.sign(multipliers[index])))))
    total = rescaled(write, node, write.step(node, "Add", *terms), op.rounding, np.abs(multipliers[2]), shifts[2])
    write.store(node, clamped(write, node, total))


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
    """Rule L1; tables per channel are concatenated."""
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
    """Rule L2 for int64 numbers of 16 bits, with one table of 2^n + 1 entries or one per channel."""
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
    """Rules S1 and S2: the division of nonnegative integers rounds down."""
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


@emits(SoftmaxFixed)
def softmax_fixed(write: ExactWriter, node: Node) -> None:
    """Rule T5; nonnegative numbers are shifted by division or multiplication with powers of two."""
    op = node.op
    assert isinstance(op, SoftmaxFixed)
    x, _ = write.operands(node)
    axes = write.integers((op.axis,), "axes")
    wide = write.cast(node, x, DType.I32)
    below = write.step(node, "Sub", wide, write.step(node, "ReduceMax", wide, axes, keepdims=1))
    e = write.cast(node, _exponentials(write, node, write.known(node, 1, "table"), below), DType.I64)
    parts = write.step(node, "Div", write.step(node, "Add", e, write.scalar(1 << 11)), write.scalar(1 << 12))
    sums = write.step(node, "ReduceSum", parts, axes, keepdims=1)
    powers = write.constant(2 ** np.arange(32, dtype=np.int64), "powers")
    reached = write.step(
        node, "GreaterOrEqual", write.step(node, "Unsqueeze", sums, write.integers((-1,), "last")), powers
    )
    bits = write.step(
        node, "ReduceSum", write.cast(node, reached, DType.I64), write.integers((-1,), "last"), keepdims=0
    )
    room = write.step(node, "Gather", powers, write.step(node, "Sub", write.scalar(32), bits))
    products = _high_product(write, node, _reciprocal(write, node, write.step(node, "Mul", sums, room)), e)
    divisor = write.step(node, "Gather", write.constant(2 ** np.arange(3, 36, dtype=np.int64), "divisors"), bits)
    halves = write.step(node, "Div", divisor, write.scalar(2))
    rounded = write.step(node, "Div", write.step(node, "Add", products, halves), divisor)
    write.store(node, clamped(write, node, rounded))


def _reciprocal(write: ExactWriter, node: Node, d: str) -> str:
    """The reciprocal of rule T5, nearly 2**62 / d."""
    half = write.step(node, "Div", d, write.scalar(2))
    x = write.step(node, "Add", write.scalar(FIRST), _high_product(write, node, half, write.scalar(SLOPE)))
    for _ in range(3):
        rest = write.step(node, "Sub", write.scalar(1 << 29), _high_product(write, node, half, x))
        step = write.step(node, "Mul", _high_product(write, node, x, rest), write.scalar(4))
        x = write.step(node, "Add", x, step)
    doubled = write.step(node, "Mul", x, write.scalar(2))
    return write.cast(node, limited(write, node, doubled, 0, (1 << 31) - 1), DType.I64)


def _high_product(write: ExactWriter, node: Node, a: str, b: str) -> str:
    """The doubled high half h of rule R2."""
    product = write.step(node, "Add", write.step(node, "Mul", a, b), write.scalar(1 << 30))
    return shifted(write, node, product, np.asarray(31))


def _exponentials(write: ExactWriter, node: Node, table: np.ndarray, below: str) -> str:
    """The exponentials of nonpositive differences: one table, or the product of two for 16 bits."""
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
