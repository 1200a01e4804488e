"""Resampling onto another grid, axis by axis, with ONNX's coordinate rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import require
from ..op import Op, T, op
from ..types import Shape, TensorType

Coordinates = Literal[
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
]
Kernel = Callable[[np.ndarray], np.ndarray]
Nearest = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


@op("resize")
class Resize(Op):
    """x resampled to `shape`; `scales` relate the grids and may differ from the ratio of the sizes (floored ones).

    `coordinates` maps a result index to a place in x, as ONNX's `coordinate_transformation_mode` of that name;
    `roi` holds (start, end) per axis for `tf_crop_and_resize`, where places outside x give `extrapolation`.
    `nearest` rounds a place to an index; `cubic` is the coefficient a of the cubic kernel; `exclude_outside` spreads
    the weight of elements outside x over those inside, where otherwise the edge is repeated. `antialias` widens the
    kernel of an axis that shrinks, so that every element counts.
    """

    shape: Shape
    scales: tuple[float, ...]
    mode: Literal["nearest", "linear", "cubic"] = "nearest"
    coordinates: Coordinates = "half_pixel"
    nearest: Nearest = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    roi: tuple[tuple[float, float], ...] = ()
    extrapolation: float = 0.0
    antialias: bool = False

    def infer(self, x: TensorType) -> TensorType:
        """Take the shape; only copies of elements keep a scale."""
        for values in (self.shape, self.scales, self.roi or self.shape):
            require(len(values) == x.rank, f"{values} on {x.rank} axes")
        require(min(x.shape, default=1) > 0, f"operand of shape {x.shape} is empty")
        require(all(scale > 0 for scale in self.scales), f"scales {self.scales}: all must be > 0")
        crops = self.coordinates == "tf_crop_and_resize"
        require(not self.antialias or (self.mode != "nearest" and not crops), "antialias, but no kernel to widen")
        require(not crops or bool(self.roi), "tf_crop_and_resize lacks its roi")
        require(not crops or not self.exclude_outside, "tf_crop_and_resize cannot exclude what lies outside")
        for size, scale, length in zip(x.shape, self.scales, self.shape, strict=True):
            require(crops or abs(size * scale - length) < 1, f"{size} elements scaled by {scale!r} are not {length}")
        if self.mode != "nearest" or crops:
            require(x.dtype.is_float, f"{x.dtype} operand of a {self.mode} resize, a float wanted")
        return x.with_shape(*self.shape)

    def moved(self, operands: Sequence[T]) -> Sequence[T]:
        """x, where elements are copied; a crop may add the extrapolation."""
        return operands if self.mode == "nearest" and self.coordinates != "tf_crop_and_resize" else ()

    def evaluate(self, x: jax.Array) -> jax.Array:
        operand = x
        for axis, size in enumerate(operand.shape):
            places = self.places(axis, size)
            if np.array_equal(places, np.arange(size)):
                continue
            if self.mode == "nearest":
                x = jnp.take(x, nearest_indices(places, size, self.nearest), axis, mode="clip")
            else:
                x = _along(x, self.weights(axis, size).astype(x.dtype), axis)
        if self.coordinates == "tf_crop_and_resize":
            x = jnp.where(self._inside(operand.shape), x, jnp.asarray(self.extrapolation, x.dtype))
        return x

    def places(self, axis: int, size: int) -> np.ndarray:
        """Where each result index of one axis lies among the operand's `size` elements, float64."""
        length, scale = self.shape[axis], self.scales[axis]
        index = np.arange(length, dtype=np.float64)
        half_pixel: np.ndarray = single((index + 0.5) / scale) - 0.5
        match self.coordinates:
            case "half_pixel":
                return half_pixel
            case "half_pixel_symmetric":
                # The centres of both grids coincide also where the floored length is not scale * size.
                symmetric: np.ndarray = half_pixel + single(size / 2 * (1 - length / (scale * size)))
                return symmetric
            case "pytorch_half_pixel":
                return half_pixel if length > 1 else np.zeros(1)
            case "align_corners":
                return single(index * (size - 1) / (scale * size - 1)) if length > 1 else np.zeros(length)
            case "asymmetric":
                return single(index / scale)
            case "tf_half_pixel_for_nn":
                return single((index + 0.5) / scale)
            case "tf_crop_and_resize":
                start, end = self.roi[axis]
                if length > 1:
                    return single(start * (size - 1) + index * (end - start) * (size - 1) / (length - 1))
                return np.full(length, 0.5 * (start + end) * (size - 1))

    def weights(self, axis: int, size: int) -> np.ndarray:
        """The weight of each operand element in each result element of one axis: float64 [length, size]."""
        if self.mode == "nearest":
            copies: np.ndarray = np.eye(size)[nearest_indices(self.places(axis, size), size, self.nearest)]
            return copies
        kernel = linear_kernel if self.mode == "linear" else cubic_kernel(self.cubic)
        stretch = min(self.scales[axis], 1.0) if self.antialias else 1.0
        return interpolation_weights(self.places(axis, size), size, kernel, self.exclude_outside, stretch)

    def _inside(self, shape: Shape) -> np.ndarray:
        """Which results lie inside an operand of `shape`."""
        places = (self.places(axis, size) for axis, size in enumerate(shape))
        inside = [(along >= 0) & (along <= size - 1) for along, size in zip(places, shape, strict=True)]
        everywhere: np.ndarray = np.logical_and.reduce(np.meshgrid(*inside, indexing="ij"))
        return everywhere


