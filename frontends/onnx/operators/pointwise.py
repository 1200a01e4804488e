"""Converters of pointwise operators: arithmetic, activations, comparisons, selections, casts."""

from __future__ import annotations

from functools import partial, reduce

import numpy as np

from npuq.ir import DType, Op, require
from npuq.ir.ops.activation import (
    Celu,
    Clip,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Mish,
    PRelu,
    Relu,
    Selu,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Tanh,
)
from npuq.ir.ops.elementwise import (
    Abs,
    Acos,
    Acosh,
    Add,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Div,
    Erf,
    Exp,
    Floor,
    Log,
    Maximum,
    Minimum,
    Mod,
    Mul,
    Neg,
    Pow,
    Reciprocal,
    Round,
    Sign,
    Sin,
    Sinh,
    Sqrt,
    Sub,
    Tan,
)
from npuq.ir.ops.logic import (
    And,
    BitwiseAnd,
    BitwiseNot,
    BitwiseOr,
    BitwiseXor,
    Cast,
    Equal,
    Greater,
    GreaterOrEqual,
    IsInf,
    IsNan,
    Less,
    LessOrEqual,
    Not,
    Or,
    ShiftLeft,
    ShiftRight,
    Where,
    Xor,
)

from ...context import Context, Node
from ..registry import converts

EXACT = 1 << 53
"""The greatest integer that is exact as an attribute, a double."""

UNARY: dict[str, Op] = {
    "Abs": Abs(),
    "Acos": Acos(),
    "Acosh": Acosh(),
    "Asin": Asin(),
    "Asinh": Asinh(),
    "Atan": Atan(),
    "Atanh": Atanh(),
    "BitwiseNot": BitwiseNot(),
    "Ceil": Ceil(),
    "Cos": Cos(),
    "Cosh": Cosh(),
    "Erf": Erf(),
    "Exp": Exp(),
    "Floor": Floor(),
    "HardSwish": HardSwish(),
    "IsNaN": IsNan(),
    "Log": Log(),
    "Mish": Mish(),
    "Neg": Neg(),
    "Not": Not(),
    "Reciprocal": Reciprocal(),
    "Relu": Relu(),
    "Round": Round(),
    "Sigmoid": Sigmoid(),
    "Sign": Sign(),
    "Sin": Sin(),
    "Sinh": Sinh(),
    "Softplus": Softplus(),
    "Softsign": Softsign(),
    "Sqrt": Sqrt(),
    "Tan": Tan(),
    "Tanh": Tanh(),
}

BINARY: dict[str, Op] = {
    "Add": Add(),
    "And": And(),
    "BitwiseAnd": BitwiseAnd(),
    "BitwiseOr": BitwiseOr(),
    "BitwiseXor": BitwiseXor(),
    "Div": Div(),
    "Equal": Equal(),
    "Greater": Greater(),
    "GreaterOrEqual": GreaterOrEqual(),
    "Less": Less(),
    "LessOrEqual": LessOrEqual(),
    "Mul": Mul(),
    "Or": Or(),
    "PRelu": PRelu(),
    "Sub": Sub(),
    "Xor": Xor(),
}

VARIADIC: dict[str, Op] = {"Max": Maximum(), "Min": Minimum(), "Sum": Add()}


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
    total = reduce(partial(context.add, Add()), operands)
    count = context.constant(np.asarray(len(operands), context.type(total).dtype.numpy))
    return context.add(Div(), total, count)


@converts("Mod")
def mod(context: Context, node: Node) -> str:
    return context.add(Mod(truncate=node.flag("fmod", False)), node.operand(0), node.operand(1))


@converts("Pow")
def pow_(context: Context, node: Node) -> str:
    """The result has the base's type."""
    x, y = node.operand(0), node.operand(1)
    base, exponent = context.type(x).dtype, context.type(y).dtype
    if base is exponent:
        return context.add(Pow(), x, y)
    if base.is_float or exponent.is_integer:
        return context.add(Pow(), x, context.add(Cast(to=base), y))
    return context.add(Cast(to=base), context.add(Pow(), context.add(Cast(to=exponent), x), y))


