"""Division of two activations, and the length of the vector that they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npuq.ir import Graph, Node
from npuq.ir.arithmetic import multipliers_and_shifts
from npuq.ir.ops.elementwise import Div, Hypot
from npuq.ir.ops.npu.division import DIVISION_SHIFTS, LARGEST_SIDE
from npuq.ir.ops.npu.division import Div as NpuDiv
from npuq.ir.ops.npu.division import Hypot as NpuHypot

from .context import Context, Emitted, Result
from .matrix import table_if_known
from .pointwise import as_table, pointwise
from .registry import lowers


@lowers(Div, kind=table_if_known, becomes="npu.div")
def division(context: Context, node: Node, result: Result) -> Emitted:
    """A table where one operand is known; else one exact quotient, which takes the scales in."""
    if as_table(context.source, node):
        return pointwise(context, node, result)
    first, second = (context.quant(operand) for operand in node.operands)
    factors, shifts, repairs = multipliers_and_shifts(
        np.array([first.scale / (second.scale * result.quant.scale)]), (2, DIVISION_SHIFTS[1])
    )
    context.repairs.extend((node.place, repair) for repair in repairs)
    op = NpuDiv(
        factor=max(int(factors[0]), 1),
        shift=int(shifts[0]),
        zero_points=(first.zero_point, second.zero_point),
        **context.clamp(result),
    )
    operands, last = context.pair(node)
    return Emitted(context.emit(op, *operands, result=result), last)


def side(graph: Graph, node: Node, scales: Sequence[float]) -> float:
    """The greater scale, in units of the greatest side's weight."""
    return max(scales) / LARGEST_SIDE


@lowers(Hypot, becomes="npu.hypot", gain=side)
def length(context: Context, node: Node, result: Result) -> Emitted:
    """The sides are brought to one scale by integers of 13 bits, of which equal scales lose nothing."""
    first, second = (context.quant(operand) for operand in node.operands)
    greatest = max(first.scale, second.scale)
    op = NpuHypot(
        weights=(round(LARGEST_SIDE * first.scale / greatest), round(LARGEST_SIDE * second.scale / greatest)),
        zero_points=(first.zero_point, second.zero_point),
        **context.tail(result),
    )
    factors = context.rescale(np.array([greatest / (LARGEST_SIDE * result.quant.scale)]), node)
    operands, last = context.pair(node)
    return Emitted(context.emit(op, *operands, *factors, result=result), last)
