"""Converters of Resize and of Upsample, its predecessor; they compute the result's sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from npuq.ir import ops, require
from npuq.ir.ops.resize import Coordinates, Nearest
from npuq.ir.types import Shape

from ...context import Context, Node
from ..registry import converts
from .axes import fronts

MODES = ("nearest", "linear", "cubic")


@converts("Upsample")
@converts("Resize", since=10)
def resize_by_scales(context: Context, node: Node) -> str:
    """The grids' first elements are aligned; the nearest index is below in a finer grid, above in a coarser."""
    x = node.operand(0)
    scales = node.floats("scales") if node.has("scales") else _floats(context, 1, "scales")
    shape = context.type(x).shape
    require(len(scales) == len(shape), f"{len(scales)} scales for {len(shape)} axes")
    mode = node.string("mode", "nearest")
    require(mode in MODES[:2], f"mode {mode!r} is not nearest or linear")
    if mode == "linear":
        return _from_first(context, x, scales, "linear", "round_prefer_floor")
    coarser, finer = tuple(min(scale, 1.0) for scale in scales), tuple(max(scale, 1.0) for scale in scales)
    if min(coarser, default=1.0) < 1:
        x = _from_first(context, x, coarser, "nearest", "ceil")
        if max(finer) == 1:
            return x
    return _from_first(context, x, finer, "nearest", "floor")


def _from_first(
    context: Context, x: str, scales: tuple[float, ...], mode: Literal["nearest", "linear"], nearest: Nearest
) -> str:
    shape = _scaled(context.type(x).shape, scales)
    op = ops.Resize(shape=shape, scales=scales, mode=mode, coordinates="asymmetric", nearest=nearest)
    return context.add(op, x)


@converts("Resize", since=11)
def resize(context: Context, node: Node) -> str:
    """Takes either scales or sizes; an empty operand is absent."""
    shape = context.shape
    axes = fronts(node.ints("axes", tuple(range(len(shape)))), len(shape))
    coordinates = node.string("coordinate_transformation_mode", "half_pixel")
    require(coordinates in get_args(Coordinates), f"coordinate_transformation_mode {coordinates!r} is not known")
    nearest = node.string("nearest_mode", "round_prefer_floor")
    require(nearest in get_args(Nearest), f"nearest_mode {nearest!r} is not known")
    mode = node.string("mode", "nearest")
    require(mode in MODES, f"mode {mode!r} is not known")
    roi: tuple[tuple[float, float], ...] = ()
    if coordinates == "tf_crop_and_resize":
        roi = _roi(_floats(context, 1, "roi"), axes, len(shape))
    sizes, scales = _grid(context, node, shape, axes, roi)
    op = ops.Resize(
        shape=sizes,
        scales=scales,
        mode=mode,  # type: ignore[arg-type]  # one of the three
        coordinates=coordinates,  # type: ignore[arg-type]  # one of the known
        nearest=nearest if mode == "nearest" else "round_prefer_floor",  # type: ignore[arg-type]  # one of the known
        cubic=node.float("cubic_coeff_a", -0.75) if mode == "cubic" else -0.75,
        exclude_outside=node.flag("exclude_outside", False) and mode != "nearest",
        roi=roi,
        extrapolation=node.float("extrapolation_value", 0.0) if roi else 0.0,
        antialias=node.flag("antialias", False),
    )
    return context.add(op)


def _grid(
    context: Context, node: Node, shape: Shape, axes: tuple[int, ...], roi: tuple[tuple[float, float], ...]
) -> tuple[Shape, tuple[float, ...]]:
    """Return the result's sizes and the scales between the grids; unnamed axes do not change."""
    given_scales = () if node.optional(2) is None else _floats(context, 2, "scales")
    given_sizes = () if node.optional(3) is None else context.integers(3, "sizes")
    require(bool(given_scales) != bool(given_sizes) or not axes, "scales or sizes wanted, and not both")
    require(
        len(given_scales or given_sizes) == len(axes), f"{len(given_scales or given_sizes)} numbers for axes {axes}"
    )
    sizes, scales = list(shape), [1.0] * len(shape)
    for axis, scale in zip(axes, given_scales, strict=False):
        scales[axis] = scale
    if given_scales:
        extents = shape if not roi else [size * (end - start) for size, (start, end) in zip(shape, roi, strict=True)]
        return _scaled(extents, scales), tuple(scales)
    for axis, size in zip(axes, given_sizes, strict=True):
        require(shape[axis] > 0 and size > 0, f"{shape[axis]} elements resized to {size}")
        sizes[axis], scales[axis] = size, size / shape[axis]
    policy = node.string("keep_aspect_ratio_policy", "stretch")
    require(policy in ("stretch", "not_larger", "not_smaller"), f"keep_aspect_ratio_policy {policy!r} is not known")
    if policy != "stretch" and axes:
        scale = (min if policy == "not_larger" else max)(scales[axis] for axis in axes)
        for axis in axes:
            sizes[axis], scales[axis] = math.floor(shape[axis] * scale + 0.5), scale
    return tuple(sizes), tuple(scales)


def _scaled(extents: Sequence[float], scales: Sequence[float]) -> Shape:
    """Sizes times scales in float32, as in the runtimes, rounded down."""
    for scale in scales:
        require(math.isfinite(scale) and scale > 0, f"scales {tuple(scales)}: all must be > 0")
    return tuple(
        math.floor(np.float32(extent) * np.float32(scale)) for extent, scale in zip(extents, scales, strict=True)
    )


def _roi(values: tuple[float, ...], axes: tuple[int, ...], rank: int) -> tuple[tuple[float, float], ...]:
    """Start and end of each axis from all starts followed by all ends."""
    require(len(values) == 2 * len(axes), f"{len(values)} numbers of roi for {len(axes)} axes, 2 per axis wanted")
    spans = [(0.0, 1.0)] * rank
    for index, axis in enumerate(axes):
        spans[axis] = values[index], values[index + len(axes)]
    return tuple(spans)


def _floats(context: Context, index: int, what: str) -> tuple[float, ...]:
    array = context.required(index, what)
    require(array.dtype.kind == "f" and array.ndim == 1, f"{what} must be a list of floats")
    return tuple(float(value) for value in array)
