"""Dynamic quantization: weights keep their scales, activations are calibrated.

A chain of DynamicQuantizeLinear, an integer product, a cast and factors becomes one product of real activations and
dequantized weights. All else is translated as ONNX defines it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from npuq.ir import DType, ops

from ...context import Context, Node
from ..functions import is_standard, nodes_within
from ..registry import converts
from .qlinear import floated
from .quantization import MICROSOFT, quantization, real

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OWN = "npuq"
"""The domain of the products that replace chains."""

PRODUCTS = {"MatMulInteger": "DynamicQuantizeMatMul", "ConvInteger": "DynamicQuantizeConv"}


def fuse_dynamic(model: ModelProto) -> ModelProto:
    """Copy a model with each chain replaced by one product of the real activation."""
    from onnx import ModelProto

    if not any(node.op_type == "DynamicQuantizeLinear" for node in model.graph.node):
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    made = {name: node for node in copy.graph.node for name in node.output}
    readers: defaultdict[str, list[NodeProto | None]] = defaultdict(list)
    for node in nodes_within(copy.graph):
        for name in node.input:
            readers[name].append(node)
    for result in copy.graph.output:
        readers[result.name].append(None)
    nodes = list(copy.graph.node)
    for node in copy.graph.node:
        chain = _chain(node, made, readers)
        if chain is not None:
            product, gone = chain
            last = next(index for index, one in enumerate(nodes) if one is gone[-1])
            nodes[last] = product
            nodes = [one for one in nodes if not any(one is other for other in gone)]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _chain(
    node: NodeProto, made: dict[str, NodeProto], readers: dict[str, list[NodeProto | None]]
) -> tuple[NodeProto, list[NodeProto]] | None:
    """Return the product of the chain around an integer product and the chain's nodes, or None."""
    from onnx import TensorProto, helper

    source = made.get(node.input[0]) if node.input else None
    if source is None or source.op_type != "DynamicQuantizeLinear":
        return None
    x, (_, scale, zero_point) = source.input[0], (*source.output, "", "")[:3]
    if (node.domain, node.op_type) == (MICROSOFT, "MatMulIntegerToFloat"):
        _, w, x_scale, w_scale, x_zero, w_zero, bias = (*node.input, *[""] * 7)[:7]
        if (x_scale, x_zero) != (scale, zero_point):
            return None
        op, gone, result = "DynamicQuantizeMatMul", [node], node.output
    elif is_standard(node.domain) and node.op_type in PRODUCTS:
        _, w, x_zero, w_zero = (*node.input, "", "")[:4]
        cast = _only_reader(node, readers, "Cast")
        scaled = None if cast is None else _only_reader(cast, readers, "Mul")
        if x_zero != zero_point or cast is None or scaled is None or cast.attribute[0].i != TensorProto.FLOAT:
            return None
        factors = next((made[name] for name in scaled.input if name != cast.output[0] and name in made), None)
        if factors is None or factors.op_type != "Mul" or scale not in factors.input:
            return None
        (w_scale,), bias = (name for name in factors.input if name != scale), ""
        op, gone, result = PRODUCTS[node.op_type], [node, cast, scaled], scaled.output
    else:
        return None
    product = helper.make_node(op, [x, w, w_scale, w_zero, bias], result, node.name, domain=OWN)
    product.attribute.extend(node.attribute)
    return product, gone


def _only_reader(node: NodeProto, readers: dict[str, list[NodeProto | None]], op: str) -> NodeProto | None:
    found = readers[node.output[0]]
    return found[0] if len(found) == 1 and found[0] is not None and found[0].op_type == op else None


@converts("DynamicQuantizeMatMul", domain=OWN)
@converts("DynamicQuantizeMatMul", domain=MICROSOFT)
def real_product(context: Context, node: Node) -> str:
    """The activation stays real and is calibrated."""
    w = node.operand(1)
    weights = real(context, w, quantization(context, 2, 3, context.type(w).rank - 1))
    return _plus(context, context.add(ops.MatMul(), node.operand(0), weights), 4)


@converts("DynamicQuantizeConv", domain=OWN)
def real_convolution(context: Context, node: Node) -> str:
    weights = real(context, node.operand(1), quantization(context, 2, 3, 0))
    return floated(context, "Conv", node.operand(0), weights)


@converts("MatMulIntegerToFloat", domain=MICROSOFT)
def product_to_float(context: Context, node: Node) -> str:
    a, b = node.operand(0), node.operand(1)
    rows, columns = max(context.type(a).rank - 2, 0), context.type(b).rank - 1
    x, w = (real(context, a, quantization(context, 2, 4, rows)), real(context, b, quantization(context, 3, 5, columns)))
    return _plus(context, context.add(ops.MatMul(), x, w), 6)


@converts("MatMulInteger")
def matmul_integer(context: Context, node: Node) -> str:
    """There is one zero point, or one per row of the first or per column of the second operand."""
    rows = node.optional(2)
    if rows is not None and context.type(rows).rank == 1 and context.type(rows).size > 1:
        rows = context.add(ops.Reshape(shape=(context.type(rows).size, 1)), rows)
    a = _centred(context, node.operand(0), rows, DType.I32)
    b = _centred(context, node.operand(1), node.optional(3), DType.I32)
    return context.add(ops.MatMul(), a, b)


@converts("ConvInteger")
def conv_integer(context: Context, node: Node) -> str:
    """Doubles hold the sums exactly; the weights may have a zero point per output channel."""
    channels, w = node.optional(3), node.operand(1)
    if channels is not None and context.type(channels).size > 1:
        ones = (1,) * (context.type(w).rank - 1)
        channels = context.add(ops.Reshape(shape=(context.type(channels).size, *ones)), channels)
    x = _centred(context, node.operand(0), node.optional(2), DType.F64)
    return context.add(ops.Cast(to=DType.I32), floated(context, "Conv", x, _centred(context, w, channels, DType.F64)))


@converts("DynamicQuantizeLinear")
def dynamic_quantize_linear(context: Context, node: Node) -> tuple[str, ...]:
    """8 bits over the range of the values, extended to zero."""
    x = node.operand(0)
    axes = tuple(range(context.type(x).rank))
    zero, most = (context.constant(np.asarray(number, np.float32), "limit") for number in (0, 255))
    low = context.add(ops.Minimum(), context.add(ops.ReduceMin(axes=axes, keep=False), x), zero)
    high = context.add(ops.Maximum(), context.add(ops.ReduceMax(axes=axes, keep=False), x), zero)
    scale = context.add(ops.Div(), context.add(ops.Sub(), high, low), most)
    zero_point = _rounded(context, context.add(ops.Div(), context.add(ops.Sub(), zero, low), scale))
    steps = context.add(ops.Round(), context.add(ops.Div(), x, scale))
    integers = context.add(ops.Cast(to=DType.U8), _rounded(context, context.add(ops.Add(), steps, zero_point)))
    return integers, scale, context.add(ops.Cast(to=DType.U8), zero_point)


def _rounded(context: Context, x: str) -> str:
    return context.add(ops.Round(), context.add(ops.Clip(low=0.0, high=255.0), x))


def _centred(context: Context, q: str, zero_point: str | None, dtype: DType) -> str:
    wide = context.add(ops.Cast(to=dtype), q)
    if zero_point is None:
        return wide
    return context.add(ops.Sub(), wide, context.add(ops.Cast(to=dtype), zero_point))


def _plus(context: Context, product: str, bias: int) -> str:
    name = context.node.optional(bias)
    return product if name is None else context.add(ops.Add(), product, name)