@converts("BitShift")
def bit_shift(context: Context, node: Node) -> str:
    direction = node.string("direction")
    require(direction in ("LEFT", "RIGHT"), f"direction {direction!r} is neither LEFT nor RIGHT")
    return context.add(ShiftLeft() if direction == "LEFT" else ShiftRight(), node.operand(0), node.operand(1))


@converts("IsInf")
def is_inf(context: Context, node: Node) -> str:
    op = IsInf(positive=node.flag("detect_positive", True), negative=node.flag("detect_negative", True))
    return context.add(op, node.operand(0))


@converts("LeakyRelu")
def leaky_relu(context: Context, node: Node) -> str:
    return context.add(LeakyRelu(alpha=node.float("alpha", 0.01)), node.operand(0))


@converts("HardSigmoid")
def hard_sigmoid(context: Context, node: Node) -> str:
    op = HardSigmoid(alpha=node.float("alpha", 0.2), beta=node.float("beta", 0.5))
    return context.add(op, node.operand(0))


@converts("Elu")
def elu(context: Context, node: Node) -> str:
    return context.add(Elu(alpha=node.float("alpha", 1.0)), node.operand(0))


@converts("Selu")
def selu(context: Context, node: Node) -> str:
    default = Selu()
    op = Selu(alpha=node.float("alpha", default.alpha), gamma=node.float("gamma", default.gamma))
    return context.add(op, node.operand(0))


@converts("Celu")
def celu(context: Context, node: Node) -> str:
    return context.add(Celu(alpha=node.float("alpha", 1.0)), node.operand(0))


@converts("ThresholdedRelu")
def thresholded_relu(context: Context, node: Node) -> str:
    """x where it exceeds alpha, else 0; not a relu of the difference."""
    x = node.operand(0)
    dtype = context.type(x).dtype.numpy
    alpha = context.constant(np.asarray(node.float("alpha", 1.0), dtype))
    return context.add(Where(), context.add(Greater(), x, alpha), x, _zero(context, x))


def _zero(context: Context, x: str) -> str:
    return context.constant(np.zeros((), context.type(x).dtype.numpy))


@converts("Shrink")
def shrink(context: Context, node: Node) -> str:
    """x moved toward 0 by `bias` where |x| > `lambd`, else 0."""
    x = node.operand(0)
    dtype = context.type(x).dtype.numpy
    limit, bias = (context.constant(np.asarray(node.float(*pair), dtype)) for pair in (("lambd", 0.5), ("bias", 0.0)))
    above = context.add(Where(), context.add(Greater(), x, limit), context.add(Sub(), x, bias), _zero(context, x))
    beyond = context.add(Less(), x, context.add(Neg(), limit))
    return context.add(Where(), beyond, context.add(Add(), x, bias), above)


@converts("Gelu")
def gelu(context: Context, node: Node) -> str:
    match node.string("approximate", "none"):
        case "none":
            return context.add(Gelu(), node.operand(0))
        case approximate:
            require(approximate == "tanh", f"attribute 'approximate' is {approximate!r}, 'none' or 'tanh' wanted")
            return context.add(Gelu(approximate="tanh"), node.operand(0))


@converts("Swish")
def swish(context: Context, node: Node) -> str:
    """x * sigmoid(alpha * x); alpha = 1 is an op of its own."""
    x, alpha = node.operand(0), node.float("alpha", 1.0)
    if alpha == 1:
        return context.add(Silu(), x)
    factor = context.constant(np.asarray(alpha, context.type(x).dtype.numpy))
    return context.add(Mul(), x, context.add(Sigmoid(), context.add(Mul(), x, factor)))


@converts("Clip")
def clip(context: Context, node: Node) -> str:
    op = Clip(low=node.float("min", -np.inf), high=node.float("max", np.inf))
    return context.add(op, node.operand(0))


@converts("Clip", since=11)
def clip_by_operands(context: Context, node: Node) -> str:
    """The limits are scalar operands, and may be computed."""
    x = node.operand(0)
    low, high = _limit(context, node.optional(1), -np.inf), _limit(context, node.optional(2), np.inf)
    if low is not None and high is not None:
        return context.add(Clip(low=low, high=high), x)
    for op, limit in ((Maximum(), node.optional(1)), (Minimum(), node.optional(2))):
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
    return context.add(Where(), node.operand(0), node.operand(1), node.operand(2))


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
    return x if context.type(x).dtype is to else context.add(Cast(to=to), x)


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
