"""Functions: calls become the bodies, of the model's own functions and of operators that ONNX itself defines so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from npuq.ir import RuleError, require

from .registry import find

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto
    from onnx.defs import OpSchema

MOST = 100_000
"""The most nodes that a model may have after its functions were put in place."""

DEEPEST = 4
"""How deep the bodies of ONNX's own operators may lie in each other."""

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
    """Put ONNX's own definition in the place of standard operators that have no converter but a body.

    A body may hold such operators again; those that cannot be inlined are left for the loader to name.
    """
    from onnx import inliner

    for _ in range(DEEPEST):
        composed = _composed(model, opset)
        if not composed:
            break
        explicit = type(model)()
        explicit.CopyFrom(model)
        for node in nodes_within(explicit.graph):
            if is_standard(node.domain) and node.op_type in composed:
                _add_defaults(node, composed[node.op_type])
        wanted = [("", name) for name in sorted(composed)]
        try:
            model = inliner.inline_selected_functions(explicit, wanted, inline_schema_functions=True)
        except RuntimeError:
            break
    return model


def _composed(model: ModelProto, opset: int) -> dict[str, OpSchema]:
    """The operators of a model that have no converter but a body, with what ONNX says of them."""
    from onnx import defs

    found = {}
    for name in {node.op_type for node in nodes_within(model.graph) if is_standard(node.domain)}:
        if find(name, opset) is None and defs.has(name):
            schema = defs.get_schema(name, opset)
            if schema.has_function or schema.has_context_dependent_function:  # type: ignore[attr-defined]  # stubs
                found[name] = schema
    return found


def is_standard(domain: str) -> bool:
    """Whether a domain is that of ONNX's own operators, in either spelling."""
    return domain in ("", "ai.onnx")


def _add_defaults(node: NodeProto, schema: OpSchema) -> None:
    """Write out the attributes that a node leaves to their defaults: the inliner forgets those."""
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.name:
            node.attribute.append(attribute.default_value)


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
