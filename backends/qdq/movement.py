"""Exporters of ops that move, repeat and choose elements, and of resampling."""

from __future__ import annotations

from typing import Any

import numpy as np

from npuq.ir import Node
from npuq.ir.ops import resize as resizing
from npuq.ir.ops import shape

from .writer import Writer, exports, pads


@exports(shape.Reshape)
def reshape(write: Writer, node: Node) -> None:
    """A 0 in the shape means no elements, not a size to keep."""
    attributes = {"allowzero": 1} if 0 in node.type.shape else {}
    write.last(node, "Reshape", *write.operands(node), write.integers(node.type.shape, "shape"), **attributes)


@exports(shape.Transpose)
def transpose(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, shape.Transpose)
    write.last(node, "Transpose", *write.operands(node), perm=op.order)


@exports(shape.Slice)
def slice_(write: Writer, node: Node) -> None:
    """ONNX counts negative stops from the end, so the stop before the first element is one size lower."""
    op = node.op
    assert isinstance(op, shape.Slice)
    sizes = write.types[node.operands[0]].shape
    stops = tuple(stop if stop >= 0 else stop - size for stop, size in zip(op.stops, sizes, strict=True))
    bounds = (("starts", op.starts), ("stops", stops), ("axes", tuple(range(len(sizes)))), ("steps", op.steps))
    write.last(node, "Slice", *write.operands(node), *(write.integers(values, name) for name, values in bounds))


@exports(shape.Pad)
def pad(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, shape.Pad)
    operands = [*write.operands(node), write.integers(pads(op.padding), "pads")]
    if op.mode == "constant":
        operands.append(write.constant(np.asarray(op.value).astype(node.type.dtype.numpy), "value"))
    write.last(node, "Pad", *operands, mode=op.mode)


@exports(shape.Tile)
def tile(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, shape.Tile)
    write.last(node, "Tile", *write.operands(node), write.integers(op.repeats, "repeats"))


@exports(shape.Expand)
def expand(write: Writer, node: Node) -> None:
    write.last(node, "Expand", *write.operands(node), write.integers(node.type.shape, "shape"))


@exports(resizing.Resize)
def resize(write: Writer, node: Node) -> None:
    """Write sizes if they determine the scales, else the scales, whose floors are the sizes."""
    op = node.op
    assert isinstance(op, resizing.Resize)
    (x,) = write.operands(node)
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
    sizes = write.types[node.operands[0]].shape
    scales = np.asarray(op.scales, np.float32)
    if np.array_equal(scales, np.asarray([new / old for new, old in zip(op.shape, sizes, strict=True)], np.float32)):
        write.last(node, "Resize", x, roi, "", write.integers(op.shape, "sizes"), **attributes)
    else:
        write.last(node, "Resize", x, roi, write.constant(scales, "scales"), **attributes)
