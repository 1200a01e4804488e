"""Fusion of batch normalization into the weights before or after it."""

from __future__ import annotations

import numpy as np

from npuq.ir import Builder, Graph, Node, rewrite
from npuq.ir.ops.conv import Conv, MatMul
from npuq.ir.ops.elementwise import Add, Mul
from npuq.ir.ops.norm import BatchNorm

from ..conditions import no_batch_norm
from ..pipeline import graph_pass
from .affine import Affine, Runs, along, bias_of, into_previous, result_axis, with_weights
from .fuse_bias import constant_step


@graph_pass("fuse-batch-norm", ensures=(no_batch_norm,))
def fuse_batch_norm(graph: Graph) -> Graph:
    """Fold every batch_norm with constant parameters into weights.

    It goes into the conv, conv_transpose or matmul before it, across added or multiplied constants, if nothing else
    reads the values between; else into the one after it, if no padding would lack the offset. One that stands alone
    becomes a 1x1 depthwise conv (rank 4) or a mul and an add. Weights are computed in float64 and rounded once.
    """
    return _expand(_into_next(into_previous(graph, _step, (BatchNorm,))))


def batch_norm_step(graph: Graph, node: Node, axis: int) -> tuple[Affine, str] | None:
    """A batch_norm with constant parameters: (x - mean) / sqrt(variance + epsilon) * scale + offset."""
    if not isinstance(node.op, BatchNorm) or axis != 1:
        return None
    if any(operand not in graph.constants for operand in node.operands[1:]):
        return None
    scale, offset, mean, variance = (
        graph.constants[operand].array.astype(np.float64) for operand in node.operands[1:5]
    )
    factor = scale / np.sqrt(variance + node.op.epsilon)
    return Affine(factor, offset - mean * factor), node.operands[0]


def _step(graph: Graph, node: Node, axis: int) -> tuple[Affine, str] | None:
    return batch_norm_step(graph, node, axis) or constant_step(graph, node, axis)


def _into_next(graph: Graph) -> Graph:
    runs = Runs(graph, batch_norm_step)

    def fuse(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        before = graph.producers.get(node.operands[0]) if node.operands else None
        if result_axis(graph, node) is None or before is None or graph.only_user(node.operands[0]) is None:
            return None
        run = runs.ending_in(before, 1)
        if run is None or not _uniform(graph, node, run[0]):
            return None
        affine, source = run
        weights = graph.constants[node.operands[1]].array.astype(np.float64)
        scale, shift = (along(node, weights, values, of_result=False) for values in (affine.scale, affine.offset))
        summed = tuple(range(1, weights.ndim)) if isinstance(node.op, Conv) else (-2,)
        bias = bias_of(graph, node, node.type.shape[-1 if isinstance(node.op, MatMul) else 1])
        if np.any(affine.offset):
            bias = bias + (weights * shift).sum(summed)
        return with_weights(builder, node, builder.renamed[source], weights * scale, bias, node)

    return rewrite(graph, fuse)


def _uniform(graph: Graph, node: Node, affine: Affine) -> bool:
    """Whether the node turns the offsets before it into one bias per result channel."""
    if isinstance(node.op, MatMul):
        return graph.types[node.operands[0]].rank == graph.types[node.operands[1]].rank == 2
    unpadded = isinstance(node.op, Conv) and not any(map(any, node.op.padding))
    return unpadded or not np.any(affine.offset)


def _expand(graph: Graph) -> Graph:
    """Write the remaining batch_norms as affine ops."""

    def expand(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        step = batch_norm_step(graph, node, 1)
        if step is None:
            return None
        affine, x = step[0], operands[0]
        channels, dtype, stem = len(affine.scale), node.type.dtype.numpy, node.result
        if node.type.rank == 4:
            weights = builder.constant(affine.scale.astype(dtype).reshape(channels, 1, 1, 1), f"{stem}.w")
            bias = builder.constant(affine.offset.astype(dtype), f"{stem}.b")
            depthwise = Conv(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=channels)
            return builder.add(depthwise, x, weights, bias, name=stem, loc=node.loc)
        shape = (channels, *(1,) * (node.type.rank - 2))
        scale = builder.constant(affine.scale.astype(dtype).reshape(shape), f"{stem}.scale")
        offset = builder.constant(affine.offset.astype(dtype).reshape(shape), f"{stem}.offset")
        scaled = builder.add(Mul(), x, scale, name=f"{stem}.scaled", loc=node.loc)
        return builder.add(Add(), scaled, offset, name=stem, loc=node.loc)

    return rewrite(graph, expand)
