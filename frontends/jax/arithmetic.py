"""Converters of pointwise primitives."""

from __future__ import annotations

import math

import numpy as np

from npuq.ir import DType, Op, ops, require

from .registry import Equation, converts

PLAIN: dict[str, Op] = {
    "abs": ops.Abs(),
    "acos": ops.Acos(),
    "acosh": ops.Acosh(),
    "add": ops.Add(),
    "add_any": ops.Add(),
    "and": ops.And(),
    "asin": ops.Asin(),
    "asinh": ops.Asinh(),
    "atan": ops.Atan(),
    "atanh": ops.Atanh(),
    "ceil": ops.Ceil(),
    "cos": ops.Cos(),
    "cosh": ops.Cosh(),
    "eq": ops.Equal(),
    "erf": ops.Erf(),
    "exp": ops.Exp(),
    "floor": ops.Floor(),
    "ge": ops.GreaterOrEqual(),
    "gt": ops.Greater(),
    "le": ops.LessOrEqual(),
    "log": ops.Log(),
    "logistic": ops.Sigmoid(),
    "lt": ops.Less(),
    "mul": ops.Mul(),
    "neg": ops.Neg(),
    "not": ops.Not(),
    "or": ops.Or(),
    "rem": ops.Mod(truncate=True),
    "sign": ops.Sign(),
    "sin": ops.Sin(),
    "sinh": ops.Sinh(),
    "sqrt": ops.Sqrt(),
    "sub": ops.Sub(),
    "tan": ops.Tan(),
    "tanh": ops.Tanh(),
    "xor": ops.Xor(),
}
"""Primitives without parameters."""

SAME = (
    "stop_gradient",
    "copy",
    "copy_p",
    "name",
    "optimization_barrier",
    "sharding_constraint",
    "reduce_precision",
    "pvary",
)
"""Primitives that only concern training or the compiler."""


@converts(*PLAIN)
def plain(equation: Equation) -> str:
    return equation.add(PLAIN[equation.node.op], *map(equation.narrow, range(len(equation.operands))))


@converts(*SAME)
def same(equation: Equation) -> tuple[str, ...]:
    return tuple(map(equation.narrow, range(len(equation.operands))))


@converts("ne")
def not_equal(equation: Equation) -> str:
    return equation.add(ops.Not(), equation.add(ops.Equal(), equation.narrow(0), equation.narrow(1)))


@converts("square")
def square(equation: Equation) -> str:
    x = equation.narrow(0)
    return equation.add(ops.Mul(), x, x)


@converts("integer_pow")
def integer_pow(equation: Equation) -> str:
    x, exponent = equation.narrow(0), equation.params["y"]
    match exponent:
        case 1:
            return x
        case 2:
            return equation.add(ops.Mul(), x, x)
        case -1:
            return equation.add(ops.Reciprocal(), x)
    return equation.add(ops.Pow(), x, equation.number(exponent, like=x))


@converts("pow")
def pow_(equation: Equation) -> str:
    """The exponent may be an integer."""
    x, exponent = equation.narrow(0), equation.narrow(1)
    return equation.add(ops.Pow(), x, equation.cast(exponent, equation.type(x).dtype))


@converts("rsqrt")
def rsqrt(equation: Equation) -> str:
    return equation.add(ops.Reciprocal(), equation.add(ops.Sqrt(), equation.narrow(0)))


@converts("log1p")
def log1p(equation: Equation) -> str:
    x = equation.narrow(0)
    return equation.add(ops.Log(), equation.add(ops.Add(), x, equation.number(1, like=x)))


@converts("expm1")
def expm1(equation: Equation) -> str:
    x = equation.narrow(0)
    return equation.add(ops.Sub(), equation.add(ops.Exp(), x), equation.number(1, like=x))


@converts("exp2")
def exp2(equation: Equation) -> str:
    x = equation.narrow(0)
    return equation.add(ops.Exp(), equation.add(ops.Mul(), x, equation.number(math.log(2), like=x)))


@converts("erfc")
def erfc(equation: Equation) -> str:
    """1 - erf(x), or 1 + erf(u) if x is -u, the form of the exact GELU."""
    x = equation.narrow(0)
    inner = _negated(equation, x)
    one = equation.number(1, like=x)
    if inner is None:
        return equation.add(ops.Sub(), one, equation.add(ops.Erf(), x))
    return equation.add(ops.Add(), one, equation.add(ops.Erf(), inner))


