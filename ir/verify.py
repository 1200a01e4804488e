"""The verifier: every value is defined once, before its use, with the type that its op infers again."""

from __future__ import annotations

from .errors import NpuqError, RuleError
from .graph import Graph, Node
from .op import results_of
from .types import TensorType


def verify(graph: Graph) -> Graph:
    """Give the graph back, or raise an error that names the node and the broken rule."""
    types: dict[str, TensorType] = {}
    for name, type_ in graph.inputs.items():
        _define(types, name, type_, f"{graph.name}: input")
    for name, constant in graph.constants.items():
        _define(types, name, constant.type, f"{graph.name}: constant")
    for node in graph.nodes:
        _verify_node(types, node)
    for name, value in graph.outputs.items():
        if value not in types:
            raise NpuqError(f"{graph.name}: output {name!r} returns %{value}, which is not defined")
    return graph


def _verify_node(types: dict[str, TensorType], node: Node) -> None:
    place = f"{node.place}: {node.op.name}"
    for operand in node.operands:
        if operand not in types:
            raise NpuqError(f"{place}: %{operand} is used before it is defined")
    try:
        inferred = results_of(node.op, tuple(types[operand] for operand in node.operands))
    except RuleError as error:
        raise NpuqError(f"{place}: {error}") from None
    if len(inferred) != len(node.results):
        raise NpuqError(f"{place}: {len(node.results)} results declared, {len(inferred)} inferred")
    for result, declared, wanted in zip(node.results, node.types, inferred, strict=True):
        if not wanted.accepts(declared):
            raise NpuqError(f"{place}: %{result} is declared {declared}, inferred {wanted}")
        _define(types, result, declared, place)


def _define(types: dict[str, TensorType], name: str, type_: TensorType, place: str) -> None:
    if name in types:
        raise NpuqError(f"{place}: %{name} is defined twice")
    types[name] = type_
