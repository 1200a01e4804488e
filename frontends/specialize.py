"""Specializes a network: fixes inputs to the user's values, and selects other values as outputs.

It works on float graphs, so it can cut a network of any framework at any named value. ONNX models are also specialized
before the import (`onnx/specialize.py`): an input may decide which branch is imported, and operators that no output
needs may be unsupported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from npuq.ir import Builder, Constant, Graph, NpuqError, RuleError, require, verify

Shapes = Mapping[str, Sequence[int]]
Values = Mapping[str, Any]


def specialize(graph: Graph, values: Values | None = None, outputs: Sequence[str] | None = None) -> Graph:
    """Replace inputs by the constants in `values`, by name, and the outputs by `outputs`.

    An output is the name of a value or of an output of the graph. Unused nodes are dropped. Raises `NpuqError` for an
    unknown name, with similar ones, and for a value that its input cannot hold.
    """
    if not values and not outputs:
        return graph
    fixed = {name: Constant.of(array) for name, array in fixed_inputs(graph, values or {}).items()}
    try:
        wanted = {name: _named(graph, name) for name in outputs or graph.outputs}
    except RuleError as error:
        raise NpuqError(f"{graph.name}: {error}") from None
    inputs = {name: type_ for name, type_ in graph.inputs.items() if name not in fixed}
    return verify(Builder(graph.name, inputs, {**graph.constants, **fixed}, list(graph.nodes)).build(wanted))


def fixed_inputs(graph: Graph, values: Values) -> dict[str, np.ndarray]:
    """Convert values to arrays of the types of their inputs."""
    found = {}
    for name, value in values.items():
        try:
            require(name in graph.inputs, f"there is no input {name!r}; {near(name, graph.inputs)}")
            type_ = graph.inputs[name]
            found[name] = fitting(f"{name}: {type_}", type_.dtype.numpy, type_.shape, value)
        except RuleError as error:
            raise NpuqError(f"{graph.name}: {error}") from None
    return found


def fitting(described: str, dtype: np.dtype[Any], sizes: Sequence[int | str] | None, value: Any) -> np.ndarray:
    """Convert a value to an input's type; open sizes are symbols. A number fits any input of one element.

    Raises `RuleError` for numbers that the element type cannot hold, and for other shapes.
    """
    numbers = np.asarray(value)
    array = numbers.astype(dtype)
    require(bool((array == numbers).all()), f"input {described} does not hold {value!r}")
    fits = sizes is None or (
        len(sizes) == array.ndim
        and all(isinstance(size, str) or size == n for size, n in zip(sizes, array.shape, strict=True))
    )
    if not fits and array.size == 1 and all(size == 1 for size in sizes or ()):
        array, fits = array.reshape([1] * len(sizes or ())), True
    require(fits, f"input {described} cannot be fixed to a value of shape {array.shape}")
    return array


def near(name: str, known: Iterable[str]) -> str:
    """Text with the known names similar to an unknown one."""
    names = list(known)
    return f"similar names: {', '.join(get_close_matches(name, names, n=3) or names[:3])}"


def require_value(name: str, known: Collection[str], inputs: Collection[str]) -> None:
    """Raise `RuleError` unless a value can be an output."""
    what = f"{name!r} is an input, not a computed value" if name in inputs else f"there is no value {name!r}"
    require(name in known, f"{what}; {near(name, known)}")


def _named(graph: Graph, name: str) -> str:
    """Return the value of a name; an output's name takes precedence over a value's."""
    known = {**{value: value for value in graph.producers}, **graph.outputs}
    require_value(name, known, graph.inputs)
    return known[name]
