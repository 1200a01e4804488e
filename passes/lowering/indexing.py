"""Gather and scatter: integers keep their scale, indices stay as they are."""

from __future__ import annotations

from npuq.ir import Graph, Node, Op
from npuq.ir.ops.scatter import GatherNd, Scatter, ScatterElements, ScatterNd
from npuq.ir.ops.shape import Gather, GatherElements

from ..target import Target
from .context import Context, Emitted, Result
from .registry import is_known, lowers


def computed_indices(graph: Graph, node: Node, target: Target) -> str | None:
    """Indices are known when the program is made, or an input of the network as it is (token ids)."""
    indices = node.operands[1]
    if is_known(graph, indices) or indices in graph.inputs:
        return None
    return f"indices %{indices} are computed, known ones or an input of the network wanted"


@lowers(Gather, GatherElements, GatherNd, obstacle=computed_indices, raw=(1,))
def gather(context: Context, op: Op, node: Node, result: Result) -> Emitted:
    """Quantize the data, such as a table of embeddings, and keep the indices."""
    x = context.take(node.operands[0], result=result)
    return Emitted(context.emit(op, x, context.raw(node.operands[1]), result=result), last=False)


def joins_or_computes(graph: Graph, node: Node, target: Target) -> str | None:
    """Updates replace elements, with no reduction, at known indices or those of an input of the network."""
    op = node.op
    assert isinstance(op, Scatter)
    if op.reduction != "none":
        return f"there is no integer form of {op.name} with the reduction {op.reduction}"
    return computed_indices(graph, node, target)


@lowers(ScatterNd, ScatterElements, obstacle=joins_or_computes, raw=(1,))
def scatter(context: Context, op: Scatter, node: Node, result: Result) -> Emitted:
    """Requantize data and updates to the result's scale where theirs differs."""
    x, updates = (context.take(node.operands[index], result=result) for index in (0, 2))
    return Emitted(context.emit(op, x, context.raw(node.operands[1]), updates, result=result), last=False)
