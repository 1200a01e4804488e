"""Sliding windows: the sizes that they leave, and the elements that they see."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import jax
import numpy as np

from ..errors import require
from ..types import Shape

Pads = tuple[tuple[int, int], ...]
Number = float | np.ndarray

MOST_TAPS = 128
"""Windows of up to this many elements are computed as whole shifted arrays, which XLA turns into one quick loop."""


def window_sizes(
    space: Shape, window: Shape, stride: tuple[int, ...], padding: Pads, dilation: tuple[int, ...]
) -> Shape:
    """The sizes that a sliding window leaves of each spatial axis, rounded down."""
    sizes = []
    for size, width, step, (before, after), hole in zip(space, window, stride, padding, dilation, strict=True):
        require(step > 0 and hole > 0 and width > 0, f"stride {step}, dilation {hole}, window {width}: all must be > 0")
        covered = (width - 1) * hole + 1
        padded = size + before + after
        require(padded >= covered, f"a window of {covered} on {padded} padded elements")
        sizes.append((padded - covered) // step + 1)
    return tuple(sizes)


def padded(x: jax.Array, padding: Pads, value: Number, first: int = 2) -> jax.Array:
    """`x` with a border of `value` around its spatial axes from `first` on; a negative width takes elements away."""
    none = ((0, 0, 0),)
    borders = tuple((before, after, 0) for before, after in padding)
    config = none * first + borders + none * (x.ndim - first - len(borders))
    return jax.lax.pad(x, np.asarray(value, x.dtype), config)


def trimmed(x: jax.Array, padding: Pads) -> tuple[jax.Array, Pads]:
    """`x` [N, C, *space] without what negative widths take away, and the padding that remains.

    XLA's convolution on CPUs reads beyond its operand where one end of an axis is cut and the other padded.
    """
    if min(map(min, padding)) >= 0:
        return x, padding
    starts = [max(-before, 0) for before, _ in padding]
    stops = [size - max(-after, 0) for size, (_, after) in zip(x.shape[2:], padding, strict=True)]
    kept = jax.lax.slice(x, (0, 0, *starts), (*x.shape[:2], *stops))
    return kept, tuple((max(before, 0), max(after, 0)) for before, after in padding)


def taps(
    x: jax.Array,
    window: Shape,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    first: int = 2,
    *,
    fused: bool = False,
) -> Iterator[tuple[Shape, jax.Array]]:
    """For each place in the window: its offsets, and what all windows see there, shaped like their result.

    `x` is padded already; its spatial axes start at `first`. Unless `fused`, it is computed once for all taps: the
    barrier keeps XLA from repeating in every tap the ops that made it.
    """
    if not fused:
        x = jax.lax.optimization_barrier(x)  # type: ignore[no-untyped-call]  # untyped in JAX
    before, space, after = x.shape[:first], x.shape[first : first + len(window)], x.shape[first + len(window) :]
    sizes = window_sizes(space, window, stride, ((0, 0),) * len(window), dilation)
    steps = (*(1 for _ in before), *stride, *(1 for _ in after))
    for offsets in product(*map(range, window)):
        starts = [offset * hole for offset, hole in zip(offsets, dilation, strict=True)]
        stops = [start + (size - 1) * step + 1 for start, size, step in zip(starts, sizes, stride, strict=True)]
        origin = (*(0 for _ in before), *starts, *(0 for _ in after))
        yield offsets, jax.lax.slice(x, origin, (*before, *stops, *after), steps)
