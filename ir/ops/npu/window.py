"""Integer ops of sliding windows: convolution and pooling, NHWC and HWIO."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np

from ...arithmetic import INT32, Interval, accumulator_interval, within
from ...errors import require
from ...op import Movement, no_products, op
from ...types import DType, Shape, TensorType
from ..window import MOST_TAPS, padded, taps, window_sizes
from .matrix import require_weights
from .products import dot, exact_products
from .result import Integer, Operand, Requantized, Weighted, centred, require_integers, require_zero_point, total

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]

_NARROW = 32
"""XLA:CPU's int8 convolution is fast only where the channels in or out are at least so many."""


@op("npu.conv2d")
class Conv2d(Weighted):
    """2-D convolution: x [N, H, W, C], w [KH, KW, C/groups, O], bias [O]; M and s are one or per output channel.

    Padding, and the `expand - 1` elements that stand between neighbours of x (for a transposed convolution), hold
    `pad_value`, the operand's zero point; the bias already holds -zero_point * sum(w).
    """

    stride: Pair = (1, 1)
    padding: Pads = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1
    expand: Pair = (1, 1)
    pad_value: int = 0

    def infer(
        self, x: TensorType, w: TensorType, bias: TensorType, multiplier: TensorType, shift: TensorType
    ) -> TensorType:
        require_weights(x, w, bias)
        require(x.rank == 4 and w.rank == 4, f"operands of rank {x.rank} and {w.rank}, 4 and 4 wanted")
        n, h, width, c = x.shape
        *window, each, o = w.shape
        require(self.groups > 0 and c == each * self.groups, f"{c} channels in, {each} x {self.groups} wanted")
        require(o % self.groups == 0, f"{o} channels out do not divide into {self.groups} groups")
        require(min(self.expand) > 0, f"expand {self.expand}, at least 1 wanted")
        require_zero_point(x.dtype, self.pad_value)
        spread = tuple(max((size - 1) * step + 1, 0) for size, step in zip((h, width), self.expand, strict=True))
        space = window_sizes(spread, tuple(window), self.stride, self.padding, self.dilation)
        return self.rescaled((n, *space, o), multiplier, shift, (1,), (o,))

    def accumulator_bounds(self, x: Operand, w: Operand, bias: Operand, *factors: Operand) -> Interval:
        """Rule A1; what pads the operand counts as its element."""
        low, high = x.bounds
        return accumulator_interval(w.known, bias.known, min(low, self.pad_value), max(high, self.pad_value))

    def macs(self, x: TensorType, w: TensorType, *rest: TensorType) -> int:
        result: TensorType = self.infer(x, w, *rest)
        return result.size * math.prod(w.shape[:3])

    def sums(self, x: jax.Array, w: jax.Array) -> jax.Array:
        kh, kw, each, _ = w.shape
        if self.groups > 1 and each == 1 and kh * kw <= MOST_TAPS:
            return self._depthwise(self._padded(x), w)
        if self._fills_with_zeros and self._is_native(w) and x.dtype == jnp.int8:
            padding, around = self.padding, x
        else:
            padding, around = ((0, 0), (0, 0)), self._padded(x)
        return exact_products(partial(self._product, padding), around, w, kh * kw * each, self.accumulator)

    def _product(self, padding: Pads, x: jax.Array, w: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
        """Sums over a padded operand in one of three forms: native convolution, one product, a product per group."""
        if self._is_native(w):
            return self._native(padding, x, w, dtype)
        kh, kw, each, o = w.shape
        met = self._met(x, w)
        if self.groups == 1:
            return dot(jnp.concatenate(met, -1), w.reshape(-1, o), dtype)
        n, oh, ow, _ = met[0].shape
        columns = jnp.stack([tap.reshape(-1, self.groups, each) for tap in met], 2)
        weights = w.reshape(kh * kw * each, self.groups, o // self.groups).transpose(1, 0, 2)
        sums = dot(columns.transpose(1, 0, 2, 3).reshape(self.groups, -1, kh * kw * each), weights, dtype)
        return sums.transpose(1, 0, 2).reshape(n, oh, ow, o)

    def _native(self, padding: Pads, x: jax.Array, w: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
        """XLA's own convolution, with the channels in filled up to the multiple of 4 that its int8 kernel packs."""
        missing = -x.shape[3] % 4
        if missing and self.groups == 1:
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, missing)))
            w = jnp.pad(w, ((0, 0), (0, 0), (0, missing), (0, 0)))
        return jax.lax.conv_general_dilated(
            x,
            w,
            self.stride,
            padding,
            rhs_dilation=self.dilation,
            feature_group_count=self.groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            preferred_element_type=dtype,
            precision=jax.lax.Precision.HIGHEST,
        )

    def _depthwise(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """One product per place of the window and output channel, summed: any lane is exact that holds the sum."""
        *window, _, o = w.shape
        count = math.prod(window)
        wide = jnp.int32 if within(self.accumulator, INT32) else jnp.int64
        each = o // self.groups
        weights = jax.lax.split(w.reshape(count, 1, 1, o).astype(wide), (1,) * count)
        met = [tap.astype(wide) for tap in self._met(x, w)]
        spread = met if each == 1 else [jnp.repeat(tap, each, -1) for tap in met]
        return reduce(jax.lax.add, map(jnp.multiply, spread, weights))

    def _met(self, x: jax.Array, w: jax.Array) -> list[jax.Array]:
        """For each place of the window, the elements of a padded operand that it meets."""
        return [tap for _, tap in taps(x, w.shape[:2], self.stride, self.dilation, first=1)]

    def _is_native(self, w: jax.Array) -> bool:
        """Whether XLA's own convolution is the quick form, or the only one that does not write out a large window."""
        kh, kw, each, o = w.shape
        return kh * kw > MOST_TAPS or (self.groups == 1 and kh * kw > 1 and each > 2 and max(each, o) >= _NARROW)

    @property
    def _fills_with_zeros(self) -> bool:
        return self.pad_value == 0 and self.expand == (1, 1) and min(map(min, self.padding)) >= 0

    def _padded(self, x: jax.Array) -> jax.Array:
        """The operand with its padding and the elements between neighbours written out."""
        none = (0, 0, 0)
        spaces = [(*pads, step - 1) for pads, step in zip(self.padding, self.expand, strict=True)]
        return jax.lax.pad(x, jnp.asarray(self.pad_value, x.dtype), [none, *spaces, none])


@op("npu.max_pool2d")
class MaxPool2d(Movement, Integer):
    """The greatest element of each window of x [N, H, W, C]; padding never wins. The scale stays."""

    window: Pair
    stride: Pair = (1, 1)
    padding: Pads = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)

    def infer(self, x: TensorType) -> TensorType:
        """Shrink each spatial axis by the window; no window may lie in the padding alone."""
        require_integers(x)
        require(x.rank == 4, f"operand of rank {x.rank}, 4 wanted")
        _require_inside(x.shape[1:3], self.window, self.padding, self.dilation)
        space = window_sizes(x.shape[1:3], self.window, self.stride, self.padding, self.dilation)
        return x.with_shape(x.shape[0], *space, x.shape[3])

    def evaluate(self, x: jax.Array) -> jax.Array:
        around = padded(x, self.padding, DType.of(x.dtype).limit(-1), first=1)
        return _slide(around, self.window, self.stride, self.dilation, jnp.maximum)


