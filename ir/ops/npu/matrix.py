"""Integer matrix products."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ...arithmetic import Interval
from ...errors import require
from ...op import op
from ...types import DType, TensorType
from ..elementwise import broadcast
from .products import dot, exact_products
from .result import Operand, Requantized, Weighted, centred, product, require_zero_point, total


@op("npu.matmul")
class MatMul(Weighted):
    """x [..., K] times known weights w [K, N], plus bias [N]; M and s are one or per column.

    The bias already holds -zero_point * sum(w) of the operand's zero point.
    """

    def infer(
        self, x: TensorType, w: TensorType, bias: TensorType, multiplier: TensorType, shift: TensorType
    ) -> TensorType:
        require_weights(x, w, bias)
        require(x.rank >= 1 and w.rank == 2, f"operands of rank {x.rank} and {w.rank}, at least 1 and 2 wanted")
        require(x.shape[-1] == w.shape[0], f"{x.shape[-1]} columns times {w.shape[0]} rows")
        return self.rescaled((*x.shape[:-1], w.shape[1]), multiplier, shift, (1,), (w.shape[1],))

    def sums(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """All leading axes are rows of one product."""
        rows = x.reshape(-1, x.shape[-1])
        return exact_products(dot, rows, w, w.shape[0], self.accumulator).reshape(*x.shape[:-1], w.shape[1])

    def macs(self, x: TensorType, w: TensorType, *rest: TensorType) -> int:
        return x.size * w.shape[1]


@op("npu.batch_matmul")
class BatchMatMul(Requantized):
    """(a - za) [..., M, K] times (b - zb) [..., K, N], leading axes broadcast; M and s are i32[1]."""

    zero_points: tuple[int, int] = (0, 0)

    def infer(self, a: TensorType, b: TensorType, multiplier: TensorType, shift: TensorType) -> TensorType:
        for operand, zero_point in zip((a, b), self.zero_points, strict=True):
            require(operand.dtype in (DType.I8, DType.I16), f"{operand.dtype} operand, i8 or i16 wanted")
            require(operand.rank >= 2, f"operand of rank {operand.rank}, at least 2 wanted")
            require_zero_point(operand.dtype, zero_point)
        require(a.shape[-1] == b.shape[-2], f"{a.shape[-1]} columns times {b.shape[-2]} rows")
        shape = (*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        return self.rescaled(shape, multiplier, shift, (1,), bound=self.type_bounds(a, b))

    def evaluate(self, a: jax.Array, b: jax.Array, multiplier: jax.Array, shift: jax.Array) -> jax.Array:
        """The zero points' share is taken out of the product of the integers as they are."""
        za, zb = self.zero_points
        depth, bound = a.shape[-1], self.type_bounds(a, b)
        if a.dtype == jnp.int16 or b.dtype == jnp.int16:
            # Centred 16-bit integers need 17 bits.
            sums = dot(a.astype(jnp.float64) - za, b.astype(jnp.float64) - zb, jnp.float64).astype(jnp.int64)
            return self.finish(sums, multiplier, shift, bound=bound)
        sums = exact_products(dot, a, b, depth, bound)
        if za:
            sums = sums - za * b.sum(-2, keepdims=True, dtype=sums.dtype)
        if zb:
            sums = sums - zb * a.sum(-1, keepdims=True, dtype=sums.dtype)
        return self.finish(sums + depth * za * zb, multiplier, shift, bound=bound)

    def accumulator_bounds(self, a: Operand, b: Operand, *factors: Operand) -> Interval:
        za, zb = self.zero_points
        return total(product(centred(a.bounds, za), centred(b.bounds, zb)), a.type.shape[-1])

    def macs(self, a: TensorType, b: TensorType, *factors: TensorType) -> int:
        result: TensorType = self.infer(a, b, *factors)
        return result.size * a.shape[-1]


def require_weights(x: TensorType, w: TensorType, bias: TensorType) -> None:
    """Require 8- or 16-bit data, weights of no more bits, and a bias per output channel, the weights' last axis."""
    require(x.dtype in (DType.I8, DType.I16), f"{x.dtype} operand, i8 or i16 wanted")
    weights = (DType.I4, DType.I8) if x.dtype is DType.I8 else (DType.I4, DType.I8, DType.I16)
    require(w.dtype in weights, f"{w.dtype} weights of {x.dtype} data, {' or '.join(weights)} wanted")
    require(bias.dtype in (DType.I32, DType.I64), f"{bias.dtype} bias, i32 or i64 wanted")
    require(w.rank > 0 and bias.shape == w.shape[-1:], f"bias of shape {bias.shape}, {w.shape[-1:]} wanted")
