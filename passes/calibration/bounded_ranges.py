"""Ranges that end where a value must: integers beyond what a function can give would only make the steps coarser."""

from __future__ import annotations

from collections.abc import Mapping

from npuq.ir import Graph
from npuq.ir.op import UNBOUNDED

from ..lowering.plan import Held
from ..scales import Range


def bounded_ranges(graph: Graph, ranges: Mapping[Held, Range]) -> dict[Held, Range]:
    """The ranges, each cut to what its value can hold for any input: a clip's ends, a sigmoid's 0 and 1."""
    bounds: dict[str, Range] = {
        name: (float(known.array.min()), float(known.array.max()))
        for name, known in graph.constants.items()
        if known.array.size and known.type.dtype.is_float
    }
    for node in graph.nodes:
        bounds[node.results[0]] = node.op.bounds(*(bounds.get(operand, UNBOUNDED) for operand in node.operands))
    found = {}
    for (name, bits), (low, high) in ranges.items():
        least, greatest = bounds.get(name, UNBOUNDED)
        found[name, bits] = (max(low, least), min(high, greatest))
    return found
