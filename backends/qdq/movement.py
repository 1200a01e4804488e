"""Exporters of ops that move, repeat and choose elements, and of resampling."""

from __future__ import annotations

from typing import Any

import numpy as np

from npuq.ir.ops import resize as resizing
from npuq.ir.ops import shape

from .writer import Writer, exports, pads


@exports(shape.Reshape)
def reshape(write: Writer, op: shape.Reshape) -> None:
    """A 0 in the shape means no elements, not a size to keep."""
    attributes = {"allowzero": 1} if 0 in write.node.type.shape else {}
    write.last("Reshape", *write.operands, write.integers(write.node.type.shape, "shape"), **attributes)


@exports(shape.Slice)
def slice_(write: Writer, op: shape.Slice) -> None:
    """ONNX counts negative stops from the end, so the stop before the first element is one size lower."""
    sizes = write.operand_type(0).shape
    stops = tuple(stop if stop >= 0 else stop - size for stop, size in zip(op.stops, sizes, strict=True))
    bounds = (("starts", op.starts), ("stops", stops), ("axes", tuple(range(len(sizes)))), ("steps", op.steps))
    write.last("Slice", *write.operands, *(write.integers(values, name) for name, values in bounds))


@exports(shape.Pad)
def pad(write: Writer, op: shape.Pad) -> None:
    operands = [*write.operands, write.integers(pads(op.padding), "pads")]
    if op.mode == "constant":
        operands.append(write.constant(np.asarray(op.value).astype(write.node.type.dtype.numpy), "value"))
    write.last("Pad", *operands, mode=op.mode)


@exports(shape.Tile)
def tile(write: Writer, op: shape.Tile) -> None:
    write.last("Tile", *write.operands, write.integers(op.repeats, "repeats"))


@exports(shape.Expand)
def expand(write: Writer, op: shape.Expand) -> None:
    write.last("Expand", *write.operands, write.integers(write.node.type.shape, "shape"))


@exports(resizing.Resize)
def resize(write: Writer, op: resizing.Resize) -> None:
    """Write sizes if they determine the scales, else the scales, whose floors are the sizes."""
    (x,) = write.operands
    attributes: dict[str, Any] = {"mode": op.mode, "coordinate_transformation_mode": op.coordinates}
    if op.mode == "nearest":
        attributes["nearest_mode"] = op.nearest
    if op.mode == "cubic":
        attributes["cubic_coeff_a"] = op.cubic
    if op.exclude_outside:
        attributes["exclude_outside"] = 1
    if op.antialias:
        attributes["antialias"] = 1
    roi = ""
    if op.coordinates == "tf_crop_and_resize":
        attributes["extrapolation_value"] = op.extrapolation
        bounds = [start for start, _ in op.roi] + [end for _, end in op.roi]
        roi = write.constant(np.asarray(bounds, np.float32), "roi")
    sizes = write.operand_type(0).shape
    scales = np.asarray(op.scales, np.float32)
    if np.array_equal(scales, np.asarray([new / old for new, old in zip(op.shape, sizes, strict=True)], np.float32)):
        write.last("Resize", x, roi, "", write.integers(op.shape, "sizes"), **attributes)
    else:
        write.last("Resize", x, roi, write.constant(scales, "scales"), **attributes)
