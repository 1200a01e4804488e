"""Emitters of integer division and normalization, with the divisions, roots and shifts of rules I1 to I3."""

from __future__ import annotations

import math

import numpy as np

from npuq.ir import DType
from npuq.ir.ops.npu.division import Div, Hypot
from npuq.ir.ops.npu.norm import LayerNorm, RmsNorm, normal_fraction
from npuq.ir.requantize import RECIPROCAL_FRACTION

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


def rounded_division(write: ExactWriter, a: str, b: str) -> str:
    """floor(a / b + 1/2) of b > 0: rule I1. ONNX's Div truncates, so negative remainders move down by one."""
    cut = write.step("Div", a, b)
    rest = write.step("Sub", a, write.step("Mul", cut, b))
    negative = write.step("Less", rest, write.scalar(0))
    quotient = write.step("Sub", cut, write.cast(negative, DType.I64))
    rest = write.step("Where", negative, write.step("Add", rest, b), rest)
    up = write.step("GreaterOrEqual", rest, write.step("Sub", b, rest))
    return write.step("Add", quotient, write.cast(up, DType.I64))


def reciprocal_root(write: ExactWriter, x: str) -> tuple[str, str]:
    """(R, e) of rule I3 for 1 <= x < 2**62; e is found bit by bit, the highest first."""
    e = ""
    for digit in (16, 8, 4, 2, 1):
        fits = write.step("Less", x, write.scalar(1 << (62 - 2 * digit)))
        factor = write.step("Where", fits, write.scalar(1 << (2 * digit)), write.scalar(1))
        x = write.step("Mul", x, factor)
        found = write.step("Where", fits, write.scalar(digit), write.scalar(0))
        e = write.step("Add", e, found) if e else found
    root = rounded_root(write, x)
    return rounded_division(write, write.scalar(1 << RECIPROCAL_FRACTION), root), e


def rounded_root(write: ExactWriter, x: str) -> str:
    """Rule I2: a float64 root, off by at most one, corrected by comparing squares."""
    real = write.step("Sqrt", write.cast(x, DType.F64))
    guess = write.cast(write.step("Floor", real), DType.I64)
    over = write.step("Greater", write.step("Mul", guess, guess), x)
    guess = write.step("Sub", guess, write.cast(over, DType.I64))
    rest = write.step("Sub", x, write.step("Mul", guess, guess))
    # A guess one too low leaves a remainder above 2 * guess, which also rounds up.
    low = write.step("Greater", rest, write.step("Mul", guess, write.scalar(2)))
    odd = write.step("Add", write.step("Mul", guess, write.scalar(2)), write.scalar(1))
    left = write.step("Where", low, write.step("Sub", rest, odd), rest)
    guess = write.step("Add", guess, write.cast(low, DType.I64))
    up = write.step("Greater", left, guess)
    return write.step("Add", guess, write.cast(up, DType.I64))


def shifted_half_up(write: ExactWriter, v: str, s: str) -> str:
    """(v + 2**(s - 1)) >> s by computed s in [1, 62]."""
    places = write.cast(s, DType.U64)
    sign = write.constant(np.asarray(1 << 63, np.uint64), "sign")
    lift = write.cast(write.step("BitShift", sign, places, direction="RIGHT"), DType.I64)
    one = write.constant(np.asarray(1, np.uint64), "one")
    doubled = write.step("BitShift", one, places, direction="LEFT")
    half = write.cast(write.step("BitShift", doubled, one, direction="RIGHT"), DType.I64)
    raised = write.step("BitwiseXor", write.cast(write.step("Add", v, half), DType.U64), sign)
    moved = write.cast(write.step("BitShift", raised, places, direction="RIGHT"), DType.I64)
    return write.step("Sub", moved, lift)
