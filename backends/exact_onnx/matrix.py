"""Emitters of integer matrix products."""

from __future__ import annotations

from npuq.ir import DType
from npuq.ir.ops.npu.matrix import BatchMatMul, MatMul

from .products import matrix_product, weights_product
from .rounding import clamped, requantized
from .writer import ExactWriter, emits


@emits(MatMul)
def matmul(write: ExactWriter, op: MatMul) -> None:
    x, *_ = write.operands
    sums = weights_product(write, x, write.known(1, "weights"))
    sums = write.step("Add", sums, write.constant(write.known(2, "bias"), "bias"))
    write.store(clamped(write, requantized(write, sums, op, *write.factors(3))))


@emits(BatchMatMul)
def batch_matmul(write: ExactWriter, op: BatchMatMul) -> None:
    """Subtract both zero points first."""
    a, b = (write.centred(index, zero_point, DType.F64) for index, zero_point in enumerate(op.zero_points))
    sums = matrix_product(write, a, b)
    write.store(clamped(write, requantized(write, sums, op, *write.factors(2))))
