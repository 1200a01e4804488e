"""A network for one use: inputs fixed to values that the user gives, and other values than its own as outputs.

It works on the float graph that every frontend gives, so any framework's network can be cut at any value that has a
name. ONNX models are specialized before they are read as well (`onnx/specialize.py`): there an input may decide
which branch is read, and what no output needs has to be readable by nobody.
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
    """The graph with `values` as constants in the place of inputs, by name, and with `outputs` alone.

    An output is any value, or an output of the graph, by its name; what none of them needs is left out. Raises
    `NpuqError` for names that the graph does not have, with those near it, and for values that its inputs cannot take.
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
    """The arrays that values stand for, as the inputs of their names take them."""
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
    """A value as an input takes it; open sizes are symbols. One number fits any input of one element.

    Raises `RuleError` for numbers that the element type does not hold, and for other shapes.
    """
    given = np.asarray(value)
    array = given.astype(dtype)
    require(bool((array == given).all()), f"input {described} does not hold {value!r}")
    fits = sizes is None or (
        len(sizes) == array.ndim
        and all(isinstance(size, str) or size == n for size, n in zip(sizes, array.shape, strict=True))
    )
    if not fits and array.size == 1 and all(size == 1 for size in sizes or ()):
        array, fits = array.reshape([1] * len(sizes or ())), True
    require(fits, f"input {described} cannot be fixed to a value of shape {array.shape}")
    return array


def near(name: str, known: Iterable[str]) -> str:
    """The names like one that does not exist."""
    names = list(known)
    return f"near it are {', '.join(get_close_matches(name, names, n=3) or names[:3])}"


def require_value(name: str, known: Collection[str], inputs: Collection[str]) -> None:
    """Raise `RuleError` unless a network can end with a value."""
    what = f"{name!r} is an input, not a value that is computed" if name in inputs else f"there is no value {name!r}"
    require(name in known, f"{what}; {near(name, known)}")


def _named(graph: Graph, name: str) -> str:
    """The value that a name means: an output's stands before another value's."""
    known = {**{value: value for value in graph.producers}, **graph.outputs}
    require_value(name, known, graph.inputs)
    return known[name]
