"""The graph: an immutable, typed program in static single assignment form, and its text, which parses back to it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import require
from .op import Op, Types
from .types import DType, Quantization, TensorType, inline, type_text

INLINE = 16
"""The most numbers that are written in the text itself; longer lists stand there as `#digest`."""

PLAIN_NAME = re.compile(r"[\w./+*!?@$&|~;^-]+", re.ASCII)
"""Names that stand in the text as they are; all others are quoted."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A known array and its type; the array is read-only, C-contiguous and of the type's dtype and shape."""

    type: TensorType
    array: np.ndarray

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.array).reshape(self.array.shape)
        require(DType.of(array.dtype) is self.type.dtype, f"{array.dtype} data in a constant of type {self.type.dtype}")
        require(array.shape == self.type.shape, f"data of shape {array.shape} in a constant of shape {self.type.shape}")
        if array is self.array and array.flags.writeable:
            array = array.view()
        array.flags.writeable = False
        object.__setattr__(self, "array", array)

    @classmethod
    def of(cls, array: np.ndarray, quant: Quantization | None = None) -> Constant:
        """The constant that holds `array`, its integers meaning what `quant` says."""
        return cls(TensorType(DType.of(array.dtype), array.shape, quant), array)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of dtype, shape and bytes, in hexadecimal: the name of the content."""
        hash_ = hashlib.sha256(f"{self.type.dtype}{list(self.type.shape)}".encode())
        hash_.update(self.array.tobytes())
        return hash_.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and (self.type, self.digest) == (other.type, other.digest)

    def __hash__(self) -> int:
        return hash((self.type, self.digest))


@dataclass(frozen=True, slots=True)
class Node:
    """One op applied to named values, with its declared result types and its place in the user's file.

    `host` is the reason why the node runs on the host instead of the NPU; empty where it does not.
    """

    op: Op
    operands: tuple[str, ...]
    results: tuple[str, ...]
    types: Types
    loc: str = ""
    host: str = ""

    @property
    def result(self) -> str:
        """The name of the only result."""
        require(len(self.results) == 1, f"{self.op.name} has {len(self.results)} results, one wanted")
        return self.results[0]

    @property
    def type(self) -> TensorType:
        """The type of the only result."""
        require(len(self.types) == 1, f"{self.op.name} has {len(self.types)} results, one wanted")
        return self.types[0]

    @property
    def place(self) -> str:
        """Where the node stands, in the user's words."""
        return self.loc or f"%{self.results[0]}"


@dataclass(frozen=True)
class Graph:
    """A program: inputs and constants, nodes in an order that computes them, and named outputs.

    `outputs` maps the user's name of each output to the value that it gives. Graphs are values: equal when their
    text and constants are.
    """

    name: str
    inputs: Mapping[str, TensorType]
    constants: Mapping[str, Constant]
    nodes: tuple[Node, ...]
    outputs: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in ("inputs", "constants", "outputs"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self._key == other._key

    def __hash__(self) -> int:
        return hash((self.name, self.nodes))

    @property
    def _key(self) -> tuple[object, ...]:
        ordered = (tuple(mapping.items()) for mapping in (self.inputs, self.constants, self.outputs))
        return (self.name, *ordered, self.nodes)

    def __str__(self) -> str:
        return to_text(self)

    @cached_property
    def types(self) -> Mapping[str, TensorType]:
        """The type of every value by name."""
        found = dict(self.inputs)
        found.update((name, constant.type) for name, constant in self.constants.items())
        for node in self.nodes:
            found.update(zip(node.results, node.types, strict=True))
        return MappingProxyType(found)

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that makes each value; inputs and constants have none."""
        return MappingProxyType({result: node for node in self.nodes for result in node.results})

    @cached_property
    def users(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value, in order; a graph output is not a node."""
        found: dict[str, list[Node]] = {name: [] for name in self.types}
        for node in self.nodes:
            for operand in dict.fromkeys(node.operands):
                found[operand].append(node)
        return MappingProxyType({name: tuple(nodes) for name, nodes in found.items()})

    @cached_property
    def returned(self) -> frozenset[str]:
        """The values that are graph outputs."""
        return frozenset(self.outputs.values())

    @property
    def input_types(self) -> Types:
        return tuple(self.inputs.values())

    @property
    def output_types(self) -> Types:
        return tuple(self.types[value] for value in self.outputs.values())

    def constant(self, name: str) -> np.ndarray | None:
        """The array of a constant, or None where the value is computed."""
        return self.constants[name].array if name in self.constants else None

    def only_user(self, name: str) -> Node | None:
        """The one node that reads a value which is no graph output; None where there are several or it is returned."""
        users = self.users[name]
        return users[0] if len(users) == 1 and name not in self.returned else None


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
