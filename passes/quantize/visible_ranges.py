"""Ranges of constants that are added: what lies beyond where every sum saturates needs no integers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from npuq.ir import Graph, Quantization
from npuq.ir.ops.elementwise import Add

from ..lowering.plan import Plan
from ..scales import Range
from ..target import Width


def visible_range(
    graph: Graph,
    plan: Plan,
    name: str,
    range_: Range,
    quants: Mapping[tuple[str, int], Quantization],
    width: Width,
) -> Range:
    """The part of a constant's range that sums of this width can tell apart; all of it where something else reads it.

    Causal masks hold the least float32; a scale that reached it would round all scores to one. What takes even the
    greatest of the other operand to the end of the sum's range is low enough.
    """
    low, high = math.inf, -math.inf
    for user in graph.users[name]:
        if plan.bits[user.results[0]] != width.bits:
            continue
        held = [(one, width.bits) for one in (user.results[0], *user.operands) if one != name]
        if not isinstance(user.op, Add) or len(held) != 2 or not all(one in quants for one in held):
            return range_
        total, other = (span(quants[one], width) for one in held)
        low, high = min(low, total[0] - other[1]), max(high, total[1] - other[0])
    if low > high:
        return range_
    return min(max(range_[0], low), high), max(min(range_[1], high), low)


def span(quant: Quantization, width: Width) -> Range:
    """The least and the greatest real number of a value's integers."""
    low, high = width.activation_range
    return quant.scale * (low - quant.zero_point), quant.scale * (high - quant.zero_point)
