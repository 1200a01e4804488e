"""Ops that move or select elements: their integers keep the scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from npuq.ir import Graph, Node, Op
from npuq.ir.ops.quant import to_integers
from npuq.ir.ops.resize import Resize
from npuq.ir.ops.shape import Concat, Expand, Pad, Reshape, Slice, Tile, Transpose

from ..target import Target
from .context import Context, Emitted, Result, moved_axis, order
from .registry import lowers

T = TypeVar("T")


def per_axis(values: Sequence[T], *, last: bool) -> tuple[T, ...]:
    """An entry per axis of the user's layout, in the order of a layout's axes."""
    return tuple(values[axis] for axis in order(len(values), last=True)) if last else tuple(values)


def _one(context: Context, op: Op, node: Node, result: Result, *, last: bool) -> Emitted:
    x = context.take(node.operands[0], last=last, result=result)
    return Emitted(context.emit(op, x, result=result), last)


def _is_last(context: Context, node: Node) -> bool:
    return node.type.rank >= 3 and context.is_last(node.operands[0])


@lowers(Reshape)
def reshape(context: Context, op: Reshape, node: Node, result: Result) -> Emitted:
    """Free from channels last too, where each pixel's channels are all there is.

    One that moves axes of size 1 alone, as from channels last to channels first, leaves the integers in their layout.
    """
    shape = context.source.types[node.operands[0]].shape
    rank, last = len(shape), _is_last(context, node)
    if 3 <= rank <= 5 and not last and _moves_ones(shape, node.type.shape):
        return Emitted(context.take(node.operands[0], result=result), last=True)
    flat = len(shape) >= 3 and all(size == 1 for size in shape[2:])
    x = context.take(node.operands[0], last=flat and context.is_last(node.operands[0]), result=result)
    return Emitted(context.emit(Reshape(shape=node.type.shape), x, result=result), last=False)


def _moves_ones(shape: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Whether a reshape is the step from channels last to channels first, past axes of size 1."""
    first = order(len(shape), last=False)
    moved = [axis for axis in first if shape[axis] != 1]
    return result != shape and result == tuple(shape[axis] for axis in first) and moved == sorted(moved)


@lowers(Transpose)
def transpose(context: Context, op: Transpose, node: Node, result: Result) -> Emitted:
    """From whichever layout is at hand; nothing to do where that is the wanted one."""
    rank, last = len(op.order), _is_last(context, node)
    axes = tuple(moved_axis(axis, rank, last=last) for axis in op.order)
    x = context.take(node.operands[0], last=last, result=result)
    if 3 <= rank <= 5 and axes in (tuple(range(rank)), order(rank, last=False)):
        return Emitted(x, last=axes != tuple(range(rank)))
    return Emitted(context.emit(Transpose(order=axes), x, result=result), last=False)


@lowers(Slice)
def slice_(context: Context, op: Slice, node: Node, result: Result) -> Emitted:
    last = _is_last(context, node)
    moved = Slice(
        starts=per_axis(op.starts, last=last), stops=per_axis(op.stops, last=last), steps=per_axis(op.steps, last=last)
    )
    return _one(context, moved, node, result, last=last)


@lowers(Concat)
def concat(context: Context, op: Concat, node: Node, result: Result) -> Emitted:
    """Operands of other scales are requantized to the result's first."""
    last = node.type.rank >= 3 and any(map(context.is_last, node.operands))
    operands = [context.take(operand, last=last, result=result) for operand in node.operands]
    moved = Concat(axis=moved_axis(op.axis, node.type.rank, last=last))
    return Emitted(context.emit(moved, *operands, result=result), last)


@lowers(Pad)
def pad(context: Context, op: Pad, node: Node, result: Result) -> Emitted:
    """The padding's value becomes the integer that stands for it."""
    last = _is_last(context, node)
    value = to_integers(np.float64(op.value), result.quant, *context.limits(result.dtype))
    moved = replace(op, padding=per_axis(op.padding, last=last), value=float(value) if op.mode == "constant" else 0.0)
    return _one(context, moved, node, result, last=last)


@lowers(Tile)
def tile(context: Context, op: Tile, node: Node, result: Result) -> Emitted:
    last = _is_last(context, node)
    return _one(context, Tile(repeats=per_axis(op.repeats, last=last)), node, result, last=last)


@lowers(Expand)
def expand(context: Context, op: Expand, node: Node, result: Result) -> Emitted:
    same_rank = context.source.types[node.operands[0]].rank == len(op.shape)
    last = same_rank and _is_last(context, node)
    return _one(context, Expand(shape=per_axis(op.shape, last=last)), node, result, last=last)


def not_resizable(graph: Graph, node: Node, target: Target) -> str | None:
    """Resizing selects elements (nearest) or interpolates over height and width (linear)."""
    op = node.op
    assert isinstance(op, Resize)
    if op.coordinates == "tf_crop_and_resize":
        return "there is no integer form of crop and resize"
    if op.mode == "nearest":
        return None
    if op.antialias:
        return "there is no integer form of antialiased resizing"
    if op.mode == "cubic":
        return "there is no integer form of cubic interpolation"
    shape = graph.types[node.operands[0]].shape
    if len(shape) != 4 or shape[:2] != op.shape[:2]:
        return f"linear interpolation from {shape} to {op.shape}, only height and width may change"
    return None


def select(context: Context, op: Resize, node: Node, result: Result) -> Emitted:
    """Select rows and columns."""
    last = _is_last(context, node)
    moved = replace(op, shape=per_axis(op.shape, last=last), scales=per_axis(op.scales, last=last))
    return _one(context, moved, node, result, last=last)
