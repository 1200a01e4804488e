"""Division of two activations."""

from __future__ import annotations

import numpy as np

from npuq.ir import Node
from npuq.ir.arithmetic import multipliers_and_shifts
from npuq.ir.ops.elementwise import Div
from npuq.ir.ops.npu_division import DIVISION_SHIFTS
from npuq.ir.ops.npu_division import Div as NpuDiv

from .context import Context, Emitted, Result
from .matrix import table_or
from .pointwise import as_table, pointwise
from .registry import Kind, lowers


@lowers(Div, kind=table_or(Kind.COMPUTE), becomes="npu.div")
def division(context: Context, node: Node, result: Result) -> Emitted:
    """A table where one operand is known; else one exact quotient, which takes the scales in."""
    if as_table(context.source, node):
        return pointwise(context, node, result)
    first, second = (context.quant(operand) for operand in node.operands)
    factors, shifts, repairs = multipliers_and_shifts(
        np.array([first.scale / (second.scale * result.quant.scale)]), (2, DIVISION_SHIFTS[1])
    )
    context.notes.extend((node.place, repair) for repair in repairs)
    op = NpuDiv(
        factor=max(int(factors[0]), 1),
        shift=int(shifts[0]),
        zero_points=(first.zero_point, second.zero_point),
        **context.clamp(result),
    )
    operands, last = context.pair(node)
    return Emitted(context.emit(op, *operands, result=result), last)
