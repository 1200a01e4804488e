"""Converters of operators that read or write elements at computed places."""

from __future__ import annotations

from npuq.ir import require
from npuq.ir.ops.scatter import GatherNd, Reduction, ScatterElements, ScatterNd

from .axes import front
from .registry import Context, Node, converts

REDUCTIONS: dict[str, Reduction] = {"none": "none", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@converts("GatherND")
def gather_nd(context: Context, node: Node) -> str:
    return context.add(GatherNd(batch=node.int("batch_dims", 0)), node.operand(0), node.operand(1))


@converts("ScatterND")
def scatter_nd(context: Context, node: Node) -> str:
    return context.add(ScatterNd(reduction=_reduction(node)), *map(node.operand, range(3)))


def scatter_elements(context: Context, node: Node) -> str:
    x = node.operand(0)
    axis = front(node.int("axis", 0), context.type(x).rank)
    return context.add(ScatterElements(axis=axis, reduction=_reduction(node)), x, node.operand(1), node.operand(2))


for _name in ("Scatter", "ScatterElements"):
    converts(_name)(scatter_elements)


def _reduction(node: Node) -> Reduction:
    reduction = node.string("reduction", "none")
    require(reduction in REDUCTIONS, f"reduction {reduction!r}, one of {', '.join(REDUCTIONS)} wanted")
    return REDUCTIONS[reduction]
