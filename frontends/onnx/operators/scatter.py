"""Converters of operators that gather or scatter elements at computed indices."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType, ops, require
from npuq.ir.ops.scatter import Reduction

from ...context import Context, Node, front
from ..registry import converts
from .movement import check_indices

REDUCTIONS: dict[str, Reduction] = {"none": "none", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@converts("GatherND")
def gather_nd(context: Context, node: Node) -> str:
    op = ops.GatherNd(batch=node.int("batch_dims", 0))
    _check_places(context, node, op.batch)
    return context.add(op, node.operand(0), node.operand(1))


@converts("ScatterND")
def scatter_nd(context: Context, node: Node) -> str:
    _check_places(context, node, 0)
    return context.add(ops.ScatterNd(reduction=_reduction(node)), *map(node.operand, range(3)))


@converts("Scatter")
@converts("ScatterElements")
def scatter_elements(context: Context, node: Node) -> str:
    axis = context.axis(node.int("axis", 0))
    check_indices(context.known(node.operand(1)), context.shape[axis])
    op = ops.ScatterElements(axis=axis, reduction=_reduction(node))
    return context.add(op, *map(node.operand, range(3)))


@converts("TensorScatter")
def tensor_scatter(context: Context, node: Node) -> str:
    """Each sample's update is written into its cache from its own index on, or from 0."""
    cache, update = node.operand(0), node.operand(1)
    shape, sizes = context.type(cache).shape, context.type(update).shape
    axis, mode = front(node.int("axis", -2), len(shape)), node.string("mode", "linear")
    require(mode in ("linear", "circular"), f"mode {mode!r} is neither linear nor circular")
    require(axis > 0, "axis 0 is that of the samples")
    require(len(sizes) == len(shape), f"an update of shape {sizes} for a cache of shape {shape}")
    along = np.arange(sizes[axis]).reshape(-1, *(1,) * (len(shape) - 1 - axis))
    at = context.constant(along, "steps")
    first = node.optional(2)
    if first is not None:
        start = context.add(ops.Reshape(shape=(sizes[0], *(1,) * (len(shape) - 1))), first)
        at = context.add(ops.Add(), context.add(ops.Cast(to=DType.I64), start), at)
    if mode == "circular":
        at = context.add(ops.Mod(), at, context.constant(np.asarray(shape[axis]), "length"))
    check_indices(context.known(at), shape[axis])
    return context.add(ops.ScatterElements(axis=axis), cache, context.add(ops.Expand(shape=sizes), at), update)


def _check_places(context: Context, node: Node, batch: int) -> None:
    """Clamp each entry of the indices' last axis to its axis of the operand."""
    indices, shape = context.known(node.operand(1)), context.type(node.operand(0)).shape
    if indices is not None and indices.ndim:
        for part, size in zip(np.moveaxis(indices, -1, 0), shape[batch:], strict=False):
            check_indices(part, size)


def _reduction(node: Node) -> Reduction:
    reduction = node.string("reduction", "none")
    require(reduction in REDUCTIONS, f"reduction {reduction!r}, one of {', '.join(REDUCTIONS)} wanted")
    return REDUCTIONS[reduction]
