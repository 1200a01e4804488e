"""Exporters of ops that read, write and find elements at computed indices."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType, require
from npuq.ir.ops import pool, reduce, sample, scatter

from .writer import Writer, exports, pads


@exports(scatter.GatherNd)
def gather_nd(write: Writer, op: scatter.GatherNd) -> None:
    write.last("GatherND", *_with_wide_indices(write), batch_dims=op.batch)


@exports(scatter.ScatterNd)
def scatter_nd(write: Writer, op: scatter.ScatterNd) -> None:
    write.last("ScatterND", *_with_wide_indices(write), reduction=op.reduction)


def _with_wide_indices(write: Writer) -> list[str]:
    """The operands, with the second in 64 bits, which ONNX requires of these indices."""
    operands = write.operands
    if write.operand_type(1).dtype is not DType.I64:
        operands[1] = write.cast(operands[1], DType.I64)
    return operands


@exports(reduce.CumSum)
def cumsum(write: Writer, op: reduce.CumSum) -> None:
    axis = write.constant(np.asarray(op.axis, np.int64), "axis")
    write.last("CumSum", *write.operands, axis, exclusive=int(op.exclusive), reverse=int(op.reverse))


@exports(reduce.TopK)
def top_k(write: Writer, op: reduce.TopK) -> None:
    count = write.integers((op.count,), "count")
    write.last("TopK", *write.operands, count, axis=op.axis, largest=int(op.largest))


@exports(pool.MaxPoolPlaces)
def max_pool_places(write: Writer, op: pool.MaxPoolPlaces) -> None:
    """ONNX returns the elements too, which nothing reads."""
    fits = all(max(around) < size for around, size in zip(op.padding, op.window, strict=True))
    require(fits, f"padding {op.padding} holds a whole window, which ONNX does not allow")
    write.second(
        "MaxPool",
        *write.operands,
        kernel_shape=op.window,
        strides=op.stride,
        dilations=op.dilation,
        pads=pads(op.padding),
        storage_order=int(op.column_major),
    )


@exports(sample.GridSample)
def grid_sample(write: Writer, op: sample.GridSample) -> None:
    """The modes have other names from opset 20 on."""
    older = {"linear": "bilinear", "cubic": "bicubic"}
    mode = op.mode if write.opset >= 20 else older.get(op.mode, op.mode)
    require(
        write.node.type.rank == 4 or write.opset >= 20,
        f"grids of rank {write.node.type.rank} need opset 20, not {write.opset}",
    )
    attributes = {"mode": mode, "padding_mode": op.padding, "align_corners": int(op.align_corners)}
    write.last("GridSample", *write.operands, **attributes)


@exports(sample.RoiAlign)
def roi_align(write: Writer, op: sample.RoiAlign) -> None:
    """Before opset 16 there is one mode of RoiAlign, without a name."""
    x, regions, samples = write.operands
    if write.operand_type(2).dtype is not DType.I64:
        samples = write.cast(samples, DType.I64)
    places = "half_pixel" if op.centred else "output_half_pixel"
    write.last(
        "RoiAlign",
        *(x, regions, samples),
        output_height=op.shape[0],
        output_width=op.shape[1],
        spatial_scale=op.scale,
        sampling_ratio=op.ratio,
        mode=op.mode,
        **({"coordinate_transformation_mode": places} if op.centred or write.opset >= 16 else {}),
    )
