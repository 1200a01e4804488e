"""Ranges of masked scores: what a softmax cannot see needs no integers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from npuq.ir import Graph, Node
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.reduce import Softmax

from .repair_scales import Held
from .scales import Range


def masked_ranges(graph: Graph, ranges: Mapping[Held, Range], extremes: Mapping[str, Range]) -> dict[Held, Range]:
    """The ranges, where a sum with a mask, read by a softmax alone, ends a margin below what is not masked.

    Attention adds numbers such as -10000 to scores of a few units; a scale that reached them would round all scores to
    one. The unmasked sums lie above the least score plus the mask's highest number, both of them `extremes`; what is
    ln(n * 2^bits) below them adds less than half a step to a softmax over n elements, and saturates there.
    """
    found = dict(ranges)
    for node in graph.nodes:
        total = graph.producers.get(node.operands[0]) if isinstance(node.op, Softmax) else None
        if total is None or not isinstance(total.op, Add) or graph.only_user(total.result) is not node:
            continue
        assert isinstance(node.op, Softmax)
        for name, bits in ranges:
            if name == total.result:
                margin = math.log(graph.types[name].shape[node.op.axis] << bits)
                found[name, bits] = _limited(graph, total, extremes, margin, ranges[name, bits])
    return found


def _limited(graph: Graph, total: Node, extremes: Mapping[str, Range], margin: float, range_: Range) -> Range:
    """The part of the range of scores plus mask that matters; all of it where neither operand is a mask."""
    sides = [_extremes(graph, operand, extremes) for operand in total.operands]
    for scores, mask in (sides, sides[::-1]):
        if scores is None or mask is None:
            continue
        least = scores[0] + mask[1] - margin
        if mask[0] + scores[1] < least:
            return max(range_[0], least), min(range_[1], scores[1] + mask[1])
    return range_


def _extremes(graph: Graph, name: str, extremes: Mapping[str, Range]) -> Range | None:
    constant = graph.constant(name)
    return extremes.get(name) if constant is None else (float(constant.min()), float(constant.max()))
