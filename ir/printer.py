"""Graphs as text: what prints parses back to an equal graph."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .graph import Constant, Graph, Node
from .types import DType, TensorType, inline, type_text

INLINE = 16
"""The most numbers that are written in the text itself; longer lists stand there as `#digest`."""


PLAIN_NAME = re.compile(r"[\w./+*!?@$&|~;^-]+", re.ASCII)
"""Names that stand in the text as they are; all others are quoted."""


def to_text(graph: Graph) -> str:
    """Write a graph; constants and lists of more than `INLINE` numbers as the digest of their content."""
    arguments = ", ".join(f"{value_text(name)}: {_type(type_)}" for name, type_ in graph.inputs.items())
    lines = [f"graph @{_name(graph.name)}({arguments}) {{"]
    lines += [f"  const {value_text(name)}: {_constant(constant)}" for name, constant in graph.constants.items()]
    lines += [f"  {node_text(node)}" for node in graph.nodes]
    returned = (
        value_text(value) if name == value else f"{_name(name)}={value_text(value)}"
        for name, value in graph.outputs.items()
    )
    lines += [f"  return {', '.join(returned)}".rstrip(), "}"]
    return "\n".join(lines) + "\n"


def node_text(node: Node) -> str:
    """Write one node on one line."""
    parts = [f"{', '.join(map(value_text, node.results))} = {node.op.name}"]
    if node.operands:
        parts.append(" " + ", ".join(map(value_text, node.operands)))
    attributes = node.op.attributes
    if attributes:
        parts.append(" {" + ", ".join(f"{name}={attribute_text(value)}" for name, value in attributes.items()) + "}")
    parts.append(" : " + ", ".join(map(_type, node.types)))
    if node.host:
        parts.append(f"  host({json.dumps(node.host)})")
    if node.loc:
        parts.append(f"  loc({json.dumps(node.loc)})")
    return "".join(parts)


def attribute_text(value: Any) -> str:
    """Write an attribute as a Python literal; element types as bare names, floats exactly, long lists by digest."""
    if isinstance(value, DType):
        return value.value
    if isinstance(value, tuple):
        array = _long(value)
        if array is not None:
            return f"blob('{digest(array)}')"
        inner = ", ".join(map(attribute_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def value_text(name: str) -> str:
    return f"%{_name(name)}"


def blobs(graph: Graph) -> Mapping[str, np.ndarray]:
    """The arrays that the text names by digest only."""
    found = {constant.digest: constant.array for constant in graph.constants.values() if constant.type.size > INLINE}
    for type_ in graph.types.values():
        if type_.quant is not None and len(type_.quant.scales) > INLINE:
            scales = np.asarray(type_.quant.scales, np.float32)
            found[digest(scales)] = scales
    for node in graph.nodes:
        for value in node.op.attributes.values():
            array = _long(value)
            if array is not None:
                found[digest(array)] = array
    return found


def digest(array: np.ndarray) -> str:
    """The name of an array's content."""
    return Constant.of(array).digest


def text_digest(graph: Graph) -> str:
    """SHA-256 of the text, which names all content: equal graphs and no others share it."""
    return hashlib.sha256(to_text(graph).encode()).hexdigest()


def _long(value: Any) -> np.ndarray | None:
    """A tuple of many floats or many ints as an array, or None."""
    if isinstance(value, tuple) and len(value) > INLINE:
        for kind, dtype in ((float, np.float64), (int, np.int64)):
            if all(type(item) is kind for item in value):
                return np.asarray(value, dtype)
    return None


def _type(type_: TensorType) -> str:
    return type_text(type_, _scales)


def _scales(scales: tuple[float, ...]) -> str:
    return inline(scales) if len(scales) <= INLINE else "#" + digest(np.asarray(scales, np.float32))


def _constant(constant: Constant) -> str:
    if constant.type.size > INLINE:
        return f"{_type(constant.type)} = #{constant.digest}"
    numbers = ", ".join(repr(number.item()) for number in constant.array.astype(_plain(constant)).ravel())
    return f"{_type(constant.type)} = [{numbers}]"


def _plain(constant: Constant) -> np.dtype[np.generic]:
    """A dtype whose items are Python numbers, for the element types that NumPy has only by extension."""
    dtype = constant.type.dtype
    if dtype is DType.I4:
        return np.dtype(np.int8)
    return np.dtype(np.float32) if dtype is DType.BF16 else dtype.numpy


def _name(name: str) -> str:
    return name if PLAIN_NAME.fullmatch(name) else json.dumps(name)
