"""Converters of operators on quantized integers: dequantize, the float operator, quantize."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from npuq.ir import Constant, Quantization, ops, require

from ...context import Context, Node
from ..registry import apply, converts
from .quantization import MICROSOFT, element_type, quantization, quantized, real


@dataclass(frozen=True, slots=True)
class Form:
    """The float operator, and the positions of its operands (each before scale and zero point) and its result's scale.

    Operands without a scale come before the others.
    """

    op: str
    operands: tuple[int, ...]
    scale: int
    plain: tuple[int, ...] = ()


FLOAT_OPSET = 13
"""The opset of the float operators whose attributes the quantized forms have."""

UNARY, BINARY = ((0,), 3), ((0, 3), 6)

FORMS = {
    ("", "QLinearMatMul"): Form("MatMul", *BINARY),
    (MICROSOFT, "QLinearAdd"): Form("Add", *BINARY),
    (MICROSOFT, "QLinearMul"): Form("Mul", *BINARY),
    (MICROSOFT, "QLinearAveragePool"): Form("AveragePool", *UNARY),
    (MICROSOFT, "QLinearGlobalAveragePool"): Form("GlobalAveragePool", *UNARY),
    (MICROSOFT, "QLinearLeakyRelu"): Form("LeakyRelu", *UNARY),
    (MICROSOFT, "QLinearSigmoid"): Form("Sigmoid", *UNARY),
    (MICROSOFT, "QLinearWhere"): Form("Where", (1, 4), 7, (0,)),
}


def _formed(form: Form, context: Context, node: Node) -> str:
    require(node.int("channels_last", 0) == 0, "channels_last is not 0; only channels on axis 1 are translated")
    operands = (*map(node.operand, form.plain), *(_operand(context, at) for at in form.operands))
    return _quantized(context, form.scale, floated(context, form.op, *operands))


for (_domain, _name), _form in FORMS.items():
    converts(_name, domain=_domain)(partial(_formed, _form))


@converts("QLinearConv")
def conv(context: Context, node: Node) -> str:
    """The bias has the scale of the sums."""
    x, w = _operand(context, 0), _operand(context, 3, axis=0)
    bias = [] if node.optional(8) is None else [_bias(context, 8, 1, 4)]
    return _quantized(context, 6, floated(context, "Conv", x, w, *bias))


@converts("QGemm", domain=MICROSOFT)
def gemm(context: Context, node: Node) -> str:
    """Without a scale the result is real."""
    columns = 0 if node.flag("transB", False) else 1
    operands = [_operand(context, 0), _operand(context, 3, axis=columns)]
    if node.optional(6) is not None:
        operands.append(_bias(context, 6, 1, 4, node.float("alpha", 1.0)))
    result = floated(context, "Gemm", *operands)
    return result if node.optional(7) is None else _quantized(context, 7, result)


@converts("QLinearConcat", domain=MICROSOFT)
def concat(context: Context, node: Node) -> str:
    """The result's scale comes first."""
    operands = (_operand(context, at) for at in range(2, len(node.operands), 3))
    return _quantized(context, 0, floated(context, "Concat", *operands))


@converts("QLinearSoftmax", domain=MICROSOFT)
def softmax(context: Context, node: Node) -> str:
    """Softmax as the opset in its attribute defines it."""
    result = floated(context, "Softmax", _operand(context, 0), opset=node.int("opset"))
    return _quantized(context, 3, result)


def floated(context: Context, op: str, *operands: str, opset: int = FLOAT_OPSET) -> str:
    """Translate ONNX's operator `op` with the node's attributes for other operands."""
    return apply(context, op, operands, context.node.attributes, opset)


def _operand(context: Context, at: int, axis: int = -1) -> str:
    """Dequantize the operand before a scale (one, or one per slice of `axis`) and a zero point."""
    q = context.node.operand(at)
    return real(context, q, quantization(context, at + 1, at + 2, axis % max(context.type(q).rank, 1)))


def _bias(context: Context, at: int, x_scale: int, w_scale: int, factor: float = 1.0) -> str:
    """Dequantize a bias with the scale factor * x scale * weight scale."""
    integers = context.required(at, "the bias")
    x, w = quantization(context, x_scale, x_scale + 1), quantization(context, w_scale, w_scale + 1, 0)
    scales = tuple(float(np.float32(factor * x.scale * scale)) for scale in w.scales)
    quant = Quantization(scales, (0,) * len(scales), 0 if len(scales) > 1 else None)
    require(integers.ndim == 1 or quant.axis is None, f"a bias of shape {integers.shape}, a number per channel wanted")
    name = context.builder.constant(Constant.of(integers, quant), context.node.operand(at))
    return context.builder.add(ops.Dequantize.of(quant), name, name=f"{name}.real", loc=context.node.loc)


def _quantized(context: Context, scale: int, x: str) -> str:
    return quantized(context, x, quantization(context, scale, scale + 1), element_type(context, scale + 1))
