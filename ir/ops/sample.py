"""Sampling of images at computed places, and regions of them as grids."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import require
from ..op import Op, op
from ..types import TensorType

Taps = list[tuple[jax.Array, jax.Array]]
"""Places along an axis, each with its weight."""


@op("grid_sample")
class GridSample(Op):
    """x [N, C, *space] at the places that `grid` [N, *result, rank] names, the last axis of the space first.

    Places from -1 to 1 go from edge to edge of an axis, or with `align_corners` from its first element's centre to its
    last one's. What lies outside is zero, the nearest element or the mirror image.
    """

    mode: Literal["linear", "nearest", "cubic"] = "linear"
    padding: Literal["zeros", "border", "reflection"] = "zeros"
    align_corners: bool = False

    def infer(self, x: TensorType, grid: TensorType) -> TensorType:
        require(x.dtype.is_float and x.rank >= 3, f"operand {x}, floats of rank 3 or more wanted")
        require(grid.dtype is x.dtype and grid.rank == x.rank, f"grid {grid}, {x.dtype} of rank {x.rank} wanted")
        fits = grid.shape[0] == x.shape[0] and grid.shape[-1] == x.rank - 2
        require(fits, f"grid of shape {grid.shape} on {x.shape}, [{x.shape[0]},...,{x.rank - 2}] wanted")
        require(0 not in x.shape[2:] or grid.size == 0, f"operand of shape {x.shape}, elements wanted")
        return x.with_shape(*x.shape[:2], *grid.shape[1:-1])

    def evaluate(self, x: jax.Array, grid: jax.Array) -> jax.Array:
        """The sum over all combinations of one tap per axis."""
        n, channels, *space = x.shape
        places = jnp.moveaxis(grid[..., ::-1], -1, 0).reshape(len(space), n, -1)
        axes = [self._taps(along, size) for along, size in zip(places, space, strict=True)]
        flat = x.reshape(n, channels, -1)
        total = jnp.zeros((n, channels, places.shape[-1]), x.dtype)
        for combination in itertools.product(*axes):
            index, weight = jnp.zeros(places.shape[1:], jnp.int32), jnp.ones(places.shape[1:], x.dtype)
            for (place, share), size in zip(combination, space, strict=True):
                index, weight = index * size + place.astype(jnp.int32), weight * share
            taken = jnp.take_along_axis(flat, index[:, None], 2, mode="clip")
            # What has no weight adds nothing, even where it is infinite.
            total = total + jnp.where(weight[:, None] == 0, 0, taken * weight[:, None])
        return total.reshape(n, channels, *grid.shape[1:-1])

    def _taps(self, places: jax.Array, size: int) -> Taps:
        """The elements of one axis that places [N, count] read."""
        places = (places + 1) / 2 * (size - 1) if self.align_corners else ((places + 1) * size - 1) / 2
        if self.mode == "nearest":
            places = jnp.round(places)
        if self.mode != "cubic":  # as in PyTorch, whose cubic places stay where they are
            places = self._inside(places, size)
        first = jnp.floor(places)
        taps = [(first + step, weight) for step, weight in self._weights(places - first)]
        inside = [jnp.where((tap >= 0) & (tap <= size - 1), weight, 0) for tap, weight in taps]
        weights = inside if self.padding == "zeros" else [weight for _, weight in taps]
        return [
            (jnp.clip(self._inside(tap, size), 0, size - 1), weight)
            for (tap, _), weight in zip(taps, weights, strict=True)
        ]

    def _weights(self, fraction: jax.Array) -> Taps:
        """The steps from the element below a place, and their weights: cubic ones by Keys' kernel with a = -0.75."""
        t = fraction
        if self.mode == "nearest":
            return [(jnp.zeros_like(t), jnp.ones_like(t))]
        if self.mode == "linear":
            return [(jnp.zeros_like(t), 1 - t), (jnp.ones_like(t), t)]
        near = [(((A + 2) * d - (A + 3)) * d * d + 1) for d in (t, 1 - t)]
        far = [((A * d - 5 * A) * d + 8 * A) * d - 4 * A for d in (t + 1, 2 - t)]
        return [(jnp.full_like(t, step - 1), weight) for step, weight in enumerate((far[0], *near, far[1]))]

    def _inside(self, places: jax.Array, size: int) -> jax.Array:
        """Places on an axis, those outside clamped or reflected at the ends as often as it takes."""
        if self.padding == "zeros":
            return places
        if self.padding == "border":
            return jnp.clip(places, 0, size - 1)
        low, high = (0.0, size - 1.0) if self.align_corners else (-0.5, size - 0.5)
        if low == high:
            return jnp.full_like(places, low)
        beyond = jnp.where(places < low, low - places, places - high)
        turns = jnp.floor(beyond / (high - low))
        rest = beyond - turns * (high - low)
        from_low = (turns % 2 == 0) == (places < low)
        reflected = jnp.where(from_low, low + rest, high - rest)
        return jnp.where((places < low) | (places > high), reflected, places)


A = -0.75


