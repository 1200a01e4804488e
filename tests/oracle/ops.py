"""Every integer op once more, in NumPy int64 and Python ints, from the rules' text alone: the product is not imported.

`ORACLE[name](attributes, *operands)` computes one op: `attributes` are those that differ from the op's defaults,
operands and result are int64 arrays, NHWC and HWIO. Sums are int64; a product that might leave 64 bits is taken in
Python ints.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .nonlinear import NONLINEAR

Array = np.ndarray
Attributes = Mapping[str, Any]


def quantize_multiplier(real: float) -> tuple[int, int]:
    """TFLite's QuantizeMultiplier, step by step; the shift counts right, from the whole product."""
    mantissa, exponent = np.frexp(real)
    fixed = int(np.floor(float(mantissa) * 2.0**31 + 0.5))
    if fixed == 2**31:
        fixed, exponent = fixed // 2, exponent + 1
    return fixed, 31 - int(exponent)


def rescale(acc: int, multiplier: int, shift: int, rounding: str) -> int:
    """One accumulator in Python ints, by the profile's own published procedure."""
    if rounding == "single_half_up":
        return (2 * acc * multiplier + (1 << shift)) // (1 << (shift + 1))
    if rounding == "floor":
        return acc * multiplier // (1 << shift)
    if rounding == "tosa_double":
        rounded = 1 << (shift - 1)
        if shift > 31:
            rounded += 2**30 if acc >= 0 else -(2**30)
        return (acc * multiplier + rounded) // (1 << shift)
    if rounding == "mul16":
        reduced = (multiplier + 2**15) // 2**16 if multiplier < 0x7FFF0000 else 0x7FFF
        total = shift - 16
        return (acc * reduced + (1 << (total - 1))) // (1 << total)
    if rounding == "pot_half_up":
        return (2 * acc * 2**30 + (1 << shift)) // (1 << (shift + 1))
    if rounding == "pot_half_away":
        magnitude = (2 * abs(acc) * 2**30 + (1 << shift)) // (1 << (shift + 1))
        return magnitude if acc >= 0 else -magnitude
    if rounding == "half_away":
        magnitude = (2 * abs(acc) * multiplier + (1 << shift)) // (1 << (shift + 1))
        return magnitude if acc >= 0 else -magnitude
    assert rounding == "tflite_double", rounding
    left, right = max(31 - shift, 0), max(shift - 31, 0)
    shifted = min(max(acc * (1 << left), -(2**31)), 2**31 - 1)
    product = shifted * multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = nudged // 2**31 if nudged >= 0 else -(-nudged // 2**31)
    remainder = high & ((1 << right) - 1)
    threshold = ((1 << right) - 1) // 2 + (1 if high < 0 else 0)
    return high // (1 << right) + (1 if remainder > threshold else 0)


_rescale_each = np.frompyfunc(rescale, 4, 1)


def requantize(attributes: Attributes, acc: Array, multiplier: Array, shift: Array) -> Array:
    """Rescale, add the zero point, clamp: how most integer ops end."""
    rounding = attributes.get("rounding", "single_half_up")
    multiplier, shift = multiplier.astype(np.int64), shift.astype(np.int64)
    if multiplier.shape == (1,):
        multiplier, shift = multiplier[0], shift[0]
    if rounding == "single_half_up" and acc.size and np.abs(acc).max() < 2**31:
        rounded = (acc * multiplier + np.left_shift(np.int64(1), shift - 1)) >> shift
    else:
        rounded = _rescale_each(acc.astype(object), multiplier.astype(object), shift.astype(object), rounding)
    return limit(attributes, rounded)


def limit(attributes: Attributes, rounded: Array) -> Array:
    """Add the zero point and clamp."""
    moved = rounded + attributes.get("zero_point", 0)
    low, high = attributes.get("low", -128), attributes.get("high", 127)
    limited: Array = np.minimum(np.maximum(moved, low), high).astype(np.int64)
    return limited


def padded(x: Array, padding: Any, expand: Any, value: int) -> Array:
    """x [N,H,W,C] with `expand - 1` values between neighbours, then padded; a negative padding cuts."""
    n, h, w, c = x.shape
    spread = np.full((n, max((h - 1) * expand[0] + 1, 0), max((w - 1) * expand[1] + 1, 0), c), value, np.int64)
    spread[:, :: expand[0], :: expand[1]] = x
    for axis, (before, after) in zip((1, 2), padding, strict=True):
        size = spread.shape[axis]
        spread = np.take(spread, range(max(-before, 0), size - max(-after, 0)), axis)
        widths = [(0, 0)] * 4
        widths[axis] = (max(before, 0), max(after, 0))
        spread = np.pad(spread, widths, constant_values=value)
    return spread


