"""Specializes ONNX models before the import: inputs may decide branches, and unused nodes are not imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from npuq.ir import require

from ..specialize import Values, fitting, near, require_value
from .signature import inputs

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def specialize(model: ModelProto, values: Values | None, outputs: Sequence[str] | None) -> ModelProto:
    """Replace inputs by `values`, by name, and the outputs by `outputs`, any of its values.

    Nodes that no output needs are dropped. Raises `RuleError` for unknown names, and for values that an input cannot
    hold.
    """
    if not values and not outputs:
        return model
    made = type(model)()
    made.CopyFrom(model)
    for name, value in (values or {}).items():
        _fix(made.graph, name, value)
    if outputs:
        _end(made.graph, tuple(dict.fromkeys(outputs)))
    return made


def _fix(graph: GraphProto, name: str, value: Any) -> None:
    from onnx import numpy_helper

    declared = {one.name: one for one in inputs(graph)}
    require(name in declared, f"there is no input {name!r}; {near(name, declared)}")
    one = declared[name]
    array = fitting(str(one), one.dtype.numpy, one.sizes, value)
    graph.initializer.append(numpy_helper.from_array(array, name))
    del graph.input[[one.name for one in graph.input].index(name)]


def _end(graph: GraphProto, outputs: Sequence[str]) -> None:
    from onnx import ValueInfoProto

    known = [result for node in graph.node for result in node.output if result]
    for name in outputs:
        require_value(name, known, [one.name for one in inputs(graph)])
    del graph.output[:]
    graph.output.extend(ValueInfoProto(name=name) for name in outputs)
    needed, nodes = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(_read(node))
    del graph.node[:]
    graph.node.extend(reversed(nodes))


def _read(node: Any) -> Iterable[str]:
    """The names that a node reads, also in its branches."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)
        yield from (result.name for result in attribute.g.output)
