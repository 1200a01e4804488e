"""Division of two activations, and the length of the vector that they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npuq.ir import Graph, Node
from npuq.ir.ops.elementwise import Div, Hypot
from npuq.ir.ops.npu.division import DIVISION_SHIFTS, LARGEST_SIDE
from npuq.ir.ops.npu.division import Div as NpuDiv
from npuq.ir.ops.npu.division import Hypot as NpuHypot

from .context import Context, Emitted
from .matrix import table_if_known
from .registry import lowers


@lowers(Div, kind=table_if_known, becomes="npu.div")
def division(context: Context, op: Div) -> Emitted:
    """One exact quotient, which includes the scales."""
    first, second = context.quants
    real = first.scale / (second.scale * context.result.quant.scale)
    factors, shifts = context.multipliers(np.array([real]), (2, DIVISION_SHIFTS[1]))
    points = (first.zero_point, second.zero_point)
    factor, shift = max(int(factors[0]), 1), int(shifts[0])
    return context.emit_pair(NpuDiv(factor=factor, shift=shift, zero_points=points, **context.result.clamp))


def side(graph: Graph, node: Node, scales: Sequence[float]) -> float:
    """The greater scale, in units of the greatest side's weight."""
    return max(scales) / LARGEST_SIDE


@lowers(Hypot, becomes="npu.hypot", gain=side)
def length(context: Context, op: Hypot) -> Emitted:
    """The sides are brought to one scale by integers of 13 bits, of which equal scales lose nothing."""
    first, second = context.quants
    greatest = max(first.scale, second.scale)
    weights = (round(LARGEST_SIDE * first.scale / greatest), round(LARGEST_SIDE * second.scale / greatest))
    integer = NpuHypot(weights=weights, zero_points=(first.zero_point, second.zero_point), **context.ending())
    return context.emit_pair(integer, *context.rescale(greatest / (LARGEST_SIDE * context.result.quant.scale)))
