"""Functions of one 16-bit element that are made of straight lines through zero: exact without a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npuq.ir import Node
from npuq.ir.arithmetic import MULTIPLIERS
from npuq.ir.ops.activation import Clip, LeakyRelu, Relu
from npuq.ir.ops.elementwise import Abs, Maximum, Minimum, Neg
from npuq.ir.ops.npu.pointwise import Add

from .context import Context, Emitted, Result, clamp_of


def pieces(context: Context, nodes: list[Node], source: str) -> Emitted | None:
    """The rescaled operand in one to three ops, each rounded once; None where the function is another one.

    Clamps limit it, a slope below zero is the greater or the less of two lines. A result whose steps are too fine for
    the target's shifts is left to a table.
    """
    if not _reaches(context, nodes, source):
        return None
    if all(isinstance(node.op, (Relu, Clip)) for node in nodes):
        return _clamped(context, nodes, source)
    match [node.op for node in nodes]:
        case [Neg()]:
            return Emitted(_line(context, source, -1.0, context.result), context.is_last(source))
        case [Abs()]:
            return _two_lines(context, source, -1.0)
        case [LeakyRelu(alpha=alpha)] if alpha:
            return _two_lines(context, source, alpha)
    return None


def _reaches(context: Context, nodes: list[Node], source: str) -> bool:
    """Whether the rescalings fit the target's shifts."""
    slope = max(1.0, *(abs(node.op.alpha) for node in nodes if isinstance(node.op, LeakyRelu)), 0.0)
    least = context.target.rescale_shift_range[0]
    return slope * context.quant(source).scale / context.result.quant.scale * 2.0**least < MULTIPLIERS[1]


def _clamped(context: Context, nodes: list[Node], source: str) -> Emitted:
    """One after the other the clamps narrow the limits; a later one that excludes them all leaves its nearer end."""
    result, last = context.result, context.is_last(source)
    low, high = result.low, result.high
    for node in nodes:
        least, greatest = clamp_of(node, result.quant, result.low, result.high)
        low, high = (min(max(end, least), greatest) for end in (low, high))
    return Emitted(context.rescaled(context.take(source, last=last), replace(result, low=low, high=high)), last)


def _line(context: Context, source: str, slope: float, result: Result) -> str:
    """slope * x: a sum of x and nothing else, whose multipliers may be negative."""
    quant = context.quant(source)
    factors = context.common_rescale(np.array([slope * quant.scale / result.quant.scale, 0.0]))
    x = context.take(source, last=context.is_last(source))
    op = Add(zero_points=(quant.zero_point, quant.zero_point), **context.tail(result))
    return context.add(op, x, x, *factors, result=result)


def _two_lines(context: Context, source: str, slope: float) -> Emitted:
    """x above zero and slope * x below it: rounding is monotone, so the greater line rounds to the greater integer."""
    result, last = context.result, context.is_last(source)
    upper = context.rescaled(context.take(source, last=last), replace(result, name=f"{result.name}.above"))
    lower = _line(context, source, slope, replace(result, name=f"{result.name}.below"))
    return context.emit(Maximum() if slope <= 1 else Minimum(), upper, lower, last=last)
