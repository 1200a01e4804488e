"""Sums over axes, softmax, interpolation, and positions of extremes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from npuq.ir import DType, Graph, Node, Op, Quantization, Shape
from npuq.ir.ops.npu.pointwise import SOFTMAX_FRACTION
from npuq.ir.ops.npu.pointwise import Softmax as NpuSoftmax
from npuq.ir.ops.npu.reduce import CumSum as NpuCumSum
from npuq.ir.ops.npu.reduce import ReduceSum as NpuReduceSum
from npuq.ir.ops.npu.softmax import SoftmaxFixed
from npuq.ir.ops.npu.window import ResizeLinear
from npuq.ir.ops.reduce import ArgMax, ArgMin, CumSum, ReduceMax, ReduceMean, ReduceMin, ReduceSum, Softmax
from npuq.ir.ops.resize import Resize

from ..target import Target, Width
from .context import Context, Emitted, Result, moved_axis
from .movement import not_resizable, select
from .registry import Kind, lowers, product_of_scales
from .tflite import fixed_exponentials, fixed_softmax, mean_factors


def _layout(context: Context, node: Node, axes: tuple[int, ...], *, keep: bool) -> tuple[bool, tuple[int, ...]]:
    """The layout to reduce in, and its axes: channels last where at hand and the result keeps its rank."""
    rank = context.source.types[node.operands[0]].rank
    spatial = set(axes) == set(range(2, rank))
    last = rank >= 3 and context.is_last(node.operands[0]) and (keep or spatial)
    return last, tuple(sorted(moved_axis(axis, rank, last=last) for axis in axes))


def share(graph: Graph, node: Node, scales: Sequence[float]) -> float:
    """The scale, of a mean divided by the number of elements."""
    return scales[0] / _divisor(node, graph.types[node.operands[0]].shape)


def _divisor(node: Node, shape: Shape) -> int:
    return math.prod(shape[axis] for axis in node.op.axes) if isinstance(node.op, ReduceMean) else 1


@lowers(ReduceMean, ReduceSum, becomes="npu.reduce_sum", gain=share)
def total(context: Context, op: ReduceMean | ReduceSum, node: Node, result: Result) -> Emitted:
    """The mean's division is part of the requantization."""
    x_quant = context.quant(node.operands[0])
    last, axes = _layout(context, node, op.axes, keep=op.keep)
    reduce = NpuReduceSum(axes=axes, keep=op.keep, input_zero_point=x_quant.zero_point, **context.tail(result))
    divisor = _divisor(node, context.source.types[node.operands[0]].shape)
    factors = context.rescale(np.array([x_quant.scale / (divisor * result.quant.scale)]), node)
    if context.is_tflite and divisor > 1:
        factors = context.factors(*mean_factors(x_quant.scale / result.quant.scale, divisor))
    x = context.take(node.operands[0], last=last)
    return Emitted(context.emit(reduce, x, *factors, result=result), last and op.keep)


@lowers(CumSum, becomes="npu.cumsum", gain=product_of_scales)
def cumulative_sum(context: Context, op: CumSum, node: Node, result: Result) -> Emitted:
    """Every partial sum is an element of the result."""
    quant = context.quant(node.operands[0])
    last, (axis,) = _layout(context, node, (op.axis,), keep=True)
    integer = NpuCumSum(
        axis=axis,
        exclusive=op.exclusive,
        reverse=op.reverse,
        input_zero_point=quant.zero_point,
        **context.tail(result),
    )
    factors = context.rescale(np.array([quant.scale / result.quant.scale]), node)
    x = context.take(node.operands[0], last=last)
    return Emitted(context.emit(integer, x, *factors, result=result), last)


@lowers(ReduceMax, ReduceMin)
def extreme(context: Context, op: ReduceMax | ReduceMin, node: Node, result: Result) -> Emitted:
    """The greatest integer is the greatest real."""
    last, axes = _layout(context, node, op.axes, keep=op.keep)
    x = context.take(node.operands[0], last=last, result=result)
    return Emitted(context.emit(replace(op, axes=axes), x, result=result), last and op.keep)


