"""Fusion of explicit padding into the window op that reads it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from npuq.ir import Builder, Graph, Node, Op, rewrite
from npuq.ir.ops.activation import Clip, HardSigmoid, Relu, Sigmoid
from npuq.ir.ops.conv import Conv
from npuq.ir.ops.elementwise import Abs, Exp, Maximum
from npuq.ir.ops.pool import AveragePool, MaxPool
from npuq.ir.ops.reduce import ReduceMax, ReduceMean, Softmax
from npuq.ir.ops.shape import Concat, Pad, Reshape, Slice, Transpose
from npuq.ir.ops.window import Pads

from ..pipeline import graph_pass

SIGN_KEEPING = (Pad, Reshape, Transpose, Slice, Concat, MaxPool, AveragePool, ReduceMax, ReduceMean)
"""Ops without negative results from operands that are not negative."""


@graph_pass("fuse-pad")
def fuse_pad(graph: Graph) -> Graph:
    """Move a constant pad into the conv, average_pool or max_pool that reads it.

    Zeros go into a conv, and into an average_pool that can count them; into a max_pool goes -inf, and zero where
    no element is negative and every window sees one.
    """

    def fuse(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        op, source = node.op, node.operands[0] if node.operands else ""
        while True:
            made = graph.producers.get(source)
            joined = _padded(graph, op, made) if made is not None else None
            if made is None or joined is None:
                break
            op, source = joined, made.operands[0]
        if op is node.op:
            return None
        return builder.add(op, builder.renamed[source], *operands[1:], name=node.result, loc=node.loc, host=node.host)

    return rewrite(graph, fuse)


def _padded(graph: Graph, op: Op, made: Node) -> Op | None:
    """The op with the padding of the pad before it, where that computes the same."""
    pad = made.op
    if not isinstance(pad, Pad) or pad.mode != "constant" or any(map(any, pad.padding[:2])):
        return None
    match op:
        case Conv() if pad.value == 0:
            return replace(op, padding=_sum(op.padding, pad.padding[2:]))
        case AveragePool() if pad.value == 0:
            uncounted = op.uncounted or (0,) * len(op.padding)
            counted = ((before, after - beyond) for (before, after), beyond in zip(op.padding, uncounted, strict=True))
            if not op.count_padding and any(map(any, counted)):
                return None
            return replace(op, padding=_sum(op.padding, pad.padding[2:]), count_padding=True)
        case MaxPool():
            widened = replace(op, padding=_sum(op.padding, pad.padding[2:]))
            if pad.value == -math.inf:
                return widened
            unseen = pad.value == 0 and _windows_see_elements(widened, graph.types[made.operands[0]].shape[2:])
            return widened if unseen and is_never_negative(graph, made.operands[0]) else None
    return None


def _sum(one: Pads, two: Pads) -> Pads:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(one, two, strict=True))


def _windows_see_elements(op: MaxPool, space: tuple[int, ...]) -> bool:
    """Whether each window holds an element that is no padding."""
    each = zip(space, op.window, op.stride, op.padding, op.dilation, strict=True)
    for size, width, step, (before, after), hole in each:
        starts = np.arange(0, before + size + after - (width - 1) * hole, step)
        seen = starts[:, None] + np.arange(width) * hole - before
        if not np.all(np.any((seen >= 0) & (seen < size), axis=1)):
            return False
    return True


def is_never_negative(graph: Graph, name: str, depth: int = 8) -> bool:
    """Whether the ops that make a value, up to `depth` of them in a row, leave no negative element."""
    array = graph.constant(name)
    if array is not None:
        return bool(np.all(array >= 0))
    node = graph.producers.get(name)
    if node is None or not depth:
        return False
    match node.op:
        case Relu() | Sigmoid() | HardSigmoid() | Softmax() | Exp() | Abs():
            return True
        case Clip():
            return node.op.low >= 0 and node.op.high >= 0
        case Maximum():
            return any(is_never_negative(graph, operand, depth - 1) for operand in node.operands)
        case Pad() if node.op.mode == "constant" and node.op.value < 0:
            return False
    kept = isinstance(node.op, SIGN_KEEPING)
    return kept and all(is_never_negative(graph, operand, depth - 1) for operand in node.operands)
