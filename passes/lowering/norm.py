"""Normalization by the statistics of the data: gain and bias become integers beside the normalized elements."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from npuq.ir import Graph, Node, require
from npuq.ir.arithmetic import common_multipliers
from npuq.ir.ops.norm import LayerNorm, RmsNorm
from npuq.ir.ops.npu.norm import (
    LARGEST_BIAS,
    LARGEST_EPSILON,
    LONGEST,
    normal_fraction,
    operand_bits,
    variance_fraction,
)
from npuq.ir.ops.npu.norm import LayerNorm as NpuLayerNorm
from npuq.ir.ops.npu.norm import RmsNorm as NpuRmsNorm

from ..target import Target
from .context import Context, Emitted
from .registry import Lowering, is_known


def cannot_normalize(graph: Graph, node: Node, target: Target) -> str | None:
    """Scale and bias are known, and no more elements share their statistics than 63 bits allow."""
    if not all(is_known(graph, operand) for operand in node.operands[1:]):
        return "scale or bias is computed, known ones wanted"
    count = graph.types[node.operands[1]].size
    return f"statistics of {count} elements, at most {LONGEST}" if count > LONGEST else None


@Lowering(becomes="npu.layer_norm", obstacle=cannot_normalize, raw=(1, 2)).of(LayerNorm)
@Lowering(becomes="npu.rms_norm", obstacle=cannot_normalize, raw=(1, 2)).of(RmsNorm)
def normalization(context: Context, op: LayerNorm | RmsNorm) -> Emitted:
    """Exact sums and one reciprocal root a row, then one multiplier and one bias an element, rounded once."""
    (_, scale, *bias), result = context.node.operands, context.result
    x = context.take(context.x)
    type_ = context.builder.types[x]
    axis = op.axis % type_.rank
    count = math.prod(type_.shape[axis:])
    fraction, epsilon = _epsilon(context, count, op.epsilon, variance_fraction(count, operand_bits(type_.dtype)))
    integer = (NpuLayerNorm if isinstance(op, LayerNorm) else NpuRmsNorm)(
        axis=axis,
        fraction=fraction,
        epsilon=epsilon,
        input_zero_point=context.quant(context.x).zero_point,
        **context.ending(),
    )
    gains = context.floats(scale) / result.quant.scale
    biases = context.floats(bias[0]) / result.quant.scale if bias else np.zeros_like(gains)
    factors = zip(_factors(context.target, gains, biases, normal_fraction(count)), ("gain", "bias", "s"), strict=True)
    constants = (context.builder.constant(array, f"{result.name}.{name}") for array, name in factors)
    return context.emit(integer, x, *constants)


def _epsilon(context: Context, count: int, real: float, most: int) -> tuple[int, int]:
    """The variance's fraction bits and epsilon in their units: as many bits as leave epsilon within its limit."""
    exact = Fraction(real) * count**2 / Fraction(context.quant(context.x).scale) ** 2
    fraction = next((f for f in range(most, -1, -1) if exact * 4**f <= LARGEST_EPSILON), 0)
    wanted = round(exact * 4**fraction)
    if wanted > LARGEST_EPSILON:
        note = f"epsilon {real:.3g} is beyond the variance of its operand, which it hides"
        context.repairs.append((context.node.place, note))
    return fraction, min(max(wanted, 1), LARGEST_EPSILON)


def _factors(
    target: Target, gains: np.ndarray, biases: np.ndarray, fraction: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Multipliers, biases and their shift, as far as the target's shifts and a bias of 59 bits reach."""
    low, high = target.shift_range
    greatest = float(np.abs(biases).max(initial=0.0))
    if greatest > 0:
        high = min(high, math.floor(math.log2(LARGEST_BIAS)) - math.frexp(greatest)[1])
    require(low <= high, f"a bias of {greatest:.3g} steps is too large to be added; raise the result's scale")
    least = max(low - fraction, 2)
    reals = gains.ravel() if gains.any() else np.full(gains.size, 2.0 ** (30 - high + fraction))
    multipliers, shift = common_multipliers(reals, (least, high - fraction))
    multipliers = multipliers if gains.any() else np.zeros_like(multipliers)
    total = shift + np.int32(fraction)
    integers = np.rint(np.ldexp(biases, int(total[0]))).astype(np.int64)
    return multipliers.reshape(gains.shape), integers, total.astype(np.int32)
