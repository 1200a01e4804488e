"""Exporters of ops that ONNX has unchanged, of pointwise ops, reductions, matrix products and quantization."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from npuq.ir import DType, Op, TensorType, registry, require
from npuq.ir.op import attribute_types
from npuq.ir.ops import activation, conv, elementwise, logic, norm, pool, quant, reduce, shape
from npuq.ir.ops.quant import along

from .writer import OPSET, Writer, exports

SAME = """
identity abs neg sign reciprocal sqrt exp log erf sin cos tan asin acos atan sinh cosh asinh acosh atanh
floor ceil round add sub mul div pow relu leaky_relu prelu sigmoid tanh hard_sigmoid elu selu celu softplus softsign
equal greater greater_or_equal less less_or_equal and or xor not bitwise_and bitwise_or bitwise_xor bitwise_not where
softmax log_softmax concat gather gather_elements scatter_elements
"""
"""Ops that ONNX has under the names of their classes, with attributes of the same names and meanings."""

_POSITION = {"axis": "axis", "keepdims": "keep", "select_last_index": "last"}

RENAMED: Mapping[type[Op], tuple[str, Mapping[str, str]]] = {
    elementwise.Maximum: ("Max", {}),
    elementwise.Minimum: ("Min", {}),
    logic.IsNan: ("IsNaN", {}),
    logic.IsInf: ("IsInf", {"detect_positive": "positive", "detect_negative": "negative"}),
    norm.BatchNorm: ("BatchNormalization", {"epsilon": "epsilon"}),
    pool.MaxRoiPool: ("MaxRoiPool", {"pooled_shape": "shape", "spatial_scale": "scale"}),
    reduce.ArgMax: ("ArgMax", _POSITION),
    reduce.ArgMin: ("ArgMin", _POSITION),
    shape.Transpose: ("Transpose", {"perm": "order"}),
}
"""Ops that ONNX has under other names: its name for them, and for each of its attributes the op's."""

SIGNED_SHIFTS = 28
"""The first opset whose BitShift takes signed integers."""


@exports(*(registry()[name] for name in SAME.split()))
def same(write: Writer, op: Op) -> None:
    kind = type(op)
    write.last(kind.__name__, *write.operands, **{name: getattr(op, name) for name in attribute_types(kind)})


@exports(*RENAMED)
def renamed(write: Writer, op: Op) -> None:
    operator, attributes = RENAMED[type(op)]
    write.last(operator, *write.operands, **{name: getattr(op, own) for name, own in attributes.items()})


@exports(activation.Silu)
def silu(write: Writer, op: Op) -> None:
    """ONNX has no SiLU before opset 24."""
    (x,) = write.operands
    write.last("Mul", x, write.step("Sigmoid", x))


@exports(activation.HardSwish)
def hard_swish(write: Writer, op: activation.HardSwish) -> None:
    """An operator since opset 14."""
    (x,) = write.operands
    if write.opset >= 14:
        write.last("HardSwish", x)
    else:
        write.last("Mul", x, write.step("HardSigmoid", x, alpha=1 / 6, beta=0.5))


@exports(activation.Mish)
def mish(write: Writer, op: Op) -> None:
    """An operator since opset 18."""
    (x,) = write.operands
    if write.opset >= 18:
        write.last("Mish", x)
    else:
        write.last("Mul", x, write.step("Tanh", write.step("Softplus", x)))


@exports(activation.Gelu)
def gelu(write: Writer, op: activation.Gelu) -> None:
    """An operator since opset 20; before, x/2 * (1 + erf(x / sqrt 2)), or its tanh approximation."""
    (x,) = write.operands
    if write.opset >= 20:
        write.last("Gelu", x, approximate=op.approximate)
        return

    def number(value: float) -> str:
        return _scalar(write, value, write.node.type)

    if op.approximate == "tanh":
        cube = write.step("Mul", write.step("Mul", x, x), x)
        inner = write.step("Add", x, write.step("Mul", cube, number(0.044715)))
        bent = write.step("Tanh", write.step("Mul", inner, number(math.sqrt(2 / math.pi))))
    else:
        bent = write.step("Erf", write.step("Div", x, number(math.sqrt(2))))
    half = write.step("Mul", x, number(0.5))
    write.last("Mul", half, write.step("Add", bent, number(1.0)))


@exports(activation.Clip)
def clip(write: Writer, op: activation.Clip) -> None:
    """Limits are operands of the element type; an infinite one is omitted."""
    limits = ["" if math.isinf(value) else _scalar(write, value, write.node.type) for value in (op.low, op.high)]
    write.last("Clip", *write.operands, *limits)


