"""Recognition of a softmax that an exporter wrote out in elementary arithmetic."""

from __future__ import annotations

from npuq.ir import Graph, Node
from npuq.ir.ops.elementwise import Div, Exp, Mul, Reciprocal, Sub
from npuq.ir.ops.reduce import ReduceSum, Softmax
from npuq.ir.ops.shape import Reshape

from ..pipeline import graph_pass
from .arithmetic_forms import Formula, recognized


@graph_pass("recognize-softmax")
def recognize_softmax(graph: Graph) -> Graph:
    """Replace exp(x - m) / sum(exp(x - m)) over one axis by one op; m is any number per slice, as the greatest is."""
    return recognized(graph, _softmax)


def _softmax(graph: Graph, node: Node) -> Formula | None:
    if isinstance(node.op, Div):
        powers, total = node.operands
        return _normalized(graph, node, powers, total)
    if isinstance(node.op, Mul):
        for powers, inverse in (node.operands, node.operands[::-1]):
            made = graph.producers.get(inverse)
            if made is not None and isinstance(made.op, Reciprocal):
                return _normalized(graph, node, powers, made.operands[0])
    return None


def _normalized(graph: Graph, node: Node, powers: str, total: str) -> Formula | None:
    """Powers divided by their sum."""
    made, sum_ = graph.producers.get(powers), graph.producers.get(total)
    if sum_ is not None and isinstance(sum_.op, Reshape):
        sum_ = graph.producers.get(sum_.operands[0])
    if made is None or not isinstance(made.op, Exp) or sum_ is None or not isinstance(sum_.op, ReduceSum):
        return None
    if sum_.operands != (powers,) or len(sum_.op.axes) != 1 or node.type != made.type:
        return None
    (axis,) = sum_.op.axes
    wide = tuple(1 if at == axis else size for at, size in enumerate(node.type.shape))
    if graph.types[total].shape != wide:
        return None
    shifted = graph.producers.get(made.operands[0])
    if shifted is not None and isinstance(shifted.op, Sub):
        x, shift = shifted.operands
        shape = graph.types[shift].shape
        along = shape[axis - node.type.rank] if len(shape) >= node.type.rank - axis else 1
        if graph.types[x] == node.type and along == 1:
            return Softmax(axis=axis), (x,)
    return Softmax(axis=axis), made.operands