@op("roi_align")
class RoiAlign(Op):
    """Regions of x [N, C, H, W] as grids of `shape`: the mean or maximum of samples that are interpolated linearly.

    A row of `regions` [R, 4] is left, top, right and bottom, to be scaled; `samples` [R] names its sample. A cell has
    `ratio` samples along each axis, with 0 one per element or more. Pixels' centres lie half an element behind their
    places, save with `centred` False, where regions are at least one element wide: He et al., arXiv:1703.06870.
    """

    shape: tuple[int, int] = (1, 1)
    scale: float = 1.0
    ratio: int = 0
    mode: Literal["avg", "max"] = "avg"
    centred: bool = True

    def infer(self, x: TensorType, regions: TensorType, samples: TensorType) -> TensorType:
        require(x.dtype.is_float and x.rank == 4 and x.quant is None, f"operand {x}, floats of rank 4 wanted")
        require(x.size > 0, f"operand of shape {x.shape}, elements wanted")
        fits = regions.dtype is x.dtype and regions.rank == 2 and regions.shape[1] == 4
        require(fits, f"regions {regions}, {x.dtype}[R,4] wanted")
        fits = samples.dtype.is_integer and samples.quant is None and samples.shape == regions.shape[:1]
        require(fits, f"samples {samples}, {regions.shape[0]} bare integers wanted")
        require(min(self.shape) > 0 and self.ratio >= 0, f"a grid of shape {self.shape}, ratio {self.ratio}")
        return x.with_shape(regions.shape[0], x.shape[1], *self.shape)

    def evaluate(self, x: jax.Array, regions: jax.Array, samples: jax.Array) -> jax.Array:
        grids: jax.Array = jax.lax.map(lambda each: self._grid(x, *each), (regions, samples))
        return grids

    def _grid(self, x: jax.Array, region: jax.Array, sample: jax.Array) -> jax.Array:
        """The grid of one region [C, *shape]."""
        image = jax.lax.dynamic_index_in_dim(x, jnp.clip(sample, 0, x.shape[0] - 1), keepdims=False)
        left, top, right, bottom = region * np.asarray(self.scale, x.dtype) - (0.5 if self.centred else 0.0)
        rows = _Axis.of(top, bottom, self.shape[0], image.shape[1], self)
        columns = _Axis.of(left, right, self.shape[1], image.shape[2], self)
        found = _mean(image, rows, columns) if self.mode == "avg" else _greatest(image, rows, columns)
        return found.astype(x.dtype)


@dataclass(frozen=True)
class _Axis:
    """One axis of a region: `count` samples in each cell of `width` from `start` on; a known count is an int."""

    start: jax.Array
    width: jax.Array
    count: jax.Array | int
    cells: int
    size: int

    @classmethod
    def of(cls, first: jax.Array, last: jax.Array, cells: int, size: int, op: RoiAlign) -> _Axis:
        length = last - first if op.centred else jnp.maximum(last - first, 1)
        width = length / cells
        return cls(first, width, op.ratio or jnp.maximum(jnp.ceil(width), 0).astype(jnp.int32), cells, size)

    def taps(self, sample: jax.Array) -> Taps:
        """The two elements around a sample of each cell; samples further out than one element weigh nothing."""
        cell = jnp.arange(self.cells, dtype=self.start.dtype)
        place = self.start + cell * self.width + (sample + 0.5) * self.width / self.count
        counts = (place >= -1) & (place <= self.size)
        place = jnp.clip(place, 0, self.size - 1)
        low = jnp.floor(place)
        high = jnp.minimum(low + 1, self.size - 1)
        fraction = place - low
        weights = jnp.where(counts, 1 - fraction, 0), jnp.where(counts, fraction, 0)
        return [(low.astype(jnp.int32), weights[0]), (high.astype(jnp.int32), weights[1])]

    def shares(self) -> jax.Array:
        """How much each element adds to the sum of each cell's samples [cells, size]."""

        def add(sample: jax.Array, total: jax.Array) -> jax.Array:
            for place, weight in self.taps(sample):
                total = total + jnp.where(jnp.arange(self.size) == place[:, None], weight[:, None], 0)
            return total

        total: jax.Array = jax.lax.fori_loop(0, self.count, add, jnp.zeros((self.cells, self.size), self.start.dtype))
        return total


def _mean(image: jax.Array, rows: _Axis, columns: _Axis) -> jax.Array:
    """Linear interpolation is separable, and so are the cells."""
    total = jnp.einsum("chw,yh,xw->cyx", image, rows.shares(), columns.shares(), precision="highest")
    return total / jnp.maximum(rows.count * columns.count, 1)


def _greatest(image: jax.Array, rows: _Axis, columns: _Axis) -> jax.Array:
    """ONNX compares the four weighted elements around each sample, not their sums."""

    def in_row(row: jax.Array, best: jax.Array) -> jax.Array:
        def in_column(column: jax.Array, best: jax.Array) -> jax.Array:
            for (y, first), (x, second) in itertools.product(rows.taps(row), columns.taps(column)):
                best = jnp.maximum(best, image[:, y[:, None], x] * (first[:, None] * second))
            return best

        found: jax.Array = jax.lax.fori_loop(0, columns.count, in_column, best)
        return found

    nothing = jnp.full((image.shape[0], rows.cells, columns.cells), -math.inf, image.dtype)
    best = jax.lax.fori_loop(0, rows.count, in_row, nothing)
    return jnp.where(jnp.isneginf(best), 0, best)
