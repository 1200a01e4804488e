"""Convolutions and poolings: channels last, one to two spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from npuq.ir import DType, Graph, Node, Op, Quantization
from npuq.ir.ops.conv import Conv, ConvTranspose
from npuq.ir.ops.npu.window import AveragePool2d, Conv2d, MaxPool2d, Pair
from npuq.ir.ops.pool import AveragePool, MaxPool
from npuq.ir.ops.shape import Reshape

from ..target import Target
from .context import Context, Emitted
from .registry import Lowering, is_known, product_of_scales
from .tflite import quotient_factors

T = TypeVar("T")


def on_plane(values: Sequence[T], height: T) -> tuple[T, T]:
    """A number per spatial axis as two numbers: `height` stands for the missing axis of a plane of height 1."""
    first, second = (height,) * (2 - len(values)) + tuple(values)
    return first, second


def _slide(op: Conv | ConvTranspose | MaxPool | AveragePool) -> dict[str, Any]:
    """The attributes of an op's window over a plane."""
    stride, dilation = on_plane(op.stride, 1), on_plane(op.dilation, 1)
    return {"stride": stride, "padding": on_plane(op.padding, (0, 0)), "dilation": dilation}


def too_many_axes(graph: Graph, node: Node, target: Target) -> str | None:
    """Windows slide over one or two spatial axes, of a plane with four axes in all."""
    rank = graph.types[node.operands[0]].rank - 2
    if rank > 2:
        return f"{rank} spatial axes, the target has 1 and 2"
    return f"a plane has 4 axes, at most {target.max_rank} wanted" if target.max_rank < 4 else None


def cannot_convolve(graph: Graph, node: Node, target: Target) -> str | None:
    """Weights and bias are known when the program is made."""
    for operand in node.operands[1:]:
        if not is_known(graph, operand):
            return f"weights %{operand} are computed, known ones wanted"
    return too_many_axes(graph, node, target)


def cannot_transpose(graph: Graph, node: Node, target: Target) -> str | None:
    """A transposed convolution crops no more than its window reaches."""
    assert isinstance(node.op, ConvTranspose)
    window = graph.types[node.operands[1]].shape[2:]
    for pads in _transposed_padding(node.op, window):
        if min(pads) < 0:
            return f"padding {node.op.padding} crops more than the window of {window} reaches"
    return cannot_convolve(graph, node, target)


@Lowering(becomes="npu.conv2d", obstacle=cannot_convolve, weights={1: 0}, bias=2, gain=product_of_scales).of(Conv)
def convolution(context: Context, op: Conv) -> Emitted:
    """Weights to HWIO; the input's zero point becomes the padding and part of the bias."""
    w = context.node.operands[1]
    scales = np.asarray(context.quant(w).scales)
    return _convolve(context, context.integers(w), scales, groups=op.groups, **_slide(op))


@Lowering(becomes="npu.conv2d", obstacle=cannot_transpose, weights={1: 1}, bias=2, gain=product_of_scales).of(
    ConvTranspose
)
def transposed_convolution(context: Context, op: ConvTranspose) -> Emitted:
    """A convolution of the input spread out by the stride, with the window reversed."""
    weights = context.integers(context.node.operands[1])
    inputs, outputs, *window = weights.shape
    spatial = tuple(range(2, weights.ndim))
    per_group = weights.reshape(op.groups, inputs // op.groups, outputs, *window)
    turned = np.flip(per_group.swapaxes(1, 2).reshape(op.groups * outputs, inputs // op.groups, *window), spatial)
    scales = np.tile(np.asarray(context.quant(context.node.operands[1]).scales), op.groups)
    slide = {**_slide(op), "stride": (1, 1), "padding": on_plane(_transposed_padding(op, tuple(window)), (0, 0))}
    return _convolve(context, turned, scales, groups=op.groups, expand=on_plane(op.stride, 1), **slide)


def _transposed_padding(op: ConvTranspose, window: tuple[int, ...]) -> tuple[Pair, ...]:
    reach = ((size - 1) * hole for size, hole in zip(window, op.dilation, strict=True))
    return tuple(
        (far - before, far - after + extra)
        for far, (before, after), extra in zip(reach, op.padding, op.output_padding, strict=True)
    )


def _convolve(context: Context, weights: np.ndarray, scales: np.ndarray, **attributes: Any) -> Emitted:
    """Emit the integer convolution of OI(H)W weights."""
    op = Conv2d(pad_value=context.quant(context.x).zero_point, **attributes, **context.ending())
    if weights.ndim == 3:
        weights = weights[:, :, None]
    quant = Quantization(tuple(np.asarray(scales, np.float32).tolist()), (0,) * len(scales), axis=3)
    if len(scales) == 1:
        quant = Quantization.per_tensor(float(scales[0]))
    return _from_plane(context, op, context.plane(), *context.parameters(weights.transpose(2, 3, 1, 0), quant))


@Lowering(becomes="npu.max_pool2d", obstacle=too_many_axes).of(MaxPool)
def max_pool(context: Context, op: MaxPool) -> Emitted:
    """The scale stays, so the greatest integer is the greatest real."""
    pool = MaxPool2d(window=on_plane(op.window, 1), **_slide(op))
    return _from_plane(context, pool, context.plane(result=context.result))


def share(graph: Graph, node: Node, scales: Sequence[float]) -> float:
    """The scale divided by the elements of the smallest window."""
    assert isinstance(node.op, AveragePool)
    return scales[0] / float(node.op.counts(graph.types[node.operands[0]].shape[2:]).min())


@Lowering(becomes="npu.average_pool2d", obstacle=too_many_axes, gain=share).of(AveragePool)
def average_pool(context: Context, op: AveragePool) -> Emitted:
    """The division by the number of elements is part of the requantization, per position where it varies."""
    x_quant, result = context.quant(context.x), context.result
    one_scale = x_quant == result.quant and context.dtype(context.x) is result.dtype is DType.I8
    rounds = context.is_tflite and one_scale
    space = context.shape(context.x)[2:]
    counts = op.counts(space).reshape((1,) * (2 - len(space)) + op.counts(space).shape)
    if (counts == counts.flat[0]).all():
        counts = counts.flat[:1]
    x = context.plane()
    pool = AveragePool2d(
        window=on_plane(op.window, 1),
        **_slide(op),
        input_zero_point=0 if rounds else x_quant.zero_point,
        **context.ending(AveragePool2d.name),
    )
    if rounds:
        pool, factors = replace(pool, zero_point=0), context.factors(*quotient_factors(counts))
    else:
        # A window with one element at an edge returns it, which the greatest factor below 1 does as well.
        reals = x_quant.scale / (counts * result.quant.scale)
        factors = context.rescale(np.where(reals == 1, 1 - 2.0**-31, reals))
    return _from_plane(context, pool, x, *factors)


def _from_plane(context: Context, op: Op, *operands: str) -> Emitted:
    """Add a 2-D op and drop the height of 1 where the user's op has one spatial axis."""
    if context.node.type.rank != 3:
        return context.emit(op, *operands, last=True)
    y = context.add(op, *operands, result=context.result, suffix=".plane")
    n, _, length, channels = context.builder.types[y].shape
    return context.emit(Reshape(shape=(n, length, channels)), y, last=True)
