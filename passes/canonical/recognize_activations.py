"""Recognition of activations that an exporter wrote out in elementary arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from npuq.ir import Graph, Node, Op
from npuq.ir.ops.activation import Clip, Gelu, HardSigmoid, HardSwish, Mish, Relu, Sigmoid, Silu, Softplus, Tanh
from npuq.ir.ops.elementwise import Div, Erf, Maximum, Minimum, Mul, Neg

from ..pipeline import graph_pass
from .arithmetic_forms import Formula, affine_root, factors, limits, polynomial, recognized

TOLERANCE = 2.0**-10
"""The relative error that a constant may have: two roundings to half precision, in which some files store them."""

TANH_SCALE = math.sqrt(2 / math.pi)
"""The tanh form of GELU is 0.5 x (1 + tanh(TANH_SCALE (x + TANH_CUBE x^3))): Hendrycks and Gimpel, arXiv:1606.08415."""
TANH_CUBE = 0.044715


@graph_pass("recognize-activations")
def recognize_activations(graph: Graph) -> Graph:
    """Replace written-out hard sigmoid, HardSwish, SiLU, GELU (both forms) and Mish by their one op.

    Factors and terms may stand in any order; divisions, powers, minimum and maximum may stand for products and clips.
    """
    return recognized(graph, lambda graph, node: _hard_sigmoid(graph, node) or _gated(graph, node))


def _hard_sigmoid(graph: Graph, node: Node) -> Formula | None:
    """scale * min(max(slope * x + start, 0), 1 / scale)."""
    if not isinstance(node.op, (Clip, Maximum, Minimum, Relu, Mul, Div)) or not node.type.dtype.is_float:
        return None
    scale, leaves = factors(graph, node.result)
    if len(leaves) != 1:
        return None
    inner, low, high = limits(graph, leaves[0])
    x = affine_root(graph, inner)
    line = polynomial(graph, inner, x)
    if x == inner or line is None or scale <= 0 or low != 0 or not _close(scale * high, 1):
        return None
    if graph.types[x] != node.type or line[1] == 0:
        return None
    return HardSigmoid(alpha=float(scale * line[1]), beta=float(scale * line[0])), (x,)


def _gated(graph: Graph, node: Node) -> Formula | None:
    """x times a function of x."""
    if not isinstance(node.op, (Mul, Div)) or not node.type.dtype.is_float:
        return None
    for x in dict.fromkeys(_parts(graph, node.result)):
        scale, leaves = factors(graph, node.result, x)
        if len(leaves) == 2 and x in leaves and graph.types[x] == node.type:
            op = _gate(graph, scale, leaves[1 if leaves[0] == x else 0], x)
            if op is not None:
                return op, (x,)
    return None


def _parts(graph: Graph, name: str, depth: int = 3) -> Iterator[str]:
    """The values that a product is made of, whole products before their factors."""
    node = graph.producers.get(name)
    if node is None or not depth or not isinstance(node.op, (Mul, Div, Neg)):
        return
    yield from node.operands
    for operand in node.operands:
        yield from _parts(graph, operand, depth - 1)


def _gate(graph: Graph, scale: float, gate: str, x: str) -> Op | None:
    """The op that is scale * x * gate."""
    made = graph.producers.get(gate)
    if made is None or gate == x:
        return None
    match made.op:
        case Sigmoid() if made.operands == (x,):
            return Silu() if _close(scale, 1) else None
        case HardSigmoid(alpha=alpha, beta=beta) if made.operands == (x,):
            return HardSwish() if _close((scale, alpha, beta), (1, 1 / 6, 1 / 2)) else None
        case Tanh() if made.operands != (x,):
            softplus = graph.producers.get(made.operands[0])
            mish = softplus is not None and isinstance(softplus.op, Softplus) and softplus.operands == (x,)
            return Mish() if mish and _close(scale, 1) else None
    return _hard_swish(graph, scale, gate, x) or _gelu(graph, scale, gate, x)


def _hard_swish(graph: Graph, scale: float, gate: str, x: str) -> Op | None:
    """x * min(max(x + 3, 0), 6) / 6."""
    inner, low, high = limits(graph, gate)
    line = polynomial(graph, inner, x)
    if line is None or low != 0 or not _close(scale * high, 1):
        return None
    return HardSwish() if _close(scale * line, (1 / 2, 1 / 6, 0, 0)) else None


def _gelu(graph: Graph, scale: float, gate: str, x: str) -> Op | None:
    """x * (1 + s) / 2 with the odd curve s = erf(x / sqrt(2)), or a tanh close to it; 1 - s(-x) is the same."""
    curve = affine_root(graph, gate)
    made, line = graph.producers.get(curve), polynomial(graph, gate, curve)
    if made is None or line is None or not _close(scale * line, (1 / 2, math.copysign(1 / 2, scale * line[1]), 0, 0)):
        return None
    argument = polynomial(graph, made.operands[0], x) if made.operands else None
    if argument is None:
        return None
    argument = argument * math.copysign(1, scale * line[1])
    if isinstance(made.op, Erf) and _close(argument, (0, math.sqrt(1 / 2), 0, 0)):
        return Gelu()
    if isinstance(made.op, Tanh) and _close(argument, (0, TANH_SCALE, 0, TANH_SCALE * TANH_CUBE)):
        return Gelu(approximate="tanh")
    return None


def _close(values: object, wanted: object) -> bool:
    """Whether the numbers are the wanted ones, each up to the tolerance."""
    return bool(np.allclose(np.asarray(values, np.float64), np.asarray(wanted, np.float64), rtol=TOLERANCE, atol=0))
