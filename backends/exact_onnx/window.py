"""Emitters of integer ops of sliding windows and of sums over axes."""

from __future__ import annotations

import math

import numpy as np

from npuq.ir import DType
from npuq.ir.ops.npu.reduce import CumSum, ReduceSum
from npuq.ir.ops.npu.window import AveragePool2d, Conv2d, MaxPool2d, ResizeLinear

from ..qdq.writer import pads
from .products import convolution, matrix_product
from .rounding import clamped, requantized
from .writer import ExactWriter, emits

NONE = (0, 0, 0, 0)


@emits(Conv2d)
def conv2d(write: ExactWriter, op: Conv2d) -> None:
    """Rule B3: the operator pads with zeros; other padding becomes a Pad."""
    x, border = write.first(0), pads(op.padding)
    if op.pad_value or op.expand != (1, 1) or min(border) < 0:
        x, border = _surrounded(write, x, op), NONE
    weights = write.known(1, "weights").transpose(3, 2, 0, 1)
    attributes = {"strides": op.stride, "dilations": op.dilation, "group": op.groups}
    sums = convolution(write, x, write.operand_type(0).dtype, weights, border, **attributes)
    bias = write.known(2, "bias").reshape(-1, 1, 1)
    sums = write.step("Add", sums, write.constant(bias, "bias"))
    m, s = (factor.reshape(-1, 1, 1) for factor in write.factors(3))
    write.store_first(clamped(write, requantized(write, sums, op, m, s)))


@emits(MaxPool2d)
def max_pool(write: ExactWriter, op: MaxPool2d) -> None:
    """Comparisons are exact in float32, for which there is a kernel at every width."""
    real = write.cast(write.first(0), DType.F32)
    attributes = {"kernel_shape": op.window, "strides": op.stride, "dilations": op.dilation}
    write.store_first(write.step("MaxPool", real, pads=pads(op.padding), **attributes))


@emits(AveragePool2d)
def average_pool(write: ExactWriter, op: AveragePool2d) -> None:
    """Rule P1: a convolution with ones, less the zero point times the number of elements inside."""
    type_ = write.operand_type(0)
    channels = type_.shape[3]
    ones = np.ones((channels, 1, *op.window), np.int64)
    attributes = {"strides": op.stride, "dilations": op.dilation, "group": channels}
    sums = convolution(write, write.first(0), type_.dtype, ones, pads(op.padding), **attributes)
    if op.input_zero_point:
        inside = np.multiply.outer(*(_counts(op, axis, type_.shape[1 + axis]) for axis in (0, 1)))
        sums = write.step("Sub", sums, write.constant(inside * op.input_zero_point, "zero"))
    m, s = write.factors(1)
    write.store_first(clamped(write, requantized(write, sums, op, m, s)))


@emits(ReduceSum)
def reduce_sum(write: ExactWriter, op: ReduceSum) -> None:
    shape = write.operand_type(0).shape
    wide = write.cast(write.operands[0], DType.I64)
    attributes = {"keepdims": int(op.keep), "noop_with_empty_axes": 1}
    sums = write.step("ReduceSum", wide, write.integers(op.axes, "axes"), **attributes)
    if op.input_zero_point:
        zero = math.prod(shape[axis] for axis in op.axes) * op.input_zero_point
        sums = write.step("Sub", sums, write.scalar(zero))
    write.store(clamped(write, requantized(write, sums, op, *write.factors(1))))


@emits(CumSum)
def cumsum(write: ExactWriter, op: CumSum) -> None:
    """Rule P3."""
    axis, ways = write.scalar(op.axis), {"exclusive": int(op.exclusive), "reverse": int(op.reverse)}
    sums = write.step("CumSum", write.centred(0, op.input_zero_point, DType.I64), axis, **ways)
    write.store(clamped(write, requantized(write, sums, op, *write.factors(1))))


@emits(ResizeLinear)
def resize_linear(write: ExactWriter, op: ResizeLinear) -> None:
    """Rule P2: a matrix product for each axis."""
    x = write.cast(write.first(0), DType.F64)
    if op.input_zero_point:
        x = write.step("Sub", x, write.scalar(op.input_zero_point, np.float64))
    rows, columns = (write.known(index, what).astype(np.float64) for index, what in ((1, "rows"), (2, "columns")))
    wide = write.step("MatMul", x, write.constant(columns.T, "columns"))
    sums = matrix_product(write, write.constant(rows, "rows"), wide)
    write.store_first(clamped(write, requantized(write, sums, op, *write.factors(3))))


def _surrounded(write: ExactWriter, x: str, op: Conv2d) -> str:
    """x [N, C, H, W] with elements inserted between neighbours, then a border; a negative border crops."""
    dtype = write.operand_type(0).dtype
    n, h, w, c = write.operand_type(0).shape
    wide = write.cast(x, DType.I32)
    value = write.scalar(op.pad_value, np.int32)
    if op.expand != (1, 1):
        down, right = op.expand
        apart = write.step("Reshape", wide, write.integers((n, c, h, 1, w, 1), "shape"))
        gaps = write.integers((0, 0, 0, 0, 0, 0, 0, 0, 0, down - 1, 0, right - 1), "pads")
        filled = write.step("Pad", apart, gaps, value)
        whole = write.step("Reshape", filled, write.integers((n, c, h * down, w * right), "shape"))
        wide = _cropped(write, whole, (h * down, w * right), (0, 0), ((h - 1) * down + 1, (w - 1) * right + 1))
        h, w = (h - 1) * down + 1, (w - 1) * right + 1
    (top, bottom), (left, right) = op.padding
    wide = _cropped(write, wide, (h, w), (max(-top, 0), max(-left, 0)), (h + min(bottom, 0), w + min(right, 0)))
    border = tuple(max(width, 0) for width in (0, 0, top, left, 0, 0, bottom, right))
    if any(border):
        wide = write.step("Pad", wide, write.integers(border, "pads"), value)
    return write.cast(wide, dtype)


def _cropped(
    write: ExactWriter, x: str, sizes: tuple[int, int], starts: tuple[int, int], stops: tuple[int, int]
) -> str:
    if starts == (0, 0) and stops == sizes:
        return x
    bounds = (write.integers(values, name) for name, values in (("starts", starts), ("stops", stops), ("axes", (2, 3))))
    return write.step("Slice", x, *bounds)


def _counts(op: AveragePool2d, axis: int, size: int) -> np.ndarray:
    """The number of elements of a row or column in each window."""
    (before, after), width = op.padding[axis], op.window[axis]
    reach = (width - 1) * op.dilation[axis]
    starts = np.arange(-before, size + after - reach, op.stride[axis])
    met = starts[:, None] + np.arange(width) * op.dilation[axis]
    counts: np.ndarray = np.count_nonzero((met >= 0) & (met < size), axis=1)
    return counts
