"""Converters of reductions over axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from npuq.ir import DType, ops

from .registry import Equation, converts

REDUCTIONS: dict[str, Any] = {
    "reduce_and": ops.ReduceMin,
    "reduce_max": ops.ReduceMax,
    "reduce_min": ops.ReduceMin,
    "reduce_or": ops.ReduceMax,
    "reduce_prod": ops.ReduceProd,
    "reduce_sum": ops.ReduceSum,
}


@converts(*REDUCTIONS)
def reduce(equation: Equation) -> str:
    """Bools are reduced as the integers 0 and 1."""
    x, axes = equation.full(0), tuple(int(axis) for axis in equation.params["axes"])
    if equation.type(x).dtype is not DType.BOOL:
        return equation.add(REDUCTIONS[equation.node.op](axes=axes), x)
    number = equation.add(ops.Cast(to=DType.I32), x)
    return equation.add(ops.Cast(to=DType.BOOL), equation.add(REDUCTIONS[equation.node.op](axes=axes), number))


@converts("argmax", "argmin")
def position(equation: Equation) -> str:
    (axis,) = equation.params["axes"]
    op = ops.ArgMax(axis=int(axis)) if equation.node.op == "argmax" else ops.ArgMin(axis=int(axis))
    return equation.add(ops.Cast(to=equation.result().dtype), equation.add(op, equation.full(0)))


@converts("cumsum")
def cumsum(equation: Equation) -> str:
    """A product with a triangle of ones."""
    x, axis = equation.full(0), equation.params["axis"]
    type_ = equation.type(x)
    size = type_.shape[axis]
    triangle = np.tri(size) if equation.params["reverse"] else np.tri(size).T
    last = [at for at in range(type_.rank) if at != axis] + [axis]
    summed = equation.add(
        ops.MatMul(), equation.transposed(x, last), equation.constant(triangle.astype(type_.dtype.numpy))
    )
    return equation.transposed(summed, np.argsort(last).tolist())
