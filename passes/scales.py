"""Between ranges of reals and scales with zero points, by the rules of a target."""

from __future__ import annotations

import math

import numpy as np

from npuq.ir import DType, Quantization, require

from .target import Width, weight_range

Range = tuple[float, float]
LEAST_SCALE = float(np.finfo(np.float32).tiny)
"""The least normal float32 number: no product with it is flushed to zero."""


def extremes_of(array: np.ndarray) -> Range:
    """The least and the greatest element; zeros for an empty array."""
    return (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)


def representable(quant: Quantization, width: Width) -> Range:
    """The reals of the least and the greatest integer of a width."""
    low, high = ((limit - quant.zero_point) * quant.scale for limit in width.activation_range)
    return low, high


def activation_quantization(range_: Range, width: Width) -> Quantization:
    """The quantization of an activation whose real values lie in `range_`, at one of a target's widths."""
    return spread(range_, *width.activation_range, symmetric=width.symmetric)


def spread(range_: Range, least: int, greatest: int, *, symmetric: bool) -> Quantization:
    """The quantization that spreads the integers from `least` to `greatest` over a range.

    Symmetric: scale = max(|low|, |high|) / greatest, zero point 0. Otherwise the range, widened to hold zero, is mapped
    onto all integers, with the zero point rounded half to even. A range that is just zero gets the scale 1.
    """
    low, high = min(range_[0], 0.0), max(range_[1], 0.0)
    require(math.isfinite(low) and math.isfinite(high), f"the range [{range_[0]}, {range_[1]}] is not finite")
    if low == high:
        return Quantization.per_tensor(1.0, 0)
    if symmetric:
        return Quantization.per_tensor(max(max(-low, high) / greatest, LEAST_SCALE))
    scale = float(np.float32(max((high - low) / (greatest - least), LEAST_SCALE)))
    zero_point = int(np.rint(least - low / scale))
    return Quantization.per_tensor(scale, min(max(zero_point, least), greatest))


def weight_quantization(
    weights: np.ndarray, axis: int | None, dtype: DType, *, least: np.ndarray | float = 0.0
) -> Quantization:
    """Symmetric scales of weights, for integers of `dtype`: one per slice of `axis`, one for all where it is None.

    `least` bounds the scales from below, so that a bias fits its accumulator. A slice of zeros gets the scale 1.
    """
    absolute = np.abs(weights.astype(np.float64))
    if axis is None:
        peaks = absolute.max(initial=0.0).reshape(1)
    else:
        peaks = absolute.max(axis=tuple(index for index in range(weights.ndim) if index != axis), initial=0.0)
    scales = np.maximum(peaks / weight_range(dtype)[1], least)
    scales = np.where(scales > 0, np.maximum(scales, LEAST_SCALE), 1.0)
    return Quantization(tuple(scales.astype(np.float32).tolist()), (0,) * len(scales), axis)
