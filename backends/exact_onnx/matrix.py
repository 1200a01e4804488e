"""Emitters of integer matrix products."""

from __future__ import annotations

from npuq.ir import DType, Node
from npuq.ir.ops.npu.matrix import BatchMatMul, MatMul

from .products import matrix_product, weights_product
from .rounding import clamped, requantized
from .writer import ExactWriter, emits


@emits(MatMul)
def matmul(write: ExactWriter, node: Node) -> None:
    op = node.op
    assert isinstance(op, MatMul)
    x, *_ = write.operands(node)
    sums = weights_product(write, node, x, write.known(node, 1, "weights"))
    sums = write.step(node, "Add", sums, write.constant(write.known(node, 2, "bias"), "bias"))
    write.store(node, clamped(write, node, requantized(write, node, sums, op, *write.factors(node, 3))))


@emits(BatchMatMul)
def batch_matmul(write: ExactWriter, node: Node) -> None:
    """Subtract both zero points first."""
    op = node.op
    assert isinstance(op, BatchMatMul)
    a, b = (write.centred(node, index, zero_point, DType.F64) for index, zero_point in enumerate(op.zero_points))
    sums = matrix_product(write, node, a, b)
    write.store(node, clamped(write, node, requantized(write, node, sums, op, *write.factors(node, 2))))
