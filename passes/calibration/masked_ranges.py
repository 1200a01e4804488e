"""Ranges of masked scores: scores whose softmax is 0 need no integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from npuq.ir import Graph, Node
from npuq.ir.op import UNBOUNDED
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.logic import Where
from npuq.ir.ops.reduce import Softmax

from ..canonical.make_masks_finite import MASKED, parts
from ..lowering.plan import Held
from ..scales import Range, extremes_of

FAR = -1000.0
"""A computed value that is added, reaches below this and never above 0 is a mask."""


def masked_ranges(graph: Graph, ranges: Mapping[Held, Range], extremes: Mapping[str, Range]) -> dict[Held, Range]:
    """Let the ranges of scores and masks that only softmaxes read end a margin below the unmasked scores.

    Attention adds numbers such as -10000 to scores of a few units, or chooses between both; a scale for these would
    round all scores to one. The unmasked sums exceed the least score plus the least unmasked number of the mask.
    Elements ln(n * 2^bits) below them add less than half a step to a softmax over n elements, and saturate. A mask
    saturates where it lowers even the greatest score that far; its range reaches there even if no sample is masked.
    """
    found, widest = dict(ranges), dict[str, int]()
    for name, bits in ranges:
        widest[name] = max(bits, widest.get(name, 0))
    cuts = _cuts(graph, widest, extremes)
    for (name, bits), (low, high) in ranges.items():
        if name in cuts:
            limit, least, most = cuts[name]
            found[name, bits] = (limit if least <= MASKED else max(low, limit), max(min(high, most), limit))
    return found


def masked_values(graph: Graph, bits: Mapping[str, int], extremes: Mapping[str, Range]) -> frozenset[str]:
    """The values whose ranges `masked_ranges` limits; `bits` has the width of each value's integers."""
    return frozenset(_cuts(graph, bits, extremes))


def _cuts(
    graph: Graph, bits: Mapping[str, int], extremes: Mapping[str, Range]
) -> dict[str, tuple[float, float, float]]:
    """The limit of each masked value and mask, below which its elements have no effect, and its extremes."""
    holds = _holds(graph, extremes)
    limits: dict[str, float] = {}
    for node in reversed(graph.nodes):
        for name in dict.fromkeys(node.operands):
            limit = _limit(graph, node, name, limits.get(node.results[0], -math.inf), holds, bits.get(name, 0))
            limits[name] = min(limits.get(name, math.inf), limit if name not in graph.returned else -math.inf)
    return {
        name: (limit, holds[name][0], _most(graph, name, holds))
        for name, limit in limits.items()
        if holds[name][0] < limit and name not in graph.constants
    }


def _most(graph: Graph, name: str, holds: Mapping[str, Range]) -> float:
    """The greatest element; for a sum the greatest of its operands, which masks may have lowered in all samples."""
    node = graph.producers.get(name)
    return sum(holds[part][1] for part in node.operands) if node and isinstance(node.op, Add) else holds[name][1]


def _limit(graph: Graph, node: Node, name: str, limit: float, holds: Mapping[str, Range], bits: int) -> float:
    """The limit of an operand, below which a node's result does not change; `limit` is that of the result."""
    if isinstance(node.op, Softmax):
        margin = math.log(node.type.shape[node.op.axis] << bits)
        least = _Unmasked(graph, holds).least(name, margin) - margin
        return least if holds[name][0] < least else -math.inf
    if name in node.op.moved(node.operands):
        return limit
    if isinstance(node.op, Add) and len(set(node.operands)) == 2:
        (other,) = set(node.operands) - {name}
        return limit - holds[other][1]
    return -math.inf


def _holds(graph: Graph, extremes: Mapping[str, Range]) -> dict[str, Range]:
    """The known extremes of each value; the least is `MASKED` where a mask may be added."""
    found: dict[str, Range] = {}
    for name in graph.types:
        known, node = graph.constant(name), graph.producers.get(name)
        if known is not None:
            is_number = known.size and graph.types[name].dtype.is_float
            found[name] = extremes_of(known) if is_number else UNBOUNDED
            continue
        ranges = [found[part] for part in parts(node)] if node is not None else []
        least, most = extremes.get(name, _joined(node, ranges))
        found[name] = (MASKED if any(low <= MASKED for low, _ in ranges) else least, most)
    return found


def _joined(node: Node | None, ranges: list[Range]) -> Range:
    if node is None or not ranges:
        return UNBOUNDED
    lows, highs = zip(*ranges, strict=True)
    return (sum(lows), sum(highs)) if isinstance(node.op, Add) else (min(lows), max(highs))


@dataclass(frozen=True)
class _Unmasked:
    """The elements of values that no mask has lowered."""

    graph: Graph
    holds: Mapping[str, Range]

    def least(self, name: str, margin: float, *, added: bool = False) -> float:
        """The least of them; all others lie more than a margin below. `added`: a sum reads the value."""
        known, node = self.graph.constant(name), self.graph.producers.get(name)
        least, most = self.holds[name]
        if known is not None:
            return _above_gap(known, margin)
        operands = parts(node) if node is not None else ()
        if node is None or not operands:
            return most if added and most == 0 and least <= FAR else least
        if isinstance(node.op, Add):
            mask, scores = sorted(operands, key=lambda part: self.holds[part][0])
            low = self.least(scores, margin, added=True)
            return max(low + self.least(mask, margin + self.holds[scores][1] - low, added=True), least)
        lows = {part: self.least(part, margin, added=added) for part in operands}
        if isinstance(node.op, Where):
            kept = [part for part in operands if self.holds[part][1] >= max(lows.values()) - margin]
            return min(lows[part] for part in kept)
        return min(lows.values())


def _above_gap(array: np.ndarray, margin: float) -> float:
    """The least element above the highest gap, between neighbours by size, that is wider than a margin."""
    numbers = np.unique(array.astype(np.float64))
    gaps = np.flatnonzero(np.diff(numbers) > margin)
    return float(numbers[gaps[-1] + 1 if gaps.size else 0])
