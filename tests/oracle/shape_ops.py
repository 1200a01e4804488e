"""The ops that the integer level shares with the float one, and the edge to floats, once more in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
Attributes = Mapping[str, Any]


def reshape(attributes: Attributes, x: Array) -> Array:
    return x.reshape(attributes["shape"])


def transpose(attributes: Attributes, x: Array) -> Array:
    return x.transpose(attributes["order"])


def slice_(attributes: Attributes, x: Array) -> Array:
    """Bounds are normalized: a range per axis."""
    for axis, bounds in enumerate(zip(attributes["starts"], attributes["stops"], attributes["steps"], strict=True)):
        x = np.take(x, range(*bounds), axis)
    return x


def concat(attributes: Attributes, *operands: Array) -> Array:
    return np.concatenate(operands, attributes["axis"])


def pad(attributes: Attributes, x: Array) -> Array:
    """A negative width cuts."""
    widths = attributes["padding"]
    for axis, (before, after) in enumerate(widths):
        x = np.take(x, range(max(-before, 0), x.shape[axis] - max(-after, 0)), axis)
    grown = [(max(before, 0), max(after, 0)) for before, after in widths]
    if attributes["mode"] == "constant":
        return np.pad(x, grown, constant_values=int(attributes["value"]))
    return np.pad(x, grown, mode=attributes["mode"])


def tile(attributes: Attributes, x: Array) -> Array:
    return np.tile(x, attributes["repeats"])


def expand(attributes: Attributes, x: Array) -> Array:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(attributes["shape"])))


def gather(attributes: Attributes, x: Array, indices: Array) -> Array:
    size = x.shape[attributes["axis"]]
    counted = np.where(indices < 0, indices + size, indices)
    return np.take(x, np.clip(counted, 0, size - 1), attributes["axis"])


def gather_elements(attributes: Attributes, x: Array, indices: Array) -> Array:
    found = np.empty(indices.shape, x.dtype)
    for place, index in np.ndenumerate(indices):
        found[place] = x[_replaced(place, attributes["axis"], index, x.shape)]
    return found


def _replaced(place: tuple[int, ...], axis: int, index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*place[:axis], _inside(index, shape[axis]), *place[axis + 1 :])


def _inside(index: int, size: int) -> int:
    """Negative ones count from the end; what is outside lies at the edge."""
    return min(max(int(index) + size if index < 0 else int(index), 0), size - 1)


def gather_nd(attributes: Attributes, x: Array, indices: Array) -> Array:
    batch, depth = attributes["batch"], indices.shape[-1]
    found = np.empty((*indices.shape[:-1], *x.shape[batch + depth :]), x.dtype)
    for place in np.ndindex(indices.shape[:-1]):
        found[place] = x[(*place[:batch], *map(_inside, indices[place], x.shape[batch : batch + depth]))]
    return found


def scatter_nd(attributes: Attributes, x: Array, indices: Array, updates: Array) -> Array:
    """One write after the other: the last one stays."""
    assert attributes["reduction"] == "none", attributes["reduction"]
    written = x.copy()
    for place in np.ndindex(indices.shape[:-1]):
        written[tuple(map(_inside, indices[place], x.shape[: indices.shape[-1]]))] = updates[place]
    return written


def scatter_elements(attributes: Attributes, x: Array, indices: Array, updates: Array) -> Array:
    assert attributes["reduction"] == "none", attributes["reduction"]
    written = x.copy()
    for place, index in np.ndenumerate(indices):
        written[_replaced(place, attributes["axis"], index, x.shape)] = updates[place]
    return written


def resize(attributes: Attributes, x: Array) -> Array:
    """Nearest neighbours, axis by axis, places rounded to float32."""
    assert attributes["mode"] == "nearest", attributes["mode"]
    for axis, (length, scale) in enumerate(zip(attributes["shape"], attributes["scales"], strict=True)):
        size = x.shape[axis]
        x = np.take(x, [_nearest(attributes, index, size, length, scale) for index in range(length)], axis)
    return x


def _nearest(attributes: Attributes, index: int, size: int, length: int, scale: float) -> int:
    coordinates = attributes["coordinates"]
    half = float(np.float32((index + 0.5) / scale)) - 0.5
    place = {
        "half_pixel": half,
        "pytorch_half_pixel": half if length > 1 else 0.0,
        "asymmetric": float(np.float32(index / scale)),
        "align_corners": float(np.float32(index * (size - 1) / (scale * size - 1))) if length > 1 else 0.0,
        "tf_half_pixel_for_nn": float(np.float32((index + 0.5) / scale)),
    }[coordinates]
    whole = int(np.floor(place))
    fraction = place - whole
    upper = {
        "floor": False,
        "ceil": fraction > 0,
        "round_prefer_floor": fraction > 0.5,
        "round_prefer_ceil": fraction >= 0.5,
    }[attributes["nearest"]]
    return min(max(whole + upper, 0), size - 1)


def maximum(attributes: Attributes, x: Array, y: Array) -> Array:
    return np.where(x >= y, x, y)


def minimum(attributes: Attributes, x: Array, y: Array) -> Array:
    return np.where(x <= y, x, y)


def reduce_max(attributes: Attributes, x: Array) -> Array:
    greatest: Array = x.max(tuple(attributes["axes"]), keepdims=attributes["keep"])
    return greatest


def reduce_min(attributes: Attributes, x: Array) -> Array:
    return -reduce_max(attributes, -x)


def argmax(attributes: Attributes, x: Array) -> Array:
    axis = attributes["axis"]
    turned = np.flip(x, axis) if attributes["last"] else x
    found = np.asarray(np.argmax(turned, axis))
    if attributes["last"]:
        found = x.shape[axis] - 1 - found
    return np.expand_dims(found, axis) if attributes["keep"] else found


def argmin(attributes: Attributes, x: Array) -> Array:
    return argmax(attributes, -x)


def identity(attributes: Attributes, x: Array) -> Array:
    return x


def quantize(attributes: Attributes, x: Array) -> Array:
    """Rule Q1 in float64: multiply by the reciprocal, round half to even, clamp."""
    scales, zero_points = _along(attributes, x.ndim)
    rounded = np.rint(x.astype(np.float64) * (1.0 / scales)) + zero_points
    limited: Array = np.clip(rounded, attributes.get("low", -128), attributes.get("high", 127)).astype(np.int64)
    return limited


def dequantize(attributes: Attributes, q: Array) -> Array:
    """Rule Q2: subtract exactly, multiply once in float32."""
    scales, zero_points = _along(attributes, q.ndim)
    real: Array = (q - zero_points).astype(np.float32) * scales.astype(np.float32)
    return real


def _along(attributes: Attributes, rank: int) -> tuple[Array, Array]:
    axis = attributes.get("axis")
    shape = [-1 if axis == index else 1 for index in range(rank)] if axis is not None else []
    scales, zero_points = np.array(attributes["scales"]), np.array(attributes.get("zero_points", (0,)))
    return scales.reshape(shape), (zero_points.reshape(shape) if zero_points.size > 1 else zero_points.reshape(()))


def cast(attributes: Attributes, x: Array) -> Array:
    """The same numbers: floats toward zero where integers are wanted, truth for what is not 0."""
    to = attributes["to"]
    if to == "bool":
        return np.asarray(x != 0)
    stored: Array = x.astype({"f16": np.float16, "f32": np.float32, "f64": np.float64}.get(to, np.int64))
    return stored


def equal(attributes: Attributes, x: Array, y: Array) -> Array:
    return np.asarray(x == y)


def where(attributes: Attributes, condition: Array, x: Array, y: Array) -> Array:
    return np.asarray(np.where(condition, x, y))


SHAPE_OPS: dict[str, Callable[..., Array]] = {
    "reshape": reshape,
    "transpose": transpose,
    "slice": slice_,
    "concat": concat,
    "pad": pad,
    "tile": tile,
    "expand": expand,
    "gather": gather,
    "gather_elements": gather_elements,
    "gather_nd": gather_nd,
    "scatter_nd": scatter_nd,
    "scatter_elements": scatter_elements,
    "resize": resize,
    "maximum": maximum,
    "minimum": minimum,
    "reduce_max": reduce_max,
    "reduce_min": reduce_min,
    "argmax": argmax,
    "argmin": argmin,
    "identity": identity,
    "quantize": quantize,
    "dequantize": dequantize,
    "cast": cast,
    "equal": equal,
    "where": where,
}