@exports(elementwise.Mod)
def mod(write: Writer, op: elementwise.Mod) -> None:
    """ONNX rounds the quotient of floats toward zero only; the other remainder is computed from its floor."""
    x, y = write.operands
    if op.truncate or write.node.type.dtype.is_integer:
        write.last("Mod", x, y, fmod=int(op.truncate))
        return
    floor = write.step("Floor", write.step("Div", x, y))
    write.last("Sub", x, write.step("Mul", floor, y))


@exports(logic.ShiftLeft, logic.ShiftRight)
def shift(write: Writer, op: logic.Bitwise) -> None:
    known = not write.node.type.dtype.is_signed or write.opset >= SIGNED_SHIFTS
    require(known, f"shifts of {write.node.type.dtype} need opset {SIGNED_SHIFTS}, not {write.opset}")
    write.last("BitShift", *write.operands, direction=write.node.op.name.removeprefix("shift_").upper())


@exports(logic.Cast)
def cast(write: Writer, op: logic.Cast) -> None:
    write.store(*write.operands)


@exports(conv.MatMul)
def matmul(write: Writer, op: conv.MatMul) -> None:
    """With a bias: Gemm for matrices, a sum for others."""
    a, b, *bias = write.operands
    if not bias:
        write.last("MatMul", a, b)
    elif all(write.types[operand].rank == 2 for operand in write.node.operands[:2]):
        write.last("Gemm", a, b, *bias)
    else:
        write.last("Add", write.step("MatMul", a, b), *bias)


@exports(
    reduce.ReduceSum, reduce.ReduceProd, reduce.ReduceMean, reduce.ReduceMax, reduce.ReduceMin, reduce.ReduceLogSumExp
)
def reduction(write: Writer, op: reduce.Reduction) -> None:
    """No axes means no reduction, for which ONNX needs an attribute or an Identity."""
    operator = type(op).__name__
    axes, attributes = write.over(operator, op.axes, keepdims=int(op.keep))
    if not axes and not op.axes:
        write.last("Identity", *write.operands)
    else:
        write.last(operator, *write.operands, *axes, **attributes)


@exports(quant.Quantize)
def quantize(write: Writer, op: quant.Quantize) -> None:
    """QuantizeLinear clamps only to its element type, so narrower limits become a Clip before it."""
    (x,) = write.operands
    if (op.low, op.high) != op.dtype.range:
        x = _clipped(write, x, op)
    if op.dtype.bits > 16:
        # QuantizeLinear lacks this type; before a normalization zero points are 0.
        require(not any(op.zero_points), f"zero points {op.zero_points} of {op.dtype}, 0 wanted")
        steps = write.step("Round", write.step("Div", x, _scale(write, op.scales, op.axis)))
        write.store(steps)
        return
    _require_width(write, op.dtype)
    zero_point = _zero_point(write, op.quant.zero_points, op.axis, op.dtype)
    write.last("QuantizeLinear", x, _scale(write, op.scales, op.axis), zero_point, **_axis(op.axis))


@exports(quant.Dequantize)
def dequantize(write: Writer, op: quant.Dequantize) -> None:
    """ONNX has no 64-bit integers here, and no zero points of 32-bit integers."""
    (q,) = write.operands
    dtype = write.operand_type(0).dtype
    if dtype.bits <= 16 or (dtype is DType.I32 and not any(op.zero_points)):
        _require_width(write, dtype)
        zero_point = (_zero_point(write, op.quant.zero_points, op.axis, dtype),) if dtype.bits <= 16 else ()
        write.last("DequantizeLinear", q, _scale(write, op.scales, op.axis), *zero_point, **_axis(op.axis))
        return
    rank = write.node.type.rank
    zero_points = along(np.asarray(op.quant.zero_points, dtype.numpy), op.axis, rank)
    centred = write.step("Sub", q, write.constant(zero_points, "zero_point"))
    reals = write.cast(centred, write.node.type.dtype)
    write.last("Mul", reals, write.constant(along(np.asarray(op.scales, np.float32), op.axis, rank), "scale"))


def _require_width(write: Writer, dtype: DType) -> None:
    """Opsets before 21 quantize to 8 bits only."""
    known = dtype.bits in (8, 32) or write.opset >= OPSET
    require(known, f"{dtype} integers need opset {OPSET}, not {write.opset}")


def _clipped(write: Writer, x: str, op: quant.Quantize) -> str:
    """The operand limited to the reals of the quantization's least and greatest integers."""
    scales = along(np.asarray(op.scales, np.float32), op.axis, write.node.type.rank)
    zero_points = along(np.asarray(op.quant.zero_points, np.int64), op.axis, write.node.type.rank)
    low, high = (((limit - zero_points) * scales).astype(np.float32) for limit in (op.low, op.high))
    above = write.step("Max", x, write.constant(low, "low"))
    return write.step("Min", above, write.constant(high, "high"))


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
