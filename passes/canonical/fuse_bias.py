"""Fusion of per-channel constants, added or multiplied, into the weights before them."""

from __future__ import annotations

import numpy as np

from npuq.ir import Graph, Node
from npuq.ir.ops.elementwise import Add, Div, Mul, Sub

from ..pipeline import graph_pass
from .affine import Affine, into_previous
from .arithmetic_forms import scalar

ARITHMETIC = (Add, Sub, Mul, Div)


@graph_pass("fuse-bias")
def fuse_bias(graph: Graph) -> Graph:
    """Fold add, sub, mul and div by constants of one number per channel into the conv, conv_transpose or matmul before.

    Nothing else may read that op's result. Weights are computed in float64 and rounded once.
    """
    return into_previous(graph, constant_step, ARITHMETIC)


def constant_step(graph: Graph, node: Node, axis: int) -> tuple[Affine, str] | None:
    """An arithmetic op with one constant operand of one number per channel, or one number for all."""
    if not isinstance(node.op, ARITHMETIC) or axis >= node.type.rank:
        return None
    for x, other in (node.operands, node.operands[::-1]):
        values = _per_channel(graph, other, node, axis)
        if values is None or graph.types[x] != node.type:
            continue
        ones, zeros = np.ones_like(values), np.zeros_like(values)
        match node.op:
            case Add():
                return Affine(ones, values), x
            case Sub():
                return (Affine(ones, -values) if x == node.operands[0] else Affine(-ones, values)), x
            case Mul():
                return Affine(values, zeros), x
            case Div() if x == node.operands[0] and np.all(values != 0):
                return Affine(1 / values, zeros), x
    return None


def _per_channel(graph: Graph, name: str, node: Node, axis: int) -> np.ndarray | None:
    """A constant as one float64 number per channel, where it is the same along all other axes."""
    array = graph.constant(name)
    if array is None or not node.type.dtype.is_float or array.ndim > node.type.rank:
        return None
    channels = node.type.shape[axis]
    number = scalar(graph, name)
    if number is not None:
        return np.full(channels, number)
    shape = (1,) * (node.type.rank - array.ndim) + array.shape
    wanted = tuple(channels if index == axis else 1 for index in range(node.type.rank))
    return array.astype(np.float64).ravel() if shape == wanted else None
