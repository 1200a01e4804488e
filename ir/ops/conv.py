"""Convolution, transposed convolution, matrix products: the ops that hold the weights."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ..errors import require
from ..op import Op, op
from ..types import Shape, TensorType

Pads = tuple[tuple[int, int], ...]
LETTERS = "DHW"


@op("conv")
@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Op):
    """Convolution over 1 to 3 spatial axes: x [N, C, *space], w [O, C/groups, *window], optional bias [O].

    `stride`, `dilation` and `padding` (before, after) have an entry per spatial axis.
    """

    stride: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]
    groups: int = 1

    def infer(self, x: TensorType, w: TensorType, b: TensorType | None = None) -> TensorType:
        """Shrink each spatial axis by its window; take the channels from the weights."""
        check_window(x, w, self.stride, self.padding, self.dilation)
        require(
            x.shape[1] == w.shape[1] * self.groups, f"{x.shape[1]} channels in, {w.shape[1]} x {self.groups} wanted"
        )
        require(w.shape[0] % self.groups == 0, f"{w.shape[0]} channels out do not divide into {self.groups} groups")
        require(b is None or b.shape == (w.shape[0],), f"bias of shape {b and b.shape}, ({w.shape[0]},) wanted")
        space = window_sizes(x.shape[2:], w.shape[2:], self.stride, self.padding, self.dilation)
        return TensorType(x.dtype, (x.shape[0], w.shape[0], *space))

    def evaluate(self, x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
        """The float reference."""
        space = LETTERS[-(x.ndim - 2) :]
        y = jax.lax.conv_general_dilated(
            x,
            w,
            self.stride,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=("NC" + space, "OI" + space, "NC" + space),
            feature_group_count=self.groups,
            precision=jax.lax.Precision.HIGHEST,
        )
        return y if b is None else y + jnp.reshape(b, (1, -1) + (1,) * (x.ndim - 2))


def check_window(x: TensorType, w: TensorType, *per_axis: tuple[object, ...]) -> None:
    """Require one spatial rank for operands and attributes, and one float element type."""
    require(x.dtype.is_float and x.dtype is w.dtype, f"operands of {x.dtype} and {w.dtype}, one float type wanted")
    require(3 <= x.rank <= 5, f"operand of rank {x.rank}, 3 to 5 wanted")
    require(w.rank == x.rank, f"weights of rank {w.rank}, {x.rank} wanted")
    for values in per_axis:
        require(len(values) == x.rank - 2, f"{values} on {x.rank - 2} spatial axes")


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
