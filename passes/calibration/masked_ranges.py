"""Ranges of masked scores: what a softmax cannot see needs no integers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from npuq.ir import Graph, Node
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.logic import Where
from npuq.ir.ops.reduce import Softmax

from ..canonical.make_masks_finite import MASKED, parts
from ..lowering.plan import Held
from ..scales import Range

UNKNOWN = (-math.inf, math.inf)

FAR = -1000.0
"""A computed value that is added, reaches below this and never above 0 is a mask."""


def masked_ranges(graph: Graph, ranges: Mapping[Held, Range], extremes: Mapping[str, Range]) -> dict[Held, Range]:
    """The ranges, where scores and masks on their way into softmaxes alone end a margin below what is not masked.

    Attention adds numbers such as -10000 to scores of a few units, or chooses between both; a scale that reached them
    would round all scores to one. The unmasked sums lie above the least score plus the least number of the mask that is
    none of those; what is ln(n * 2^bits) below them adds less than half a step to a softmax over n elements, and
    saturates there. A mask itself saturates where it takes even the greatest score that low, and reaches that far also
    where no sample had anything masked.
    """
    found = dict(ranges)
    cuts = _cuts(graph, _widest(ranges), extremes)
    for (name, bits), (low, high) in ranges.items():
        if name in cuts:
            limit, least, most = cuts[name]
            found[name, bits] = (limit if least <= MASKED else max(low, limit), max(min(high, most), limit))
    return found


def masked_values(graph: Graph, bits: Mapping[str, int], extremes: Mapping[str, Range]) -> frozenset[str]:
    """The values whose ranges end where a softmax sees no more; `bits` has the width of each value's integers."""
    return frozenset(_cuts(graph, bits, extremes))


def _widest(held: Iterable[Held]) -> dict[str, int]:
    """The most bits that hold each value."""
    found: dict[str, int] = {}
    for name, bits in held:
        found[name] = max(bits, found.get(name, 0))
    return found


def _cuts(
    graph: Graph, bits: Mapping[str, int], extremes: Mapping[str, Range]
) -> dict[str, tuple[float, float, float]]:
    """Of masked values, and masks, the limit below which nothing matters, and the least and the greatest number."""
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
    """The greatest number; of a sum the one that its operands may have elsewhere, where data had that masked."""
    node = graph.producers.get(name)
    return sum(holds[part][1] for part in node.operands) if node and isinstance(node.op, Add) else holds[name][1]


def _limit(graph: Graph, node: Node, name: str, limit: float, holds: Mapping[str, Range], bits: int) -> float:
    """Below what a node gives the same whatever an operand is; `limit` is that of its result."""
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
    """The least and the greatest element of each value, as far as they are known; `MASKED` where a mask can come in."""
    found: dict[str, Range] = {}
    for name in graph.types:
        known, node = graph.constant(name), graph.producers.get(name)
        if known is not None:
            is_number = known.size and graph.types[name].dtype.is_float
            found[name] = (float(known.min()), float(known.max())) if is_number else UNKNOWN
            continue
        ranges = [found[part] for part in parts(node)] if node is not None else []
        least, most = extremes.get(name, _joined(node, ranges))
        found[name] = (MASKED if any(low <= MASKED for low, _ in ranges) else least, most)
    return found


def _joined(node: Node | None, ranges: list[Range]) -> Range:
    if node is None or not ranges:
        return UNKNOWN
    lows, highs = zip(*ranges, strict=True)
    return (sum(lows), sum(highs)) if isinstance(node.op, Add) else (min(lows), max(highs))


@dataclass(frozen=True)
class _Unmasked:
    """Which elements of values masks have not lowered."""

    graph: Graph
    holds: Mapping[str, Range]

    def least(self, name: str, margin: float, *, added: bool = False) -> float:
        """The least of them; all else lies more than a margin below. `added` tells whether a sum reads the value."""
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
