"""Emitters of integer division and normalization."""

from __future__ import annotations

import math

from npuq.ir import DType, Node
from npuq.ir.ops.npu.division import Div, Hypot
from npuq.ir.ops.npu.norm import LayerNorm, RmsNorm, normal_fraction
from npuq.ir.roots import RECIPROCAL_FRACTION

from .integers import reciprocal_root, rounded_division, rounded_root, shifted_half_up
from .rounding import clamped, requantized, rounded_shift
from .writer import ExactWriter, emits


@emits(Div)
def div(write: ExactWriter, node: Node) -> None:
    """Rule D1."""
    op = node.op
    assert isinstance(op, Div)
    zero, beyond = write.scalar(0), 1 << 40
    a, b = (write.centred(node, index, point, DType.I64) for index, point in enumerate(op.zero_points))
    negative = write.step(node, "Less", b, zero)
    factor = write.step(node, "Where", negative, write.scalar(-op.factor), write.scalar(op.factor))
    numerator = write.step(node, "Mul", a, factor)
    none = write.step(node, "Equal", b, zero)
    divisor = write.step(node, "Where", none, write.scalar(1), write.step(node, "Abs", b))
    divisor = write.step(node, "Mul", divisor, write.scalar(1 << op.shift))
    quotient = rounded_division(write, node, numerator, divisor)
    above = write.cast(node, write.step(node, "Greater", numerator, zero), DType.I64)
    below = write.cast(node, write.step(node, "Less", numerator, zero), DType.I64)
    endless = write.step(node, "Mul", write.step(node, "Sub", above, below), write.scalar(beyond))
    write.store(node, clamped(write, node, write.step(node, "Where", none, endless, quotient)))


@emits(Hypot)
def hypot(write: ExactWriter, node: Node) -> None:
    """Rule D2."""
    op = node.op
    assert isinstance(op, Hypot)
    squares = []
    for index, (weight, zero_point) in enumerate(zip(op.weights, op.zero_points, strict=True)):
        side = write.step(node, "Mul", write.centred(node, index, zero_point, DType.I64), write.scalar(weight))
        squares.append(write.step(node, "Mul", side, side))
    root = rounded_root(write, node, write.step(node, "Add", *squares))
    write.store(node, clamped(write, node, requantized(write, node, root, op, *write.factors(node, 2))))


@emits(LayerNorm, RmsNorm)
def normalized(write: ExactWriter, node: Node) -> None:
    """Rules N1 and N2; sums stay below 2**53, up to which onnxruntime adds int64 numbers exactly."""
    op = node.op
    assert isinstance(op, LayerNorm | RmsNorm)
    shape = write.types[node.operands[0]].shape
    count = math.prod(shape[op.axis :])
    axes = write.integers(tuple(range(op.axis, len(shape))), "axes")
    wide = write.centred(node, 0, 0 if isinstance(op, LayerNorm) else op.input_zero_point, DType.I64)
    squares = write.step(node, "ReduceSum", write.step(node, "Mul", wide, wide), axes, keepdims=1)
    distances = write.step(node, "Mul", wide, write.scalar(count))
    variance = write.step(node, "Mul", squares, write.scalar(count))
    if isinstance(op, LayerNorm):
        sums = write.step(node, "ReduceSum", wide, axes, keepdims=1)
        distances = write.step(node, "Sub", distances, sums)
        variance = write.step(node, "Sub", variance, write.step(node, "Mul", sums, sums))
    scaled = write.step(node, "Mul", variance, write.scalar(1 << (2 * op.fraction)))
    reciprocal, e = reciprocal_root(write, node, write.step(node, "Add", scaled, write.scalar(op.epsilon)))
    most = write.scalar(RECIPROCAL_FRACTION - op.fraction - normal_fraction(count))
    drop = write.step(node, "Sub", most, e)
    drop = write.step(node, "Where", write.step(node, "Less", drop, write.scalar(1)), write.scalar(1), drop)
    z = shifted_half_up(write, node, write.step(node, "Mul", distances, reciprocal), drop)
    multiplier, bias = (write.known(node, index, what) for index, what in ((1, "multipliers"), (2, "bias")))
    product = write.step(node, "Mul", z, write.constant(multiplier, "m"))
    total = write.step(node, "Add", product, write.constant(bias, "bias"))
    write.store(
        node, clamped(write, node, rounded_shift(write, node, total, write.known(node, 3, "shift"), op.rounding))
    )
