"""Converters of operators that read or write elements at computed places."""

from __future__ import annotations

import numpy as np

from npuq.ir import require
from npuq.ir.ops.scatter import GatherNd, Reduction, ScatterElements, ScatterNd

from .axes import front
from .movement import check_indices
from .registry import Context, Node, converts

REDUCTIONS: dict[str, Reduction] = {"none": "none", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@converts("GatherND")
def gather_nd(context: Context, node: Node) -> str:
    op = GatherNd(batch=node.int("batch_dims", 0))
    _check_places(context, node, op.batch)
    return context.add(op, node.operand(0), node.operand(1))


@converts("ScatterND")
def scatter_nd(context: Context, node: Node) -> str:
    _check_places(context, node, 0)
    return context.add(ScatterNd(reduction=_reduction(node)), *map(node.operand, range(3)))


def scatter_elements(context: Context, node: Node) -> str:
    x = node.operand(0)
    axis = front(node.int("axis", 0), context.type(x).rank)
    check_indices(context.known(node.operand(1)), context.type(x).shape[axis])
    return context.add(ScatterElements(axis=axis, reduction=_reduction(node)), x, node.operand(1), node.operand(2))


for _name in ("Scatter", "ScatterElements"):
    converts(_name)(scatter_elements)


def _check_places(context: Context, node: Node, batch: int) -> None:
    """Each entry of the indices' last axis stays on its own axis of the operand."""
    indices, shape = context.known(node.operand(1)), context.type(node.operand(0)).shape
    if indices is not None and indices.ndim:
        for part, size in zip(np.moveaxis(indices, -1, 0), shape[batch:], strict=False):
            check_indices(part, size)


def _reduction(node: Node) -> Reduction:
    reduction = node.string("reduction", "none")
    require(reduction in REDUCTIONS, f"reduction {reduction!r}, one of {', '.join(REDUCTIONS)} wanted")
    return REDUCTIONS[reduction]
