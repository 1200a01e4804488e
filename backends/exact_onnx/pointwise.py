"""Emitters of integer ops of single elements, of two tensors that broadcast, and of the softmax."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType
from npuq.ir.ops.npu.interpolate import Interpolate
from npuq.ir.ops.npu.pointwise import LARGEST_TERM, SOFTMAX_FRACTION, Add, Lut, Mul, Requantize, Softmax
from npuq.ir.ops.npu.softmax import FIRST, SLOPE, SoftmaxFixed

from .rounding import clamped, limited, requantized, rescaled, rounded_shift, shifted
from .writer import ExactWriter, emits


@emits(Requantize)
def requantize(write: ExactWriter, op: Requantize) -> None:
    centred = write.centred(0, op.input_zero_point, DType.I64)
    write.store(clamped(write, requantized(write, centred, op, *write.factors(1))))


@emits(Add)
def add(write: ExactWriter, op: Add) -> None:
    """Rules B1 and T1."""
    if op.left_shift:
        _shifted_add(write, op)
        return
    multipliers, shift = write.known(2, "multipliers"), write.known(3, "shift").reshape(())
    first, second = (
        write.step("Mul", write.centred(index, op.zero_points[index], DType.I64), write.scalar(factor))
        for index, factor in enumerate(multipliers)
    )
    rounded = rounded_shift(write, write.step("Add", first, second), shift, op.rounding)
    write.store(clamped(write, rounded))


def _shifted_add(write: ExactWriter, op: Add) -> None:
    """Rule T1."""
    multipliers, shifts = (write.known(index, name).astype(np.int64) for index, name in ((2, "m"), (3, "s")))
    terms = []
    for index, zero_point in enumerate(op.zero_points):
        centred = write.centred(index, zero_point, DType.I64)
        lifted = write.step("Mul", centred, write.scalar(1 << op.left_shift))
        scaled = rescaled(write, lifted, op.rounding, np.abs(multipliers[index]), shifts[index])
        term = write.cast(limited(write, scaled, -LARGEST_TERM, LARGEST_TERM), DType.I64)
        terms.append(write.step("Mul", term, write.scalar(int(np.sign(multipliers[index])))))
    total = rescaled(write, write.step("Add", *terms), op.rounding, np.abs(multipliers[2]), shifts[2])
    write.store(clamped(write, total))


@emits(Mul)
def mul(write: ExactWriter, op: Mul) -> None:
    """Rule B2."""
    a, b = (write.centred(index, zero, DType.I64) for index, zero in enumerate(op.zero_points))
    product = write.step("Mul", a, b)
    write.store(clamped(write, requantized(write, product, op, *write.factors(2))))


@emits(Lut)
def lut(write: ExactWriter, op: Lut) -> None:
    """Rule L1; tables per channel are concatenated."""
    x, _ = write.operands
    table = write.graph.constant(write.node.operands[1])
    if table is None:
        table = write.known(1, "table")
    starts = np.asarray(128) if table.ndim == 1 else 128 + 256 * np.arange(table.shape[0])
    index = write.step("Add", write.cast(x, DType.I32), write.constant(starts.astype(np.int32), "starts"))
    write.last("Gather", write.constant(table.reshape(-1), "table"), index)


@emits(Interpolate)
def interpolate(write: ExactWriter, op: Interpolate) -> None:
    """Rule L2."""
    x = write.cast(write.operands[0], DType.I64)
    write.store(interpolated(write, write.known(1, "table"), x))


def interpolated(write: ExactWriter, table: np.ndarray, x: str) -> str:
    """Rule L2 for int64 numbers of 16 bits, with one table of 2^n + 1 entries or one per channel."""
    intervals = table.shape[-1] - 1
    bits = 17 - intervals.bit_length()
    place = write.step("Add", x, write.scalar(1 << 15))
    index = write.step("Div", place, write.scalar(1 << bits))
    if table.ndim == 2:
        starts = write.constant(intervals * np.arange(table.shape[0]), "starts")
        index = write.step("Add", index, starts)
    offset = write.step("BitwiseAnd", place, write.scalar((1 << bits) - 1))
    base = write.step("Gather", write.constant(table[..., :-1].reshape(-1), "table"), index)
    slope = write.step("Gather", write.constant(np.diff(table).reshape(-1), "slopes"), index)
    product = write.step("Mul", slope, offset)
    half = write.step("Add", product, write.scalar(1 << (bits - 1)))
    return write.step("Add", base, shifted(write, half, np.asarray(bits)))


@emits(Softmax)
def softmax(write: ExactWriter, op: Softmax) -> None:
    """Rules S1 and S2: the division of nonnegative integers rounds down."""
    axes = write.integers((op.axis,), "axes")
    e = _exponentials(write, axes)
    total = write.step("ReduceSum", e, axes, keepdims=1)
    half = write.step("Mul", total, write.scalar(1 << (SOFTMAX_FRACTION - 1)))
    above = write.step("Add", write.step("Mul", e, write.scalar(op.steps)), half)
    quotient = write.step("Div", above, write.step("Mul", total, write.scalar(1 << SOFTMAX_FRACTION)))
    write.store(clamped(write, quotient))


@emits(SoftmaxFixed)
def softmax_fixed(write: ExactWriter, op: SoftmaxFixed) -> None:
    """Rule T5; nonnegative numbers are shifted by division or multiplication with powers of two."""
    axes = write.integers((op.axis,), "axes")
    e = write.cast(_exponentials(write, axes), DType.I64)
    parts = write.step("Div", write.step("Add", e, write.scalar(1 << 11)), write.scalar(1 << 12))
    sums = write.step("ReduceSum", parts, axes, keepdims=1)
    powers = write.constant(2 ** np.arange(32, dtype=np.int64), "powers")
    reached = write.step("GreaterOrEqual", write.step("Unsqueeze", sums, write.integers((-1,), "last")), powers)
    bits = write.step("ReduceSum", write.cast(reached, DType.I64), write.integers((-1,), "last"), keepdims=0)
    room = write.step("Gather", powers, write.step("Sub", write.scalar(32), bits))
    products = _high_product(write, _reciprocal(write, write.step("Mul", sums, room)), e)
    divisor = write.step("Gather", write.constant(2 ** np.arange(3, 36, dtype=np.int64), "divisors"), bits)
    halves = write.step("Div", divisor, write.scalar(2))
    rounded = write.step("Div", write.step("Add", products, halves), divisor)
    write.store(clamped(write, rounded))


def _reciprocal(write: ExactWriter, d: str) -> str:
    """The reciprocal of rule T5, nearly 2**62 / d."""
    half = write.step("Div", d, write.scalar(2))
    x = write.step("Add", write.scalar(FIRST), _high_product(write, half, write.scalar(SLOPE)))
    for _ in range(3):
        rest = write.step("Sub", write.scalar(1 << 29), _high_product(write, half, x))
        step = write.step("Mul", _high_product(write, x, rest), write.scalar(4))
        x = write.step("Add", x, step)
    doubled = write.step("Mul", x, write.scalar(2))
    return write.cast(limited(write, doubled, 0, (1 << 31) - 1), DType.I64)


def _high_product(write: ExactWriter, a: str, b: str) -> str:
    """The doubled high half h of rule R2."""
    product = write.step("Add", write.step("Mul", a, b), write.scalar(1 << 30))
    return shifted(write, product, np.asarray(31))


def _exponentials(write: ExactWriter, axes: str) -> str:
    """The exponentials of the differences from the greatest: one table, or the product of two for 16 bits."""
    table, wide = write.known(1, "table"), write.cast(write.operands[0], DType.I32)
    below = write.step("Sub", wide, write.step("ReduceMax", wide, axes, keepdims=1))
    if table.ndim == 1:
        place = write.step("Add", below, write.scalar(255, np.int32))
        return write.step("Gather", write.constant(table, "table"), place)
    place = write.step("Add", write.cast(below, DType.I64), write.scalar(65535))
    upper = write.step("Div", place, write.scalar(256))
    lower = write.step("BitwiseAnd", place, write.scalar(255))
    parts = (
        write.step("Gather", write.constant(half, name), index)
        for half, name, index in zip(table, ("upper", "lower"), (upper, lower), strict=True)
    )
    product = write.step("Add", write.step("Mul", *parts), write.scalar(1 << 29))
    return write.step("Div", product, write.scalar(1 << 30))
