"""Elements by their order."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..errors import require
from ..op import Op, op
from ..types import DType, TensorType
from .reduce import check_axis


@op("top_k")
class TopK(Op):
    """The `count` greatest (or least) elements along `axis`, in order, and their indices; equals in theirs."""

    axis: int
    count: int
    largest: bool = True

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        """The elements, which keep a per-tensor scale, and places in 64 bits."""
        check_axis(self.axis, x.rank)
        require(x.dtype is not DType.BOOL, f"{x.dtype} operand, a number wanted")
        size = x.shape[self.axis]
        require(0 <= self.count <= size, f"{self.count} of {size} elements")
        found = x.with_shape(*x.shape[: self.axis], self.count, *x.shape[self.axis + 1 :])
        return found, TensorType(DType.I64, found.shape)

    def evaluate(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        order = jnp.argsort(x, self.axis, stable=True, descending=self.largest)
        kept = jax.lax.slice_in_dim(order, 0, self.count, axis=self.axis)
        return jnp.take_along_axis(x, kept, self.axis, mode="clip"), kept.astype(jnp.int64)
