"""Recognition of activations that an exporter wrote as a choice by the sign of their operand."""

from __future__ import annotations

from npuq.ir import Graph, Node, Op
from npuq.ir.ops.activation import Elu, LeakyRelu
from npuq.ir.ops.elementwise import Exp, Mul, Sub
from npuq.ir.ops.logic import Greater, GreaterOrEqual, Less, LessOrEqual, Where

from ..pipeline import graph_pass
from .arithmetic_forms import Formula, polynomial, recognized, scalar


@graph_pass("recognize-branches")
def recognize_branches(graph: Graph) -> Graph:
    """Replace where(x > 0, x, a * x) by a leaky relu, and where(x > 0, x, a * (exp(x) - 1)) by an ELU."""
    return recognized(graph, _branches)


def _branches(graph: Graph, node: Node) -> Formula | None:
    parts = _by_sign(graph, node)
    if parts is None or not node.type.dtype.is_float:
        return None
    x, above, below = parts
    op = _leaky(graph, x, below) or _elu(graph, x, below)
    return (op, (x,)) if op is not None and above == x and graph.types[x] == node.type else None


def _by_sign(graph: Graph, node: Node | None) -> tuple[str, str, str] | None:
    """The value by whose sign a node chooses, its choice above 0, and that below."""
    if node is None or not isinstance(node.op, Where):
        return None
    test = graph.producers.get(node.operands[0])
    if test is None or not isinstance(test.op, (Greater, GreaterOrEqual, Less, LessOrEqual)):
        return None
    x, zero = test.operands
    if scalar(graph, zero) != 0:
        return None
    yes, no = node.operands[1:]
    return (x, yes, no) if isinstance(test.op, (Greater, GreaterOrEqual)) else (x, no, yes)


def _leaky(graph: Graph, x: str, below: str) -> Op | None:
    """The leaky relu with this line below 0."""
    line = polynomial(graph, below, x)
    return None if line is None or line[[0, 2, 3]].any() else LeakyRelu(alpha=float(line[1]))


def _elu(graph: Graph, x: str, below: str) -> Op | None:
    """The ELU with this curve below 0; its exp may read zeros in the place of positive elements."""
    alpha, node = 1.0, graph.producers.get(below)
    if node is not None and isinstance(node.op, Mul):
        factors = [scalar(graph, operand) for operand in node.operands]
        known = [factor for factor in factors if factor is not None]
        if len(known) != 1:
            return None
        alpha, node = known[0], graph.producers.get(node.operands[factors.index(None)])
    if node is None or not isinstance(node.op, Sub) or scalar(graph, node.operands[1]) != 1:
        return None
    power = graph.producers.get(node.operands[0])
    if power is None or not isinstance(power.op, Exp):
        return None
    inner = power.operands[0]
    guarded = _by_sign(graph, graph.producers.get(inner))
    fits = inner == x or (guarded is not None and guarded[::2] == (x, x) and scalar(graph, guarded[1]) == 0)
    return Elu(alpha=alpha) if fits else None
