"""Ops that read or write elements at places that indices name: their integers keep the scale, the indices stay."""

from __future__ import annotations

from npuq.ir import Graph, Node
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
def gather(context: Context, node: Node, result: Result) -> Emitted:
    """A table of embeddings becomes integers; token ids stay what they are."""
    x = context.take(node.operands[0], result=result)
    return Emitted(context.emit(node.op, x, _indices(context, node), result=result), last=False)


def joins_or_computes(graph: Graph, node: Node, target: Target) -> str | None:
    """Updates are written, not joined with what they are written to, at known places or those that an input names."""
    op = node.op
    assert isinstance(op, Scatter)
    if op.reduction != "none":
        return f"there is no integer form of {op.name} with the reduction {op.reduction}"
    return computed_indices(graph, node, target)


@lowers(ScatterNd, ScatterElements, obstacle=joins_or_computes, raw=(1,))
def scatter(context: Context, node: Node, result: Result) -> Emitted:
    """What is written and what it is written to are requantized to the result's scale where theirs is another."""
    x, updates = (context.take(node.operands[index], result=result) for index in (0, 2))
    return Emitted(context.emit(node.op, x, _indices(context, node), updates, result=result), last=False)


def _indices(context: Context, node: Node) -> str:
    """The indices in the new graph."""
    indices = node.operands[1]
    constant = context.source.constants.get(indices)
    return indices if constant is None else context.builder.constant(constant, indices)
