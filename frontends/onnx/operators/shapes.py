"""Converters of operators that change or compute shapes; computed shapes are constants."""

from __future__ import annotations

import math

import numpy as np

from npuq.ir import ops, require
from npuq.ir.ops.elementwise import broadcast

from ...context import EAGER, Context, Node, require_size
from ..registry import converts
from .axes import fronts, optional_integers, required_integers, rows
from .pointwise import named_dtype

LONGEST = 1 << 24
"""The greatest number of elements that Range and EyeLike make at import."""


@converts("Reshape")
def reshape(context: Context, node: Node) -> str:
    """0 copies a size unless `allowzero`; -1 is the remaining size."""
    old, new = context.type(context.x), list(context.integers(1, "the shape"))
    if not node.flag("allowzero", False):
        for axis, size in enumerate(new):
            if size == 0:
                require(axis < old.rank, f"0 at position {axis} of {new} copies from {old.rank} axes")
                new[axis] = old.shape[axis]
    require(new.count(-1) <= 1 and min(new, default=0) >= -1, f"shape {new}: at most one -1 and no other below 0")
    if -1 in new:
        others = math.prod(size for size in new if size != -1)
        require(others > 0 and old.size % others == 0, f"{old.size} elements do not fill {new}")
        new[new.index(-1)] = old.size // others
    return context.add(ops.Reshape(shape=tuple(new)))


@converts("Flatten")
def flatten(context: Context, node: Node) -> str:
    return context.add(ops.Reshape(shape=rows(context, node)))


@converts("Squeeze")
def squeeze(context: Context, node: Node) -> str:
    """No axes mean all of size 1."""
    shape = context.shape
    axes = optional_integers(context, node, "axes", 1)
    dropped = {axis for axis, size in enumerate(shape) if size == 1} if axes is None else fronts(axes, len(shape))
    for axis in dropped:
        require(shape[axis] == 1, f"axis {axis} has size {shape[axis]}, 1 wanted")
    return context.add(ops.Reshape(shape=tuple(size for axis, size in enumerate(shape) if axis not in dropped)))


@converts("Unsqueeze")
def unsqueeze(context: Context, node: Node) -> str:
    """Axes are those of the result."""
    axes = required_integers(context, node, "axes", 1)
    sizes, rank = iter(context.shape), len(context.shape) + len(axes)
    new = fronts(axes, rank)
    return context.add(ops.Reshape(shape=tuple(1 if axis in new else next(sizes) for axis in range(rank))))


@converts("Expand")
def expand(context: Context, node: Node) -> str:
    """The shapes broadcast: a size of 1 keeps the operand's."""
    shape = context.integers(1, "the shape")
    require(min(shape, default=0) >= 0, f"shape {shape}: a dimension must not be negative")
    return context.add(ops.Expand(shape=broadcast(context.shape, shape)))


@converts("Tile")
def tile(context: Context, node: Node) -> str:
    return context.add(ops.Tile(repeats=context.integers(1, "repeats")))


@converts("Shape")
def shape(context: Context, node: Node) -> str:
    """Shapes are static, so this is a constant."""
    sizes = context.shape[node.int("start", 0) : node.int("end", len(context.shape))]
    return context.constant(np.asarray(sizes, np.int64))


@converts("Size")
def size(context: Context, node: Node) -> str:
    return context.constant(np.asarray(context.type(node.operand(0)).size, np.int64))


@converts("ConstantOfShape")
def constant_of_shape(context: Context, node: Node) -> str:
    """Large results become a number and an expand."""
    sizes = context.integers(0, "the shape")
    require_size(sizes)
    value = node.tensor("value") if node.has("value") else np.zeros(1, np.float32)
    require(value.size == 1, f"attribute 'value' holds {value.size} numbers, 1 wanted")
    if math.prod(sizes) <= EAGER:
        return context.constant(np.full(sizes, value.reshape(()), value.dtype))
    return context.add(ops.Expand(shape=sizes), context.constant(value.reshape(())))


@converts("EyeLike")
def eye_like(context: Context, node: Node) -> str:
    """Uses only the operand's shape, and its type by default."""
    type_ = context.type(node.operand(0))
    require(type_.rank == 2, f"operand of rank {type_.rank}, 2 wanted")
    require(type_.size <= LONGEST, f"a matrix of {type_.size} elements, at most {LONGEST} wanted")
    dtype = named_dtype(node, "dtype") if node.has("dtype") else type_.dtype
    height, width = type_.shape
    return context.constant(np.eye(height, width, node.int("k", 0), dtype=dtype.numpy), "eye")


@converts("Range")
def range_(context: Context, node: Node) -> str:
    """All three operands must be constants, since the shape depends on them."""
    start, limit, delta = (context.required(index, what) for index, what in enumerate(("start", "limit", "delta")))
    require(start.size == limit.size == delta.size == 1, "start, limit and delta must be scalars")
    require(delta.item() != 0, "delta is 0")
    count = (limit.item() - start.item()) / delta.item()
    require(count <= LONGEST, f"a range of {count:.0f} elements, at most {LONGEST} are supported")
    indices = np.arange(max(math.ceil(count), 0)).astype(start.dtype)
    return context.constant(start.reshape(()) + indices * delta.reshape(()))
