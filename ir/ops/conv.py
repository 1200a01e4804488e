"""Convolution, transposed convolution, matrix products: the ops that hold the weights."""

from __future__ import annotations

import math
from functools import reduce

import jax
import jax.numpy as jnp

from ..errors import require
from ..op import Op, op
from ..types import TensorType
from .elementwise import broadcast
from .window import MOST_TAPS, Pads, padded, taps, trimmed, window_sizes

LETTERS = "DHW"


@op("conv")
class Conv(Op):
    """Convolution over 1 to 3 spatial axes: x [N, C, *space], w [O, C/groups, *window], optional bias [O].

    `stride`, `dilation` and `padding` (before, after) have an entry per spatial axis.
    """

    stride: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]
    groups: int = 1

    def infer(self, x: TensorType, w: TensorType, b: TensorType | None = None) -> TensorType:
        check_operands(x, w, b, self.stride, self.padding, self.dilation)
        require(
            x.shape[1] == w.shape[1] * self.groups, f"{x.shape[1]} channels in, {w.shape[1]} x {self.groups} wanted"
        )
        check_groups(w.shape[0], self.groups, "out")
        require(b is None or b.shape == (w.shape[0],), f"bias of shape {b and b.shape}, ({w.shape[0]},) wanted")
        space = window_sizes(x.shape[2:], w.shape[2:], self.stride, self.padding, self.dilation)
        return TensorType(x.dtype, (x.shape[0], w.shape[0], *space))

    def evaluate(self, x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
        """The float reference, channels last as XLA runs it fast: it drops the transpositions between convolutions.

        Depthwise ones are sums of shifted products, many times faster on CPUs.
        """
        depthwise = w.shape[1] == 1 < self.groups and math.prod(w.shape[2:]) <= MOST_TAPS
        y = self._depthwise(x, w) if depthwise else self._dense(x, w)
        return jnp.moveaxis(y if b is None else y + b, -1, 1)

    def _dense(self, x: jax.Array, w: jax.Array) -> jax.Array:
        space = LETTERS[-(x.ndim - 2) :]
        kept, padding = trimmed(x, self.padding)
        return jax.lax.conv_general_dilated(
            jnp.moveaxis(kept, 1, -1),
            jnp.moveaxis(w, (1, 0), (-2, -1)),
            self.stride,
            padding,
            rhs_dilation=self.dilation,
            dimension_numbers=("N" + space + "C", space + "IO", "N" + space + "C"),
            feature_group_count=self.groups,
            precision=jax.lax.Precision.HIGHEST,
        )

    def _depthwise(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Each tap of the window is multiplied by a row of weights."""
        x = jnp.repeat(jnp.moveaxis(x, 1, -1), w.shape[0] // x.shape[1], axis=-1)
        x = padded(x, self.padding, 0.0, first=1)
        seen = taps(x, w.shape[2:], self.stride, self.dilation, first=1, fused=True)
        return reduce(jax.lax.add, (tap * w[(slice(None), 0, *place)] for place, tap in seen))


@op("conv_transpose")
class ConvTranspose(Op):
    """Transposed convolution: x [N, C, *space], w [C, O/groups, *window], optional bias [O].

    Each element of x adds its multiple of the window, `stride` apart; `padding` is cropped from the result, and
    `output_padding` grows it at its end.
    """

    stride: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]
    groups: int = 1
    output_padding: tuple[int, ...]

    def infer(self, x: TensorType, w: TensorType, b: TensorType | None = None) -> TensorType:
        check_operands(x, w, b, self.stride, self.padding, self.dilation, self.output_padding)
        check_groups(x.shape[1], self.groups, "in")
        require(x.shape[1] == w.shape[0], f"{x.shape[1]} channels in, {w.shape[0]} wanted")
        channels = w.shape[1] * self.groups
        require(b is None or b.shape == (channels,), f"bias of shape {b and b.shape}, ({channels},) wanted")
        each = (x.shape[2:], w.shape[2:], self.stride, self.padding, self.dilation, self.output_padding)
        space = []
        for size, width, step, (before, after), hole, extra in zip(*each, strict=True):
            require(min(size, width, step, hole) > 0, f"size {size}, window {width}, stride {step}, dilation {hole}")
            space.append((size - 1) * step + (width - 1) * hole + 1 + extra - before - after)
        require(min(space) > 0, f"padding {self.padding} leaves nothing of the result: {tuple(space)}")
        return TensorType(x.dtype, (x.shape[0], channels, *space))

    def evaluate(self, x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
        """A convolution of the input spread out by the stride, with the window turned around."""
        space = LETTERS[-(x.ndim - 2) :]
        inputs, outputs, *window = w.shape
        per_group = jnp.reshape(w, (self.groups, inputs // self.groups, outputs, *window)).swapaxes(1, 2)
        turned = jnp.reshape(per_group, (self.groups * outputs, inputs // self.groups, *window))
        reach = [(size - 1) * hole for size, hole in zip(window, self.dilation, strict=True)]
        padding = tuple(
            (far - before, far - after + extra)
            for far, (before, after), extra in zip(reach, self.padding, self.output_padding, strict=True)
        )
        y = jax.lax.conv_general_dilated(
            x,
            jnp.flip(turned, range(2, x.ndim)),
            (1,) * len(window),
            [(max(before, 0), max(after, 0)) for before, after in padding],
            lhs_dilation=self.stride,
            rhs_dilation=self.dilation,
            dimension_numbers=("NC" + space, "OI" + space, "NC" + space),
            feature_group_count=self.groups,
            precision=jax.lax.Precision.HIGHEST,
        )
        cuts = tuple((min(before, 0), min(after, 0)) for before, after in padding)
        cropped = trimmed(y, cuts)[0]
        return cropped if b is None else cropped + jnp.reshape(b, (1, -1) + (1,) * len(window))


@op("matmul")
class MatMul(Op):
    """Matrix product over the last axis of a and the last but one of b, NumPy's rules for others; optional bias [N]."""

    def infer(self, a: TensorType, b: TensorType, bias: TensorType | None = None) -> TensorType:
        """Broadcast the leading axes; drop those that a vector lacks."""
        require(a.dtype is b.dtype, f"operands of {a.dtype} and {b.dtype}, one element type wanted")
        require(a.quant is None and b.quant is None, "quantized operands; dequantize them first")
        require(a.rank > 0 and b.rank > 0, "a scalar operand")
        rows, shared = (1, *a.shape)[-2:]
        inner, columns = b.shape[-2:] if b.rank > 1 else (*b.shape, 1)
        require(shared == inner, f"{shared} columns on {inner} rows")
        leading = broadcast(a.shape[:-2], b.shape[:-2])
        shape = leading + ((rows,) if a.rank > 1 else ()) + ((columns,) if b.rank > 1 else ())
        if bias is not None:
            require(bias.dtype is a.dtype, f"a bias of {bias.dtype}, {a.dtype} wanted")
            require(b.rank > 1 and bias.shape == (columns,), f"bias of shape {bias.shape}, ({columns},) wanted")
        return TensorType(a.dtype, shape)

    def evaluate(self, a: jax.Array, b: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        y = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        return y if bias is None else y + bias


def check_operands(x: TensorType, w: TensorType, b: TensorType | None, *per_axis: tuple[object, ...]) -> None:
    """Require one float element type, and one spatial rank for operands and attributes."""
    require(x.dtype.is_float and x.dtype is w.dtype, f"operands of {x.dtype} and {w.dtype}, one float type wanted")
    require(b is None or b.dtype is x.dtype, f"a bias of {b and b.dtype}, {x.dtype} wanted")
    require(3 <= x.rank <= 5, f"operand of rank {x.rank}, 3 to 5 wanted")
    require(w.rank == x.rank, f"weights of rank {w.rank}, {x.rank} wanted")
    for values in per_axis:
        require(len(values) == x.rank - 2, f"{values} on {x.rank - 2} spatial axes")


def check_groups(channels: int, groups: int, side: str) -> None:
    """Require whole groups of channels."""
    require(groups > 0 and channels % groups == 0, f"{channels} channels {side} do not divide into {groups} groups")
