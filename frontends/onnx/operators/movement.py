"""Converters of operators that slice, join, pad and select elements."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np

from npuq.ir import DType, ops, require

from ...context import Context, Node, front, require_size
from ..registry import converts
from .axes import fronts, optional_integers, required_integers


@converts("Transpose")
def transpose(context: Context, node: Node) -> str:
    """The default of `perm` reverses the axes."""
    return context.add(ops.Transpose(order=node.ints("perm", tuple(reversed(range(len(context.shape)))))))


@converts("Concat")
def concat(context: Context, node: Node) -> str:
    operands = node.all_operands()
    return context.add(ops.Concat(axis=context.axis(node.int("axis"))), *operands)


@converts("Split")
def split(context: Context, node: Node) -> tuple[str, ...]:
    """Sizes are an attribute, an operand, or equal parts; the last part may be smaller."""
    axis = context.axis(node.int("axis", 0))
    size, count = context.shape[axis], node.int("num_outputs", len(node.outputs))
    sizes = optional_integers(context, node, "split", 1)
    if sizes is None:
        require(count > 0, f"attribute 'num_outputs' is {count}")
        require(node.has("num_outputs") or size % count == 0, f"{size} elements do not split into {count} equal parts")
        part = math.ceil(size / count)
        sizes = tuple(min(part, max(size - index * part, 0)) for index in range(count))
    require(len(sizes) == len(node.outputs), f"{len(sizes)} parts for {len(node.outputs)} outputs")
    require(min(sizes) >= 0 and sum(sizes) == size, f"parts {sizes} do not make {size} elements")
    starts = np.cumsum((0, *sizes)).tolist()
    return tuple(_slice(context, context.x, {axis: range(start, stop)}) for start, stop in itertools.pairwise(starts))


@converts("Slice")
def slice_(context: Context, node: Node) -> str:
    """Ends beyond the axis are clamped; negative ones count from the end."""
    shape = context.shape
    starts, stops = required_integers(context, node, "starts", 1), required_integers(context, node, "ends", 2)
    axes = optional_integers(context, node, "axes", 3)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if node.optional(4) is None else context.integers(4, "steps")
    require(
        len(starts) == len(stops) == len(axes) == len(steps),
        f"{len(starts)} starts, {len(stops)} ends, {len(axes)} axes, {len(steps)} steps",
    )
    require(0 not in steps, f"steps {steps}: none may be 0")
    selected: dict[int, range] = {}
    for axis, start, stop, step in zip(fronts(axes, len(shape)), starts, stops, steps, strict=True):
        selected[axis] = range(*slice(start, stop, step).indices(shape[axis]))
    return _slice(context, context.x, selected)


def _slice(context: Context, x: str, selected: dict[int, range]) -> str:
    ranges = [selected.get(axis, range(size)) for axis, size in enumerate(context.type(x).shape)]
    return context.sliced(x, [along or range(0) for along in ranges])


@converts("Pad")
def pad(context: Context, node: Node) -> str:
    """Negative padding removes elements; the value is an attribute before opset 11."""
    x, shape = context.x, context.shape
    pads = required_integers(context, node, "pads", 1)
    axes = fronts(context.integers(3, "axes"), len(shape)) if node.optional(3) is not None else tuple(range(len(shape)))
    require(len(pads) == 2 * len(axes), f"{len(pads)} pads for {len(axes)} axes, 2 per axis wanted")
    named = {axis: (pads[index], pads[index + len(axes)]) for index, axis in enumerate(axes)}
    padding = [named.get(axis, (0, 0)) for axis in range(len(shape))]
    if min(pads, default=0) < 0:
        kept = {}
        for axis, (size, (before, after)) in enumerate(zip(shape, padding, strict=True)):
            kept[axis] = range(max(-before, 0), size - max(-after, 0))
            require(kept[axis].start <= kept[axis].stop, f"padding {(before, after)} of {size} elements")
        x = _slice(context, x, kept)
        padding = [(max(before, 0), max(after, 0)) for before, after in padding]
    mode = node.string("mode", "constant")
    require(mode in ("constant", "edge", "reflect", "wrap"), f"mode {mode!r} is not known")
    value = node.float("value", 0.0)
    if node.optional(2) is not None:
        array = context.required(2, "the padding value")
        require(array.size == 1, f"a padding value of shape {array.shape}, a scalar wanted")
        value = float(array.item())
    op = ops.Pad(padding=tuple(padding), mode=mode, value=value if mode == "constant" else 0.0)  # type: ignore[arg-type]  # one of the four
    require(context.type(x).dtype is not DType.BOOL or mode == "constant", f"{mode} padding of bool")
    return context.add(op, x)


def _gather(kind: type[ops.Gather] | type[ops.GatherElements], context: Context, node: Node) -> str:
    axis, indices = context.axis(node.int("axis", 0)), node.operand(1)
    check_indices(context.known(indices), context.shape[axis])
    return context.add(kind(axis=axis), context.x, indices)


converts("Gather")(partial(_gather, ops.Gather))
converts("GatherElements")(partial(_gather, ops.GatherElements))


def check_indices(indices: np.ndarray | None, size: int) -> None:
    """Refuse constant indices out of range; computed ones are clamped."""
    if indices is not None and indices.size:
        low, high = int(indices.min()), int(indices.max())
        require(-size <= low and high < size, f"indices from {low} to {high} on an axis of {size}")


@converts("ReverseSequence")
def reverse_sequence(context: Context, node: Node) -> str:
    """Full sequences are reversed by a slice; in others the elements after their length stay."""
    x, lengths = node.operand(0), node.operand(1)
    type_, time, batch = context.type(x), node.int("time_axis", 0), node.int("batch_axis", 1)
    require(type_.rank >= 2 and {time, batch} == {0, 1}, f"time_axis {time} and batch_axis {batch}, 0 and 1 wanted")
    count, size = type_.shape[batch], type_.shape[time]
    require(context.type(lengths).shape == (count,), f"lengths of {context.type(lengths)}, {count} wanted")
    known = context.known(lengths)
    if known is not None and np.all(known == size):
        return _slice(context, x, {time: range(size - 1, -1, -1)})
    steps = context.constant(np.arange(size).reshape(-1, *(1,) * (type_.rank - 1 - time)), "steps")
    ends = context.add(
        ops.Reshape(shape=(count, *(1,) * (type_.rank - 1 - batch))), context.add(ops.Cast(to=DType.I64), lengths)
    )
    last = context.add(ops.Sub(), ends, context.constant(np.ones((), np.int64)))
    turned = context.add(ops.Where(), context.add(ops.Less(), steps, ends), context.add(ops.Sub(), last, steps), steps)
    wide = context.add(ops.Expand(shape=type_.shape), turned)
    return context.add(ops.GatherElements(axis=time), x, wide)


@converts("DepthToSpace")
def depth_to_space(context: Context, node: Node) -> str:
    """The block is the slow (DCR) or the fast part (CRD) of the channels."""
    x, block, fast = _blocks(context, node)
    n, c, h, w = context.type(x).shape
    require(c % block**2 == 0, f"{c} channels do not hold blocks of {block} x {block}")
    depth = c // block**2
    channels, order = (
        ((depth, block, block), (0, 1, 4, 2, 5, 3)) if fast else ((block, block, depth), (0, 3, 4, 1, 5, 2))
    )
    moved = context.add(ops.Transpose(order=order), context.add(ops.Reshape(shape=(n, *channels, h, w)), x))
    return context.add(ops.Reshape(shape=(n, depth, h * block, w * block)), moved)


@converts("SpaceToDepth")
def space_to_depth(context: Context, node: Node) -> str:
    """The inverse; before opset 28 always DCR."""
    x, block, fast = _blocks(context, node)
    n, c, h, w = context.type(x).shape
    require(h % block == w % block == 0, f"{h} x {w} does not divide into blocks of {block} x {block}")
    cut = context.add(ops.Reshape(shape=(n, c, h // block, block, w // block, block)), x)
    moved = context.add(ops.Transpose(order=(0, 1, 3, 5, 2, 4) if fast else (0, 3, 5, 1, 2, 4)), cut)
    return context.add(ops.Reshape(shape=(n, c * block**2, h // block, w // block)), moved)


def _blocks(context: Context, node: Node) -> tuple[str, int, bool]:
    """Return the operand, the block size, and whether the block is the fast part of the channels."""
    x, block, mode = node.operand(0), node.int("blocksize"), node.string("mode", "DCR")
    require(context.type(x).rank == 4, f"operand of rank {context.type(x).rank}, 4 wanted")
    require(block > 0, f"blocksize is {block}")
    require(mode in ("DCR", "CRD"), f"mode {mode!r} is neither DCR nor CRD")
    return x, block, mode == "CRD"


@converts("Trilu")
def trilu(context: Context, node: Node) -> str:
    """The other triangle is 0 even where x is infinite."""
    x = node.operand(0)
    type_ = context.type(x)
    require(type_.rank >= 2, f"operand of rank {type_.rank}, 2 or more wanted")
    (k,) = (0,) if node.optional(1) is None else context.integers(1, "k")
    height, width = type_.shape[-2:]
    require_size((height, width))
    distance = np.arange(width)[None, :] - np.arange(height)[:, None]
    mask = distance >= k if node.flag("upper", True) else distance <= k
    return context.add(ops.Where(), context.constant(mask), x, context.constant(np.zeros((), type_.dtype.numpy)))


@converts("OneHot")
def one_hot(context: Context, node: Node) -> str:
    """Indices outside [-depth, depth) give a slice of off values."""
    indices = node.operand(0)
    depth, values = context.required(1, "depth"), context.required(2, "values")
    require(depth.size == 1 and values.shape == (2,), f"depth of shape {depth.shape}, values of shape {values.shape}")
    count, shape = int(depth.item()), context.type(indices).shape
    require_size((max(count, 1) * math.prod(shape),))
    require(count > 0, f"depth is {count}")
    axis = front(node.int("axis", -1), len(shape) + 1)
    index = context.add(ops.Cast(to=DType.I64), indices)
    negative = context.add(ops.Less(), index, context.constant(np.asarray(0, np.int64)))
    from_end = context.add(ops.Add(), index, context.constant(np.asarray(count, np.int64)))
    index = context.add(ops.Where(), negative, from_end, index)
    index = context.unsqueezed(index, axis)
    classes = np.arange(count, dtype=np.int64).reshape((-1,) + (1,) * (len(shape) - axis))
    hot = context.add(ops.Equal(), index, context.constant(classes))
    off, on = (context.constant(value) for value in values)
    return context.add(ops.Where(), hot, on, off)
