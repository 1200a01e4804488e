"""Which values decide what the user compares: those that reach a graph output without another rounding in between."""

from __future__ import annotations

from npuq.ir import Graph, Node
from npuq.ir.ops.reduce import LogSoftmax, Softmax

from ..lowering import LOWERINGS, Kind, activations


def output_values(graph: Graph) -> frozenset[str]:
    """Graph outputs, and the values that reach one through ops that move elements, or through a softmax.

    A histogram method that clips them would tie the greatest, so they keep their whole range.
    """
    found = set(graph.returned)
    for node in reversed(graph.nodes):
        if found.intersection(node.results) and (moves(graph, node) or isinstance(node.op, (Softmax, LogSoftmax))):
            found.update(activations(graph, node))
    return frozenset(found)


def moves(graph: Graph, node: Node) -> bool:
    """Whether the op gives elements of its operands unchanged."""
    lowering = LOWERINGS.get(type(node.op))
    return lowering is not None and lowering.kind_of(graph, node) is Kind.MOVE
