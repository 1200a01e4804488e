"""Converters of sequences of tensors, which exist only during the import as names of their parts."""

from __future__ import annotations

import numpy as np

from npuq.ir import ops, require

from ...context import Context, Node, front
from ..registry import converts


@converts("SequenceEmpty")
def sequence_empty(context: Context, node: Node) -> str:
    return context.sequence_of(())


@converts("SequenceConstruct")
def sequence_construct(context: Context, node: Node) -> str:
    return context.sequence_of(node.all_operands())


@converts("SequenceInsert")
def sequence_insert(context: Context, node: Node) -> str:
    """Insert at the end, or before a constant position."""
    parts = list(context.sequence(node.operand(0)))
    place = len(parts) if node.optional(2) is None else _position(context, 2, len(parts) + 1)
    return context.sequence_of((*parts[:place], node.operand(1), *parts[place:]))


@converts("SequenceErase")
def sequence_erase(context: Context, node: Node) -> str:
    """Erase the last part, or that at a constant position."""
    parts = context.sequence(node.operand(0))
    place = len(parts) - 1 if node.optional(1) is None else _position(context, 1, len(parts))
    require(len(parts) > 0, "an empty sequence")
    return context.sequence_of((*parts[:place], *parts[place + 1 :]))


@converts("SequenceAt")
def sequence_at(context: Context, node: Node) -> str:
    parts = context.sequence(node.operand(0))
    return parts[_position(context, 1, len(parts))]


@converts("SequenceLength")
def sequence_length(context: Context, node: Node) -> str:
    return context.constant(np.asarray(len(context.sequence(node.operand(0))), np.int64))


@converts("ConcatFromSequence")
def concat_from_sequence(context: Context, node: Node) -> str:
    """With `new_axis` the parts are stacked."""
    parts = context.sequence(node.operand(0))
    require(len(parts) > 0, "an empty sequence")
    new_axis = node.flag("new_axis", False)
    axis = front(node.int("axis"), context.type(parts[0]).rank + new_axis)
    if new_axis:
        parts = tuple(context.unsqueezed(part, axis) for part in parts)
    return context.add(ops.Concat(axis=axis), *parts)


@converts("SplitToSequence")
def split_to_sequence(context: Context, node: Node) -> str:
    """Split into given sizes, into equal parts (the last may be smaller), or into single slices."""
    axis, shape = context.axis(node.int("axis", 0)), context.shape
    size, single = shape[axis], node.optional(1) is None
    sizes = () if single else context.integers(1, "the sizes")
    if single or context.type(node.operand(1)).rank == 0:
        step = 1 if single else sizes[0]
        require(step > 0, f"parts of {step} elements")
        sizes = tuple(min(step, size - start) for start in range(0, size, step))
    require(sum(sizes) == size and min(sizes, default=0) >= 0, f"parts {sizes} do not make {size} elements")
    parts = context.parts(context.x, axis, sizes)
    if single and not node.flag("keepdims", True):
        parts = tuple(context.add(ops.Reshape(shape=(*shape[:axis], *shape[axis + 1 :])), part) for part in parts)
    return context.sequence_of(parts)


def _position(context: Context, operand: int, count: int) -> int:
    (place,) = context.integers(operand, "the position")
    return front(place, count)
