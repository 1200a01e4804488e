"""Inlines functions: the model's own, and operators that ONNX defines by others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from npuq.ir import RuleError, TensorType, require

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

MOST = 100_000
"""The greatest number of nodes after inlining."""

Key = tuple[str, str]


def inline_functions(model: ModelProto) -> ModelProto:
    """Replace calls by function bodies; functions must not be recursive."""
    from onnx import inliner

    if not model.functions:
        return model
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    require(_count(model.graph.node, bodies, {}, ()) <= MOST, f"its functions expand to more than {MOST} nodes")
    try:
        return inliner.inline_local_functions(model)
    except RuntimeError as error:
        raise RuleError(f"its functions cannot be inlined: {error}") from None


def has_body(name: str, domain: str, opset: int) -> bool:
    """Whether ONNX defines an operator by others."""
    from onnx import defs

    if not is_standard(domain) or not defs.has(name):
        return False
    try:
        schema = defs.get_schema(name, opset)
    except defs.SchemaError:
        return False
    return schema.has_function or schema.has_context_dependent_function  # type: ignore[attr-defined,no-any-return]  # stubs


def body(node: NodeProto, types: Mapping[str, TensorType], opset: int, prefix: str) -> GraphProto:
    """ONNX's definition of one node for operands of these types; inner values' names begin with `prefix`."""
    from onnx import TensorProto, helper, inliner

    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(type_.dtype.numpy), type_.shape)
        for name, type_ in types.items()
    ]
    if "" in node.input:  # the inliner requires the types of absent operands without using them
        inputs.append(helper.make_tensor_value_info("", TensorProto.FLOAT, None))
    graph = helper.make_graph(
        [node], "body", inputs, [helper.make_empty_tensor_value_info(n) for n in node.output if n]
    )
    _add_defaults(graph.node[0], opset)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        inlined = inliner.inline_selected_functions(model, [("", node.op_type)], inline_schema_functions=True).graph
    except RuntimeError as error:
        raise RuleError(f"ONNX's definition does not apply: {error}") from None
    require(all(part.op_type != node.op_type for part in inlined.node), "ONNX's definition does not apply")
    outer = {*types, *node.output, ""}
    for part in inlined.node:
        _rename(part, lambda name: name if name in outer else f"{prefix}.{name}")
    return inlined


def _rename(node: NodeProto, renamed: Callable[[str], str]) -> None:
    for names in (node.input, node.output):
        names[:] = map(renamed, names)
    for body in subgraphs(node):
        for value in (*body.input, *body.output, *body.initializer):
            value.name = renamed(value.name)
        for part in body.node:
            _rename(part, renamed)


def is_standard(domain: str) -> bool:
    """Whether a domain is that of ONNX's own operators, in either spelling."""
    return domain in ("", "ai.onnx")


def _add_defaults(node: NodeProto, opset: int) -> None:
    """Write out default attributes, which the inliner drops."""
    from onnx import defs

    present = {attribute.name for attribute in node.attribute}
    for name, attribute in defs.get_schema(node.op_type, opset).attributes.items():
        if name not in present and attribute.default_value.name:
            node.attribute.append(attribute.default_value)


def nodes_within(graph: GraphProto) -> Iterable[NodeProto]:
    """All nodes, those of subgraphs included."""
    for node in graph.node:
        yield node
        for body in subgraphs(node):
            yield from nodes_within(body)


def subgraphs(node: NodeProto) -> Iterable[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _count(
    nodes: Iterable[NodeProto], bodies: Mapping[Key, Iterable[NodeProto]], known: dict[Key, int], path: tuple[Key, ...]
) -> int:
    """The number of nodes after inlining; refuse a function that calls itself."""
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
