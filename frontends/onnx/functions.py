"""Functions: calls become the bodies, of the model's own functions and of operators that ONNX itself defines so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from npuq.ir import RuleError, require

from .registry import find

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

MOST = 100_000
"""The most nodes that a model may have after its functions were put in place."""

Key = tuple[str, str]


def inline_functions(model: ModelProto) -> ModelProto:
    """Put function bodies in the place of their calls; the model's own functions must not call themselves."""
    from onnx import inliner

    if not model.functions:
        return model
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    require(_count(model.graph.node, bodies, {}, ()) <= MOST, f"its functions expand to more than {MOST} nodes")
    try:
        return inliner.inline_local_functions(model)
    except RuntimeError as error:
        raise RuleError(f"its functions cannot be inlined: {error}") from None


def inline_operators(model: ModelProto, opset: int) -> ModelProto:
    """Put ONNX's own definition in the place of standard operators that have no converter but a body."""
    from onnx import defs, inliner

    wanted = []
    for name in sorted({node.op_type for node in nodes_within(model.graph) if node.domain in ("", "ai.onnx")}):
        if find(name, opset) is None and defs.has(name):
            schema = defs.get_schema(name, opset)
            if schema.has_function or schema.has_context_dependent_function:  # type: ignore[attr-defined]  # stubs lack it
                wanted.append(("", name))
    if not wanted:
        return model
    try:
        return inliner.inline_selected_functions(model, wanted, inline_schema_functions=True)
    except RuntimeError:
        return model


def nodes_within(graph: GraphProto) -> Iterable[NodeProto]:
    """All nodes, those of subgraphs included."""
    for node in graph.node:
        yield node
        for body in subgraphs(node):
            yield from nodes_within(body)


def subgraphs(node: NodeProto) -> Iterable[GraphProto]:
    """The bodies that a node holds as attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _count(
    nodes: Iterable[NodeProto], bodies: Mapping[Key, Iterable[NodeProto]], known: dict[Key, int], path: tuple[Key, ...]
) -> int:
    """The number of nodes after inlining; a function on its own path calls itself."""
    total = 0
    for node in nodes:
        total += 1 + sum(_count(body.node, bodies, known, path) for body in subgraphs(node))
        key = (node.domain, node.op_type)
        if key not in bodies:
            continue
        require(key not in path, f"its function {key[1]!r} calls itself")
        require(len(path) < 100, "its functions call each other more than 100 deep")
        if key not in known:
            known[key] = _count(bodies[key], bodies, known, (*path, key))
        total += known[key]
    return total
