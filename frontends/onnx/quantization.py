"""Converters of quantized models: QuantizeLinear and DequantizeLinear pairs."""

from __future__ import annotations

import numpy as np

from npuq.ir import Constant, DType, Quantization, require
from npuq.ir.ops.elementwise import Mul, Sub
from npuq.ir.ops.logic import Cast
from npuq.ir.ops.quant import Dequantize, Quantize

from .axes import front
from .registry import Context, Node, converts


@converts("QuantizeLinear", since=10)
def quantize_linear(context: Context, node: Node) -> str:
    """The zero point's element type is the result's; without one it is u8, or what `output_dtype` says."""
    x = node.operand(0)
    dtype = _dtype(context, node)
    low, high = dtype.range
    quant = _quantization(context, node)
    op = Quantize(scales=quant.scales, zero_points=quant.zero_points, axis=quant.axis, dtype=dtype, low=low, high=high)
    return context.add(op, x)


@converts("DequantizeLinear", since=10)
def dequantize_linear(context: Context, node: Node) -> str:
    """Known integers stay integers: lowering wants to see them. Those that nothing quantized are computed with."""
    q = node.operand(0)
    quant = _quantization(context, node)
    array = context.known(q)
    if array is not None:
        q = context.builder.constant(Constant.of(array, quant), q)
    elif context.type(q).quant is None:
        return _computed(context, q, quant)
    op = Dequantize(scales=quant.scales, zero_points=quant.zero_points, axis=quant.axis)
    return context.builder.add(op, q, name=f"{node.outputs[0]}.real", loc=node.loc)


def _computed(context: Context, q: str, quant: Quantization) -> str:
    """scale * (q - zero_point), the difference in 32 bits."""
    rank = context.type(q).rank
    shape = () if quant.axis is None else tuple(-1 if axis == quant.axis else 1 for axis in range(rank))
    zero_points = context.constant(np.asarray(quant.zero_points, np.int32).reshape(shape), "zero_point")
    scales = context.constant(np.asarray(quant.scales, np.float32).reshape(shape), "scale")
    centred = context.add(Sub(), context.add(Cast(to=DType.I32), q), zero_points)
    return context.add(Mul(), context.add(Cast(to=DType.F32), centred), scales)


def _dtype(context: Context, node: Node) -> DType:
    from onnx import helper

    zero_point = context.known(node.optional(2))
    if zero_point is not None:
        return DType.of(zero_point.dtype)
    number = node.int("output_dtype", 0)
    return DType.of(helper.tensor_dtype_to_np_dtype(number)) if number else DType.U8


def _quantization(context: Context, node: Node) -> Quantization:
    """Scales and zero points, known before the network runs: one, or one per slice of an axis."""
    require(node.int("block_size", 0) == 0, "block_size is not 0; only scales per tensor or axis are translated")
    scales = context.wanted(1, "the scale")
    require(scales.ndim < 2, "scales in blocks; only scales per tensor or axis are translated")
    require(scales.dtype == DType.F32.numpy, f"a scale of {scales.dtype}, f32 wanted")
    zero_points = context.wanted(2, "the zero point") if node.optional(2) is not None else None
    require(zero_points is None or zero_points.size == scales.size, "as many zero points as scales are wanted")
    whole = (0,) * scales.size if zero_points is None else tuple(int(zero) for zero in zero_points.ravel())
    rank = context.type(node.operand(0)).rank
    axis = None if scales.size == 1 else front(node.int("axis", 1), rank)
    return Quantization(tuple(float(scale) for scale in scales.ravel()), whole, axis)
