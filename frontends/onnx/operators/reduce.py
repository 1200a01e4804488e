"""Converters of reductions, positions of extremes, and softmaxes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from npuq.ir import Op, ops, require

from ...context import Context, Node
from ..registry import converts
from .axes import fronts, optional_integers, rows

REDUCTIONS: dict[str, tuple[Op | None, type[ops.Reduction], Op | None]] = {
    "ReduceL1": (ops.Abs(), ops.ReduceSum, None),
    "ReduceL2": (ops.Mul(), ops.ReduceSum, ops.Sqrt()),
    "ReduceLogSum": (None, ops.ReduceSum, ops.Log()),
    "ReduceLogSumExp": (None, ops.ReduceLogSumExp, None),
    "ReduceMax": (None, ops.ReduceMax, None),
    "ReduceMean": (None, ops.ReduceMean, None),
    "ReduceMin": (None, ops.ReduceMin, None),
    "ReduceProd": (None, ops.ReduceProd, None),
    "ReduceSum": (None, ops.ReduceSum, None),
    "ReduceSumSquare": (ops.Mul(), ops.ReduceSum, None),
}
"""The op before the reduction, the reduction, and the op after it."""


def _reduction(before: Op | None, kind: type[ops.Reduction], after: Op | None, context: Context, node: Node) -> str:
    """No axes mean all axes, unless `noop_with_empty_axes` says none."""
    x, rank = context.x, len(context.shape)
    axes = optional_integers(context, node, "axes", 1) or ()
    if not axes and not node.flag("noop_with_empty_axes", False):
        axes = tuple(range(rank))
    if before is not None:
        x = context.add(before, x, x) if isinstance(before, ops.Mul) else context.add(before)
    result = context.add(kind(axes=tuple(sorted(fronts(axes, rank))), keep=node.flag("keepdims", True)), x)
    return result if after is None else context.add(after, result)


for _name, (_before, _kind, _after) in REDUCTIONS.items():
    converts(_name)(partial(_reduction, _before, _kind, _after))


def _position(kind: type[ops.ArgMax] | type[ops.ArgMin], context: Context, node: Node) -> str:
    axis, keep = context.axis(node.int("axis", 0)), node.flag("keepdims", True)
    return context.add(kind(axis=axis, keep=keep, last=node.flag("select_last_index", False)))


converts("ArgMax")(partial(_position, ops.ArgMax))
converts("ArgMin")(partial(_position, ops.ArgMin))


@converts("CumSum")
def cumsum(context: Context, node: Node) -> str:
    require(context.type(node.operand(1)).size == 1, "an axis wanted")
    (axis,) = context.integers(1, "the axis")
    exclusive, reverse = node.flag("exclusive", False), node.flag("reverse", False)
    return context.add(ops.CumSum(axis=context.axis(axis), exclusive=exclusive, reverse=reverse))


@converts("TopK")
def top_k(context: Context, node: Node) -> tuple[str, ...]:
    """The count is an attribute before opset 10; sorted results are valid unsorted ones."""
    count = context.integers(1, "k") if node.optional(1) else (node.int("k"),)
    require(len(count) == 1, f"k {count}, one number wanted")
    axis = context.axis(node.int("axis", -1))
    return context.add_all(ops.TopK(axis=axis, count=count[0], largest=node.flag("largest", True)))


Kind = Callable[..., Op]


def _softmax_of_rows(kind: Kind, context: Context, node: Node) -> str:
    """Before opset 13 the operand is a matrix whose rows begin at `axis`."""
    matrix, shape = rows(context, node), context.shape
    if node.int("axis", 1) in (-1, len(shape) - 1):
        return context.add(kind(axis=len(shape) - 1))
    result = context.add(kind(axis=1), context.add(ops.Reshape(shape=matrix)))
    return context.add(ops.Reshape(shape=shape), result)


def _softmax(kind: Kind, context: Context, node: Node) -> str:
    return context.add(kind(axis=context.axis(node.int("axis", -1))))


for _softmax_name, _softmax_kind in (("Softmax", ops.Softmax), ("LogSoftmax", ops.LogSoftmax)):
    converts(_softmax_name)(partial(_softmax_of_rows, _softmax_kind))
    converts(_softmax_name, since=13)(partial(_softmax, _softmax_kind))


@converts("Hardmax")
def hardmax_of_rows(context: Context, node: Node) -> str:
    """Before opset 13 the operand is a matrix whose rows begin at `axis`."""
    matrix = context.add(ops.Reshape(shape=rows(context, node)))
    return context.add(ops.Reshape(shape=context.shape), _hardmax(context, matrix, 1))


@converts("Hardmax", since=13)
def hardmax(context: Context, node: Node) -> str:
    return _hardmax(context, context.x, context.axis(node.int("axis", -1)))


def _hardmax(context: Context, x: str, axis: int) -> str:
    """1 at the first of the greatest elements, 0 elsewhere."""
    type_ = context.type(x)
    places = np.arange(type_.shape[axis], dtype=np.int64).reshape((-1,) + (1,) * (type_.rank - 1 - axis))
    greatest = context.add(ops.ArgMax(axis=axis, keep=True), x)
    return context.add(ops.Cast(to=type_.dtype), context.add(ops.Equal(), greatest, context.constant(places, "places")))
