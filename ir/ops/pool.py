"""Pooling by sliding windows; pooling of whole planes is a reduction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import require
from ..op import Bounds, Movement, Op, hull, op
from ..types import DType, Shape, TensorType
from .window import MOST_TAPS, Number, Pads, padded, taps, window_sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling(Op):
    """An op of the windows of x [N, C, *space]; each attribute has an entry per spatial axis."""

    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]

    def pooled(self, x: TensorType) -> Shape:
        """The shape of the result."""
        require(3 <= x.rank <= 5, f"operand of rank {x.rank}, 3 to 5 wanted")
        for values in (self.window, self.stride, self.padding, self.dilation):
            require(len(values) == x.rank - 2, f"{values} on {x.rank - 2} spatial axes")
        for before, after in self.padding:
            require(min(before, after) >= 0, f"padding {(before, after)} must not be negative")
        return (*x.shape[:2], *window_sizes(x.shape[2:], self.window, self.stride, self.padding, self.dilation))

    def taps(self, x: jax.Array, border: Number) -> Iterator[jax.Array]:
        """The elements of x, padded with `border`, at each place of the window."""
        views = taps(padded(x, self.padding, border), self.window, self.stride, self.dilation)
        return (view for _, view in views)

    def reduced(self, x: jax.Array, start: Number, combine: Callable[..., jax.Array]) -> jax.Array:
        """The elements of each window combined, from `start` on, which also pads x."""
        if math.prod(self.window) <= MOST_TAPS:
            return reduce(combine, self.taps(x, start))
        window, stride, dilation = ((1, 1, *sizes) for sizes in (self.window, self.stride, self.dilation))
        initial = np.asarray(start, x.dtype)
        x = padded(x, self.padding, start)
        found: jax.Array = jax.lax.reduce_window(x, initial, combine, window, stride, "VALID", window_dilation=dilation)
        return found


@op("max_pool")
class MaxPool(Pooling, Movement):
    """The greatest element in each window of x [N, C, *space]; padding never wins. Integers keep a per-tensor scale."""

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype is not DType.BOOL, f"operand of {x.dtype}, numbers wanted")
        return x.with_shape(*self.pooled(x))

    def evaluate(self, x: jax.Array) -> jax.Array:
        return self.reduced(x, DType.of(x.dtype).limit(-1), jax.lax.max)


@op("max_pool_places")
class MaxPoolPlaces(Pooling):
    """Where in the whole of x [N, C, *space] the greatest element of each window stands, the first of equals.

    Places count in row-major order, within each plane in `column_major` order where that is asked for.
    """

    column_major: bool = False

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype is not DType.BOOL, f"operand of {x.dtype}, numbers wanted")
        return TensorType(DType.I64, self.pooled(x))

    def evaluate(self, x: jax.Array) -> jax.Array:
        """Each tap of the window in turn; one behind all elements stands for the padding, which never wins."""
        plane = np.arange(math.prod(x.shape[2:])).reshape(x.shape[2:], order="F" if self.column_major else "C")
        planes = np.arange(math.prod(x.shape[:2])).reshape(x.shape[:2] + (1,) * plane.ndim)
        everywhere = jnp.asarray(planes * plane.size + plane, jnp.int64)
        views, places = self.taps(x, DType.of(x.dtype).limit(-1)), self.taps(everywhere, x.size)
        best, place = next(views), next(places)
        for view, here in zip(views, places, strict=True):
            wins = (view > best) | ((view == best) & (place == x.size))
            best, place = jnp.where(wins, view, best), jnp.where(wins, here, place)
        return place


@op("max_roi_pool")
class MaxRoiPool(Op):
    """The greatest elements in a grid of `shape` over each region of x [N, C, H, W]; 0 where a cell is empty.

    A region is a row of `regions` [R, 5]: the sample, then left, top, right and bottom, inclusive, which are scaled and
    rounded to whole elements. Cells overlap by what rounding outwards adds: Girshick, arXiv:1504.08083.
    """

    shape: tuple[int, int]
    scale: float = 1.0

    def infer(self, x: TensorType, regions: TensorType) -> TensorType:
        require(x.dtype.is_float and x.rank == 4 and x.quant is None, f"operand {x}, floats of rank 4 wanted")
        require(x.size > 0, f"operand of shape {x.shape}, elements wanted")
        fits = regions.dtype is x.dtype and regions.rank == 2 and regions.shape[1] == 5
        require(fits, f"regions {regions}, {x.dtype}[R,5] wanted")
        require(min(self.shape) > 0, f"a grid of shape {self.shape}")
        return x.with_shape(regions.shape[0], x.shape[1], *self.shape)

    def evaluate(self, x: jax.Array, regions: jax.Array) -> jax.Array:
        grids: jax.Array = jax.lax.map(lambda region: self._grid(x, region), regions)
        return grids

    def _grid(self, x: jax.Array, region: jax.Array) -> jax.Array:
        """The grid of one region [C, *shape]: rows first, then columns."""
        sample = jnp.clip(region[0].astype(jnp.int32), 0, x.shape[0] - 1)
        grid = jax.lax.dynamic_index_in_dim(x, sample, keepdims=False)
        left, top, right, bottom = jnp.floor(region[1:] * np.asarray(self.scale, x.dtype) + np.asarray(0.5, x.dtype))
        for axis, (first, last) in ((1, (top, bottom)), (2, (left, right))):
            inside = self._cells(first, last, self.shape[axis - 1], grid.shape[axis])
            spread = jnp.expand_dims(inside, (0, 3) if axis == 1 else (0, 1))
            grid = jnp.max(jnp.where(spread, jnp.expand_dims(grid, axis), -np.inf), axis + 1)
        return jnp.where(jnp.isneginf(grid), jnp.zeros((), x.dtype), grid)

    @staticmethod
    def _cells(first: jax.Array, last: jax.Array, count: int, size: int) -> jax.Array:
        """For each cell, which elements of an axis it holds [count, size]."""
        width = jnp.maximum(last - first + 1, 1) / count
        cell = jnp.arange(count, dtype=first.dtype)
        starts, stops = jnp.floor(cell * width) + first, jnp.ceil((cell + 1) * width) + first
        element = jnp.arange(size, dtype=first.dtype)
        return (element >= starts[:, None]) & (element < stops[:, None])


@op("average_pool")
class AveragePool(Pooling):
    """The mean over each window of x [N, C, *space].

    Padding is zeros that count where `count_padding` says so, except its last `uncounted` elements per axis: with
    those, a size that was to be rounded up takes in windows that reach beyond the padding.
    """

    count_padding: bool = False
    uncounted: tuple[int, ...] = ()

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype.is_float, f"operand of {x.dtype}, floats wanted")
        require(len(self.uncounted) in (0, x.rank - 2), f"{self.uncounted} on {x.rank - 2} spatial axes")
        return x.with_shape(*self.pooled(x))

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
        return self.reduced(x, 0.0, jax.lax.add) / self.counts(x.shape[2:]).astype(x.dtype)

    def bounds(self, x: Bounds) -> Bounds:
        """Padding counts as zeros."""
        return hull(x, (0.0, 0.0))
