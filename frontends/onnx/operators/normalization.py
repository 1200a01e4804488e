"""Converters of normalizations: common ones are ops, the others use primitives."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from npuq.ir import DType, ops, require
from npuq.ir.ops.elementwise import broadcast

from ...context import Context, Ints, Node
from ..registry import converts


@converts("BatchNormalization")
def batch_normalization(context: Context, node: Node) -> str:
    """Inference only; statistics are cast to the operand's element type."""
    require(not node.flag("training_mode", False), "training_mode is 1; export the model in inference mode")
    require(node.flag("spatial", True), "spatial is 0; only statistics per channel can be translated")
    dtype = context.type(context.x).dtype
    statistics = [context.cast(node.operand(index), dtype) for index in range(1, 5)]
    return context.add(ops.BatchNorm(epsilon=node.float("epsilon", 1e-5)), context.x, *statistics)


@converts("InstanceNormalization")
def instance_normalization(context: Context, node: Node) -> str:
    """Each channel of each sample by its own mean and variance."""
    scale, offset, shape = node.operand(1), node.operand(2), context.shape
    require(len(shape) >= 3, f"operand of rank {len(shape)}, 3 or more wanted")
    column = ops.Reshape(shape=(shape[1],) + (1,) * (len(shape) - 2))
    axes, epsilon = tuple(range(2, len(shape))), node.float("epsilon", 1e-5)
    _, centred, deviation = _moments(context, context.x, axes, epsilon)
    factor = context.add(ops.Div(), context.add(column, scale), deviation)
    return context.add(ops.Add(), context.add(ops.Mul(), centred, factor), context.add(column, offset))


def _moments(context: Context, x: str, axes: Ints, epsilon: float) -> tuple[str, str, str]:
    """Return the mean of x over some axes, x minus it, and the standard deviation."""
    mean = context.add(ops.ReduceMean(axes=axes, keep=True), x)
    centred = context.add(ops.Sub(), x, mean)
    variance = context.add(ops.ReduceMean(axes=axes, keep=True), context.add(ops.Mul(), centred, centred))
    shifted = context.add(ops.Add(), variance, context.number(epsilon, "epsilon", like=x))
    return mean, centred, context.add(ops.Sqrt(), shifted)


@converts("LayerNormalization")
def layer_normalization(context: Context, node: Node) -> tuple[str, ...]:
    """Half precision is computed in single precision, as are the mean and 1 / deviation if they are read."""
    axis, shape, epsilon = context.axis(node.int("axis", -1)), context.shape, node.float("epsilon", 1e-5)
    wide = _single(context, context.x)
    factors = [_factor(context, name, shape[axis:]) for name in (node.operand(1), node.optional(2)) if name is not None]
    y = context.add(ops.LayerNorm(axis=axis - len(shape), epsilon=epsilon), wide, *factors)
    results = [context.cast(y, context.type(context.x).dtype)]
    if node.reads(1) or node.reads(2):
        mean, _, deviation = _moments(context, wide, tuple(range(axis, len(shape))), epsilon)
        results += [mean, context.add(ops.Reciprocal(), deviation)]
    return tuple(results)


@converts("RMSNormalization")
def rms_normalization(context: Context, node: Node) -> str:
    """Half precision is computed in single precision."""
    axis, shape = context.axis(node.int("axis", -1)), context.shape
    op = ops.RmsNorm(axis=axis - len(shape), epsilon=node.float("epsilon", 1e-5))
    y = context.add(op, _single(context, context.x), _factor(context, node.operand(1), shape[axis:]))
    return context.cast(y, context.type(context.x).dtype)


def _factor(context: Context, name: str, wanted: Ints) -> str:
    """Broadcast a factor to the normalized axes, in at least single precision."""
    shape = context.type(name).shape
    require(broadcast(shape, wanted)[-len(wanted) :] == wanted, f"a factor of shape {shape}, {wanted} wanted")
    if len(shape) > len(wanted):
        require(set(shape[: -len(wanted)]) == {1}, f"a factor of shape {shape}, {wanted} wanted")
        shape = shape[-len(wanted) :]
        name = context.add(ops.Reshape(shape=shape), name)
    return _single(context, name if shape == wanted else context.add(ops.Expand(shape=wanted), name))


def _single(context: Context, name: str) -> str:
    return context.cast(name, DType.F32) if context.type(name).dtype in (DType.F16, DType.BF16) else name


@converts("LpNormalization")
def lp_normalization(context: Context, node: Node) -> str:
    """An axis divided by its norm; zeros stay zeros."""
    x, order = context.x, node.int("p", 2)
    require(order in (1, 2), f"p is {order}, 1 or 2 wanted")
    total = ops.ReduceSum(axes=(context.axis(node.int("axis", -1)),), keep=True)
    if order == 1:
        norm = context.add(total, context.add(ops.Abs()))
    else:
        norm = context.add(ops.Sqrt(), context.add(total, context.add(ops.Mul(), x, x)))
    tiny = ml_dtypes.finfo(context.type(x).dtype.numpy).tiny  # type: ignore[no-untyped-call]  # untyped in ml_dtypes
    return context.add(ops.Div(), x, context.add(ops.Maximum(), norm, context.number(float(tiny), "tiny")))


@converts("LRN")
def local_response_normalization(context: Context, node: Node) -> str:
    """x / (bias + alpha * mean of squares over neighbouring channels) ** beta, edges counting as zeros."""
    x, shape, size = context.x, context.shape, node.int("size")
    require(len(shape) >= 3, f"operand of rank {len(shape)}, 3 or more wanted")
    number, channels, *space = shape
    require(0 < size <= 2 * channels + 1, f"size {size} on {channels} channels")
    squares = context.add(ops.Reshape(shape=(number, 1, channels, int(np.prod(space)))), context.add(ops.Mul(), x, x))
    before = (size - 1) // 2
    mean = ops.AveragePool(
        window=(size, 1),
        stride=(1, 1),
        padding=((before, size - 1 - before), (0, 0)),
        dilation=(1, 1),
        count_padding=True,
    )
    around = context.add(ops.Reshape(shape=shape), context.add(mean, squares))
    alpha, beta, bias = (
        context.number(node.float(name, default), name)
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    scaled = context.add(ops.Add(), context.add(ops.Mul(), around, alpha), bias)
    return context.add(ops.Div(), x, context.add(ops.Pow(), scaled, beta))
