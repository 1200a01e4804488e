"""Converters of operators that move, select or join elements, and of shape arithmetic."""

from __future__ import annotations

import math

import numpy as np

from npuq.ir import ops, require

from .registry import Operation, converts


@converts("RESHAPE")
def reshape(operation: Operation) -> str:
    """The shape is an operand, or in older files an option; -1 is the remaining size."""
    option = operation.options["shape"]
    shape = operation.integers(1, "the shape") if operation.node.optional(1) is not None else option
    size, rest = math.prod(operation.shape), math.prod(size for size in shape if size != -1)
    require(shape.count(-1) <= 1 and (-1 not in shape or rest > 0), f"shape {shape} of {size} elements")
    return operation.reshaped(operation.x, [size // rest if one == -1 else one for one in shape])


@converts("SQUEEZE")
def squeeze(operation: Operation) -> str:
    """Remove the named axes of size 1, or all of them."""
    shape = operation.shape
    axes = {operation.axis(axis) for axis in operation.options["axes"]}
    axes = axes or {axis for axis, size in enumerate(shape) if size == 1}
    require(all(shape[axis] == 1 for axis in axes), f"axes {sorted(axes)} of shape {shape}, sizes of 1 wanted")
    return operation.reshaped(operation.x, [size for axis, size in enumerate(shape) if axis not in axes])


@converts("EXPAND_DIMS")
def expand_dims(operation: Operation) -> str:
    (axis,) = operation.integers(1, "the axis")
    return operation.unsqueezed(operation.x, operation.axis(axis, len(operation.shape) + 1))


@converts("TRANSPOSE")
def transpose(operation: Operation) -> str:
    order = operation.integers(1, "the order of the axes")
    return operation.add(ops.Transpose(order=tuple(operation.axis(axis) for axis in order)))


@converts("CONCATENATION")
def concatenation(operation: Operation) -> str:
    parts = operation.node.all_operands()
    axis = operation.options["axis"]
    y = parts[0] if len(parts) == 1 else operation.add(ops.Concat(axis=operation.axis(axis)), *parts)
    return operation.activated(operation.scaled(y))


@converts("PACK")
def pack(operation: Operation) -> str:
    shape = operation.shape
    axis = operation.axis(operation.options["axis"], len(shape) + 1)
    wide = [operation.reshaped(part, (*shape[:axis], 1, *shape[axis:])) for part in operation.node.all_operands()]
    return wide[0] if len(wide) == 1 else operation.add(ops.Concat(axis=axis), *wide)


@converts("UNPACK")
def unpack(operation: Operation) -> tuple[str, ...]:
    shape, axis = operation.shape, operation.axis(operation.options["axis"])
    rest = (*shape[:axis], *shape[axis + 1 :])
    return tuple(operation.reshaped(part, rest) for part in operation.parts(operation.x, axis, (1,) * shape[axis]))


@converts("SPLIT")
def split(operation: Operation) -> tuple[str, ...]:
    """The first operand is the axis."""
    (axis,) = operation.integers(0, "the axis")
    x, count = operation.operand(1), len(operation.outputs)
    axis = operation.axis(axis, operation.type(x).rank)
    size = operation.type(x).shape[axis]
    require(size % count == 0, f"{size} elements in {count} parts")
    return operation.parts(x, axis, (size // count,) * count)


@converts("SPLIT_V")
def split_by_sizes(operation: Operation) -> tuple[str, ...]:
    sizes, (axis,) = operation.integers(1, "the sizes"), operation.integers(2, "the axis")
    axis = operation.axis(axis)
    left = operation.shape[axis] - sum(size for size in sizes if size != -1)
    sizes = tuple(left if size == -1 else size for size in sizes)
    require(min(sizes) >= 0 and sum(sizes) == operation.shape[axis], f"parts {sizes} of {operation.shape[axis]}")
    return operation.parts(operation.x, axis, sizes)


@converts("SLICE")
def slice_(operation: Operation) -> str:
    """A size of -1 extends to the end."""
    starts, sizes, shape = operation.integers(1, "the start"), operation.integers(2, "the size"), operation.shape
    require(len(starts) == len(sizes) == len(shape), f"a slice from {starts} of size {sizes} of shape {shape}")
    stops = [whole if size == -1 else start + size for start, size, whole in zip(starts, sizes, shape, strict=True)]
    fits = all(0 <= start <= stop <= whole for start, stop, whole in zip(starts, stops, shape, strict=True))
    require(fits, f"a slice from {starts} of size {sizes} of shape {shape}")
    return operation.sliced(operation.x, [range(start, stop) for start, stop in zip(starts, stops, strict=True)])


@converts("STRIDED_SLICE")
def strided_slice(operation: Operation) -> str:
    """NumPy's slices, as bit masks and three lists."""
    options, shape = operation.options, operation.shape
    starts, stops, steps = (
        operation.integers(index, what) for index, what in ((1, "begin"), (2, "end"), (3, "strides"))
    )
    require(len(starts) == len(stops) == len(steps), f"{len(starts)} begins, {len(stops)} ends, {len(steps)} strides")
    require(not options["offset"] and 0 not in steps, f"strides {steps}, or ends given as offsets")
    bits = {name: [bool(options[name] >> place & 1) for place in range(len(starts))] for name in MASKS}
    spread = len(shape) - sum(not (new or rest) for new, rest in zip(bits["new"], bits["ellipsis"], strict=True))
    require(sum(bits["ellipsis"]) <= 1 and spread >= 0, f"{len(starts)} slices of {len(shape)} axes")
    ranges: list[range] = []
    result: list[int] = []
    for place, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
        if bits["ellipsis"][place]:
            rest = shape[len(ranges) : len(ranges) + spread]
            ranges += map(range, rest)
            result += rest
        elif bits["new"][place]:
            result.append(1)
        else:
            size = shape[len(ranges)]
            if bits["shrink"][place]:
                ranges.append(range(start % size, start % size + 1) if -size <= start < size else range(size, size))
                require(len(ranges[-1]) == 1, f"element {start} of {size}")
                continue
            part = slice(None if bits["begin"][place] else start, None if bits["end"][place] else stop, step)
            ranges.append(range(*part.indices(size)))
            result.append(len(ranges[-1]))
    ranges += map(range, shape[len(ranges) :])
    result += shape[len(result) :] if not any(map(any, (bits["new"], bits["shrink"], bits["ellipsis"]))) else ()
    return operation.reshaped(operation.sliced(operation.x, ranges), result)


MASKS = ("begin", "end", "ellipsis", "new", "shrink")


@converts("GATHER")
def gather(operation: Operation) -> str:
    require(operation.options["batch"] == 0, "batch axes are not supported")
    return operation.add(ops.Gather(axis=operation.axis(operation.options["axis"])), operation.x, operation.operand(1))


@converts("GATHER_ND")
def gather_nd(operation: Operation) -> str:
    return operation.add(ops.GatherNd(), operation.x, operation.operand(1))


@converts("EMBEDDING_LOOKUP")
def embedding(operation: Operation) -> str:
    """The first operand holds the rows' indices."""
    return operation.add(ops.Gather(axis=0), operation.operand(1), operation.x)


@converts("PAD", "PADV2")
def pad(operation: Operation) -> str:
    value = 0.0
    if operation.spec.name == "PADV2":
        known = operation.known(operation.operand(2))
        require(known is not None and known.size == 1, "the padding value must be one known number")
        assert known is not None
        value = float(known.reshape(()))
    return operation.add(ops.Pad(padding=_paddings(operation), value=value))


@converts("MIRROR_PAD")
def mirror_pad(operation: Operation) -> str:
    """Reflect at the edge element."""
    mode = operation.options["mode"]
    require(mode == 0, "padding that repeats the edge element is not supported")
    return operation.add(ops.Pad(padding=_paddings(operation), mode="reflect"))


def _paddings(operation: Operation) -> tuple[tuple[int, int], ...]:
    flat, rank = operation.integers(1, "the padding"), len(operation.shape)
    require(len(flat) == 2 * rank, f"{len(flat)} numbers of padding for {rank} axes")
    return tuple(zip(flat[::2], flat[1::2], strict=True))


@converts("TILE")
def tile(operation: Operation) -> str:
    return operation.add(ops.Tile(repeats=operation.integers(1, "the repeats")))


@converts("BROADCAST_TO")
def broadcast_to(operation: Operation) -> str:
    return operation.add(ops.Expand(shape=operation.integers(1, "the shape")))


@converts("SHAPE")
def shape_of(operation: Operation) -> str:
    return operation.constant(np.asarray(operation.shape, operation.outputs[0].dtype.numpy), "shape")


@converts("RANK")
def rank_of(operation: Operation) -> str:
    return operation.constant(np.asarray(len(operation.shape), np.int32), "rank")


@converts("RANGE")
def range_(operation: Operation) -> str:
    ends = [operation.known(operation.operand(index)) for index in range(3)]
    known = [end.item() for end in ends if end is not None and end.size == 1]
    require(len(known) == 3, "the ends of a range must be known numbers")
    start, stop, step = known
    require(step != 0 and abs(stop - start) <= abs(step) * (1 << 20), f"a range from {start} to {stop} by {step}")
    numbers = np.arange(start, stop, step).astype(operation.type(operation.x).dtype.numpy)
    return operation.constant(numbers, "range")


@converts("ZEROS_LIKE")
def zeros_like(operation: Operation) -> str:
    return operation.add(ops.Expand(shape=operation.shape), operation.number(0.0, "zero"))


@converts("REVERSE_V2")
def reverse(operation: Operation) -> str:
    axes = {operation.axis(axis) for axis in operation.integers(1, "the axes")}
    sizes = enumerate(operation.shape)
    ranges = [range(size - 1, -1, -1) if axis in axes else range(size) for axis, size in sizes]
    return operation.sliced(operation.x, ranges)


@converts("ONE_HOT")
def one_hot(operation: Operation) -> str:
    """The depth and the on and off values are operands."""
    (depth,) = operation.integers(1, "the depth")
    axis = operation.axis(operation.options["axis"], len(operation.shape) + 1)
    wide = operation.unsqueezed(operation.x, axis)
    require(0 <= depth <= 1 << 16, f"a depth of {depth}")
    places = np.arange(depth, dtype=operation.type(wide).dtype.numpy)
    along = places.reshape([-1 if at == axis else 1 for at in range(operation.type(wide).rank)])
    matches = operation.add(ops.Equal(), wide, operation.constant(along, "places"))
    return operation.add(ops.Where(), matches, operation.operand(2), operation.operand(3))


@converts("FILL")
def fill(operation: Operation) -> str:
    """A constant number in a constant shape."""
    shape = operation.integers(0, "the shape")
    return operation.add(ops.Expand(shape=shape), operation.operand(1))


@converts("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def resize(operation: Operation) -> str:
    """The grids are aligned at corners, centres, or first elements."""
    options, x = operation.options, operation.first(operation.x)
    align, half = options["align"], options["half"]
    require(not (align and half), "align_corners and half_pixel_centers exclude each other")
    shape, sizes = operation.type(x).shape, operation.integers(1, "the size")
    require(len(sizes) == 2 and min(sizes) > 0 and min(shape) > 0, f"{shape[2:]} resized to {sizes}")
    nearest = operation.spec.name == "RESIZE_NEAREST_NEIGHBOR"
    op = ops.Resize(
        shape=(*shape[:2], *sizes),
        scales=(1.0, 1.0, *(new / old for new, old in zip(sizes, shape[2:], strict=True))),
        mode="nearest" if nearest else "linear",
        coordinates=("tf_half_pixel_for_nn" if nearest else "half_pixel")
        if half
        else ("align_corners" if align else "asymmetric"),
        nearest="round_prefer_floor" if not nearest else "round_prefer_ceil" if align else "floor",
    )
    return operation.last(operation.add(op, x))
