"""Converters of pointwise operators: arithmetic, activations, comparisons, selections, casts."""

from __future__ import annotations

from functools import partial, reduce

import numpy as np

from npuq.ir import DType, Op, ops, require

from ...context import Context, Node
from ..registry import converts

EXACT = 1 << 53
"""The greatest integer that is exact as an attribute, a double."""

UNARY: dict[str, Op] = {
    "Abs": ops.Abs(),
    "Acos": ops.Acos(),
    "Acosh": ops.Acosh(),
    "Asin": ops.Asin(),
    "Asinh": ops.Asinh(),
    "Atan": ops.Atan(),
    "Atanh": ops.Atanh(),
    "BitwiseNot": ops.BitwiseNot(),
    "Ceil": ops.Ceil(),
    "Cos": ops.Cos(),
    "Cosh": ops.Cosh(),
    "Erf": ops.Erf(),
    "Exp": ops.Exp(),
    "Floor": ops.Floor(),
    "HardSwish": ops.HardSwish(),
    "IsNaN": ops.IsNan(),
    "Log": ops.Log(),
    "Mish": ops.Mish(),
    "Neg": ops.Neg(),
    "Not": ops.Not(),
    "Reciprocal": ops.Reciprocal(),
    "Relu": ops.Relu(),
    "Round": ops.Round(),
    "Sigmoid": ops.Sigmoid(),
    "Sign": ops.Sign(),
    "Sin": ops.Sin(),
    "Sinh": ops.Sinh(),
    "Softplus": ops.Softplus(),
    "Softsign": ops.Softsign(),
    "Sqrt": ops.Sqrt(),
    "Tan": ops.Tan(),
    "Tanh": ops.Tanh(),
}

BINARY: dict[str, Op] = {
    "Add": ops.Add(),
    "And": ops.And(),
    "BitwiseAnd": ops.BitwiseAnd(),
    "BitwiseOr": ops.BitwiseOr(),
    "BitwiseXor": ops.BitwiseXor(),
    "Div": ops.Div(),
    "Equal": ops.Equal(),
    "Greater": ops.Greater(),
    "GreaterOrEqual": ops.GreaterOrEqual(),
    "Less": ops.Less(),
    "LessOrEqual": ops.LessOrEqual(),
    "Mul": ops.Mul(),
    "Or": ops.Or(),
    "PRelu": ops.PRelu(),
    "Sub": ops.Sub(),
    "Xor": ops.Xor(),
}

VARIADIC: dict[str, Op] = {"Max": ops.Maximum(), "Min": ops.Minimum(), "Sum": ops.Add()}


def _fixed(op: Op, operands: int, context: Context, node: Node) -> str:
    return context.add(op, *map(node.operand, range(operands)))


def _folded(op: Op, context: Context, node: Node) -> str:
    return reduce(partial(context.add, op), node.all_operands())


for _name, _op in UNARY.items():
    converts(_name)(partial(_fixed, _op, 1))
for _name, _op in BINARY.items():
    converts(_name)(partial(_fixed, _op, 2))
for _name, _op in VARIADIC.items():
    converts(_name)(partial(_folded, _op))


@converts("Mean")
def mean(context: Context, node: Node) -> str:
    """The operands broadcast, so the sum comes first."""
    operands = node.all_operands()
    total = reduce(partial(context.add, ops.Add()), operands)
    count = context.constant(np.asarray(len(operands), context.type(total).dtype.numpy))
    return context.add(ops.Div(), total, count)


@converts("Mod")
def mod(context: Context, node: Node) -> str:
    return context.add(ops.Mod(truncate=node.flag("fmod", False)), node.operand(0), node.operand(1))


@converts("Pow")
def pow_(context: Context, node: Node) -> str:
    """The result has the base's type."""
    x, y = node.operand(0), node.operand(1)
    base, exponent = context.type(x).dtype, context.type(y).dtype
    if base is exponent:
        return context.add(ops.Pow(), x, y)
    if base.is_float or exponent.is_integer:
        return context.add(ops.Pow(), x, context.add(ops.Cast(to=base), y))
    return context.add(ops.Cast(to=base), context.add(ops.Pow(), context.add(ops.Cast(to=exponent), x), y))


@converts("BitShift")
def bit_shift(context: Context, node: Node) -> str:
    direction = node.string("direction")
    require(direction in ("LEFT", "RIGHT"), f"direction {direction!r} is neither LEFT nor RIGHT")
    return context.add(ops.ShiftLeft() if direction == "LEFT" else ops.ShiftRight(), node.operand(0), node.operand(1))


@converts("IsInf")
def is_inf(context: Context, node: Node) -> str:
    op = ops.IsInf(positive=node.flag("detect_positive", True), negative=node.flag("detect_negative", True))
    return context.add(op, node.operand(0))


@converts("LeakyRelu")
def leaky_relu(context: Context, node: Node) -> str:
    return context.add(ops.LeakyRelu(alpha=node.float("alpha", 0.01)), node.operand(0))


@converts("HardSigmoid")
def hard_sigmoid(context: Context, node: Node) -> str:
    op = ops.HardSigmoid(alpha=node.float("alpha", 0.2), beta=node.float("beta", 0.5))
    return context.add(op, node.operand(0))


@converts("Elu")
def elu(context: Context, node: Node) -> str:
    return context.add(ops.Elu(alpha=node.float("alpha", 1.0)), node.operand(0))


