"""Converters of normalizations: common ones are ops, the others use primitives."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from npuq.ir import DType, ops, require
from npuq.ir.ops.elementwise import broadcast

from ...context import Context, Node, front
from ..registry import converts


@converts("BatchNormalization")
def batch_normalization(context: Context, node: Node) -> str:
    """Inference only; statistics are cast to the operand's element type."""
    require(not node.flag("training_mode", False), "training_mode is 1; export the model in inference mode")
    require(node.flag("spatial", True), "spatial is 0; only statistics per channel can be translated")
    x = node.operand(0)
    dtype = context.type(x).dtype
    statistics = []
    for index in range(1, 5):
        name = node.operand(index)
        statistics.append(name if context.type(name).dtype is dtype else context.add(ops.Cast(to=dtype), name))
    return context.add(ops.BatchNorm(epsilon=node.float("epsilon", 1e-5)), x, *statistics)


@converts("InstanceNormalization")
def instance_normalization(context: Context, node: Node) -> str:
    """Each channel of each sample by its own mean and variance."""
    x, scale, offset = node.operand(0), node.operand(1), node.operand(2)
    type_ = context.type(x)
    require(type_.rank >= 3, f"operand of rank {type_.rank}, 3 or more wanted")
    column = (type_.shape[1],) + (1,) * (type_.rank - 2)
    axes = tuple(range(2, type_.rank))
    centred = context.add(ops.Sub(), x, context.add(ops.ReduceMean(axes=axes, keep=True), x))
    variance = context.add(ops.ReduceMean(axes=axes, keep=True), context.add(ops.Mul(), centred, centred))
    epsilon = context.constant(np.asarray(node.float("epsilon", 1e-5), type_.dtype.numpy), "epsilon")
    deviation = context.add(ops.Sqrt(), context.add(ops.Add(), variance, epsilon))
    factor = context.add(ops.Div(), context.add(ops.Reshape(shape=column), scale), deviation)
    return context.add(
        ops.Add(), context.add(ops.Mul(), centred, factor), context.add(ops.Reshape(shape=column), offset)
    )


@converts("LayerNormalization")
def layer_normalization(context: Context, node: Node) -> tuple[str, ...]:
    """Half precision is computed in single precision, as are the mean and 1 / deviation if they are read."""
    x, axis = node.operand(0), front(node.int("axis", -1), context.type(node.operand(0)).rank)
    shape = context.type(x).shape
    epsilon = node.float("epsilon", 1e-5)
    wide = _single(context, x)
    factors = [_factor(context, name, shape[axis:]) for name in (node.operand(1), node.optional(2)) if name is not None]
    y = context.add(ops.LayerNorm(axis=axis - len(shape), epsilon=epsilon), wide, *factors)
    results = [_as(context, y, context.type(x).dtype)]
    if node.reads(1) or node.reads(2):
        axes = tuple(range(axis, len(shape)))
        mean = context.add(ops.ReduceMean(axes=axes, keep=True), wide)
        centred = context.add(ops.Sub(), wide, mean)
        variance = context.add(ops.ReduceMean(axes=axes, keep=True), context.add(ops.Mul(), centred, centred))
        deviation = context.add(ops.Sqrt(), context.add(ops.Add(), variance, _number(context, epsilon, wide)))
        results += [mean, context.add(ops.Reciprocal(), deviation)]
    return tuple(results)


@converts("RMSNormalization")
def rms_normalization(context: Context, node: Node) -> str:
    """Half precision is computed in single precision."""
    x, axis = node.operand(0), front(node.int("axis", -1), context.type(node.operand(0)).rank)
    shape = context.type(x).shape
    op = ops.RmsNorm(axis=axis - len(shape), epsilon=node.float("epsilon", 1e-5))
    y = context.add(op, _single(context, x), _factor(context, node.operand(1), shape[axis:]))
    return _as(context, y, context.type(x).dtype)


def _factor(context: Context, name: str, wanted: tuple[int, ...]) -> str:
    """Broadcast a factor to the normalized axes, in at least single precision."""
    shape = context.type(name).shape
    require(broadcast(shape, wanted)[-len(wanted) :] == wanted, f"a factor of shape {shape}, {wanted} wanted")
    if len(shape) > len(wanted):
        require(set(shape[: -len(wanted)]) == {1}, f"a factor of shape {shape}, {wanted} wanted")
        shape = shape[-len(wanted) :]
        name = context.add(ops.Reshape(shape=shape), name)
    return _single(context, name if shape == wanted else context.add(ops.Expand(shape=wanted), name))


def _single(context: Context, name: str) -> str:
    return _as(context, name, DType.F32) if context.type(name).dtype in (DType.F16, DType.BF16) else name


def _as(context: Context, name: str, dtype: DType) -> str:
    return name if context.type(name).dtype is dtype else context.add(ops.Cast(to=dtype), name)


def _number(context: Context, value: float, like: str) -> str:
    return context.constant(np.asarray(value, context.type(like).dtype.numpy), "epsilon")


@converts("LpNormalization")
def lp_normalization(context: Context, node: Node) -> str:
    """An axis divided by its norm; zeros stay zeros."""
    x, order = node.operand(0), node.int("p", 2)
    require(order in (1, 2), f"p is {order}, 1 or 2 wanted")
    type_ = context.type(x)
    axes = (front(node.int("axis", -1), type_.rank),)
    total = context.add(
        ops.ReduceSum(axes=axes, keep=True), context.add(ops.Abs(), x) if order == 1 else context.add(ops.Mul(), x, x)
    )
    norm = total if order == 1 else context.add(ops.Sqrt(), total)
    tiny = ml_dtypes.finfo(type_.dtype.numpy).tiny  # type: ignore[no-untyped-call]  # untyped in ml_dtypes
    least = context.constant(np.asarray(tiny, type_.dtype.numpy), "tiny")
    return context.add(ops.Div(), x, context.add(ops.Maximum(), norm, least))


@converts("LRN")
def local_response_normalization(context: Context, node: Node) -> str:
    """x / (bias + alpha * mean of squares over neighbouring channels) ** beta, edges counting as zeros."""
    x, size = node.operand(0), node.int("size")
    type_ = context.type(x)
    require(type_.rank >= 3, f"operand of rank {type_.rank}, 3 or more wanted")
    require(0 < size <= 2 * type_.shape[1] + 1, f"size {size} on {type_.shape[1]} channels")
    number, channels, *space = type_.shape
    squares = context.add(ops.Reshape(shape=(number, 1, channels, int(np.prod(space)))), context.add(ops.Mul(), x, x))
    before = (size - 1) // 2
    mean = ops.AveragePool(
        window=(size, 1),
        stride=(1, 1),
        padding=((before, size - 1 - before), (0, 0)),
        dilation=(1, 1),
        count_padding=True,
    )
    around = context.add(ops.Reshape(shape=type_.shape), context.add(mean, squares))
    alpha, beta, bias = (
        context.constant(np.asarray(node.float(name, default), type_.dtype.numpy), name)
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    scaled = context.add(ops.Add(), context.add(ops.Mul(), around, alpha), bias)
    return context.add(ops.Div(), x, context.add(ops.Pow(), scaled, beta))
