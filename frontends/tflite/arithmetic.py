"""Converters of pointwise operators, sums and normalizations."""

from __future__ import annotations

from functools import reduce

import numpy as np

from npuq.ir import DType, Op, ops, require
from npuq.ir.ops.quant import to_reals

from ..onnx import apply
from .registry import CLAMPS, Operation, converts

PLAIN: dict[str, Op] = {
    "ABS": ops.Abs(),
    "CEIL": ops.Ceil(),
    "COS": ops.Cos(),
    "ELU": ops.Elu(),
    "EXP": ops.Exp(),
    "FLOOR": ops.Floor(),
    "HARD_SWISH": ops.HardSwish(),
    "LOG": ops.Log(),
    "LOGICAL_NOT": ops.Not(),
    "LOGISTIC": ops.Sigmoid(),
    "NEG": ops.Neg(),
    "ROUND": ops.Round(),
    "SIGN": ops.Sign(),
    "SIN": ops.Sin(),
    "SQRT": ops.Sqrt(),
    **CLAMPS,
}
"""Operators of one operand without options."""

PAIRWISE: dict[str, Op] = {
    "ADD": ops.Add(),
    "DIV": ops.Div(),
    "EQUAL": ops.Equal(),
    "FLOOR_MOD": ops.Mod(),
    "GREATER": ops.Greater(),
    "GREATER_EQUAL": ops.GreaterOrEqual(),
    "LESS": ops.Less(),
    "LESS_EQUAL": ops.LessOrEqual(),
    "LOGICAL_AND": ops.And(),
    "LOGICAL_OR": ops.Or(),
    "MAXIMUM": ops.Maximum(),
    "MINIMUM": ops.Minimum(),
    "MUL": ops.Mul(),
    "POW": ops.Pow(),
    "SUB": ops.Sub(),
}
"""Operators of two operands; some may have a fused activation."""

REDUCTIONS: dict[str, type[Op]] = {
    "MEAN": ops.ReduceMean,
    "REDUCE_MAX": ops.ReduceMax,
    "REDUCE_MIN": ops.ReduceMin,
    "REDUCE_PROD": ops.ReduceProd,
    "SUM": ops.ReduceSum,
}


@converts(*PLAIN)
def plain(operation: Operation) -> str:
    return operation.add(PLAIN[operation.spec.name])


@converts(*PAIRWISE)
def pairwise(operation: Operation) -> str:
    return operation.activated(operation.add(PAIRWISE[operation.spec.name], operation.x, operation.operand(1)))


@converts("NOT_EQUAL")
def not_equal(operation: Operation) -> str:
    return operation.add(ops.Not(), operation.add(ops.Equal(), operation.x, operation.operand(1)))


@converts("FLOOR_DIV")
def floor_division(operation: Operation) -> str:
    """Integers are divided through the remainder, which has the divisor's sign."""
    a, b = operation.x, operation.operand(1)
    if operation.type(a).dtype.is_float:
        return operation.add(ops.Floor(), operation.add(ops.Div(), a, b))
    return operation.add(ops.Div(), operation.add(ops.Sub(), a, operation.add(ops.Mod(), a, b)), b)


@converts("SQUARE")
def square(operation: Operation) -> str:
    return operation.add(ops.Mul(), operation.x, operation.x)


@converts("SQUARED_DIFFERENCE")
def squared_difference(operation: Operation) -> str:
    difference = operation.add(ops.Sub(), operation.x, operation.operand(1))
    return operation.add(ops.Mul(), difference, difference)


@converts("RSQRT")
def reciprocal_root(operation: Operation) -> str:
    return operation.add(ops.Reciprocal(), operation.add(ops.Sqrt()))


@converts("ADD_N")
def sum_of_all(operation: Operation) -> str:
    return reduce(lambda one, other: operation.add(ops.Add(), one, other), operation.node.all_operands())


@converts("LEAKY_RELU")
def leaky_relu(operation: Operation) -> str:
    return operation.add(ops.LeakyRelu(alpha=operation.options["alpha"]))


@converts("PRELU")
def prelu(operation: Operation) -> str:
    """Slopes stored as integers are dequantized: they become a part of a table."""
    tensor, slope = operation.inputs[1], operation.operand(1)
    if tensor is not None and tensor.array is not None and tensor.quant is not None:
        slope = operation.constant(to_reals(tensor.array, tensor.quant), "slope")
    return operation.add(ops.PRelu(), operation.x, slope)


