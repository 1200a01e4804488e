"""Converters of operators that sample images at computed positions."""

from __future__ import annotations

from typing import Any

from npuq.ir import ops, require

from ...context import Context, Node
from ..registry import converts

MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""The modes' names in opset 16."""


@converts("GridSample")
def grid_sample(context: Context, node: Node) -> str:
    mode: Any = node.string("mode", "linear" if context.opset >= 20 else "bilinear")
    mode = MODES.get(mode, mode)
    require(mode in ("linear", "nearest", "cubic"), f"mode {mode!r} is none of linear, nearest and cubic")
    padding: Any = node.string("padding_mode", "zeros")
    require(padding in ("zeros", "border", "reflection"), f"padding_mode {padding!r} is not known")
    op = ops.GridSample(mode=mode, padding=padding, align_corners=node.flag("align_corners", False))
    return context.add(op, node.operand(0), node.operand(1))


@converts("RoiAlign")
def roi_align(context: Context, node: Node) -> str:
    """Before opset 16 positions are not shifted by half an element."""
    mode: Any = node.string("mode", "avg")
    require(mode in ("avg", "max"), f"mode {mode!r} is neither avg nor max")
    places = node.string("coordinate_transformation_mode", "half_pixel" if context.opset >= 16 else "output_half_pixel")
    known = places in ("half_pixel", "output_half_pixel")
    require(known, f"coordinate_transformation_mode {places!r} is neither half_pixel nor output_half_pixel")
    op = ops.RoiAlign(
        shape=(node.int("output_height", 1), node.int("output_width", 1)),
        scale=node.float("spatial_scale", 1.0),
        ratio=node.int("sampling_ratio", 0),
        mode=mode,
        centred=places == "half_pixel",
    )
    return context.add(op, *map(node.operand, range(3)))
