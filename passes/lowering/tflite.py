"""Forms of TFLite's reference kernels, for targets whose `kernels` are these: rules T1 to T5 of docs/arithmetic.md."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from npuq.ir import DType
from npuq.ir.arithmetic import INT32, MULTIPLIERS, multiplier_and_shift, multipliers_and_shifts
from npuq.ir.ops.elementwise import Add, Sub
from npuq.ir.ops.npu.pointwise import Add as NpuAdd
from npuq.ir.ops.npu.softmax import LONGEST
from npuq.ir.ops.reduce import Softmax
from npuq.ir.requantize import high_product, requantize

from .context import Context, Emitted

LEFT_SHIFT = 20
"""How far the 8-bit operands of a sum are shifted before they are rescaled."""


def shifted_addition(context: Context, op: Add | Sub) -> Emitted:
    """T1: both operands in units of twice the greater scale, shifted left; then their sum or difference."""
    first, second = context.quants
    twice, unit = 2 * max(first.scale, second.scale), context.result.quant.scale * (1 << LEFT_SHIFT)
    reals = np.array([first.scale / twice, second.scale / twice, twice / unit])
    multipliers, shifts, _ = multipliers_and_shifts(reals, context.target.rescale_shift_range)
    multipliers[1] *= -1 if isinstance(op, Sub) else 1
    integer = NpuAdd(zero_points=(first.zero_point, second.zero_point), left_shift=LEFT_SHIFT, **context.ending())
    operands, last = context.pair()
    return context.emit(integer, *operands, *context.factors(multipliers, shifts), last=last)


def quotient_factors(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """T2: M / 2^s of 1 / count, M rounded up, so that a half stays a half; a single element needs none."""
    each = [int(count) for count in counts.flat]
    shifts = [max(30 + (count - 1).bit_length(), 31) for count in each]
    multipliers = [min(-(-(1 << shift) // count), MULTIPLIERS[1]) for shift, count in zip(shifts, each, strict=True)]
    return np.reshape(multipliers, counts.shape), np.reshape(shifts, counts.shape)


def mean_factors(real: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """T4: the factor between the scales, divided by the count after a shift that keeps its bits."""
    multiplier, shift = multiplier_and_shift(real)
    extra = min(count.bit_length() - 1, 32, 62 - shift)
    return np.array([(multiplier << extra) // count]), np.array([shift + extra])


def fixed_softmax(context: Context, op: Softmax) -> bool:
    """Whether TFLite's kernel computes a softmax: 8 bits, few enough elements, results of 0 to 255/256."""
    x, result = context.x, context.result
    known = result.quant.scale == 2.0**-8 and result.quant.zero_point == -128
    narrow = context.dtype(x) is result.dtype is DType.I8 and context.quant(x).scale < GREATEST_SCALE
    return context.is_tflite and known and narrow and context.shape(x)[op.axis] <= LONGEST


GREATEST_SCALE = 8.0
"""At this scale and above, a softmax's operand leaves the shifts of its table."""


def fixed_exponentials(scale: float, rounding: str) -> np.ndarray:
    """T5's table: exp(i * scale) in 31 fraction bits for i of -255 to 0, by TFLite's series; 0 beyond its reach."""
    multiplier, shift = multiplier_and_shift(scale * (1 << 26))
    below = np.arange(-255, 1)
    with jax.enable_x64(True):
        rescaled = requantize(
            jnp.asarray(below),
            jnp.asarray(multiplier, jnp.int32),
            jnp.asarray(shift, jnp.int32),
            zero_point=0,
            low=INT32[0],
            high=INT32[1],
            rounding=rounding,
            interval=INT32,
            dtype=DType.I32,
        )
    radius = (31 << 26) >> (31 - shift)
    return np.where(below >= -radius, _exp(np.asarray(rescaled, np.int64)), 0).astype(np.int32)


_EIGHTH, _THIRD = 1895147668, 715827883
"""exp(-1/8) and 1/3 in 31 fraction bits."""

_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^i) in 31 fraction bits, for i of -2 to 4."""


def _exp(a: np.ndarray) -> np.ndarray:
    """exp(a) in 31 fraction bits of a <= 0 in 26: a series on [-1/4, 0), then a product for each higher bit."""
    quarter = 1 << 24
    rest = (a & (quarter - 1)) - quarter
    result = _series(rest << 5)
    for bit, power in enumerate(_POWERS, start=24):
        result = np.where((rest - a) >> bit & 1, high_product(result, np.full_like(result, power)), result)
    return np.where(a == 0, np.int64((1 << 31) - 1), result)


def _series(a: np.ndarray) -> np.ndarray:
    """exp(a) for a in [-1/4, 0): a Taylor series around -1/8 of four terms."""
    x = a + (1 << 28)
    square = high_product(x, x)
    cube, fourth = high_product(square, x), high_product(square, square)
    sum_ = high_product(_halved(fourth, 2) + cube, np.full_like(a, _THIRD)) + square
    return np.asarray(high_product(np.full_like(a, _EIGHTH), x + _halved(sum_, 1)) + _EIGHTH)


def _halved(x: np.ndarray, times: int) -> np.ndarray:
    """x / 2^times, halves away from zero."""
    return np.asarray(np.sign(x) * ((np.abs(x) + (1 << (times - 1))) >> times))
