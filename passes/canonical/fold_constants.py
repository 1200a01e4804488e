"""Evaluation, once and for all, of what depends on constants only."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from npuq.ir import Builder, Constant, Graph, Node, function, rewrite
from npuq.ir.ops.quant import Dequantize, Quantize

from ..pipeline import graph_pass

LIMIT = 1 << 20
"""Bytes that a folded result may always have; a larger one may have `GROWTH` times those of its operands."""
GROWTH = 4


@graph_pass("fold-constants")
def fold_constants(graph: Graph) -> Graph:
    """Compute every node whose operands are known, and put constants in their places.

    Quantize and dequantize stay, because a pair of them carries the scale that lowering reads. So does a node whose
    result would be much larger than its operands (a tiled or expanded constant). What has no elements is known.
    """
    known = _known(graph)

    def fold(builder: Builder, node: Node, operands: tuple[str, ...]) -> tuple[str, ...] | None:
        if not all(result in known for result in node.results):
            return None
        return tuple(builder.constant(known[result], result) for result in node.results)

    return rewrite(graph, fold)


def _known(graph: Graph) -> Mapping[str, Constant]:
    """What the foldable nodes compute, all of it in one compiled call on the CPU."""
    empty = _empty(graph)
    nodes = _foldable(graph, empty)
    if not nodes:
        return empty
    results = {result: type_ for node in nodes for result, type_ in zip(node.results, node.types, strict=True)}
    needed = {operand for node in nodes for operand in node.operands}
    constants = {name: constant for name, constant in {**graph.constants, **empty}.items() if name in needed}
    part = Graph(graph.name, {}, constants, nodes, {name: name for name in results})
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        computed = jax.jit(function(part))({name: constant.array for name, constant in constants.items()}, [])
    arrays = zip(results.items(), map(np.asarray, computed), strict=True)
    return {**empty, **{name: Constant(type_, array) for (name, type_), array in arrays}}


def _empty(graph: Graph) -> dict[str, Constant]:
    """The results of nodes that give no elements at all."""
    return {
        result: Constant(type_, np.zeros(type_.shape, type_.dtype.numpy))
        for node in graph.nodes
        if not any(type_.size for type_ in node.types) and not isinstance(node.op, (Quantize, Dequantize))
        for result, type_ in zip(node.results, node.types, strict=True)
    }


def _foldable(graph: Graph, known: Mapping[str, Constant]) -> tuple[Node, ...]:
    """The nodes to compute, in order, beside those whose results are `known`."""
    bytes_of = {name: constant.type.bytes for name, constant in {**graph.constants, **known}.items()}
    found: list[Node] = []
    for node in graph.nodes:
        if node.results[0] in known:
            continue
        if isinstance(node.op, (Quantize, Dequantize)) or not all(operand in bytes_of for operand in node.operands):
            continue
        bytes_in = sum(bytes_of[operand] for operand in node.operands)
        if sum(type_.bytes for type_ in node.types) > max(LIMIT, GROWTH * bytes_in):
            continue
        bytes_of.update((result, type_.bytes) for result, type_ in zip(node.results, node.types, strict=True))
        found.append(node)
    return tuple(found)
