"""Output Concats of parts with very different ranges run on the host, so that each part has a scale of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from npuq.ir import Builder, Graph, Node, rewrite
from npuq.ir.ops.shape import Concat

from ..lowering import Kind, kind_of
from ..lowering.plan import EVERYWHERE, plan_of
from ..pipeline import FOUND, graph_pass
from ..precision import Precisions
from ..scales import Range, activation_quantization, extremes_of
from ..target import Target, Width

LEAST_LEVELS = 32
"""The integers that a part must use at the shared scale."""


@graph_pass("split-output-concats")
def split_output_concats(
    graph: Graph, *, extremes: Mapping[str, Range] = FOUND, target: Target = FOUND, precision: Precisions = EVERYWHERE
) -> Graph:
    """Let a Concat run on the host, in float, where one of its parts would use too few integers at a shared scale.

    Next to boxes from 0 to 320, scores from 0 to 1 would use two integers of 8 bits. This concerns Concats that reach
    only graph outputs, through ops that move elements; these go to the host as well. `LEAST_LEVELS` integers are
    enough. `extremes` holds the least and the greatest element of values by name.
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
    """Whether a node's results reach only graph outputs, through ops that move elements."""
    users = [user for result in node.results for user in graph.users[result]]
    return all(kind_of(graph, user) is Kind.MOVE and _only_returned(graph, user) for user in users)


def _suffers(graph: Graph, node: Node, extremes: Mapping[str, Range], width: Width) -> str:
    """The reason why one scale for all parts is too coarse; empty where it is not."""
    constants = {name: graph.constant(name) for name in node.operands}
    known = {name: extremes.get(name) if array is None else extremes_of(array) for name, array in constants.items()}
    parts = {name: range_ for name, range_ in known.items() if range_ is not None}
    if len(parts) < len(known):
        return ""
    whole = min(low for low, _ in parts.values()), max(high for _, high in parts.values())
    levels = {name: _levels(range_, whole, width) for name, range_ in parts.items()}
    worst = min(levels, key=lambda name: levels[name])
    if levels[worst] >= LEAST_LEVELS or not any(parts[worst]):
        return ""
    own = _levels(parts[worst], parts[worst], width)
    return f"at one scale for all parts %{worst} would keep {levels[worst]} values of its {own}"


def _levels(part: Range, scaled: Range, width: Width) -> int:
    """The integers that a part uses at the scale of a range."""
    return int((max(part[1], 0.0) - min(part[0], 0.0)) / activation_quantization(scaled, width).scale) + 1
