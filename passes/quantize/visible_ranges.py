"""Ranges of added constants: elements at which every sum saturates need no integers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from npuq.ir import Graph, Quantization
from npuq.ir.ops.elementwise import Add

from ..lowering.plan import Held, Plan
from ..scales import Range, representable
from ..target import Width


def visible_range(
    graph: Graph,
    plan: Plan,
    name: str,
    range_: Range,
    quants: Mapping[Held, Quantization],
    width: Width,
) -> Range:
    """The part of a constant's range that changes a sum of this width; all of it if another op reads the constant.

    Causal masks hold the least float32; a scale for it would round all scores to one. The range may end where even the
    greatest element of the other operand brings the sum to the end of its range.
    """
    low, high = math.inf, -math.inf
    for user in graph.users[name]:
        if plan.bits[user.results[0]] != width.bits:
            continue
        held = [(one, width.bits) for one in (user.results[0], *user.operands) if one != name]
        if not isinstance(user.op, Add) or len(held) != 2 or not all(one in quants for one in held):
            return range_
        total, other = (representable(quants[one], width) for one in held)
        low, high = min(low, total[0] - other[1]), max(high, total[1] - other[0])
    if low > high:
        return range_
    return min(max(range_[0], low), high), max(min(range_[1], high), low)
