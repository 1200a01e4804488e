"""Ops that move or select elements: their integers keep the scale, indices stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npuq.ir import Graph, Node, Op
from npuq.ir.ops.quant import to_integers
from npuq.ir.ops.resize import Resize
from npuq.ir.ops.scatter import GatherNd, Scatter, ScatterElements, ScatterNd
from npuq.ir.ops.shape import Concat, Expand, Gather, GatherElements, Pad, Reshape, Slice, Tile, Transpose

from ..target import Target
from .context import Context, Emitted, laid_out, order
from .registry import Lowering, is_known


@Lowering().of(Reshape)
def reshape(context: Context, op: Reshape) -> Emitted:
    """Free from channels last too, where each pixel's channels are all there is.

    One that moves axes of size 1 alone, as from channels last to channels first, leaves the integers in their layout.
    """
    shape, last = context.shape(context.x), context.is_last(context.x)
    if 3 <= len(shape) <= 5 and not last and _moves_ones(shape, op.shape):
        return Emitted(context.take(context.x, result=context.result), last=True)
    flat = len(shape) >= 3 and all(size == 1 for size in shape[2:])
    return context.emit(op, context.take(context.x, last=flat and last, result=context.result))


def _moves_ones(shape: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Whether a reshape is the step from channels last to channels first, past axes of size 1."""
    first = order(len(shape), last=False)
    moved = [axis for axis in first if shape[axis] != 1]
    return result != shape and result == tuple(shape[axis] for axis in first) and moved == sorted(moved)


@Lowering().of(Transpose)
def transpose(context: Context, op: Transpose) -> Emitted:
    """From whichever layout is at hand; nothing to do where that is the wanted one."""
    rank, last = len(op.order), context.is_last(context.x)
    here = tuple(range(rank))
    places = order(rank, last=False) if last else here
    axes = tuple(places[axis] for axis in op.order)
    x = context.take(context.x, last=last, result=context.result)
    if 3 <= rank <= 5 and axes in (here, order(rank, last=False)):
        return Emitted(x, last=axes != here)
    return context.emit(Transpose(order=axes), x)


@Lowering().of(Slice, Tile, Expand)
def moved(context: Context, op: Op) -> Emitted:
    """In the layout that is at hand; a value that gets more axes is channels first."""
    rank = context.node.type.rank
    last = len(context.shape(context.x)) == rank and context.is_last(context.x)
    x = context.take(context.x, last=last, result=context.result)
    return context.emit(laid_out(op, rank, last=last), x, last=last)


@Lowering().of(Concat)
def concat(context: Context, op: Concat) -> Emitted:
    """Operands of other scales are requantized to the result's first."""
    operands = context.node.operands
    last = any(map(context.is_last, operands))
    names = [context.take(operand, last=last, result=context.result) for operand in operands]
    return context.emit(laid_out(op, context.node.type.rank, last=last), *names, last=last)


@Lowering().of(Pad)
def pad(context: Context, op: Pad) -> Emitted:
    """The padding's value becomes the integer that stands for it."""
    value = to_integers(np.float64(op.value), context.result.quant, *context.limits(context.result.dtype))
    return moved(context, replace(op, value=float(value) if op.mode == "constant" else 0.0))


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


def computed_indices(graph: Graph, node: Node, target: Target) -> str | None:
    """Indices are known when the program is made, or an input of the network as it is (token ids)."""
    indices = node.operands[1]
    if is_known(graph, indices) or indices in graph.inputs:
        return None
    return f"indices %{indices} are computed, known ones or an input of the network wanted"


@Lowering(obstacle=computed_indices, raw=(1,)).of(Gather, GatherElements, GatherNd)
def gather(context: Context, op: Op) -> Emitted:
    """Quantize the data, such as a table of embeddings, and keep the indices."""
    x, indices = context.node.operands
    return context.emit(op, context.take(x, result=context.result), context.raw(indices))


def joins_or_computes(graph: Graph, node: Node, target: Target) -> str | None:
    """Updates replace elements, with no reduction, at known indices or those of an input of the network."""
    op = node.op
    assert isinstance(op, Scatter)
    if op.reduction != "none":
        return f"there is no integer form of {op.name} with the reduction {op.reduction}"
    return computed_indices(graph, node, target)


@Lowering(obstacle=joins_or_computes, raw=(1,)).of(ScatterNd, ScatterElements)
def scatter(context: Context, op: Scatter) -> Emitted:
    """Requantize data and updates to the result's scale where theirs differs."""
    x, indices, updates = context.node.operands
    data, new = (context.take(value, result=context.result) for value in (x, updates))
    return context.emit(op, data, context.raw(indices), new)
