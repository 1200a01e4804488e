"""A model for one use: inputs fixed to values that the user gives, and other values than its own as outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from npuq.ir import require

from .signature import inputs

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

Values = Mapping[str, Any]


def specialise(model: ModelProto, values: Values | None, outputs: Sequence[str] | None) -> ModelProto:
    """The model with `values` in the place of inputs, by name, and with `outputs` alone, any of its values.

    Nodes that no output needs are left out, so that nothing has to be able to read them. Raises `RuleError` for names
    that the model does not have, and for values that its inputs cannot take.
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
    """Turn an input into an initializer."""
    from onnx import numpy_helper

    declared = {one.name: one for one in inputs(graph)}
    require(name in declared, f"there is no input {name!r}; {_near(name, declared)}")
    dtype, sizes = declared[name].dtype, declared[name].sizes
    given = np.asarray(value)
    array = given.astype(dtype.numpy)
    require(bool((array == given).all()), f"input {name!r} holds {dtype}, not {value!r}")
    fits = sizes is None or (
        len(sizes) == array.ndim
        and all(isinstance(size, str) or size == n for size, n in zip(sizes, array.shape, strict=True))
    )
    if not fits and array.size == 1 and all(size == 1 for size in sizes or ()):
        array, fits = array.reshape([1] * len(sizes or ())), True
    require(fits, f"input {declared[name]} cannot be fixed to a value of shape {array.shape}")
    graph.initializer.append(numpy_helper.from_array(array, name))
    del graph.input[[one.name for one in graph.input].index(name)]


def _end(graph: GraphProto, outputs: Sequence[str]) -> None:
    """Let the graph end with these values."""
    from onnx import ValueInfoProto

    known = [result for node in graph.node for result in node.output if result]
    for name in outputs:
        require(name in known, f"there is no value {name!r}; {_near(name, known)}")
    del graph.output[:]
    graph.output.extend(ValueInfoProto(name=name) for name in outputs)
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_read(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))


def _read(node: Any) -> Iterable[str]:
    """What a node reads, in its branches too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)
        yield from (result.name for result in attribute.g.output)


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"near it are {', '.join(get_close_matches(name, names, n=3) or names[:3])}"
