"""Divisions, roots and computed shifts of int64 tensors: rules I1 to I3 of docs/arithmetic.md."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType
from npuq.ir.roots import RECIPROCAL_FRACTION

from .writer import ExactWriter


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
