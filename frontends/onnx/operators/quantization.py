"""Converters of QuantizeLinear and DequantizeLinear, and parts of all quantized operators."""

from __future__ import annotations

import numpy as np

from npuq.ir import Constant, DType, Quantization, ops, require
from npuq.ir import Node as GraphNode

from ...context import Context, Node, front
from ..registry import converts

MICROSOFT = "com.microsoft"
"""The domain of onnxruntime's operators outside ONNX."""


@converts("QuantizeLinear", since=10)
@converts("QuantizeLinear", domain=MICROSOFT)
def quantize_linear(context: Context, node: Node) -> str:
    """The result has the zero point's element type, else `output_dtype`, else u8."""
    x = node.operand(0)
    require(node.int("block_size", 0) == 0, "block_size is not 0; only scales per tensor or axis are translated")
    return quantized(context, x, _quantization(context, node), _dtype(context, node))


@converts("DequantizeLinear", since=10)
@converts("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(context: Context, node: Node) -> str:
    """Constant integers stay integers, for the lowering. Integers that nothing quantized are computed."""
    require(node.int("block_size", 0) == 0, "block_size is not 0; only scales per tensor or axis are translated")
    return real(context, node.operand(0), _quantization(context, node))


def quantized(context: Context, x: str, quant: Quantization, dtype: DType) -> str:
    return context.add(ops.Quantize.to(dtype, quant), x)


def real(context: Context, q: str, quant: Quantization) -> str:
    typed = q if context.type(q).quant is not None else _stated(context, q, quant)
    if typed is None:
        return _computed(context, q, quant)
    return context.builder.add(ops.Dequantize.of(quant), typed, name=f"{q}.real", loc=context.node.loc)


def _stated(context: Context, q: str, quant: Quantization) -> str | None:
    """Return constant or input integers, or moved ones, with their scale; None for computed ones."""
    builder, moves = context.builder, list[GraphNode]()
    while (array := context.known(q)) is None and q not in builder.inputs:
        maker = builder.producer(q)
        if quant.axis is not None or maker is None or maker.op.moved(maker.operands) != maker.operands[:1]:
            return None
        moves.append(maker)
        q = maker.operands[0]
    if array is not None:
        q = builder.constant(Constant.of(array, quant), q)
    elif quant.axis is None and context.read.get(q) == 1:
        builder.inputs[q] = builder.types[q] = builder.types[q].with_quant(quant)
    else:
        return None
    for maker in reversed(moves):
        q = builder.add(maker.op, q, *maker.operands[1:], name=f"{maker.results[0]}.typed", loc=maker.loc)
    return q


def known_transposed(context: Context, name: str) -> str | None:
    """The transposed reals of a constant matrix of integers, or None."""
    maker = context.builder.producer(name)
    if maker is None or not isinstance(maker.op, ops.Dequantize):
        return None
    (q,), quant = maker.operands, maker.op.quant
    array = context.known(q)
    if array is None:
        return None
    turned = quant if quant.axis is None else quant.on_axis(1 - quant.axis)
    return real(context, context.builder.constant(np.ascontiguousarray(array.T), f"{q}.T", turned), turned)


def _computed(context: Context, q: str, quant: Quantization) -> str:
    """scale * (q - zero_point), with the difference in 32 bits."""
    rank = context.type(q).rank
    shape = () if quant.axis is None else tuple(-1 if axis == quant.axis else 1 for axis in range(rank))
    zero_points = context.constant(np.asarray(quant.zero_points, np.int32).reshape(shape), "zero_point")
    scales = context.constant(np.asarray(quant.scales, np.float32).reshape(shape), "scale")
    centred = context.add(ops.Sub(), context.add(ops.Cast(to=DType.I32), q), zero_points)
    return context.add(ops.Mul(), context.add(ops.Cast(to=DType.F32), centred), scales)


def _dtype(context: Context, node: Node) -> DType:
    """The zero point's element type, else `output_dtype`, else u8."""
    from onnx import helper

    number = node.int("output_dtype", 0)
    if context.known(node.optional(2)) is None and number:
        return DType.of(helper.tensor_dtype_to_np_dtype(number))
    return element_type(context, 2)


def element_type(context: Context, zero_point: int) -> DType:
    """The element type of the zero point at a position; u8 without one."""
    array = context.known(context.node.optional(zero_point))
    return DType.U8 if array is None else DType.of(array.dtype)


def _quantization(context: Context, node: Node) -> Quantization:
    scale = context.type(node.operand(1))
    require(scale.dtype is DType.F32, f"a scale of {scale.dtype.numpy}, f32 wanted")
    rank = context.type(node.operand(0)).rank
    return quantization(context, 1, 2, front(node.int("axis", 1), rank) if scale.size > 1 else None)


def quantization(context: Context, scale: int, zero_point: int, axis: int | None = None) -> Quantization:
    """The quantization of two constant operands: one scale, or one per slice of an axis."""
    scales = context.required(scale, "the scale")
    require(scales.ndim < 2, "scales in blocks; only scales per tensor or axis are translated")
    explicit = context.node.optional(zero_point) is not None
    zero_points = context.required(zero_point, "the zero point") if explicit else np.zeros(scales.size, np.int64)
    require(zero_points.size == scales.size, "as many zero points as scales are wanted")
    whole = tuple(int(zero) for zero in zero_points.ravel())
    return Quantization(tuple(float(one) for one in scales.ravel()), whole, axis if scales.size > 1 else None)
