"""Converters of matrix products."""

from __future__ import annotations

import numpy as np

from npuq.ir import ops, require

from ...context import Context, Node
from ..registry import converts
from .quantization import known_transposed


@converts("MatMul")
def matmul(context: Context, node: Node) -> str:
    return context.add(ops.MatMul(), node.operand(0), node.operand(1))


@converts("Gemm")
def gemm(context: Context, node: Node) -> str:
    """alpha * A' B' + beta * C; constants absorb transposes and factors."""
    a, b, c = node.operand(0), node.operand(1), node.optional(2)
    for name in (a, b):
        require(context.type(name).rank == 2, f"operand of rank {context.type(name).rank}, 2 wanted")
    if node.flag("transA", False):
        a = _transposed(context, a)
    if node.flag("transB", False):
        b = _transposed(context, b)
    b = _scaled(context, b, node.float("alpha", 1.0))
    beta = node.float("beta", 1.0)
    if c is None or beta == 0:
        return context.add(ops.MatMul(), a, b)
    return _plus(context, a, b, _scaled(context, c, beta))


def _plus(context: Context, a: str, b: str, c: str) -> str:
    """A B + C; C becomes the bias if it has one number per column, else an addition."""
    columns, offset, known = context.type(b).shape[1], context.type(c), context.known(c)
    if known is not None and known.size == 1:
        c = context.builder.constant(np.full(columns, known.reshape(()), known.dtype), f"{c}.full")
    elif offset.shape == (1, columns):
        reshape = ops.Reshape(shape=(columns,))
        c = context.add(reshape, c) if known is None else context.builder.constant(known.reshape(columns), f"{c}.row")
    if context.type(c).shape == (columns,):
        return context.add(ops.MatMul(), a, b, c)
    product = context.add(ops.MatMul(), a, b)
    result = context.add(ops.Add(), product, c)
    require(context.type(result) == context.type(product), f"C of shape {offset.shape} grows the result")
    return result


def _transposed(context: Context, name: str) -> str:
    known = context.known(name)
    if known is None:
        return known_transposed(context, name) or context.add(ops.Transpose(order=(1, 0)), name)
    return context.builder.constant(np.ascontiguousarray(known.T), f"{name}.T")


def _scaled(context: Context, name: str, factor: float) -> str:
    if factor == 1:
        return name
    type_, known = context.type(name), context.known(name)
    require(type_.dtype.is_float, f"factor {factor} on {type_.dtype}, a float wanted")
    by = np.asarray(factor, type_.dtype.numpy)
    if known is None:
        return context.add(ops.Mul(), name, context.constant(by, "factor"))
    return context.builder.constant(known * by, f"{name}.scaled")
