"""Replacement of long windows over one channel by short windows over several channels."""

from __future__ import annotations

import numpy as np

from npuq.ir import Builder, Graph, Node, rewrite
from npuq.ir.ops.conv import Conv
from npuq.ir.ops.shape import Reshape, Slice, Transpose

from ..pipeline import graph_pass

LONG = 64
"""Windows from this length on: beyond what an NPU's window registers like, and at its limit soon."""


@graph_pass("fold-strides")
def fold_strides(graph: Graph) -> Graph:
    """Turn a conv of one channel whose window is a multiple of its stride into one with a channel for each step.

    Framed transforms of audio are such: a window of 256 with the stride 128 is one of 2 over 128 channels.
    """

    def fold(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        op = node.op
        if not isinstance(op, Conv) or not _folds(graph, node, op):
            return None
        x, _, *bias = operands
        (stride,), (out, _, window) = op.stride, graph.types[node.operands[1]].shape
        number, _, length = graph.types[node.operands[0]].shape
        used = (node.type.shape[2] - 1) * stride + window
        if used < length:
            x = builder.add(Slice(starts=(0, 0, 0), stops=(number, 1, used), steps=(1, 1, 1)), x)
        rows = builder.add(Reshape(shape=(number, used // stride, stride)), x)
        channels = builder.add(Transpose(order=(0, 2, 1)), rows)
        weights = graph.constants[node.operands[1]].array.reshape(out, window // stride, stride)
        folded = builder.constant(np.ascontiguousarray(weights.transpose(0, 2, 1)), operands[1])
        short = Conv(stride=(1,), padding=((0, 0),), dilation=(1,))
        return builder.add(short, channels, folded, *bias, name=node.result, loc=node.loc)

    return rewrite(graph, fold)


def _folds(graph: Graph, node: Node, op: Conv) -> bool:
    """Whether a conv has one channel, no border, a long window of whole strides, and known weights."""
    if node.operands[1] not in graph.constants or len(op.stride) != 1 or op.groups != 1:
        return False
    _, channels, window = graph.types[node.operands[1]].shape
    plain = op.padding == ((0, 0),) and op.dilation == (1,)
    return channels == 1 and plain and window >= LONG and op.stride[0] > 1 and window % op.stride[0] == 0
