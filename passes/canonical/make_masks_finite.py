"""Finite numbers in the place of minus infinity where nothing but softmaxes sees it: attention masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npuq.ir import Builder, DType, Graph, Node, rewrite
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.logic import Equal, Where
from npuq.ir.ops.reduce import Softmax

from ..pipeline import graph_pass

MASKED = -(2.0**100)
"""Far below every score, and still finite where several masks add up."""

WIDE = (DType.F32, DType.F64, DType.BF16)
"""The floats that hold `MASKED`."""


@graph_pass("make-masks-finite")
def make_masks_finite(graph: Graph) -> Graph:
    """Replace -inf in constants on the way to softmaxes by `MASKED`, and a known choice between it and scores by a sum.

    Softmax gives the same, 0 beside any other score; over a row that is masked as a whole it gives NaN before and
    equal shares afterwards. So a softmax stays as it is where its result is asked for NaN. The ways are sums, choices
    and what moves elements; what anything else reads, or a graph gives, stays too.
    """
    logits = _logits(graph)

    def finite(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | tuple[str, ...] | None:
        if node.results[0] not in logits or not parts(node):
            return None
        made = tuple(_finite(builder, operand) for operand in operands)
        return _as_sum(builder, node, made) or (None if made == operands else builder.copy(node, made))

    return rewrite(graph, finite)


def parts(node: Node) -> Sequence[str]:
    """The operands of a sum, or those whose elements a choice or a move gives."""
    return node.operands if isinstance(node.op, Add) else node.op.moved(node.operands)


def _logits(graph: Graph) -> frozenset[str]:
    """The values that reach softmaxes alone, by sums, choices and moves."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        name = node.results[0]
        users = graph.users[name]
        shown = name in graph.returned or not users
        if not shown and all(
            _is_softmax(graph, user) or (name in parts(user) and user.results[0] in found) for user in users
        ):
            found.add(name)
    return frozenset(found)


def _is_softmax(graph: Graph, node: Node) -> bool:
    """Whether a node is a softmax whose NaN, if it gives any, nobody looks for."""
    asked = (isinstance(user.op, Equal) and len(set(user.operands)) == 1 for user in graph.users[node.results[0]])
    return isinstance(node.op, Softmax) and not any(asked)


def _finite(builder: Builder, name: str) -> str:
    """A value of the new graph, without -inf where it is a constant."""
    known = builder.constants.get(name)
    if known is None or known.type.dtype not in WIDE or known.type.quant is not None:
        return name
    endless = np.isneginf(known.array)
    if not endless.any():
        return name
    return builder.constant(np.where(endless, np.asarray(MASKED, known.array.dtype), known.array), name)


def _as_sum(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
    """A choice that is known between scores and a mask: the scores plus a mask where it chooses that, an integer op."""
    if not isinstance(node.op, Where) or operands[0] not in builder.constants:
        return None
    chosen = builder.constants[operands[0]].array
    for mask, scores, there in ((operands[1], operands[2], chosen), (operands[2], operands[1], ~chosen)):
        known = builder.constants.get(mask)
        if known is None or known.type.dtype not in WIDE or not (known.array <= MASKED).all():
            continue
        added = np.where(there, known.array, np.zeros((), known.array.dtype))
        if np.broadcast_shapes(added.shape, builder.types[scores].shape) == node.type.shape:
            return builder.add(Add(), scores, builder.constant(added, mask), name=node.result, loc=node.loc)
    return None
