"""Matrix products, and the arithmetic of two activations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npuq.ir import DType, Graph, Node
from npuq.ir.ops.conv import MatMul
from npuq.ir.ops.elementwise import Add, Div, Hypot, Maximum, Minimum, Mul, Sub
from npuq.ir.ops.npu.division import DIVISION_SHIFTS, LARGEST_SIDE
from npuq.ir.ops.npu.division import Div as NpuDiv
from npuq.ir.ops.npu.division import Hypot as NpuHypot
from npuq.ir.ops.npu.matrix import BatchMatMul
from npuq.ir.ops.npu.matrix import MatMul as NpuMatMul
from npuq.ir.ops.npu.pointwise import Add as NpuAdd
from npuq.ir.ops.npu.pointwise import Mul as NpuMul

from ..target import Target
from .context import Context, Emitted
from .pointwise import as_table
from .registry import Kind, Lowering, is_weight, moves_or_computes, product_of_scales
from .tflite import shifted_addition


def cannot_multiply(graph: Graph, node: Node, target: Target) -> str | None:
    """Operands are matrices; a bias is known and comes with known weights."""
    ranks = [graph.types[operand].rank for operand in node.operands[:2]]
    if min(ranks) < 2:
        return f"operands of rank {ranks[0]} and {ranks[1]}, at least 2 wanted"
    if len(node.operands) > 2 and not (is_weight(graph, node, 1) and is_weight(graph, node, 2)):
        return "a bias wants known weights and bias"
    return None


@Lowering(
    becomes=lambda graph, node: "npu.matmul" if is_weight(graph, node, 1) else "npu.batch_matmul",
    obstacle=cannot_multiply,
    weights={1: 1},
    weight_rank=2,
    bias=2,
    gain=product_of_scales,
).of(MatMul)
def matrix_product(context: Context, op: MatMul) -> Emitted:
    """Known weights: a scale per column and a bias; two activations: one scale each."""
    x, w = context.node.operands[:2]
    if is_weight(context.source, context.node, 1):
        product = NpuMatMul(**context.ending(NpuMatMul.name))
        return context.emit(product, context.take(x), *context.parameters(context.integers(w), context.quant(w)))
    first, second = context.quants
    integer = BatchMatMul(zero_points=(first.zero_point, second.zero_point), **context.ending())
    factors = context.rescale(first.scale * second.scale / context.result.quant.scale)
    return context.emit(integer, *map(context.take, context.node.operands), *factors)


def table_if_known(graph: Graph, node: Node) -> Kind:
    """An op of two operands is a table where one of them is known, number or channel by channel."""
    return Kind.POINTWISE if as_table(graph, node) else moves_or_computes(graph, node)


@Lowering(kind=table_if_known, becomes="npu.add").of(Add, Sub)
def addition(context: Context, op: Add | Sub) -> Emitted:
    """Both operands at one shift, so that the sum is rounded once."""
    if context.is_tflite and set(map(context.dtype, context.node.operands)) == {DType.I8}:
        return shifted_addition(context, op)
    first, second = context.quants
    sign = -1.0 if isinstance(op, Sub) else 1.0
    factors = context.common_rescale(np.array([first.scale, sign * second.scale]) / context.result.quant.scale)
    integer = NpuAdd(zero_points=(first.zero_point, second.zero_point), **context.ending())
    return context.emit_pair(integer, *factors)


@Lowering(kind=table_if_known, becomes="npu.mul", gain=product_of_scales).of(Mul)
def multiplication(context: Context, op: Mul) -> Emitted:
    """The product of the centred integers, requantized once."""
    first, second = context.quants
    integer = NpuMul(zero_points=(first.zero_point, second.zero_point), **context.ending())
    return context.emit_pair(integer, *context.rescale(first.scale * second.scale / context.result.quant.scale))


@Lowering(kind=table_if_known).of(Maximum, Minimum)
def extreme(context: Context, op: Maximum | Minimum) -> Emitted:
    """At one scale the greater integer is the greater real."""
    operands, last = context.pair(context.result)
    return context.emit(op, *operands, last=last)


@Lowering(kind=table_if_known, becomes="npu.div").of(Div)
def division(context: Context, op: Div) -> Emitted:
    """One exact quotient, which includes the scales."""
    first, second = context.quants
    real = first.scale / (second.scale * context.result.quant.scale)
    factors, shifts = context.multipliers(np.array([real]), (2, DIVISION_SHIFTS[1]))
    points = (first.zero_point, second.zero_point)
    factor, shift = max(int(factors[0]), 1), int(shifts[0])
    return context.emit_pair(NpuDiv(factor=factor, shift=shift, zero_points=points, **context.result.clamp))


def side(graph: Graph, node: Node, scales: Sequence[float]) -> float:
    """The greater scale, in units of the greatest side's weight."""
    return max(scales) / LARGEST_SIDE


@Lowering(becomes="npu.hypot", gain=side).of(Hypot)
def length(context: Context, op: Hypot) -> Emitted:
    """The sides are brought to one scale by integers of 13 bits, of which equal scales lose nothing."""
    first, second = context.quants
    greatest = max(first.scale, second.scale)
    weights = (round(LARGEST_SIDE * first.scale / greatest), round(LARGEST_SIDE * second.scale / greatest))
    integer = NpuHypot(weights=weights, zero_points=(first.zero_point, second.zero_point), **context.ending())
    return context.emit_pair(integer, *context.rescale(greatest / (LARGEST_SIDE * context.result.quant.scale)))
