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
from .context import Context, Emitted, Result
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
def matrix_product(context: Context, op: MatMul, node: Node, result: Result) -> Emitted:
    """Known weights: a scale per column and a bias; two activations: one scale each."""
    if is_weight(context.source, node, 1):
        return _linear(context, node, result)
    quants = [context.quant(operand) for operand in node.operands]
    integer = BatchMatMul(zero_points=(quants[0].zero_point, quants[1].zero_point), **context.tail(result))
    factors = context.rescale(np.array([quants[0].scale * quants[1].scale / result.quant.scale]), node)
    operands = (context.take(operand) for operand in node.operands)
    return Emitted(context.emit(integer, *operands, *factors, result=result), last=False)


def _linear(context: Context, node: Node, result: Result) -> Emitted:
    x_quant, w_quant = context.quant(node.operands[0]), context.quant(node.operands[1])
    weights = context.integers(node.operands[1])
    op = NpuMatMul(**context.tail(result, NpuMatMul.name))
    operands = (
        context.take(node.operands[0]),
        context.builder.constant(weights.astype(context.dtype(node.operands[1]).numpy), f"{result.name}.w", w_quant),
        context.bias(node, weights, result.name),
        *context.rescale(x_quant.scale * np.asarray(w_quant.scales, np.float64) / result.quant.scale, node),
    )
    return Emitted(context.emit(op, *operands, result=result), last=False)


def table_if_known(graph: Graph, node: Node) -> Kind:
    """An op of two operands is a table where one of them is known, number or channel by channel."""
    return Kind.POINTWISE if as_table(graph, node) else moves_or_computes(graph, node)


@lowers(Add, Sub, kind=table_if_known, becomes="npu.add")
def addition(context: Context, op: Add | Sub, node: Node, result: Result) -> Emitted:
    """Both operands at one shift, so that the sum is rounded once."""
    first, second = (context.quant(operand) for operand in node.operands)
    sign = -1.0 if isinstance(op, Sub) else 1.0
    if context.is_tflite and {context.dtype(operand) for operand in node.operands} == {DType.I8}:
        return shifted_addition(context, op, node, result)
    factors = context.common_rescale(np.array([first.scale, sign * second.scale]) / result.quant.scale)
    integer = NpuAdd(zero_points=(first.zero_point, second.zero_point), **context.tail(result))
    operands, last = context.pair(node)
    return Emitted(context.emit(integer, *operands, *factors, result=result), last=last)


@lowers(Mul, kind=table_if_known, becomes="npu.mul", gain=product_of_scales)
def multiplication(context: Context, op: Mul, node: Node, result: Result) -> Emitted:
    """The product of the centred integers, requantized once."""
    first, second = (context.quant(operand) for operand in node.operands)
    integer = NpuMul(zero_points=(first.zero_point, second.zero_point), **context.tail(result))
    factors = context.rescale(np.array([first.scale * second.scale / result.quant.scale]), node)
    operands, last = context.pair(node)
    return Emitted(context.emit(integer, *operands, *factors, result=result), last=last)


@lowers(Maximum, Minimum, kind=table_if_known)
def extreme(context: Context, op: Maximum | Minimum, node: Node, result: Result) -> Emitted:
    """At one scale the greater integer is the greater real."""
    operands, last = context.pair(node, result=result)
    return Emitted(context.emit(op, *operands, result=result), last=last)
