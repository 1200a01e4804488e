"""Output Concats of very different parts: each part keeps its own scale, and the Concat moves to the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from npuq.ir import Builder, Graph, Node, rewrite
from npuq.ir.ops.shape import Concat

from ..lowering import Kind, kind_of
from ..lowering.plan import EVERYWHERE, plan_of
from ..pipeline import FOUND, graph_pass
from ..precision import Precisions
from ..scales import Range, activation_quantization
from ..target import Target, Width

LEAST_LEVELS = 32
"""The distinct values that a part must keep at the shared scale."""


@graph_pass("split-output-concats")
def split_output_concats(
    graph: Graph, *, extremes: Mapping[str, Range] = FOUND, target: Target = FOUND, precision: Precisions = EVERYWHERE
) -> Graph:
    """Let a Concat run on the host, in float, where a shared scale would leave one of its parts too few values.

    Boxes from 0 to 320 beside scores from 0 to 1 would leave the scores two values of 8 bits. It concerns Concats that
    reach graph outputs alone, through ops that move elements, which go to the host as well; the parts end in integers
    at scales of their own. A part suffers where it keeps fewer than `LEAST_LEVELS` of the integers that its own scale
    would give it. `extremes` holds the least and the greatest element by name.
    """
    bits = plan_of(graph, target, precision).bits
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        reason = next((reasons[operand] for operand in node.operands if operand in reasons), "")
        if not reason and isinstance(node.op, Concat) and _only_returned(graph, node):
            reason = _suffers(graph, node, extremes, target.width(bits[node.result]))
        if reason:
            reasons.update(dict.fromkeys(node.results, reason))

    def mark(builder: Builder, node: Node, operands: tuple[str, ...]) -> tuple[str, ...] | None:
        if node.results[0] not in reasons:
            return None
        return builder.copy(replace(node, host=reasons[node.results[0]]), operands)

    return rewrite(graph, mark)


def _only_returned(graph: Graph, node: Node) -> bool:
    """Whether all that becomes of a node's result is moved elements in graph outputs."""
    users = [user for result in node.results for user in graph.users[result]]
    return all(kind_of(graph, user) is Kind.MOVE and _only_returned(graph, user) for user in users)


def _suffers(graph: Graph, node: Node, extremes: Mapping[str, Range], width: Width) -> str:
    """The reason why one scale for all parts is too coarse; empty where it is not."""
    known = {name: _range(graph, name, extremes) for name in node.operands}
    if any(range_ is None for range_ in known.values()):
        return ""
    parts = {name: range_ for name, range_ in known.items() if range_ is not None}
    low, high = min(low for low, _ in parts.values()), max(high for _, high in parts.values())
    shared = activation_quantization((low, high), width).scale
    levels = {name: int((max(high, 0.0) - min(low, 0.0)) / shared) + 1 for name, (low, high) in parts.items()}
    worst = min(levels, key=lambda name: levels[name])
    if levels[worst] >= LEAST_LEVELS or not any(parts[worst]):
        return ""
    return f"at one scale for all parts %{worst} would keep {levels[worst]} values of its {_own(parts[worst], width)}"


def _own(range_: Range, width: Width) -> int:
    """The values of a part at its own scale."""
    return int((max(range_[1], 0.0) - min(range_[0], 0.0)) / activation_quantization(range_, width).scale) + 1


def _range(graph: Graph, name: str, extremes: Mapping[str, Range]) -> Range | None:
    if name in graph.constants:
        array = graph.constants[name].array
        return (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    return extremes.get(name)