def taps(x: Array, window: Any, stride: Any, dilation: Any) -> list[tuple[int, int, Array]]:
    """For each place of the window, the elements of x [N,H,W,C] that it meets."""
    oh, ow = (
        (size - (width - 1) * hole - 1) // step + 1
        for size, width, step, hole in zip(x.shape[1:3], window, stride, dilation, strict=True)
    )
    found = []
    for i, j in itertools.product(range(window[0]), range(window[1])):
        rows = i * dilation[0] + stride[0] * np.arange(oh)
        columns = j * dilation[1] + stride[1] * np.arange(ow)
        found.append((i, j, x[:, rows][:, :, columns]))
    return found


def conv2d_sums(attributes: Attributes, x: Array, w: Array, bias: Array) -> Array:
    """The accumulators of a convolution."""
    pair, none = (1, 1), ((0, 0), (0, 0))
    groups = attributes.get("groups", 1)
    x = padded(x, attributes.get("padding", none), attributes.get("expand", pair), attributes.get("pad_value", 0))
    kh, kw, width, out = w.shape
    each = out // groups
    parts = []
    for group in range(groups) if width > 1 else ():
        channels = np.ascontiguousarray(x[..., group * width : (group + 1) * width])
        weights = w[..., group * each : (group + 1) * each]
        met = taps(channels, (kh, kw), attributes.get("stride", pair), attributes.get("dilation", pair))
        parts.append(sum(np.matmul(tap, weights[i, j]) for i, j, tap in met))
    if parts:
        joined: Array = np.concatenate(parts, -1) + bias
        return joined
    met = taps(x, (kh, kw), attributes.get("stride", pair), attributes.get("dilation", pair))
    sums: Array = sum((np.repeat(tap, each, -1) * w[i, j, 0] for i, j, tap in met), bias)
    return sums


def conv2d(attributes: Attributes, x: Array, w: Array, bias: Array, multiplier: Array, shift: Array) -> Array:
    return requantize(attributes, conv2d_sums(attributes, x, w, bias), multiplier, shift)


def matmul(attributes: Attributes, x: Array, w: Array, bias: Array, multiplier: Array, shift: Array) -> Array:
    return requantize(attributes, np.matmul(x, w) + bias, multiplier, shift)


def batch_matmul(attributes: Attributes, a: Array, b: Array, multiplier: Array, shift: Array) -> Array:
    za, zb = attributes.get("zero_points", (0, 0))
    return requantize(attributes, np.matmul(a - za, b - zb), multiplier, shift)


def add(attributes: Attributes, a: Array, b: Array, multiplier: Array, shift: Array) -> Array:
    za, zb = attributes.get("zero_points", (0, 0))
    rounding = attributes.get("rounding", "single_half_up")
    left = attributes.get("left_shift", 0)
    if left:
        most = 2**30 - 1
        terms = (
            _rescale_each(((x - z) * 2**left).astype(object), abs(int(multiplier[i])), int(shift[i]), rounding)
            for i, (x, z) in enumerate(((a, za), (b, zb)))
        )
        signs = np.sign(multiplier)
        sums = sum(sign * np.clip(term.astype(np.int64), -most, most) for sign, term in zip(signs, terms, strict=False))
        return requantize(attributes, np.asarray(sums), multiplier[2:], shift[2:])
    acc = (a - za) * multiplier[0] + (b - zb) * multiplier[1]
    half = np.int64(1) << (shift[0] - 1)
    if rounding == "floor":
        rounded = acc >> shift[0]
    elif rounding in ("tflite_double", "pot_half_away", "half_away"):
        rounded = np.where(acc < 0, -((-acc + half) >> shift[0]), (acc + half) >> shift[0])
    else:
        rounded = (acc + half) >> shift[0]
    return limit(attributes, rounded)


def mul(attributes: Attributes, a: Array, b: Array, multiplier: Array, shift: Array) -> Array:
    za, zb = attributes.get("zero_points", (0, 0))
    return requantize(attributes, (a - za) * (b - zb), multiplier, shift)


def rescale_values(attributes: Attributes, x: Array, multiplier: Array, shift: Array) -> Array:
    return requantize(attributes, x - attributes.get("input_zero_point", 0), multiplier, shift)


def lut(attributes: Attributes, x: Array, table: Array) -> Array:
    """Tables are of int8 operands: entry 0 stands for -128."""
    if table.ndim == 2:
        return np.stack([table[c][x[..., c] + 128] for c in range(table.shape[0])], -1)
    found: Array = table[x + 128]
    return found


def interpolate(attributes: Attributes, x: Array, table: Array) -> Array:
    """Entry 0 of a table stands for -32768, the last one for 32768."""
    step = 65536 // (table.shape[-1] - 1)
    left, offset = np.divmod(x + 32768, step)
    if table.ndim == 2:
        channel = np.broadcast_to(np.arange(table.shape[0]), x.shape)
        base, end = table[channel, left], table[channel, left + 1]
    else:
        base, end = table[left], table[left + 1]
    found: Array = base + np.floor_divide(2 * (end - base) * offset + step, 2 * step)
    return found


