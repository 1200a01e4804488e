"""Pooling by sliding windows; pooling of whole planes is a reduction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import require
from ..op import Op, op
from ..types import DType, Shape, TensorType
from .window import MOST_TAPS, Pads, padded, taps, window_sizes


@op("max_pool")
@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(Op):
    """The greatest element in each window of x [N, C, *space]; padding never wins. Integers keep a per-tensor scale."""

    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        """Shrink each spatial axis by its window."""
        require(x.dtype is not DType.BOOL, f"operand of {x.dtype}, numbers wanted")
        return x.with_shape(*pooled(x, self.window, self.stride, self.padding, self.dilation))

    def evaluate(self, x: jax.Array) -> jax.Array:
        dtype = DType.of(x.dtype)
        least = -np.inf if dtype.is_float else dtype.range[0]
        x = padded(x, self.padding, least)
        if math.prod(self.window) <= MOST_TAPS:
            views = (view for _, view in taps(x, self.window, self.stride, self.dilation))
            greatest = next(views)
            for view in views:
                greatest = jnp.maximum(greatest, view)
            return greatest
        return reduce_windows(x, least, jax.lax.max, self.window, self.stride, self.dilation)


@op("average_pool")
@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(Op):
    """The mean over each window of x [N, C, *space].

    Padding is zeros that count where `count_padding` says so, except its last `uncounted` elements per axis: with
    those, a size that was to be rounded up takes in windows that reach beyond the padding.
    """

    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]
    count_padding: bool = False
    uncounted: tuple[int, ...] = ()

    def infer(self, x: TensorType) -> TensorType:
        """Shrink each spatial axis by its window."""
        require(x.dtype.is_float, f"operand of {x.dtype}, floats wanted")
        require(len(self.uncounted) in (0, x.rank - 2), f"{self.uncounted} on {x.rank - 2} spatial axes")
        return x.with_shape(*pooled(x, self.window, self.stride, self.padding, self.dilation))

    def counts(self, space: Shape) -> np.ndarray:
        """The number of elements that each window divides by, at least 1, shaped like the result's space."""
        found = np.ones((), np.int64)
        uncounted = self.uncounted or (0,) * len(space)
        each = (space, self.window, self.stride, self.padding, self.dilation, uncounted)
        for size, width, step, (before, after), hole, beyond in zip(*each, strict=True):
            counted = np.full(before + size + after, self.count_padding)
            counted[before : before + size] = True
            counted[before + size + after - beyond :] = False
            starts = np.arange(0, before + size + after - (width - 1) * hole, step)
            along = counted[starts[:, None] + np.arange(width) * hole].sum(1)
            found = found[..., None] * along
        return np.maximum(found, 1)

    def evaluate(self, x: jax.Array) -> jax.Array:
        counts = self.counts(x.shape[2:]).astype(x.dtype)
        x = padded(x, self.padding, 0.0)
        if math.prod(self.window) <= MOST_TAPS:
            views = (view for _, view in taps(x, self.window, self.stride, self.dilation))
            total = next(views)
            for view in views:
                total = total + view
        else:
            total = reduce_windows(x, 0.0, jax.lax.add, self.window, self.stride, self.dilation)
        return total / counts


def pooled(x: TensorType, window: Shape, stride: tuple[int, ...], padding: Pads, dilation: tuple[int, ...]) -> Shape:
    """The shape that a pooling leaves."""
    require(3 <= x.rank <= 5, f"operand of rank {x.rank}, 3 to 5 wanted")
    for values in (window, stride, padding, dilation):
        require(len(values) == x.rank - 2, f"{values} on {x.rank - 2} spatial axes")
    for before, after in padding:
        require(min(before, after) >= 0, f"padding {(before, after)} must not be negative")
    return (*x.shape[:2], *window_sizes(x.shape[2:], window, stride, padding, dilation))


def reduce_windows(
    x: jax.Array,
    start: float,
    reduce: Callable[..., jax.Array],
    window: Shape,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> jax.Array:
    """Reduce the windows of padded x [N, C, *space] that are too large to be taken apart."""
    reduced: jax.Array = jax.lax.reduce_window(
        x,
        np.asarray(start, x.dtype),
        reduce,
        (1, 1, *window),
        (1, 1, *stride),
        "VALID",
        window_dilation=(1, 1, *dilation),
    )
    return reduced
