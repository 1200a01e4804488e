"""Sums over axes, softmax, interpolation, and positions of extremes."""

from __future__ import annotations

import math
from collections.abc import Sequence

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

from ..axes import O
from ..target import Target, Width
from .context import Context, Emitted, laid_out
from .movement import moved, not_resizable
from .registry import Kind, Lowering, product_of_scales
from .tflite import fixed_exponentials, fixed_softmax, mean_factors


def _laid_out(context: Context, op: O, axes: tuple[int, ...], *, keep: bool = True) -> tuple[O, bool]:
    """The op in the layout to reduce in: channels last where at hand, and the result keeps its rank or loses space."""
    rank = len(context.shape(context.x))
    last = context.is_last(context.x) and (keep or set(axes) == set(range(2, rank)))
    return laid_out(op, rank, last=last), last


def share(graph: Graph, node: Node, scales: Sequence[float]) -> float:
    """The scale, of a mean divided by the number of elements."""
    return scales[0] / _divisor(node, graph.types[node.operands[0]].shape)


def _divisor(node: Node, shape: Shape) -> int:
    return math.prod(shape[axis] for axis in node.op.axes) if isinstance(node.op, ReduceMean) else 1


@Lowering(becomes="npu.reduce_sum", gain=share).of(ReduceMean, ReduceSum)
def total(context: Context, op: ReduceMean | ReduceSum) -> Emitted:
    """The mean's division is part of the requantization."""
    x, step = context.quant(context.x), context.result.quant.scale
    op, last = _laid_out(context, op, op.axes, keep=op.keep)
    reduce = NpuReduceSum(axes=op.axes, keep=op.keep, input_zero_point=x.zero_point, **context.ending())
    divisor = _divisor(context.node, context.shape(context.x))
    factors = context.rescale(x.scale / (divisor * step))
    if context.is_tflite and divisor > 1:
        factors = context.factors(*mean_factors(x.scale / step, divisor))
    return context.emit(reduce, context.take(context.x, last=last), *factors, last=last and op.keep)


@Lowering(becomes="npu.cumsum", gain=product_of_scales).of(CumSum)
def cumulative_sum(context: Context, op: CumSum) -> Emitted:
    """Every partial sum is an element of the result."""
    x = context.quant(context.x)
    op, last = _laid_out(context, op, (op.axis,))
    integer = NpuCumSum(
        axis=op.axis,
        exclusive=op.exclusive,
        reverse=op.reverse,
        input_zero_point=x.zero_point,
        **context.ending(),
    )
    factors = context.rescale(x.scale / context.result.quant.scale)
    return context.emit(integer, context.take(context.x, last=last), *factors, last=last)


@Lowering().of(ReduceMax, ReduceMin)
def extreme(context: Context, op: ReduceMax | ReduceMin) -> Emitted:
    """The greatest integer is the greatest real."""
    op, last = _laid_out(context, op, op.axes, keep=op.keep)
    return context.emit(op, context.take(context.x, last=last, result=context.result), last=last and op.keep)


@Lowering(kind=Kind.INDEX).of(ArgMax, ArgMin)
def position(context: Context, op: ArgMax | ArgMin) -> Emitted:
    """The order of the integers is that of the reals."""
    x, result = context.take(context.x), context.result
    return Emitted(context.builder.add(op, x, name=result.name, loc=result.loc), last=False)


def too_long_for_softmax(graph: Graph, node: Node, target: Target) -> str | None:
    """A softmax sums at most 2^16 exponentials, so that its quotient stays inside 63 bits."""
    op = node.op
    assert isinstance(op, Softmax)
    length = graph.types[node.operands[0]].shape[op.axis]
    return f"softmax over {length} elements, at most {SOFTMAX_LONGEST}" if length > SOFTMAX_LONGEST else None


SOFTMAX_LONGEST = 1 << 16


@Lowering(becomes="npu.softmax", obstacle=too_long_for_softmax).of(Softmax)
def softmax(context: Context, op: Softmax) -> Emitted:
    """Exponentials of x - max(x) by table, then one exact division that takes the result's scale in."""
    scale, clamp = context.quant(context.x).scale, context.result.clamp
    fixed = fixed_softmax(context, op)
    op, last = _laid_out(context, op, (op.axis,))
    integer: Op
    if fixed:
        table = fixed_exponentials(scale, context.target.rounding)
        integer = SoftmaxFixed(axis=op.axis, **clamp)
    else:
        table = exponentials(scale, context.dtype(context.x))
        integer = NpuSoftmax(axis=op.axis, steps=round(2**SOFTMAX_FRACTION / context.result.quant.scale), **clamp)
    x = context.take(context.x, last=last)
    return context.emit(integer, x, context.builder.constant(table, "exp"), last=last)


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


@Lowering(becomes=resized, obstacle=not_resizable, gain=weighted).of(Resize)
def resize(context: Context, op: Resize) -> Emitted:
    """Nearest selects; linear is two small products with weights of 11 bits, requantized once."""
    if op.mode == "nearest":
        return moved(context, op)
    quant, (height, width) = context.quant(context.x), context.shape(context.x)[2:]
    one = 1 << RESIZE_BITS[context.dtype(context.x).bits > 8]
    weights = [np.rint(op.weights(axis, size) * one) for axis, size in ((2, height), (3, width))]
    integer = ResizeLinear(input_zero_point=quant.zero_point, **context.ending())
    factors = context.rescale(quant.scale / (one**2 * context.result.quant.scale))
    x = context.take(context.x, last=True)
    tables = (context.builder.constant(along.astype(np.int16), "interpolation") for along in weights)
    return context.emit(integer, x, *tables, *factors, last=True)


RESIZE_BITS = (11, 14)
"""The fraction bits of an interpolation's weights, for data of 8 bits and of 16: all sums stay inside 44 bits."""