def max_pool2d(attributes: Attributes, x: Array) -> Array:
    pair, none = (1, 1), ((0, 0), (0, 0))
    held = padded(x, attributes.get("padding", none), pair, np.iinfo(np.int64).min)
    met = taps(held, attributes["window"], attributes.get("stride", pair), attributes.get("dilation", pair))
    greatest: Array = np.stack([tap for _, _, tap in met]).max(0)
    return greatest


def average_pool2d(attributes: Attributes, x: Array, multiplier: Array, shift: Array) -> Array:
    pair, none = (1, 1), ((0, 0), (0, 0))
    held = padded(x - attributes.get("input_zero_point", 0), attributes.get("padding", none), pair, 0)
    met = taps(held, attributes["window"], attributes.get("stride", pair), attributes.get("dilation", pair))
    if multiplier.ndim == 2:
        multiplier, shift = multiplier[:, :, None], shift[:, :, None]
    return requantize(attributes, np.stack([tap for _, _, tap in met]).sum(0), multiplier, shift)


def reduce_sum(attributes: Attributes, x: Array, multiplier: Array, shift: Array) -> Array:
    centred = x - attributes.get("input_zero_point", 0)
    acc = centred.sum(tuple(attributes["axes"]), keepdims=attributes.get("keep", False))
    return requantize(attributes, acc, multiplier, shift)


def cumsum(attributes: Attributes, x: Array, multiplier: Array, shift: Array) -> Array:
    """Term by term, from the end that the sums start at."""
    axis = attributes["axis"]
    terms = np.moveaxis(x - attributes.get("input_zero_point", 0), axis, 0)
    acc, so_far = np.zeros_like(terms), np.zeros_like(terms[0])
    places = range(len(terms))
    for place in reversed(places) if attributes.get("reverse", False) else places:
        after = so_far + terms[place]
        acc[place] = so_far if attributes.get("exclusive", False) else after
        so_far = after
    return requantize(attributes, np.moveaxis(acc, 0, axis), multiplier, shift)


def resize_linear(
    attributes: Attributes, x: Array, rows: Array, columns: Array, multiplier: Array, shift: Array
) -> Array:
    centred = x - attributes.get("input_zero_point", 0)
    acc = np.einsum("ih,nhwc->niwc", rows, centred)
    acc = np.einsum("jw,niwc->nijc", columns, acc)
    return requantize(attributes, acc, multiplier, shift)


def softmax(attributes: Attributes, x: Array, table: Array) -> Array:
    axis = attributes["axis"]
    below = x.max(axis, keepdims=True) - x
    if table.ndim == 1:
        e = table[255 - below]
    else:
        e = (table[0][255 - below // 256] * table[1][255 - below % 256] + 2**29) // 2**30
    total = e.sum(axis, keepdims=True)
    return limit(attributes, (e * attributes["steps"] + 128 * total) // (256 * total))


def high_half(a: int, b: int) -> int:
    """The product of two numbers of 31 fraction bits, to nearest, as it is published: truncated after a nudge."""
    product = a * b
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    return nudged // 2**31 if nudged >= 0 else -(-nudged // 2**31)


def softmax_fixed(attributes: Attributes, x: Array, table: Array) -> Array:
    """A row at a time, in Python ints."""
    rows = np.moveaxis(x, attributes["axis"], -1)
    found = np.empty(rows.shape, np.int64)
    for place in np.ndindex(rows.shape[:-1]):
        row = rows[place].tolist()
        exponentials = [int(table[one - max(row) + 255]) for one in row]
        total = sum((e + 2**11) // 2**12 for e in exponentials)
        room = 32 - total.bit_length()
        half = total * 2**room // 2
        reciprocal = 1515870810 + high_half(half, -1010580540)
        for _ in range(3):
            reciprocal += 4 * high_half(reciprocal, 2**29 - high_half(half, reciprocal))
        factor = min(max(2 * reciprocal, 0), 2**31 - 1)
        shift = 35 - room
        found[place] = [(high_half(factor, e) + 2 ** (shift - 1)) // 2**shift for e in exponentials]
    return limit({"zero_point": -128, **attributes}, np.moveaxis(found, -1, attributes["axis"]))


ORACLE: dict[str, Callable[..., Any]] = {
    "npu.conv2d": conv2d,
    "npu.matmul": matmul,
    "npu.batch_matmul": batch_matmul,
    "npu.add": add,
    "npu.mul": mul,
    "npu.requantize": rescale_values,
    "npu.lut": lut,
    "npu.interpolate": interpolate,
    "npu.max_pool2d": max_pool2d,
    "npu.average_pool2d": average_pool2d,
    "npu.reduce_sum": reduce_sum,
    "npu.cumsum": cumsum,
    "npu.resize_linear": resize_linear,
    "npu.softmax": softmax,
    "npu.softmax_fixed": softmax_fixed,
    **NONLINEAR,
}