@op("npu.average_pool2d")
class AveragePool2d(Requantized):
    """The sum of x - input_zero_point over the elements that each window meets inside x [N, H, W, C], requantized.

    M and s divide by the number of elements: one of each, or one per position [OH, OW] where the numbers differ.
    """

    window: Pair
    stride: Pair = (1, 1)
    padding: Pads = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    input_zero_point: int = 0
    macs = no_products

    def infer(self, x: TensorType, multiplier: TensorType, shift: TensorType) -> TensorType:
        require_integers(x, zero_points=(self.input_zero_point,))
        require(x.rank == 4, f"operand of rank {x.rank}, 4 wanted")
        require(min(map(min, self.padding)) >= 0, f"padding {self.padding}, none below 0 wanted")
        space = window_sizes(x.shape[1:3], self.window, self.stride, self.padding, self.dilation)
        require(math.prod(self.window) < 1 << 16, f"window {self.window}, less than 65536 elements wanted")
        shape = (x.shape[0], *space, x.shape[3])
        return self.rescaled(shape, multiplier, shift, (1,), space, bound=self.type_bounds(x))

    def evaluate(self, x: jax.Array, multiplier: jax.Array, shift: jax.Array) -> jax.Array:
        bound = self.type_bounds(x)
        wide = jnp.int32 if within(bound, INT32) else jnp.int64
        centre = x.astype(wide) - self.input_zero_point
        sums = _slide(padded(centre, self.padding, 0, first=1), self.window, self.stride, self.dilation, jnp.add)
        if multiplier.ndim == 2:
            multiplier, shift = multiplier[:, :, None], shift[:, :, None]
        return self.finish(sums, multiplier, shift, bound=bound)

    def accumulator_bounds(self, x: Operand, *factors: Operand) -> Interval:
        return total(centred(x.bounds, self.input_zero_point), math.prod(self.window))


