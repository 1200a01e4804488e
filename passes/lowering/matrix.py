"""Matrix products and the arithmetic of two tensors."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType, Graph, Node
from npuq.ir.ops.conv import MatMul
from npuq.ir.ops.elementwise import Add, Maximum, Minimum, Mul, Sub
from npuq.ir.ops.npu.matrix import BatchMatMul
from npuq.ir.ops.npu.matrix import MatMul as NpuMatMul
from npuq.ir.ops.npu.pointwise import Add as NpuAdd
from npuq.ir.ops.npu.pointwise import Mul as NpuMul

from ..target import Target
from .context import Context, Emitted
from .pointwise import as_table
from .registry import Kind, is_weight, lowers, moves_or_computes, product_of_scales
from .tflite import shifted_addition


def cannot_multiply(graph: Graph, node: Node, target: Target) -> str | None:
    """Operands are matrices; a bias is known and comes with known weights."""
    ranks = [graph.types[operand].rank for operand in node.operands[:2]]
    if min(ranks) < 2:
        return f"operands of rank {ranks[0]} and {ranks[1]}, at least 2 wanted"
    if len(node.operands) > 2 and not (is_weight(graph, node, 1) and is_weight(graph, node, 2)):
        return "a bias wants known weights and bias"
    return None


@lowers(
    MatMul,
    becomes=lambda graph, node: "npu.matmul" if is_weight(graph, node, 1) else "npu.batch_matmul",
    obstacle=cannot_multiply,
    weights={1: 1},
    weight_rank=2,
    bias=2,
    gain=product_of_scales,
)
def matrix_product(context: Context, op: MatMul) -> Emitted:
    """Known weights: a scale per column and a bias; two activations: one scale each."""
    if is_weight(context.source, context.node, 1):
        return _linear(context)
    first, second = context.quants
    integer = BatchMatMul(zero_points=(first.zero_point, second.zero_point), **context.ending())
    factors = context.rescale(first.scale * second.scale / context.result.quant.scale)
    return context.emit(integer, *map(context.take, context.node.operands), *factors)


def _linear(context: Context) -> Emitted:
    x, w = context.node.operands[:2]
    weights, w_quant, name = context.integers(w), context.quant(w), context.result.name
    reals = context.quant(x).scale * np.asarray(w_quant.scales, np.float64) / context.result.quant.scale
    return context.emit(
        NpuMatMul(**context.ending(NpuMatMul.name)),
        context.take(x),
        context.builder.constant(weights.astype(context.dtype(w).numpy), f"{name}.w", w_quant),
        context.bias(weights),
        *context.rescale(reals),
    )


def table_if_known(graph: Graph, node: Node) -> Kind:
    """An op of two operands is a table where one of them is known, number or channel by channel."""
    return Kind.POINTWISE if as_table(graph, node) else moves_or_computes(graph, node)


@lowers(Add, Sub, kind=table_if_known, becomes="npu.add")
def addition(context: Context, op: Add | Sub) -> Emitted:
    """Both operands at one shift, so that the sum is rounded once."""
    if context.is_tflite and set(map(context.dtype, context.node.operands)) == {DType.I8}:
        return shifted_addition(context, op)
    first, second = context.quants
    sign = -1.0 if isinstance(op, Sub) else 1.0
    factors = context.common_rescale(np.array([first.scale, sign * second.scale]) / context.result.quant.scale)
    integer = NpuAdd(zero_points=(first.zero_point, second.zero_point), **context.ending())
    return context.emit_pair(integer, *factors)


@lowers(Mul, kind=table_if_known, becomes="npu.mul", gain=product_of_scales)
def multiplication(context: Context, op: Mul) -> Emitted:
    """The product of the centred integers, requantized once."""
    first, second = context.quants
    integer = NpuMul(zero_points=(first.zero_point, second.zero_point), **context.ending())
    return context.emit_pair(integer, *context.rescale(first.scale * second.scale / context.result.quant.scale))


@lowers(Maximum, Minimum, kind=table_if_known)
def extreme(context: Context, op: Maximum | Minimum) -> Emitted:
    """At one scale the greater integer is the greater real."""
    operands, last = context.pair(context.result)
    return context.emit(op, *operands, last=last)
