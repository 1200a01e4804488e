"""Converters of layers that move elements."""

from __future__ import annotations

import itertools
import math

from npuq.ir import ops, require

from .registry import Layer, converts


@converts("Dropout")
def same(layer: Layer) -> str:
    """The identity in inference."""
    return layer.add(ops.Identity())


@converts("Split")
def split(layer: Layer) -> tuple[str, ...]:
    return (layer.x,) * len(layer.spec.tops)


@converts("Silence")
def silence(layer: Layer) -> tuple[str, ...]:
    """Keep its bottoms from becoming outputs."""
    return ()


@converts("Concat")
def concat(layer: Layer) -> str:
    """`concat_dim` is the older name of the axis."""
    parameter = layer.message.concat_param
    axis = parameter.concat_dim if parameter.HasField("concat_dim") else parameter.axis
    return layer.add(ops.Concat(axis=layer.axis(axis)), *layer.node.all_operands())


@converts("Slice")
def slice_(layer: Layer) -> tuple[str, ...]:
    """Parts between the points, or equal parts without points; `slice_dim` is the older name of the axis."""
    parameter = layer.message.slice_param
    axis = layer.axis(parameter.slice_dim if parameter.HasField("slice_dim") else parameter.axis)
    size, count = layer.shape[axis], len(layer.spec.tops)
    points = tuple(map(int, parameter.slice_point))
    if not points:
        require(size % count == 0, f"{size} elements do not split into {count} equal parts")
        points = tuple(range(size // count, size, size // count))
    require(len(points) == count - 1, f"{len(points)} slice points for {count} tops")
    bounds = (0, *points, size)
    require(all(one < two for one, two in itertools.pairwise(bounds)), f"slice points {points} of {size} elements")
    return layer.parts(layer.x, axis, [two - one for one, two in itertools.pairwise(bounds)])


@converts("Crop")
def crop(layer: Layer) -> str:
    """The first bottom cut to the sizes of the second from `axis` on, at one offset or one per axis."""
    require(len(layer.node.operands) == 2, f"{len(layer.node.operands)} bottoms, 2 wanted")
    parameter = layer.message.crop_param
    first = layer.axis(parameter.axis)
    wanted = layer.type(layer.operand(1)).shape
    require(len(wanted) == len(layer.shape), f"bottoms of shapes {layer.shape} and {wanted}, one rank wanted")
    count = len(layer.shape) - first
    offsets = tuple(map(int, parameter.offset)) or (0,)
    require(len(offsets) in (1, count), f"{len(offsets)} offsets for {count} axes")
    offsets = offsets * count if len(offsets) == 1 else offsets
    starts = (0,) * first + offsets
    stops = tuple(start + size for start, size in zip(starts, (*layer.shape[:first], *wanted[first:]), strict=True))
    fits = all(stop <= size for stop, size in zip(stops, layer.shape, strict=True))
    require(fits, f"elements up to {stops} of a bottom of shape {layer.shape}")
    return layer.sliced(layer.x, list(map(range, starts, stops)))


@converts("Flatten")
def flatten(layer: Layer) -> str:
    parameter = layer.message.flatten_param
    first, last = layer.axis(parameter.axis), layer.axis(parameter.end_axis)
    require(first <= last, f"axes {first} to {last}")
    shape = layer.shape
    return layer.add(ops.Reshape(shape=(*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])))


@converts("Reshape")
def reshape(layer: Layer) -> str:
    """`num_axes` axes from `axis` on get new sizes: 0 keeps a size, -1 is the remaining one."""
    parameter, shape = layer.message.reshape_param, layer.shape
    rank = len(shape)
    start = parameter.axis if parameter.axis >= 0 else rank + parameter.axis + 1
    stop = rank if parameter.num_axes == -1 else start + parameter.num_axes
    require(0 <= start <= stop <= rank, f"axes {start} to {stop} of {rank}")
    sizes = [int(size) for size in parameter.shape.dim]
    for index, size in enumerate(sizes):
        if size == 0:
            require(start + index < rank, f"size 0 at axis {start + index} of {rank}")
            sizes[index] = shape[start + index]
    require(sizes.count(-1) <= 1 and min(sizes, default=0) >= -1, f"sizes {sizes}")
    if -1 in sizes:
        known = math.prod(size for size in sizes if size != -1)
        whole = math.prod(shape[start:stop])
        require(known > 0 and whole % known == 0, f"{whole} elements do not fill {sizes}")
        sizes[sizes.index(-1)] = whole // known
    return layer.add(ops.Reshape(shape=(*shape[:start], *sizes, *shape[stop:])))


@converts("Permute")
def permute(layer: Layer) -> str:
    """Axes missing from the order follow in their own order."""
    order = tuple(map(int, layer.message.permute_param.order))
    rest = tuple(axis for axis in range(len(layer.shape)) if axis not in order)
    return layer.add(ops.Transpose(order=order + rest))


@converts("Tile")
def tile(layer: Layer) -> str:
    parameter = layer.message.tile_param
    axis = layer.axis(parameter.axis)
    return layer.add(ops.Tile(repeats=tuple(parameter.tiles if at == axis else 1 for at in range(len(layer.shape)))))


@converts("ShuffleChannel")
def shuffle_channel(layer: Layer) -> str:
    """The channels as a table with a row per group, read by columns."""
    groups, (number, channels, *space) = layer.message.shuffle_channel_param.group, layer.shape
    require(groups > 0 and channels % groups == 0, f"{channels} channels in {groups} groups")
    table = layer.add(ops.Reshape(shape=(number, groups, channels // groups, *space)))
    turned = layer.add(ops.Transpose(order=(0, 2, 1, *range(3, 3 + len(space)))), table)
    return layer.add(ops.Reshape(shape=layer.shape), turned)
