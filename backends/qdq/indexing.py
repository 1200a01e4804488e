"""Exporters of ops that read, write and find elements at computed indices."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType, Node, require
from npuq.ir.ops import order, pool, reduce, sample, scatter

from .writer import Writer, exports, pads


@exports(scatter.GatherNd)
def gather_nd(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, scatter.GatherNd)
    write.last(node, "GatherND", *_with_wide_indices(write, node), batch_dims=op.batch)


@exports(scatter.ScatterNd)
def scatter_nd(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, scatter.ScatterNd)
    write.last(node, "ScatterND", *_with_wide_indices(write, node), reduction=op.reduction)


def _with_wide_indices(write: Writer, node: Node) -> list[str]:
    """The operands, with the second in 64 bits, which ONNX requires of these indices."""
    operands = write.operands(node)
    if write.types[node.operands[1]].dtype is not DType.I64:
        operands[1] = write.cast(node, operands[1], DType.I64)
    return operands


@exports(reduce.CumSum)
def cumsum(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, reduce.CumSum)
    axis = write.constant(np.asarray(op.axis, np.int64), "axis")
    write.last(node, "CumSum", *write.operands(node), axis, exclusive=int(op.exclusive), reverse=int(op.reverse))


@exports(order.TopK)
def top_k(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, order.TopK)
    count = write.integers((op.count,), "count")
    write.last(node, "TopK", *write.operands(node), count, axis=op.axis, largest=int(op.largest))


@exports(pool.MaxPoolPlaces)
def max_pool_places(write: Writer, node: Node) -> None:
    """ONNX returns the elements too, which nothing reads."""
    op = node.op
    assert isinstance(op, pool.MaxPoolPlaces)
    fits = all(max(around) < size for around, size in zip(op.padding, op.window, strict=True))
    require(fits, f"padding {op.padding} holds a whole window, which ONNX does not allow")
    write.second(
        node,
        "MaxPool",
        *write.operands(node),
        kernel_shape=op.window,
        strides=op.stride,
        dilations=op.dilation,
        pads=pads(op.padding),
        storage_order=int(op.column_major),
    )


@exports(sample.GridSample)
def grid_sample(write: Writer, node: Node) -> None:
    """The modes have other names from opset 20 on."""
    op = node.op
    assert isinstance(op, sample.GridSample)
    older = {"linear": "bilinear", "cubic": "bicubic"}
    mode = op.mode if write.opset >= 20 else older.get(op.mode, op.mode)
    require(
        node.type.rank == 4 or write.opset >= 20,
        f"grids of rank {node.type.rank} need opset 20, not {write.opset}",
    )
    attributes = {"mode": mode, "padding_mode": op.padding, "align_corners": int(op.align_corners)}
    write.last(node, "GridSample", *write.operands(node), **attributes)


@exports(sample.RoiAlign)
def roi_align(write: Writer, node: Node) -> None:
    """Before opset 16 there is one mode of RoiAlign, without a name."""
    op = node.op
    assert isinstance(op, sample.RoiAlign)
    x, regions, samples = write.operands(node)
    if write.types[node.operands[2]].dtype is not DType.I64:
        samples = write.cast(node, samples, DType.I64)
    places = "half_pixel" if op.centred else "output_half_pixel"
    write.last(
        node,
        "RoiAlign",
        *(x, regions, samples),
        output_height=op.shape[0],
        output_width=op.shape[1],
        spatial_scale=op.scale,
        sampling_ratio=op.ratio,
        mode=op.mode,
        **({"coordinate_transformation_mode": places} if op.centred or write.opset >= 16 else {}),
    )


@exports(pool.MaxRoiPool)
def max_roi_pool(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, pool.MaxRoiPool)
    write.last(node, "MaxRoiPool", *write.operands(node), pooled_shape=op.shape, spatial_scale=op.scale)