@lowers(ArgMax, ArgMin, kind=Kind.INDEX)
def position(context: Context, op: ArgMax | ArgMin, node: Node, result: Result) -> Emitted:
    """The order of the integers is that of the reals."""
    x = context.take(node.operands[0])
    return Emitted(context.builder.add(op, x, name=result.name, loc=result.loc), last=False)


def too_long_for_softmax(graph: Graph, node: Node, target: Target) -> str | None:
    """A softmax sums at most 2^16 exponentials, so that its quotient stays inside 63 bits."""
    op = node.op
    assert isinstance(op, Softmax)
    length = graph.types[node.operands[0]].shape[op.axis]
    return f"softmax over {length} elements, at most {SOFTMAX_LONGEST}" if length > SOFTMAX_LONGEST else None


SOFTMAX_LONGEST = 1 << 16


@lowers(Softmax, becomes="npu.softmax", obstacle=too_long_for_softmax)
def softmax(context: Context, op: Softmax, node: Node, result: Result) -> Emitted:
    """Exponentials of x - max(x) by table, then one exact division that takes the result's scale in."""
    rank = node.type.rank
    last = rank >= 3 and context.is_last(node.operands[0])
    scale = context.quant(node.operands[0]).scale
    axis = moved_axis(op.axis, rank, last=last)
    integer: Op
    if context.is_tflite and fixed_softmax(context, op, node, result):
        table = fixed_exponentials(scale, context.target.rounding)
        integer = SoftmaxFixed(axis=axis, **context.clamp(result))
    else:
        table = exponentials(scale, context.dtype(node.operands[0]))
        steps = round(2**SOFTMAX_FRACTION / result.quant.scale)
        integer = NpuSoftmax(axis=axis, steps=steps, **context.clamp(result))
    x = context.take(node.operands[0], last=last)
    return Emitted(context.emit(integer, x, context.builder.constant(table, "exp"), result=result), last)


def exponentials(scale: float, dtype: DType) -> np.ndarray:
    """exp(i * scale) in 30 fraction bits for i of -255 to 0; for 16 bits those of 256 * i before them."""
    bytes_ = np.arange(-255, 1)
    places = bytes_ if dtype is DType.I8 else np.stack([bytes_ * 256, bytes_])
    return np.asarray(np.rint(np.exp(places * np.float64(scale)) * (1 << 30)).astype(np.int32))


def softmax_quantization(width: Width) -> Quantization:
    """The scale of a softmax that shares none: all integers from zero's up to the greatest, for 0 to 1."""
    low, high = width.activation_range
    zero_point = 0 if width.symmetric else low
    return Quantization.per_tensor(1 / (high - zero_point), zero_point)


def resized(graph: Graph, node: Node) -> str:
    """The integer form of a resize: selecting elements keeps the scale, interpolating makes a new one."""
    return "resize" if node.op.moved(node.operands) else "npu.resize_linear"


def weighted(graph: Graph, node: Node, scales: Sequence[float]) -> float:
    """The scale, in units of the coarser weights of both axes."""
    return scales[0] / (1 << 2 * RESIZE_BITS[0])


@lowers(Resize, becomes=resized, obstacle=not_resizable, gain=weighted)
def resize(context: Context, op: Resize, node: Node, result: Result) -> Emitted:
    """Nearest selects; linear is two small products with weights of 11 bits, requantized once."""
    if op.mode == "nearest":
        return select(context, op, node, result)
    x_quant = context.quant(node.operands[0])
    height, width = context.source.types[node.operands[0]].shape[2:]
    one = 1 << RESIZE_BITS[context.dtype(node.operands[0]).bits > 8]
    weights = [np.rint(op.weights(axis, size) * one) for axis, size in ((2, height), (3, width))]
    integer = ResizeLinear(input_zero_point=x_quant.zero_point, **context.tail(result))
    tables = (context.builder.constant(along.astype(np.int16), "interpolation") for along in weights)
    factors = context.rescale(np.array([x_quant.scale / (one**2 * result.quant.scale)]), node)
    x = context.take(node.operands[0], last=True)
    return Emitted(context.emit(integer, x, *tables, *factors, result=result), last=True)


RESIZE_BITS = (11, 14)
"""The fraction bits of an interpolation's weights, for data of 8 bits and of 16: all sums stay inside 44 bits."""
