"""Converters of pointwise layers, normalizations and reductions."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from npuq.ir import DType, Op, ops, require

from .registry import Layer, converts

PLAIN: dict[str, Op] = {
    "AbsVal": ops.Abs(),
    "BNLL": ops.Softplus(),
    "ReLU6": ops.Clip(low=0.0, high=6.0),
    "Sigmoid": ops.Sigmoid(),
    "TanH": ops.Tanh(),
}
"""Layers without parameters."""


@converts(*PLAIN)
def plain(layer: Layer) -> str:
    return layer.add(PLAIN[layer.spec.type])


@converts("ReLU")
def relu(layer: Layer) -> str:
    slope = layer.message.relu_param.negative_slope
    return layer.add(ops.LeakyRelu(alpha=slope) if slope else ops.Relu())


@converts("PReLU")
def prelu(layer: Layer) -> str:
    """A slope per channel, or one for all."""
    shape = layer.shape
    count = 1 if layer.message.prelu_param.channel_shared else shape[1]
    slope = layer.array(0, "slope", count).reshape((count,) + (1,) * (len(shape) - 2))
    return layer.add(ops.PRelu(), layer.x, layer.constant(slope, "slope"))


@converts("ELU")
def elu(layer: Layer) -> str:
    return layer.add(ops.Elu(alpha=layer.message.elu_param.alpha))


@converts("Clip")
def clip(layer: Layer) -> str:
    parameter = layer.message.clip_param
    return layer.add(ops.Clip(low=parameter.min, high=parameter.max))


def _line(layer: Layer, scale: float, shift: float) -> str:
    """scale * x + shift, without steps that change nothing."""
    x = layer.x
    if scale != 1:
        x = layer.add(ops.Mul(), x, layer.number(scale, "scale"))
    return x if shift == 0 else layer.add(ops.Add(), x, layer.number(shift, "shift"))


@converts("Power")
def power(layer: Layer) -> str:
    """(shift + scale * x) ** power."""
    parameter = layer.message.power_param
    line = _line(layer, parameter.scale, parameter.shift)
    exponent = parameter.power
    if exponent == 1:
        return line
    if exponent == 2:
        return layer.add(ops.Mul(), line, line)
    if exponent == 0.5:
        return layer.add(ops.Sqrt(), line)
    return layer.add(ops.Pow(), line, layer.number(exponent, "power"))


@converts("Exp")
def exp(layer: Layer) -> str:
    """base ** (shift + scale * x); the base -1 means e."""
    parameter = layer.message.exp_param
    factor = _log_base(parameter)
    return layer.add(ops.Exp(), _line(layer, parameter.scale * factor, parameter.shift * factor))


@converts("Log")
def log(layer: Layer) -> str:
    """The logarithm of shift + scale * x to a base; -1 means e."""
    parameter = layer.message.log_param
    logarithm = layer.add(ops.Log(), _line(layer, parameter.scale, parameter.shift))
    factor = _log_base(parameter)
    return logarithm if factor == 1 else layer.add(ops.Mul(), logarithm, layer.number(1 / factor, "base"))


def _log_base(parameter: Any) -> float:
    """The natural logarithm of the base."""
    require(parameter.base == -1 or parameter.base > 0, f"base {parameter.base}, -1 or a positive one wanted")
    return 1.0 if parameter.base == -1 else math.log(parameter.base)


@converts("Eltwise")
def eltwise(layer: Layer) -> str:
    parameter, operands = layer.message.eltwise_param, layer.node.all_operands()
    require(len(operands) >= 2, f"{len(operands)} bottoms, 2 or more wanted")
    shapes = {layer.type(operand).shape for operand in operands}
    require(len(shapes) == 1, f"bottoms of shapes {' and '.join(map(str, sorted(shapes)))}, equal ones wanted")
    coefficients = tuple(parameter.coeff)
    if coefficients:
        require(parameter.operation == parameter.SUM, "only a sum takes coefficients")
        require(len(coefficients) == len(operands), f"{len(coefficients)} coefficients for {len(operands)} bottoms")
        operands = tuple(
            operand if factor == 1 else layer.add(ops.Mul(), operand, layer.number(factor, "coefficient"))
            for operand, factor in zip(operands, coefficients, strict=True)
        )
    op = {parameter.PROD: ops.Mul(), parameter.SUM: ops.Add(), parameter.MAX: ops.Maximum()}[parameter.operation]
    return reduce(lambda one, other: layer.add(op, one, other), operands)


@converts("BatchNorm")
def batch_norm(layer: Layer) -> str:
    """Stored means and variances are sums over batches; the third array is the number of batches."""
    parameter, channels = layer.message.batch_norm_param, layer.shape[1]
    count = layer.array(2, "scale factor", 1).item()
    factor = 0.0 if count == 0 else 1 / count
    mean, variance = (
        layer.constant((layer.array(index, what, channels) * np.float64(factor)).astype(np.float32), what)
        for index, what in enumerate(("mean", "variance"))
    )
    if parameter.scale_bias:
        scale, offset = layer.weight(3, "scale", channels), layer.weight(4, "bias", channels)
    else:
        scale = layer.constant(np.ones(channels, np.float32), "scale")
        offset = layer.constant(np.zeros(channels, np.float32), "bias")
    return layer.add(ops.BatchNorm(epsilon=parameter.eps), layer.x, scale, offset, mean, variance)


@converts("Scale")
def scale(layer: Layer) -> str:
    """A factor per element of some axes, stored or computed, and an optional stored bias."""
    parameter, stored = layer.message.scale_param, len(layer.node.operands) == 1
    factor, shape = _along(layer, parameter, "scale")
    y = layer.add(ops.Mul(), layer.x, factor)
    if not parameter.bias_term:
        return y
    bias = layer.array(1 if stored else 0, "bias", *_own(shape)).reshape(shape)
    return layer.add(ops.Add(), y, layer.constant(bias, "bias"))


@converts("Bias")
def bias(layer: Layer) -> str:
    term, _ = _along(layer, layer.message.bias_param, "bias")
    return layer.add(ops.Add(), layer.x, term)


def _along(layer: Layer, parameter: Any, what: str) -> tuple[str, tuple[int, ...]]:
    """Return the second bottom or the stored array, with the shape that broadcasts to the first, and that shape."""
    shape, axis = layer.shape, layer.axis(parameter.axis)
    computed = layer.operand(1) if len(layer.node.operands) > 1 else None
    count = layer.type(computed).rank if computed is not None else parameter.num_axes
    stop = len(shape) if count == -1 else axis + count
    require(stop <= len(shape), f"axes {axis} to {stop} of {len(shape)}")
    wanted = shape[axis:stop] + (1,) * (len(shape) - stop)
    if computed is None:
        return layer.constant(layer.array(0, what, *_own(wanted)).reshape(wanted), what), wanted
    return layer.add(ops.Reshape(shape=wanted), computed), wanted


def _own(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Remove the final ones of a shape, which only serve broadcasting."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


@converts("Normalize")
def normalize(layer: Layer) -> str:
    """x divided by its norm over the channels, or over the sample, times stored factors."""
    parameter, shape = layer.message.norm_param, layer.shape
    axes = tuple(range(1, len(shape))) if parameter.across_spatial else (1,)
    total = layer.add(ops.ReduceSum(axes=axes, keep=True), layer.add(ops.Mul(), layer.x, layer.x))
    norm = layer.add(ops.Sqrt(), layer.add(ops.Add(), total, layer.number(parameter.eps, "epsilon")))
    count = 1 if parameter.channel_shared else shape[1]
    factor = layer.array(0, "scale", count).reshape((count,) + (1,) * (len(shape) - 2))
    return layer.add(ops.Mul(), layer.add(ops.Div(), layer.x, norm), layer.constant(factor, "scale"))


@converts("MVN")
def mean_variance_normalization(layer: Layer) -> str:
    """Per channel or per sample; epsilon is added to the deviation."""
    parameter = layer.message.mvn_param
    axes = tuple(range(1 if parameter.across_channels else 2, len(layer.shape)))
    centred = layer.add(ops.Sub(), layer.x, layer.add(ops.ReduceMean(axes=axes, keep=True)))
    if not parameter.normalize_variance:
        return centred
    variance = layer.add(ops.ReduceMean(axes=axes, keep=True), layer.add(ops.Mul(), centred, centred))
    deviation = layer.add(ops.Add(), layer.add(ops.Sqrt(), variance), layer.number(parameter.eps, "epsilon"))
    return layer.add(ops.Div(), centred, deviation)


@converts("Softmax")
def softmax(layer: Layer) -> str:
    return layer.add(ops.Softmax(axis=layer.axis(layer.message.softmax_param.axis)))


@converts("ArgMax")
def argmax(layer: Layer) -> str:
    """The index of the greatest element, as a float; without an axis, among all elements of a sample."""
    parameter = layer.message.argmax_param
    require(parameter.top_k == 1, f"top_k {parameter.top_k}, 1 wanted")
    if parameter.HasField("axis"):
        axis, x = layer.axis(parameter.axis), layer.x
        if parameter.out_max_val:
            return layer.add(ops.ReduceMax(axes=(axis,), keep=True))
    else:
        require(not parameter.out_max_val, "out_max_val without an axis is not supported")
        axis, x = 2, layer.add(ops.Reshape(shape=(layer.shape[0], 1, math.prod(layer.shape[1:]))))
    return layer.add(ops.Cast(to=DType.F32), layer.add(ops.ArgMax(axis=axis, keep=True), x))


@converts("Reduction")
def reduction(layer: Layer) -> str:
    """A sum, a sum of absolute values or of squares, or a mean over the axes from `axis` on, times a coefficient."""
    parameter = layer.message.reduction_param
    axes = tuple(range(layer.axis(parameter.axis), len(layer.shape)))
    x = layer.x
    if parameter.operation == parameter.ASUM:
        x = layer.add(ops.Abs())
    if parameter.operation == parameter.SUMSQ:
        x = layer.add(ops.Mul(), x, x)
    mean = parameter.operation == parameter.MEAN
    y = layer.add(ops.ReduceMean(axes=axes) if mean else ops.ReduceSum(axes=axes), x)
    return y if parameter.coeff == 1 else layer.add(ops.Mul(), y, layer.number(parameter.coeff, "coefficient"))
