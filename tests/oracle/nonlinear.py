"""Division, normalisation and recurrent cells once more, in Python integers of any size, from the rules' text alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
Attributes = Mapping[str, Any]


def nearest(numerator: int, denominator: int) -> int:
    """Rule I1: the quotient rounded to nearest, halves up."""
    return (2 * numerator + denominator) // (2 * denominator)


def root(x: int) -> int:
    """Rule I2: the integer nearest to the square root; a root is never half an integer."""
    return (math.isqrt(4 * x) + 1) // 2


def reciprocal_root(x: int) -> tuple[int, int]:
    """Rule I3."""
    e = 0
    while x << (2 * e + 2) < 1 << 62:
        e += 1
    return nearest(1 << 61, root(x << (2 * e))), e


def shifted(total: int, shift: int, rounding: str) -> int:
    """Rule R9."""
    unit = 1 << shift
    if rounding == "floor":
        return total // unit
    if rounding in ("tflite_double", "pot_half_away"):
        return -nearest(-total, unit) if total < 0 else nearest(total, unit)
    return nearest(total, unit)


def clamped(attributes: Attributes, value: int) -> int:
    """Add the zero point and clamp."""
    low, high, zero_point = attributes.get("low", -128), attributes.get("high", 127), attributes.get("zero_point", 0)
    return int(min(max(value + zero_point, low), high))


def div(attributes: Attributes, a: Array, b: Array) -> Array:
    za, zb = attributes.get("zero_points", (0, 0))
    factor, shift = attributes["factor"], attributes["shift"]

    def one(left: int, right: int) -> int:
        top, bottom = (int(left) - za) * factor, (int(right) - zb) * 2**shift
        if bottom == 0:
            return clamped(attributes, 10**9 if top > 0 else -(10**9) if top < 0 else 0)
        return clamped(attributes, nearest(top, bottom) if bottom > 0 else nearest(-top, -bottom))

    return np.asarray(np.vectorize(one, otypes=[np.int64])(a, b))


def _log2_ceiling(count: int) -> int:
    found = 0
    while 2**found < count:
        found += 1
    return found


def normalized(attributes: Attributes, x: Array, factors: tuple[Array, ...], *, centred: bool) -> Array:
    """Rules N1 and N2, row by row."""
    axis = attributes["axis"]
    rows = x.reshape(math.prod(x.shape[:axis]), -1)
    multipliers, biases = (np.broadcast_to(factor, x.shape).reshape(rows.shape).tolist() for factor in factors[:2])
    shift = int(factors[2][0])
    n = rows.shape[1]
    p = _log2_ceiling(n)
    f, fraction = attributes["fraction"], 29 - (p + 1) // 2
    found = []
    for row, ms, bs in zip(rows.tolist(), multipliers, biases, strict=True):
        centre = sum(row) if centred else n * attributes.get("input_zero_point", 0)
        distances = [n * element - centre for element in row]
        variance = sum(distance**2 for distance in distances) // n
        reciprocal, e = reciprocal_root(variance * 4**f + attributes.get("epsilon", 1))
        drop = max(61 - e - f - fraction, 1)
        for distance, m, b in zip(distances, ms, bs, strict=True):
            z = nearest(distance * reciprocal, 2**drop)
            found.append(clamped(attributes, shifted(z * m + b, shift, attributes.get("rounding", "single_half_up"))))
    return np.asarray(found, np.int64).reshape(x.shape)


def layer_norm(attributes: Attributes, x: Array, *factors: Array) -> Array:
    return normalized(attributes, x, factors, centred=True)


def rms_norm(attributes: Attributes, x: Array, *factors: Array) -> Array:
    return normalized(attributes, x, factors, centred=False)


NONLINEAR: dict[str, Callable[..., Array]] = {
    "npu.div": div,
    "npu.layer_norm": layer_norm,
    "npu.rms_norm": rms_norm,
}