@op("npu.resize_linear")
class ResizeLinear(Requantized):
    """rows [OH, H] times (x - input_zero_point) [N, H, W, C] times columns [OW, W], requantized by one M and s."""

    input_zero_point: int = 0
    macs = no_products

    def infer(
        self, x: TensorType, rows: TensorType, columns: TensorType, multiplier: TensorType, shift: TensorType
    ) -> TensorType:
        require_integers(x, zero_points=(self.input_zero_point,))
        require(x.rank == 4, f"operand of rank {x.rank}, 4 wanted")
        n, h, w, c = x.shape
        for what, type_, size in (("rows", rows, h), ("columns", columns, w)):
            fits = type_.dtype is DType.I16 and type_.rank == 2 and type_.shape[1] == size
            require(fits, f"{what} {type_}, i16[..., {size}] wanted")
        return self.rescaled((n, rows.shape[0], columns.shape[0], c), multiplier, shift, (1,))

    def evaluate(self, x: jax.Array, rows: jax.Array, columns: jax.Array, *factors: jax.Array) -> jax.Array:
        """Two float64 products: every partial sum lies in the accumulator's interval, far below 2**53."""
        real = x.astype(jnp.float64) - self.input_zero_point
        high = jnp.einsum("ih,nhwc->niwc", rows.astype(jnp.float64), real, precision=jax.lax.Precision.HIGHEST)
        sums = jnp.einsum("jw,niwc->nijc", columns.astype(jnp.float64), high, precision=jax.lax.Precision.HIGHEST)
        return self.finish(sums.astype(jnp.int64), *factors)

    def accumulator_bounds(self, x: Operand, *rest: Operand) -> Interval:
        """Two weighted sums; weights of both signs bound the magnitude alone."""
        low, high = centred(x.bounds, self.input_zero_point)
        reach, signed = 1, False
        for weights in (operand.known.astype(np.int64) for operand in rest[:2]):
            reach *= int(np.abs(weights).sum(1).max(initial=0))
            signed = signed or bool((weights < 0).any())
        if signed:
            low, high = -max(-low, high), max(-low, high)
        return total((low, high), reach)


def _slide(
    x: jax.Array, window: Pair, stride: Pair, dilation: Pair, combine: Callable[[jax.Array, jax.Array], jax.Array]
) -> jax.Array:
    """Combine the elements of each window, first down the columns, then along the rows."""
    for axis, width, step, hole in zip((1, 2), window, stride, dilation, strict=True):
        x = reduce(combine, (tap for _, tap in taps(x, (width,), (step,), (hole,), first=axis)))
    return x


def _require_inside(space: Shape, window: Pair, padding: Pads, dilation: Pair) -> None:
    """Require that every window meets an element between the padding."""
    for size, width, pads, hole in zip(space, window, padding, dilation, strict=True):
        reach = (width - 1) * hole
        require(min(pads) >= 0 and max(pads) <= reach, f"padding {pads} of a window that reaches {reach} further")
        require(size >= hole or max(pads) == 0, f"a padded window with a dilation of {hole} on {size} elements")
