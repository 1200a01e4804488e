"""Exporters of ops that ONNX has unchanged, of pointwise ops, reductions, matrix products and quantization."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from npuq.ir import DType, Node, Op, TensorType, require
from npuq.ir.ops import activation, bits, conv, elementwise, logic, norm, quant, reduce, scatter, shape, trigonometry

from .writer import EXPORTERS, OPSET, Writer, along, exports

SAME: Mapping[type[Op], tuple[str, ...]] = {
    elementwise.Identity: ("Identity",),
    elementwise.Abs: ("Abs",),
    elementwise.Neg: ("Neg",),
    elementwise.Sign: ("Sign",),
    elementwise.Reciprocal: ("Reciprocal",),
    elementwise.Sqrt: ("Sqrt",),
    elementwise.Exp: ("Exp",),
    elementwise.Log: ("Log",),
    elementwise.Erf: ("Erf",),
    elementwise.Sin: ("Sin",),
    elementwise.Cos: ("Cos",),
    trigonometry.Tan: ("Tan",),
    trigonometry.Asin: ("Asin",),
    trigonometry.Acos: ("Acos",),
    trigonometry.Atan: ("Atan",),
    trigonometry.Sinh: ("Sinh",),
    trigonometry.Cosh: ("Cosh",),
    trigonometry.Asinh: ("Asinh",),
    trigonometry.Acosh: ("Acosh",),
    trigonometry.Atanh: ("Atanh",),
    elementwise.Floor: ("Floor",),
    elementwise.Ceil: ("Ceil",),
    elementwise.Round: ("Round",),
    elementwise.Add: ("Add",),
    elementwise.Sub: ("Sub",),
    elementwise.Mul: ("Mul",),
    elementwise.Div: ("Div",),
    elementwise.Pow: ("Pow",),
    elementwise.Maximum: ("Max",),
    elementwise.Minimum: ("Min",),
    activation.Relu: ("Relu",),
    activation.LeakyRelu: ("LeakyRelu", "alpha"),
    activation.PRelu: ("PRelu",),
    activation.Sigmoid: ("Sigmoid",),
    activation.Tanh: ("Tanh",),
    activation.HardSigmoid: ("HardSigmoid", "alpha", "beta"),
    activation.Elu: ("Elu", "alpha"),
    activation.Selu: ("Selu", "alpha", "gamma"),
    activation.Celu: ("Celu", "alpha"),
    activation.Softplus: ("Softplus",),
    activation.Softsign: ("Softsign",),
    logic.Equal: ("Equal",),
    logic.Greater: ("Greater",),
    logic.GreaterOrEqual: ("GreaterOrEqual",),
    logic.Less: ("Less",),
    logic.LessOrEqual: ("LessOrEqual",),
    logic.And: ("And",),
    logic.Or: ("Or",),
    logic.Xor: ("Xor",),
    logic.Not: ("Not",),
    logic.IsNan: ("IsNaN",),
    bits.BitwiseAnd: ("BitwiseAnd",),
    bits.BitwiseOr: ("BitwiseOr",),
    bits.BitwiseXor: ("BitwiseXor",),
    bits.BitwiseNot: ("BitwiseNot",),
    logic.Where: ("Where",),
    norm.BatchNorm: ("BatchNormalization", "epsilon"),
    reduce.Softmax: ("Softmax", "axis"),
    reduce.LogSoftmax: ("LogSoftmax", "axis"),
    shape.Concat: ("Concat", "axis"),
    shape.Gather: ("Gather", "axis"),
    shape.GatherElements: ("GatherElements", "axis"),
    scatter.ScatterElements: ("ScatterElements", "axis", "reduction"),
}
"""Ops that ONNX has unchanged: its name for them, and the attributes of the same name and meaning."""

SIGNED_SHIFTS = 28
"""The first opset whose BitShift takes signed integers."""


def _same(write: Writer, node: Node) -> None:
    operator, *attributes = SAME[type(node.op)]
    write.last(node, operator, *write.operands(node), **{name: getattr(node.op, name) for name in attributes})


EXPORTERS.update(dict.fromkeys(SAME, _same))


@exports(activation.Silu)
def silu(write: Writer, node: Node) -> None:
    """ONNX has no SiLU before opset 24."""
    (x,) = write.operands(node)
    write.last(node, "Mul", x, write.step(node, "Sigmoid", x))


@exports(activation.HardSwish)
def hard_swish(write: Writer, node: Node) -> None:
    """An operator since opset 14."""
    (x,) = write.operands(node)
    if write.opset >= 14:
        write.last(node, "HardSwish", x)
    else:
        write.last(node, "Mul", x, write.step(node, "HardSigmoid", x, alpha=1 / 6, beta=0.5))


@exports(activation.Mish)
def mish(write: Writer, node: Node) -> None:
    """An operator since opset 18."""
    (x,) = write.operands(node)
    if write.opset >= 18:
        write.last(node, "Mish", x)
    else:
        write.last(node, "Mul", x, write.step(node, "Tanh", write.step(node, "Softplus", x)))


@exports(activation.Gelu)
def gelu(write: Writer, node: Node) -> None:
    """An operator since opset 20; before, x/2 * (1 + erf(x / sqrt 2)), or its tanh approximation."""
    op = node.op
    assert isinstance(op, activation.Gelu)
    (x,) = write.operands(node)
    if write.opset >= 20:
        write.last(node, "Gelu", x, approximate=op.approximate)
        return

    def number(value: float) -> str:
        return _scalar(write, value, node.type)

    if op.approximate == "tanh":
        cube = write.step(node, "Mul", write.step(node, "Mul", x, x), x)
        inner = write.step(node, "Add", x, write.step(node, "Mul", cube, number(0.044715)))
        bent = write.step(node, "Tanh", write.step(node, "Mul", inner, number(math.sqrt(2 / math.pi))))
    else:
        bent = write.step(node, "Erf", write.step(node, "Div", x, number(math.sqrt(2))))
    half = write.step(node, "Mul", x, number(0.5))
    write.last(node, "Mul", half, write.step(node, "Add", bent, number(1.0)))


@exports(activation.Clip)
def clip(write: Writer, node: Node) -> None:
    """Limits are operands of the element type; an infinite one is omitted."""
    op = node.op
    assert isinstance(op, activation.Clip)
    limits = ["" if math.isinf(value) else _scalar(write, value, node.type) for value in (op.low, op.high)]
    write.last(node, "Clip", *write.operands(node), *limits)


@exports(elementwise.Mod)
def mod(write: Writer, node: Node) -> None:
    """ONNX rounds the quotient of floats toward zero only; the other remainder is computed from its floor."""
    op = node.op
    assert isinstance(op, elementwise.Mod)
    x, y = write.operands(node)
    if op.truncate or node.type.dtype.is_integer:
        write.last(node, "Mod", x, y, fmod=int(op.truncate))
        return
    floor = write.step(node, "Floor", write.step(node, "Div", x, y))
    write.last(node, "Sub", x, write.step(node, "Mul", floor, y))


@exports(bits.ShiftLeft, bits.ShiftRight)
def shift(write: Writer, node: Node) -> None:
    known = not node.type.dtype.is_signed or write.opset >= SIGNED_SHIFTS
    require(known, f"shifts of {node.type.dtype} need opset {SIGNED_SHIFTS}, not {write.opset}")
    write.last(node, "BitShift", *write.operands(node), direction=node.op.name.removeprefix("shift_").upper())


@exports(logic.IsInf)
def is_inf(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, logic.IsInf)
    signs = {"detect_positive": int(op.positive), "detect_negative": int(op.negative)}
    write.last(node, "IsInf", *write.operands(node), **signs)


@exports(logic.Cast)
def cast(write: Writer, node: Node) -> None:
    write.store(node, *write.operands(node))


@exports(conv.MatMul)
def matmul(write: Writer, node: Node) -> None:
    """With a bias: Gemm for matrices, a sum for others."""
    a, b, *bias = write.operands(node)
    if not bias:
        write.last(node, "MatMul", a, b)
    elif all(write.types[operand].rank == 2 for operand in node.operands[:2]):
        write.last(node, "Gemm", a, b, *bias)
    else:
        write.last(node, "Add", write.step(node, "MatMul", a, b), *bias)


REDUCTIONS: Mapping[type[Op], str] = {
    reduce.ReduceSum: "ReduceSum",
    reduce.ReduceProd: "ReduceProd",
    reduce.ReduceMean: "ReduceMean",
    reduce.ReduceMax: "ReduceMax",
    reduce.ReduceMin: "ReduceMin",
    reduce.ReduceLogSumExp: "ReduceLogSumExp",
}


@exports(*REDUCTIONS)
def reduction(write: Writer, node: Node) -> None:
    """No axes means no reduction, for which ONNX needs an attribute or an Identity."""
    op = node.op
    assert isinstance(op, reduce.Reduction)
    operator = REDUCTIONS[type(op)]
    axes, attributes = write.over(operator, op.axes, keepdims=int(op.keep))
    if not axes and not op.axes:
        write.last(node, "Identity", *write.operands(node))
    else:
        write.last(node, operator, *write.operands(node), *axes, **attributes)


@exports(reduce.ArgMax, reduce.ArgMin)
def position(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, reduce.Position)
    operator = "ArgMax" if isinstance(op, reduce.ArgMax) else "ArgMin"
    attributes = {"axis": op.axis, "keepdims": int(op.keep), "select_last_index": int(op.last)}
    write.last(node, operator, *write.operands(node), **attributes)


@exports(quant.Quantize)
def quantize(write: Writer, node: Node) -> None:
    """QuantizeLinear clamps only to its element type, so narrower limits become a Clip before it."""
    op = node.op
    assert isinstance(op, quant.Quantize)
    (x,) = write.operands(node)
    if (op.low, op.high) != op.dtype.range:
        x = _clipped(write, node, x, op)
    if op.dtype.bits > 16:
        # QuantizeLinear lacks this type; before a normalization zero points are 0.
        require(not any(op.zero_points), f"zero points {op.zero_points} of {op.dtype}, 0 wanted")
        steps = write.step(node, "Round", write.step(node, "Div", x, _scale(write, op.scales, op.axis)))
        write.store(node, steps)
        return
    _require_width(write, op.dtype)
    zero_point = _zero_point(write, op.quant.zero_points, op.axis, op.dtype)
    write.last(node, "QuantizeLinear", x, _scale(write, op.scales, op.axis), zero_point, **_axis(op.axis))


@exports(quant.Dequantize)
def dequantize(write: Writer, node: Node) -> None:
    """ONNX has no 64-bit integers here, and no zero points of 32-bit integers."""
    op = node.op
    assert isinstance(op, quant.Dequantize)
    (q,) = write.operands(node)
    dtype = write.types[node.operands[0]].dtype
    if dtype.bits <= 16 or (dtype is DType.I32 and not any(op.zero_points)):
        _require_width(write, dtype)
        zero_point = (_zero_point(write, op.quant.zero_points, op.axis, dtype),) if dtype.bits <= 16 else ()
        write.last(node, "DequantizeLinear", q, _scale(write, op.scales, op.axis), *zero_point, **_axis(op.axis))
        return
    rank = node.type.rank
    zero_points = along(np.asarray(op.quant.zero_points, dtype.numpy), op.axis, rank)
    centred = write.step(node, "Sub", q, write.constant(zero_points, "zero_point"))
    reals = write.cast(node, centred, node.type.dtype)
    write.last(node, "Mul", reals, write.constant(along(np.asarray(op.scales, np.float32), op.axis, rank), "scale"))


def _require_width(write: Writer, dtype: DType) -> None:
    """Opsets before 21 quantize to 8 bits only."""
    known = dtype.bits in (8, 32) or write.opset >= OPSET
    require(known, f"{dtype} integers need opset {OPSET}, not {write.opset}")


def _clipped(write: Writer, node: Node, x: str, op: quant.Quantize) -> str:
    """The operand limited to the reals of the quantization's least and greatest integers."""
    scales = along(np.asarray(op.scales, np.float32), op.axis, node.type.rank)
    zero_points = along(np.asarray(op.quant.zero_points, np.int64), op.axis, node.type.rank)
    low, high = (((limit - zero_points) * scales).astype(np.float32) for limit in (op.low, op.high))
    above = write.step(node, "Max", x, write.constant(low, "low"))
    return write.step(node, "Min", above, write.constant(high, "high"))


def _scale(write: Writer, scales: tuple[float, ...], axis: int | None) -> str:
    """Scales as an operand: a scalar per tensor, a list per axis."""
    return write.constant(np.asarray(scales, np.float32).reshape(() if axis is None else (-1,)), "scale")


def _zero_point(write: Writer, zero_points: tuple[int, ...], axis: int | None, dtype: DType) -> str:
    """Zero points as an operand, which also sets the element type."""
    return write.constant(np.asarray(zero_points, dtype.numpy).reshape(() if axis is None else (-1,)), "zero_point")


def _axis(axis: int | None) -> dict[str, int]:
    return {} if axis is None else {"axis": axis}


def _scalar(write: Writer, value: float, type_: TensorType) -> str:
    return write.constant(np.asarray(value).astype(type_.dtype.numpy), "limit")
