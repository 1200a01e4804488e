"""Recognition of the length of a vector of two numbers, such as the magnitude of a Fourier transform."""

from __future__ import annotations

from npuq.ir import Graph, Node
from npuq.ir.ops.elementwise import Add, Hypot, Mul, Pow, Sqrt

from ..pipeline import graph_pass
from .arithmetic_forms import Formula, recognized, scalar


@graph_pass("recognize-hypot")
def recognize_hypot(graph: Graph) -> Graph:
    """Replace sqrt(a * a + b * b) by one op, which needs no quantized squares: those of small values are 0."""
    return recognized(graph, _hypot)


def _hypot(graph: Graph, node: Node) -> Formula | None:
    total = graph.producers.get(node.operands[0]) if isinstance(node.op, Sqrt) else None
    if total is None or not isinstance(total.op, Add) or not node.type.dtype.is_float:
        return None
    first, second = (_root(graph, operand) for operand in total.operands)
    return (Hypot(), (first, second)) if first and second else None


def _root(graph: Graph, name: str) -> str | None:
    """The value whose square a value is."""
    node = graph.producers.get(name)
    if node is None:
        return None
    if isinstance(node.op, Mul):
        return node.operands[0] if node.operands[0] == node.operands[1] else None
    squares = isinstance(node.op, Pow) and scalar(graph, node.operands[1]) == 2
    return node.operands[0] if squares and graph.types[node.operands[0]] == node.type else None
