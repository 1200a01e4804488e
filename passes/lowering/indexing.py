"""Gather and scatter: integers keep their scale, indices stay as they are."""

from __future__ import annotations

from npuq.ir import Graph, Node, Op
from npuq.ir.ops.scatter import GatherNd, Scatter, ScatterElements, ScatterNd
from npuq.ir.ops.shape import Gather, GatherElements

from ..target import Target
from .context import Context, Emitted
from .registry import is_known, lowers


def computed_indices(graph: Graph, node: Node, target: Target) -> str | None:
    """Indices are known when the program is made, or an input of the network as it is (token ids)."""
    indices = node.operands[1]
    if is_known(graph, indices) or indices in graph.inputs:
        return None
    return f"indices %{indices} are computed, known ones or an input of the network wanted"


@lowers(Gather, GatherElements, GatherNd, obstacle=computed_indices, raw=(1,))
def gather(context: Context, op: Op) -> Emitted:
    """Quantize the data, such as a table of embeddings, and keep the indices."""
    x, indices = context.node.operands
    return context.emit(op, context.take(x, result=context.result), context.raw(indices))


def joins_or_computes(graph: Graph, node: Node, target: Target) -> str | None:
    """Updates replace elements, with no reduction, at known indices or those of an input of the network."""
    op = node.op
    assert isinstance(op, Scatter)
    if op.reduction != "none":
        return f"there is no integer form of {op.name} with the reduction {op.reduction}"
    return computed_indices(graph, node, target)


@lowers(ScatterNd, ScatterElements, obstacle=joins_or_computes, raw=(1,))
def scatter(context: Context, op: Scatter) -> Emitted:
    """Requantize data and updates to the result's scale where theirs differs."""
    x, indices, updates = context.node.operands
    data, new = (context.take(value, result=context.result) for value in (x, updates))
    return context.emit(op, data, context.raw(indices), new)
