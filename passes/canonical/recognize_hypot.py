"""Recognition of the length of a vector of two numbers, such as the magnitude of a Fourier transform."""

from __future__ import annotations

from npuq.ir import Builder, Graph, Node, rewrite
from npuq.ir.ops.elementwise import Add, Hypot, Mul, Pow, Sqrt

from ..pipeline import graph_pass
from .arithmetic_forms import scalar


@graph_pass("recognize-hypot")
def recognize_hypot(graph: Graph) -> Graph:
    """Replace sqrt(a * a + b * b) by one op, whose integers need no squares: those of quiet values would all be 0."""
    renamed: dict[str, str] = {}

    def recognize(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        renamed.update(zip(node.operands, operands, strict=True))
        total = graph.producers.get(node.operands[0]) if isinstance(node.op, Sqrt) else None
        if total is None or not isinstance(total.op, Add):
            return None
        roots = [_root(graph, operand) for operand in total.operands]
        if any(root is None for root in roots) or not node.type.dtype.is_float:
            return None
        return builder.add(Hypot(), *(renamed[root] for root in roots if root), name=node.result, loc=node.loc)

    return rewrite(graph, recognize)


def _root(graph: Graph, name: str) -> str | None:
    """The value whose square a value is."""
    node = graph.producers.get(name)
    if node is None:
        return None
    if isinstance(node.op, Mul):
        return node.operands[0] if node.operands[0] == node.operands[1] else None
    squares = isinstance(node.op, Pow) and scalar(graph, node.operands[1]) == 2
    return node.operands[0] if squares and graph.types[node.operands[0]] == node.type else None
