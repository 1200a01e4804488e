"""Emitters of integer division and normalization."""

from __future__ import annotations

import math

from npuq.ir import DType
from npuq.ir.ops.npu.division import Div, Hypot
from npuq.ir.ops.npu.norm import LayerNorm, RmsNorm, normal_fraction
from npuq.ir.roots import RECIPROCAL_FRACTION

from .integers import reciprocal_root, rounded_division, rounded_root, shifted_half_up
from .rounding import clamped, requantized, rounded_shift
from .writer import ExactWriter, emits


@emits(Div)
def div(write: ExactWriter, op: Div) -> None:
    """Rule D1."""
    zero, beyond = write.scalar(0), 1 << 40
    a, b = (write.centred(index, point, DType.I64) for index, point in enumerate(op.zero_points))
    negative = write.step("Less", b, zero)
    factor = write.step("Where", negative, write.scalar(-op.factor), write.scalar(op.factor))
    numerator = write.step("Mul", a, factor)
    none = write.step("Equal", b, zero)
    divisor = write.step("Where", none, write.scalar(1), write.step("Abs", b))
    divisor = write.step("Mul", divisor, write.scalar(1 << op.shift))
    quotient = rounded_division(write, numerator, divisor)
    above = write.cast(write.step("Greater", numerator, zero), DType.I64)
    below = write.cast(write.step("Less", numerator, zero), DType.I64)
    endless = write.step("Mul", write.step("Sub", above, below), write.scalar(beyond))
    write.store(clamped(write, write.step("Where", none, endless, quotient)))


@emits(Hypot)
def hypot(write: ExactWriter, op: Hypot) -> None:
    """Rule D2."""
    squares = []
    for index, (weight, zero_point) in enumerate(zip(op.weights, op.zero_points, strict=True)):
        side = write.step("Mul", write.centred(index, zero_point, DType.I64), write.scalar(weight))
        squares.append(write.step("Mul", side, side))
    root = rounded_root(write, write.step("Add", *squares))
    write.store(clamped(write, requantized(write, root, op, *write.factors(2))))


@emits(LayerNorm, RmsNorm)
def normalized(write: ExactWriter, op: LayerNorm | RmsNorm) -> None:
    """Rules N1 and N2; sums stay below 2**53, up to which onnxruntime adds int64 numbers exactly."""
    shape = write.operand_type(0).shape
    count = math.prod(shape[op.axis :])
    axes = write.integers(tuple(range(op.axis, len(shape))), "axes")
    wide = write.centred(0, 0 if isinstance(op, LayerNorm) else op.input_zero_point, DType.I64)
    squares = write.step("ReduceSum", write.step("Mul", wide, wide), axes, keepdims=1)
    distances = write.step("Mul", wide, write.scalar(count))
    variance = write.step("Mul", squares, write.scalar(count))
    if isinstance(op, LayerNorm):
        sums = write.step("ReduceSum", wide, axes, keepdims=1)
        distances = write.step("Sub", distances, sums)
        variance = write.step("Sub", variance, write.step("Mul", sums, sums))
    scaled = write.step("Mul", variance, write.scalar(1 << (2 * op.fraction)))
    reciprocal, e = reciprocal_root(write, write.step("Add", scaled, write.scalar(op.epsilon)))
    most = write.scalar(RECIPROCAL_FRACTION - op.fraction - normal_fraction(count))
    drop = write.step("Sub", most, e)
    drop = write.step("Where", write.step("Less", drop, write.scalar(1)), write.scalar(1), drop)
    z = shifted_half_up(write, write.step("Mul", distances, reciprocal), drop)
    multiplier, bias = (write.known(index, what) for index, what in ((1, "multipliers"), (2, "bias")))
    product = write.step("Mul", z, write.constant(multiplier, "m"))
    total = write.step("Add", product, write.constant(bias, "bias"))
    write.store(clamped(write, rounded_shift(write, total, write.known(3, "shift"), op.rounding)))
