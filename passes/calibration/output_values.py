"""Which values decide what the user compares: those that reach a graph output without another rounding in between."""

from __future__ import annotations

from npuq.ir import Graph
from npuq.ir.ops.reduce import LogSoftmax, Softmax

from ..lowering import Kind, activations, kind_of


def output_values(graph: Graph) -> frozenset[str]:
    """Graph outputs, and the values that reach one through ops that move elements, or through a softmax.

    A histogram method that clips them would tie the greatest, so they keep their whole range.
    """
    found = set(graph.returned)
    for node in reversed(graph.nodes):
        passes_on = kind_of(graph, node) is Kind.MOVE or isinstance(node.op, (Softmax, LogSoftmax))
        if passes_on and found.intersection(node.results):
            found.update(activations(graph, node))
    return frozenset(found)