def single(places: np.ndarray | float) -> np.ndarray:
    """Places rounded to float32: scales are float32 numbers, and 6 / 1.2 is to be 5 for a rounding down."""
    return np.asarray(places, np.float32).astype(np.float64)


def nearest_indices(places: np.ndarray, size: int, rounding: Nearest) -> np.ndarray:
    """The element that stands nearest to each place, clamped to the operand."""
    match rounding:
        case "floor":
            rounded = np.floor(places)
        case "ceil":
            rounded = np.ceil(places)
        case "round_prefer_floor":
            rounded = np.ceil(places - 0.5)
        case "round_prefer_ceil":
            rounded = np.floor(places + 0.5)
    indices: np.ndarray = np.clip(rounded, 0, size - 1).astype(np.int32)
    return indices


def linear_kernel(distance: np.ndarray) -> np.ndarray:
    """The triangle of width 2."""
    weights: np.ndarray = np.maximum(1 - np.abs(distance), 0)
    return weights


def cubic_kernel(a: float) -> Kernel:
    """Keys' cubic convolution kernel (IEEE Trans. ASSP 29(6), 1981) with coefficient `a`."""

    def kernel(distance: np.ndarray) -> np.ndarray:
        d = np.abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    return kernel


def interpolation_weights(
    places: np.ndarray, size: int, kernel: Kernel, exclude_outside: bool, stretch: float = 1.0
) -> np.ndarray:
    """The kernel at each place as weights [places, size]; what falls outside moves to the edge or is left out.

    A `stretch` below 1 widens the kernel, whose weights are made to sum to 1.
    """
    reach = math.ceil(2 / stretch)
    elements = np.floor(places)[:, None] + np.arange(1 - reach, reach + 1)
    weights = kernel((places[:, None] - elements) * stretch)
    if exclude_outside:
        weights = weights * ((elements >= 0) & (elements < size))
    if exclude_outside or stretch < 1:
        weights = weights / weights.sum(1, keepdims=True)
    found = np.zeros((len(places), size))
    np.add.at(found, (np.arange(len(places))[:, None], np.clip(elements, 0, size - 1).astype(np.int64)), weights)
    return found


def _along(x: jax.Array, weights: np.ndarray, axis: int) -> jax.Array:
    """Replace the elements along one axis by weighted sums of them."""
    summed = jnp.tensordot(x, weights, axes=(axis, 1), precision=jax.lax.Precision.HIGHEST)
    return jnp.moveaxis(summed, -1, axis)