def _negated(equation: Equation, x: str) -> str | None:
    """Return u if x is -u or -u * c."""
    node = equation.builder.producer(x)
    if node is not None and isinstance(node.op, ops.Neg):
        return node.operands[0]
    if node is not None and isinstance(node.op, ops.Mul):
        for left, right in (node.operands, node.operands[::-1]):
            before = equation.builder.producer(left)
            if before is not None and isinstance(before.op, ops.Neg):
                return equation.add(ops.Mul(), before.operands[0], right)
    return None


@converts("round")
def round_(equation: Equation) -> str:
    require(int(equation.params["rounding_method"]) == 1, "rounding away from zero is not supported; jnp.round is")
    return equation.add(ops.Round(), equation.narrow(0))


@converts("div")
def div(equation: Equation) -> str:
    """A sum divided by its count becomes a mean."""
    x, count = equation.narrow(0), equation.uniform(1)
    mean = None if count is None else _mean(equation, x, count)
    return equation.add(ops.Div(), x, equation.narrow(1)) if mean is None else mean


def _mean(equation: Equation, x: str, count: float) -> str | None:
    """Return the mean of which `x` is the sum, over `count` elements."""
    node = equation.builder.producer(x)
    if node is None:
        return None
    if isinstance(node.op, ops.ReduceSum) and equation.type(x).dtype.is_float:
        shape = equation.type(node.operands[0]).shape
        if math.prod(shape[axis] for axis in node.op.axes) == count:
            return equation.add(ops.ReduceMean(axes=node.op.axes, keep=node.op.keep), node.operands[0])
    if isinstance(node.op, ops.Mul):
        pool, factor = equation.builder.producer(node.operands[0]), equation.known(node.operands[1])
        if pool is not None and isinstance(pool.op, ops.AveragePool) and factor is not None and np.all(factor == count):
            return node.operands[0]
    return _through(equation, x, count)


def _through(equation: Equation, x: str, count: float) -> str | None:
    """The same after a transpose, as in a sum over windows."""
    node = equation.builder.producer(x)
    if node is None or not isinstance(node.op, ops.Transpose):
        return None
    inner = _mean(equation, node.operands[0], count)
    return None if inner is None else equation.add(node.op, inner)


@converts("max", "min")
def limited(equation: Equation) -> str:
    """A constant limit makes a clip or a relu."""
    greatest = equation.node.op == "max"
    for index in (0, 1):
        bound = equation.uniform(1 - index)
        if bound is not None and equation.array(index) is None and equation.type(equation.narrow(index)).dtype.is_float:
            low, high = (bound, math.inf) if greatest else (-math.inf, bound)
            return _clipped(equation, equation.narrow(index), low, high)
    return equation.add(ops.Maximum() if greatest else ops.Minimum(), equation.narrow(0), equation.narrow(1))


def _clipped(equation: Equation, x: str, low: float, high: float) -> str:
    """Clip x; an upper limit joins the lower limit of the op before."""
    if low == -math.inf and high == math.inf:
        return x
    before = equation.builder.producer(x)
    if before is not None and low == -math.inf and isinstance(before.op, ops.Relu) and high >= 0:
        return equation.add(ops.Clip(low=0.0, high=high), before.operands[0])
    if before is not None and low == -math.inf and isinstance(before.op, ops.Clip) and before.op.low <= high:
        return equation.add(ops.Clip(low=before.op.low, high=min(before.op.high, high)), before.operands[0])
    return equation.add(ops.Relu() if (low, high) == (0.0, math.inf) else ops.Clip(low=low, high=high), x)


@converts("clamp")
def clamp(equation: Equation) -> str:
    low, high = equation.uniform(0), equation.uniform(2)
    x = equation.narrow(1)
    if low is None or high is None or not equation.type(x).dtype.is_float:
        return equation.add(ops.Minimum(), equation.add(ops.Maximum(), x, equation.narrow(0)), equation.narrow(2))
    return _clipped(equation, x, low, high)


@converts("select_n")
def select_n(equation: Equation) -> str:
    require(len(equation.operands) == 3, f"{len(equation.operands) - 1} cases, 2 wanted")
    which = equation.narrow(0)
    require(equation.type(which).dtype is DType.BOOL, "a selection by an integer is not supported")
    return equation.add(ops.Where(), which, equation.narrow(2), equation.narrow(1))


@converts("convert_element_type")
def convert_element_type(equation: Equation) -> str:
    return equation.cast(equation.narrow(0), equation.result().dtype)
