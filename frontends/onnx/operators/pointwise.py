"""Converters of pointwise operators: arithmetic, activations, comparisons, selections, casts."""

from __future__ import annotations

from functools import partial, reduce

import numpy as np

from npuq.ir import DType, Op, make_op, ops, require
from npuq.ir.op import attribute_types

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
    "Celu": ops.Celu(),
    "Cos": ops.Cos(),
    "Cosh": ops.Cosh(),
    "Elu": ops.Elu(),
    "Erf": ops.Erf(),
    "Exp": ops.Exp(),
    "Floor": ops.Floor(),
    "HardSigmoid": ops.HardSigmoid(),
    "HardSwish": ops.HardSwish(),
    "IsNaN": ops.IsNan(),
    "LeakyRelu": ops.LeakyRelu(),
    "Log": ops.Log(),
    "Mish": ops.Mish(),
    "Neg": ops.Neg(),
    "Not": ops.Not(),
    "Reciprocal": ops.Reciprocal(),
    "Relu": ops.Relu(),
    "Round": ops.Round(),
    "Selu": ops.Selu(),
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


def _unary(op: Op, context: Context, node: Node) -> str:
    """The op's attributes, if it has any, are the node's floats, with the same defaults."""
    floats = {name: node.float(name, getattr(op, name)) for name in attribute_types(type(op))}
    return context.add(make_op(op.name, floats))


def _binary(op: Op, context: Context, node: Node) -> str:
    return context.add(op, node.operand(0), node.operand(1))


def _folded(op: Op, context: Context, node: Node) -> str:
    return reduce(partial(context.add, op), node.all_operands())


for _name, _op in UNARY.items():
    converts(_name)(partial(_unary, _op))
for _name, _op in BINARY.items():
    converts(_name)(partial(_binary, _op))
for _name, _op in VARIADIC.items():
    converts(_name)(partial(_folded, _op))


@converts("Mean")
def mean(context: Context, node: Node) -> str:
    """The operands broadcast, so the sum comes first."""
    total = _folded(ops.Add(), context, node)
    return context.add(ops.Div(), total, context.number(len(node.operands), like=total))


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
    return context.add(
        ops.IsInf(positive=node.flag("detect_positive", True), negative=node.flag("detect_negative", True))
    )


@converts("ThresholdedRelu")
def thresholded_relu(context: Context, node: Node) -> str:
    """x where it exceeds alpha, else 0; not a relu of the difference."""
    alpha = context.number(node.float("alpha", 1.0))
    return context.add(ops.Where(), context.add(ops.Greater(), context.x, alpha), context.x, context.number(0))


@converts("Shrink")
def shrink(context: Context, node: Node) -> str:
    """x moved toward 0 by `bias` where |x| > `lambd`, else 0."""
    x, limit, bias = context.x, context.number(node.float("lambd", 0.5)), context.number(node.float("bias", 0.0))
    above = context.add(ops.Greater(), x, limit)
    less = context.add(ops.Where(), above, context.add(ops.Sub(), x, bias), context.number(0))
    beyond = context.add(ops.Less(), x, context.add(ops.Neg(), limit))
    return context.add(ops.Where(), beyond, context.add(ops.Add(), x, bias), less)


@converts("Gelu")
def gelu(context: Context, node: Node) -> str:
    approximate = node.string("approximate", "none")
    require(approximate in ("none", "tanh"), f"attribute 'approximate' is {approximate!r}, 'none' or 'tanh' wanted")
    return context.add(ops.Gelu(approximate="tanh" if approximate == "tanh" else "none"))


@converts("Swish")
def swish(context: Context, node: Node) -> str:
    """x * sigmoid(alpha * x); alpha = 1 is an op of its own."""
    alpha = node.float("alpha", 1.0)
    if alpha == 1:
        return context.add(ops.Silu())
    factor = context.add(ops.Sigmoid(), context.add(ops.Mul(), context.x, context.number(alpha)))
    return context.add(ops.Mul(), context.x, factor)


@converts("Clip")
def clip(context: Context, node: Node) -> str:
    return context.add(ops.Clip(low=node.float("min", -np.inf), high=node.float("max", np.inf)))


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
    return context.cast(context.x, named_dtype(node, "to"))


def named_dtype(node: Node, attribute: str) -> DType:
    """The element type of an attribute, a number of TensorProto.DataType."""
    import onnx

    number = node.int(attribute)
    known = number in onnx.TensorProto.DataType.values() and number != onnx.TensorProto.UNDEFINED
    require(known, f"attribute {attribute!r} is {number}, which is no element type")
    return DType.of(onnx.helper.tensor_dtype_to_np_dtype(number))


@converts("CastLike")
def cast_like(context: Context, node: Node) -> str:
    return context.cast(context.x, context.type(node.operand(1)).dtype)


@converts("Identity")
def identity(context: Context, node: Node) -> str:
    return node.operand(0)


@converts("Dropout")
def dropout(context: Context, node: Node) -> str | tuple[str, str]:
    """Inference keeps every element; the mask, if read, is all true."""
    x = node.operand(0)
    training = node.optional(2) is not None and context.required(2, "training_mode").any()
    require(not training, "training_mode is true; only inference is supported")
    if not node.reads(1):
        return x
    type_ = context.type(x)
    mask = np.ones(type_.shape, np.bool_ if context.opset >= 10 else type_.dtype.numpy)
    return x, context.constant(mask)
