"""Division of two activations, and the length of the vector that they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npuq.ir import Graph, Node
from npuq.ir.ops.elementwise import Div, Hypot
from npuq.ir.ops.npu.division import DIVISION_SHIFTS, LARGEST_SIDE
from npuq.ir.ops.npu.division import Div as NpuDiv
from npuq.ir.ops.npu.division import Hypot as NpuHypot

from .context import Context, Emitted, Result
from .matrix import table_if_known
from .registry import lowers


@lowers(Div, kind=table_if_known, becomes="npu.div")
def division(context: Context, op: Div, node: Node, result: Result) -> Emitted:
    """One exact quotient, which includes the scales."""
    first, second = (context.quant(operand) for operand in node.operands)
    real = first.scale / (second.scale * result.quant.scale)
    factors, shifts = context.multipliers(np.array([real]), node, (2, DIVISION_SHIFTS[1]))
    integer = NpuDiv(
        factor=max(int(factors[0]), 1),
        shift=int(shifts[0]),
        zero_points=(first.zero_point, second.zero_point),
        **context.clamp(result),
    )
    operands, last = context.pair(node)
    return Emitted(context.emit(integer, *operands, result=result), last)


def side(graph: Graph, node: Node, scales: Sequence[float]) -> float:
    """The greater scale, in units of the greatest side's weight."""
    return max(scales) / LARGEST_SIDE


@lowers(Hypot, becomes="npu.hypot", gain=side)
def length(context: Context, op: Hypot, node: Node, result: Result) -> Emitted:
    """The sides are brought to one scale by integers of 13 bits, of which equal scales lose nothing."""
    first, second = (context.quant(operand) for operand in node.operands)
    greatest = max(first.scale, second.scale)
    integer = NpuHypot(
        weights=(round(LARGEST_SIDE * first.scale / greatest), round(LARGEST_SIDE * second.scale / greatest)),
        zero_points=(first.zero_point, second.zero_point),
        **context.tail(result),
    )
    factors = context.rescale(np.array([greatest / (LARGEST_SIDE * result.quant.scale)]), node)
    operands, last = context.pair(node)
    return Emitted(context.emit(integer, *operands, *factors, result=result), last)