@converts("GELU")
def gelu(operation: Operation) -> str:
    return operation.add(ops.Gelu(approximate="tanh" if operation.options["approximate"] else "none"))


@converts("SELECT", "SELECT_V2")
def select(operation: Operation) -> str:
    """The older operator broadcasts a condition with one axis along the first axis."""
    which, *choices = (operation.operand(index) for index in range(3))
    shape, rank = operation.type(which).shape, operation.type(choices[0]).rank
    if operation.spec.name == "SELECT" and len(shape) == 1 < rank:
        which = operation.reshaped(which, (*shape, *(1,) * (rank - 1)))
    return operation.add(ops.Where(), which, *choices)


@converts("CAST")
def cast(operation: Operation) -> str:
    return operation.add(ops.Cast(to=operation.outputs[0].dtype))


@converts("QUANTIZE")
def quantize(operation: Operation) -> str:
    """The result's scale adds the pair."""
    require(operation.outputs[0].is_quantized, "a result without a scale")
    return operation.x


@converts("DEQUANTIZE")
def dequantize(operation: Operation) -> str:
    """Quantized operands are reals already; half precision is widened."""
    tensor, x = operation.inputs[0], operation.x
    if operation.type(x).dtype is not DType.F16:
        require(operation.type(x).dtype is DType.F32, f"an operand of {operation.type(x).dtype} without a scale")
        return x
    if tensor is not None and tensor.array is not None:
        return operation.builder.constant(tensor.array.astype(np.float32), operation.outputs[0].name)
    return operation.add(ops.Cast(to=DType.F32))


@converts(*REDUCTIONS)
def reduction(operation: Operation) -> str:
    axes = tuple(sorted({operation.axis(axis) for axis in operation.integers(1, "the axes")}))
    op = REDUCTIONS[operation.spec.name](axes=axes, keep=bool(operation.options["keep"]))  # type: ignore[call-arg]  # reductions
    return operation.add(op)


@converts("ARG_MAX", "ARG_MIN")
def position(operation: Operation) -> str:
    (axis,) = operation.integers(1, "the axis")
    kind = ops.ArgMax if operation.spec.name == "ARG_MAX" else ops.ArgMin
    return operation.cast(operation.add(kind(axis=operation.axis(axis))), operation.outputs[0].dtype)


@converts("TOPK_V2")
def greatest(operation: Operation) -> tuple[str, str]:
    """Along the last axis, with indices."""
    (count,) = operation.integers(1, "the count")
    op = ops.TopK(axis=operation.axis(-1), count=count)
    values, places = operation.add_all(op, operation.x)
    return values, operation.add(ops.Cast(to=operation.outputs[1].dtype), places)


@converts("CUMSUM")
def cumulative_sum(operation: Operation) -> str:
    (axis,) = operation.integers(1, "the axis")
    options = operation.options
    op = ops.CumSum(axis=operation.axis(axis), exclusive=options["exclusive"], reverse=options["reverse"])
    return operation.add(op)


@converts("SOFTMAX", "LOG_SOFTMAX")
def softmax(operation: Operation) -> str:
    """Over the last axis of x times a factor, usually 1."""
    beta = operation.options.get("beta", 1.0)
    x = operation.x if beta == 1 else operation.add(ops.Mul(), operation.x, operation.number(beta, "beta"))
    kind = ops.Softmax if operation.spec.name == "SOFTMAX" else ops.LogSoftmax
    return operation.add(kind(axis=operation.axis(-1)), x)


@converts("L2_NORMALIZATION")
def normalization(operation: Operation) -> str:
    """Divide by the norm over the last axis, at least 1e-6."""
    squares = operation.add(ops.Mul(), operation.x, operation.x)
    length = operation.add(ops.Sqrt(), operation.add(ops.ReduceSum(axes=(operation.axis(-1),), keep=True), squares))
    least = operation.add(ops.Maximum(), length, operation.number(1e-6, "least"))
    return operation.activated(operation.add(ops.Div(), operation.x, least))


@converts("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(operation: Operation) -> str:
    """Over `radius` channels on either side; unlike in ONNX, alpha is not divided by their number."""
    options, x = operation.options, operation.first(operation.x)
    size = 2 * options["radius"] + 1
    require(size > 0, f"radius {options['radius']}")
    attributes = {"size": size, "alpha": options["alpha"] * size, "beta": options["beta"], "bias": options["bias"]}
    return operation.last(apply(operation, "LRN", [x], attributes))
