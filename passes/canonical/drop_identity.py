"""Removal of ops that change nothing, alone or together with the op before them."""

from __future__ import annotations

import math

import numpy as np

from npuq.ir import Builder, DType, Graph, Node, Op, TensorType, results_of, rewrite
from npuq.ir.ops.activation import Clip
from npuq.ir.ops.elementwise import Add, Div, Identity, Mul, Pow, Sub
from npuq.ir.ops.logic import Cast
from npuq.ir.ops.pool import AveragePool, MaxPool
from npuq.ir.ops.quant import Dequantize, Quantize
from npuq.ir.ops.reduce import ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum
from npuq.ir.ops.resize import Resize
from npuq.ir.ops.shape import Concat, Expand, Pad, Reshape, Slice, Tile, Transpose

from ..conditions import no_identities
from ..pipeline import graph_pass

NEUTRAL: dict[type[Op], tuple[int, int | None]] = {
    Add: (0, 0),
    Sub: (0, None),
    Mul: (1, 1),
    Div: (1, None),
    Pow: (1, None),
}
"""The constant that leaves the other operand as it is: as the right, and as the left operand."""

WIDENED = {DType.F16: (DType.F32, DType.F64), DType.BF16: (DType.F32, DType.F64), DType.F32: (DType.F64,)}
"""The element types that represent every number of another."""


@graph_pass("drop-identity", ensures=(no_identities,))
def drop_identity(graph: Graph) -> Graph:
    """Let the users of every op that changes nothing use its operand.

    These are also shape ops, casts, clips and reductions that leave every element as it is, one-element pools,
    concatenations of one operand, and arithmetic with 0 or 1. A reshape of a reshape, a transpose of a transpose and a
    cast back from a wider type become one op. So do equal dequantizes, and a quantize restores dequantized integers.
    """
    reals: dict[tuple[str, Op], str] = {}

    def drop(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        if len(node.results) != 1:
            return None
        if isinstance(node.op, Dequantize):
            key = (operands[0], node.op)
            reals[key] = reals[key] if key in reals else builder.copy(node, operands)[0]
            return reals[key]
        types = tuple(builder.types[operand] for operand in operands)
        kept = _unchanged(builder, node, operands, types)
        if kept is not None:
            return kept
        joined = _joined(builder, node, operands)
        if joined is None:
            return None
        op, operand = joined
        if _is_noop(op, builder.types[operand], node.type):
            return operand
        return builder.add(op, operand, name=node.result, loc=node.loc, host=node.host)

    return rewrite(graph, drop)


def _unchanged(builder: Builder, node: Node, operands: tuple[str, ...], types: tuple[TensorType, ...]) -> str | None:
    """The operand that equals the node's result, or None."""
    if isinstance(node.op, Concat):
        filled = [operand for operand, type_ in zip(operands, types, strict=True) if type_.size]
        return filled[0] if len(filled) == 1 and builder.types[filled[0]] == node.type else None
    if isinstance(node.op, Quantize):
        return _requantized(builder, node, operands[0])
    if len(operands) == 1:
        return operands[0] if _is_noop(node.op, types[0], node.type) else None
    for kept, other, neutral in zip((0, 1), (1, 0), NEUTRAL.get(type(node.op), ()), strict=False):
        constant = builder.constants.get(operands[other])
        if constant is None or neutral is None or types[kept] != node.type:
            continue
        if bool(np.all(constant.array == neutral)):
            return operands[kept]
    return None


def _requantized(builder: Builder, node: Node, operand: str) -> str | None:
    """The integers that a quantize of dequantized ones restores: the error is less than half a step."""
    op = node.op
    before = builder.producer(operand)
    if before is None or not isinstance(before.op, Dequantize) or not isinstance(op, Quantize):
        return None
    whole = (op.low, op.high) == op.dtype.range and op.dtype.bits <= 16
    return before.operands[0] if whole and builder.types[before.operands[0]] == node.type else None


def _is_noop(op: Op, x: TensorType, y: TensorType) -> bool:
    """Whether a one-operand op from type `x` to type `y` keeps every element in its place."""
    if x != y:
        return False
    match op:
        case Identity() | Reshape() | Expand() | Tile() | Cast():
            return True
        case ReduceMax() | ReduceMean() | ReduceMin() | ReduceProd() | ReduceSum():
            return True  # an equal shape means that only axes of one element are reduced
        case Transpose():
            return in_order(op.order, x.shape)
        case Slice():
            return op.ranges == tuple(map(range, x.shape))
        case Pad():
            return not any(map(any, op.padding))
        case Clip():
            return op.low == -math.inf and op.high == math.inf
        case Resize():
            same = (np.array_equal(op.places(axis, size), np.arange(size)) for axis, size in enumerate(x.shape))
            return op.coordinates != "tf_crop_and_resize" and all(same)
        case MaxPool() | AveragePool():
            return set(op.window) == {1} and not any(map(any, op.padding))
    return False


def in_order(order: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a transpose moves only axes of one element."""
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved)


def _joined(builder: Builder, node: Node, operands: tuple[str, ...]) -> tuple[Op, str] | None:
    """One op that replaces the node and the op before it, and its operand; None where there is none."""
    if not isinstance(node.op, (Reshape, Transpose, Cast)):
        return None
    before = builder.producer(operands[0])
    if before is None:
        return None
    origin = before.operands[0] if before.operands else ""
    op: Op
    match before.op, node.op:
        case Reshape(), Reshape():
            op = node.op
        case Transpose(order=first), Transpose(order=second):
            op = Transpose(order=tuple(first[axis] for axis in second))
        case Cast(to=wide), Cast(to=back) if back is builder.types[origin].dtype and wide in WIDENED.get(back, ()):
            op = node.op
        case _:
            return None
    return (op, origin) if results_of(op, (builder.types[origin],)) == node.types else None
