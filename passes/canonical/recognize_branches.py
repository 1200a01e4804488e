"""Recognition of activations that an exporter wrote as a choice by the sign of their operand."""

from __future__ import annotations

from npuq.ir import Builder, Graph, Node, Op, rewrite
from npuq.ir.ops.activation import Elu, LeakyRelu
from npuq.ir.ops.elementwise import Exp, Mul, Sub
from npuq.ir.ops.logic import Greater, GreaterOrEqual, Less, LessOrEqual, Where

from ..pipeline import graph_pass
from .arithmetic_forms import polynomial, scalar


@graph_pass("recognize-branches")
def recognize_branches(graph: Graph) -> Graph:
    """Replace where(x > 0, x, a * x) by a leaky relu, and where(x > 0, x, a * (exp(x) - 1)) by an ELU."""
    renamed: dict[str, str] = {}

    def recognize(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        renamed.update(zip(node.operands, operands, strict=True))
        parts = _by_sign(graph, node.result) if isinstance(node.op, Where) else None
        if parts is None or not node.type.dtype.is_float or graph.types[parts[0]] != node.type:
            return None
        x, above, below = parts
        op = _leaky(graph, x, below) or _elu(graph, x, below)
        if above != x or op is None:
            return None
        return builder.add(op, renamed[x], name=node.result, loc=node.loc)

    return rewrite(graph, recognize)


def _by_sign(graph: Graph, name: str) -> tuple[str, str, str] | None:
    """The value whose sign a choice goes by, what it gives above 0, and what below."""
    node = graph.producers.get(name)
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
    if line is None or line[0] or line[2] or line[3]:
        return None
    return LeakyRelu(alpha=float(line[1]))


def _elu(graph: Graph, x: str, below: str) -> Op | None:
    """The ELU with this curve below 0, where exp may see 0 in the place of what lies above."""
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
    guarded = _by_sign(graph, inner)
    fits = inner == x or (guarded is not None and guarded[::2] == (x, x) and scalar(graph, guarded[1]) == 0)
    return Elu(alpha=alpha) if fits else None