@converts("Selu")
def selu(context: Context, node: Node) -> str:
    default = ops.Selu()
    op = ops.Selu(alpha=node.float("alpha", default.alpha), gamma=node.float("gamma", default.gamma))
    return context.add(op, node.operand(0))


@converts("Celu")
def celu(context: Context, node: Node) -> str:
    return context.add(ops.Celu(alpha=node.float("alpha", 1.0)), node.operand(0))


@converts("ThresholdedRelu")
def thresholded_relu(context: Context, node: Node) -> str:
    """x where it exceeds alpha, else 0; not a relu of the difference."""
    x = node.operand(0)
    dtype = context.type(x).dtype.numpy
    alpha = context.constant(np.asarray(node.float("alpha", 1.0), dtype))
    return context.add(ops.Where(), context.add(ops.Greater(), x, alpha), x, _zero(context, x))


def _zero(context: Context, x: str) -> str:
    return context.constant(np.zeros((), context.type(x).dtype.numpy))


@converts("Shrink")
def shrink(context: Context, node: Node) -> str:
    """x moved toward 0 by `bias` where |x| > `lambd`, else 0."""
    x = node.operand(0)
    dtype = context.type(x).dtype.numpy
    limit, bias = (context.constant(np.asarray(node.float(*pair), dtype)) for pair in (("lambd", 0.5), ("bias", 0.0)))
    above = context.add(
        ops.Where(), context.add(ops.Greater(), x, limit), context.add(ops.Sub(), x, bias), _zero(context, x)
    )
    beyond = context.add(ops.Less(), x, context.add(ops.Neg(), limit))
    return context.add(ops.Where(), beyond, context.add(ops.Add(), x, bias), above)


@converts("Gelu")
def gelu(context: Context, node: Node) -> str:
    match node.string("approximate", "none"):
        case "none":
            return context.add(ops.Gelu(), node.operand(0))
        case approximate:
            require(approximate == "tanh", f"attribute 'approximate' is {approximate!r}, 'none' or 'tanh' wanted")
            return context.add(ops.Gelu(approximate="tanh"), node.operand(0))


@converts("Swish")
def swish(context: Context, node: Node) -> str:
    """x * sigmoid(alpha * x); alpha = 1 is an op of its own."""
    x, alpha = node.operand(0), node.float("alpha", 1.0)
    if alpha == 1:
        return context.add(ops.Silu(), x)
    factor = context.constant(np.asarray(alpha, context.type(x).dtype.numpy))
    return context.add(ops.Mul(), x, context.add(ops.Sigmoid(), context.add(ops.Mul(), x, factor)))


@converts("Clip")
def clip(context: Context, node: Node) -> str:
    op = ops.Clip(low=node.float("min", -np.inf), high=node.float("max", np.inf))
    return context.add(op, node.operand(0))


@converts("Clip", since=11)
def clip_by_operands(context: Context, node: Node) -> str:
    """The limits are scalar operands, and may be computed."""
    x = node.operand(0)
    low, high = _limit(context, node.optional(1), -np.inf), _limit(context, node.optional(2), np.inf)
    if low is not None and high is not None:
        return context.add(ops.Clip(low=low, high=high), x)
    for op, limit in ((ops.Maximum(), node.optional(1)), (ops.Minimum(), node.optional(2))):
        x = x if limit is None else context.add(op, x, limit)
    return x


def _limit(context: Context, limit: str | None, absent: float) -> float | None:
    """A limit as an attribute, or None if it is computed or too large an integer."""
    if limit is None:
        return absent
    type_, known = context.type(limit), context.known(limit)
    require(type_.size == 1, f"a limit of shape {type_.shape}, a scalar wanted")
    if known is None or (type_.dtype.is_integer and abs(int(known.item())) > EXACT):
        return None
    return float(known.item())


@converts("Where")
def where(context: Context, node: Node) -> str:
    return context.add(ops.Where(), node.operand(0), node.operand(1), node.operand(2))


@converts("Cast")
def cast(context: Context, node: Node) -> str:
    return _cast(context, node.operand(0), named_dtype(node, "to"))


def named_dtype(node: Node, attribute: str) -> DType:
    """The element type of an attribute, a number of TensorProto.DataType."""
    import onnx

    number = node.int(attribute)
    known = number in onnx.TensorProto.DataType.values() and number != onnx.TensorProto.UNDEFINED
    require(known, f"attribute {attribute!r} is {number}, which is no element type")
    return DType.of(onnx.helper.tensor_dtype_to_np_dtype(number))


@converts("CastLike")
def cast_like(context: Context, node: Node) -> str:
    return _cast(context, node.operand(0), context.type(node.operand(1)).dtype)


def _cast(context: Context, x: str, to: DType) -> str:
    return x if context.type(x).dtype is to else context.add(ops.Cast(to=to), x)


@converts("Identity")
def identity(context: Context, node: Node) -> str:
    return node.operand(0)


@converts("Dropout")
def dropout(context: Context, node: Node) -> str | tuple[str, str]:
    """Inference keeps every element; the mask, if read, is all true."""
    x = node.operand(0)
    if node.optional(2) is not None:
        require(
            not bool(context.required(2, "training_mode").any()), "training_mode is true; only inference is supported"
        )
    if not node.reads(1):
        return x
    type_ = context.type(x)
    mask = np.ones(type_.shape, np.bool_ if context.opset >= 10 else type_.dtype.numpy)
    return x, context.constant(mask)
