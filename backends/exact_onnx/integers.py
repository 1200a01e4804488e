"""Divisions, roots and computed shifts of int64 tensors: rules I1 to I3 of docs/arithmetic.md."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType, Node
from npuq.ir.roots import RECIPROCAL_FRACTION

from .writer import ExactWriter


def rounded_division(write: ExactWriter, node: Node, a: str, b: str) -> str:
    """floor(a / b + 1/2) of b > 0: rule I1. ONNX's Div truncates, so negative remainders move down by one."""
    cut = write.step(node, "Div", a, b)
    rest = write.step(node, "Sub", a, write.step(node, "Mul", cut, b))
    negative = write.step(node, "Less", rest, write.scalar(0))
    quotient = write.step(node, "Sub", cut, write.cast(node, negative, DType.I64))
    rest = write.step(node, "Where", negative, write.step(node, "Add", rest, b), rest)
    up = write.step(node, "GreaterOrEqual", rest, write.step(node, "Sub", b, rest))
    return write.step(node, "Add", quotient, write.cast(node, up, DType.I64))


def reciprocal_root(write: ExactWriter, node: Node, x: str) -> tuple[str, str]:
    """(R, e) of rule I3 for 1 <= x < 2**62; e is found bit by bit, the highest first."""
    e = ""
    for digit in (16, 8, 4, 2, 1):
        fits = write.step(node, "Less", x, write.scalar(1 << (62 - 2 * digit)))
        factor = write.step(node, "Where", fits, write.scalar(1 << (2 * digit)), write.scalar(1))
        x = write.step(node, "Mul", x, factor)
        found = write.step(node, "Where", fits, write.scalar(digit), write.scalar(0))
        e = write.step(node, "Add", e, found) if e else found
    root = rounded_root(write, node, x)
    return rounded_division(write, node, write.scalar(1 << RECIPROCAL_FRACTION), root), e


def rounded_root(write: ExactWriter, node: Node, x: str) -> str:
    """Rule I2: a float64 root, off by at most one, corrected by comparing squares."""
    real = write.step(node, "Sqrt", write.cast(node, x, DType.F64))
    guess = write.cast(node, write.step(node, "Floor", real), DType.I64)
    over = write.step(node, "Greater", write.step(node, "Mul", guess, guess), x)
    guess = write.step(node, "Sub", guess, write.cast(node, over, DType.I64))
    rest = write.step(node, "Sub", x, write.step(node, "Mul", guess, guess))
    # A guess one too low leaves a remainder above 2 * guess, which also rounds up.
    low = write.step(node, "Greater", rest, write.step(node, "Mul", guess, write.scalar(2)))
    taken = write.step(node, "Add", write.step(node, "Mul", guess, write.scalar(2)), write.scalar(1))
    left = write.step(node, "Where", low, write.step(node, "Sub", rest, taken), rest)
    guess = write.step(node, "Add", guess, write.cast(node, low, DType.I64))
    up = write.step(node, "Greater", left, guess)
    return write.step(node, "Add", guess, write.cast(node, up, DType.I64))


def shifted_half_up(write: ExactWriter, node: Node, v: str, s: str) -> str:
    """(v + 2**(s - 1)) >> s by computed s in [1, 62]."""
    places = write.cast(node, s, DType.U64)
    sign = write.constant(np.asarray(1 << 63, np.uint64), "sign")
    lift = write.cast(node, write.step(node, "BitShift", sign, places, direction="RIGHT"), DType.I64)
    one = write.constant(np.asarray(1, np.uint64), "one")
    doubled = write.step(node, "BitShift", one, places, direction="LEFT")
    half = write.cast(node, write.step(node, "BitShift", doubled, one, direction="RIGHT"), DType.I64)
    raised = write.step(node, "BitwiseXor", write.cast(node, write.step(node, "Add", v, half), DType.U64), sign)
    moved = write.cast(node, write.step(node, "BitShift", raised, places, direction="RIGHT"), DType.I64)
    return write.step(node, "Sub", moved, lift)
