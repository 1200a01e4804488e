"""The graph: an immutable, typed program in static single assignment form, and the builder that makes one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from .errors import NpuqError, RuleError, require
from .op import Op, Types, results_of
from .types import DType, Quantization, TensorType


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
        if not isinstance(other, Constant):
            return NotImplemented
        return self.type == other.type and self.digest == other.digest

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
        if not isinstance(other, Graph):
            return NotImplemented
        return self._key == other._key

    def __hash__(self) -> int:
        return hash((self.name, self.nodes))

    @property
    def _key(self) -> tuple[object, ...]:
        ordered = (tuple(mapping.items()) for mapping in (self.inputs, self.constants, self.outputs))
        return (self.name, *ordered, self.nodes)

    def __str__(self) -> str:
        from .printer import to_text

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


@dataclass
class Builder:
    """Makes a graph node by node: infers types, keeps names unique, drops what nothing uses."""

    name: str
    inputs: dict[str, TensorType] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    reserved: set[str] = field(default_factory=set)
    _known: dict[tuple[TensorType, str], str] = field(default_factory=dict)

    def fresh(self, wanted: str) -> str:
        """`wanted`, or `wanted.1`, `wanted.2`, ... where that name is taken."""
        name, count = wanted, 0
        while name in self.types or name in self.reserved:
            count += 1
            name = f"{wanted}.{count}"
        return name

    def input(self, name: str, type_: TensorType) -> str:
        """Add a graph input; its name is kept as it is."""
        require(name not in self.types, f"two values are named {name!r}")
        self.inputs[name] = self.types[name] = type_
        return name

    def constant(self, value: np.ndarray | Constant, name: str = "c", quant: Quantization | None = None) -> str:
        """Add a constant, or give the name of the equal one that is there."""
        constant = value if isinstance(value, Constant) else Constant.of(np.asarray(value), quant)
        key = (constant.type, constant.digest)
        if key not in self._known:
            self._known[key] = chosen = self.fresh(name)
            self.constants[chosen] = constant
            self.types[chosen] = constant.type
        return self._known[key]

    def add(
        self,
        op: Op,
        *operands: str,
        name: str | Sequence[str] = "",
        loc: str = "",
        quant: Quantization | None = None,
        host: str = "",
    ) -> str:
        """Append a node with one result and give the result's name; `quant` says what a bare integer result means."""
        (result,) = self.add_all(
            op, *operands, names=(name,) if isinstance(name, str) else name, loc=loc, quant=quant, host=host
        )
        return result

    def add_all(
        self,
        op: Op,
        *operands: str,
        names: Sequence[str] = (),
        loc: str = "",
        quant: Quantization | tuple[Quantization | None, ...] | None = None,
        host: str = "",
    ) -> tuple[str, ...]:
        """Append a node with any number of results and give their names; `quant` is theirs, one for all or each."""
        try:
            types = results_of(op, tuple(self.types[operand] for operand in operands))
            if quant is not None:
                each = quant if isinstance(quant, tuple) else (quant,) * len(types)
                types = tuple(type_.with_quant(one) for type_, one in zip(types, each, strict=True))
        except RuleError as error:
            raise NpuqError(f"{loc or self.name}: {op.name}: {error}") from None
        stem = op.name.rpartition(".")[2]
        results: list[str] = []
        for index, type_ in enumerate(types):
            wanted = names[index] if index < len(names) and names[index] else stem
            results.append(self.fresh(wanted))
            self.types[results[-1]] = type_
        self.nodes.append(Node(op, operands, tuple(results), types, loc, host))
        return tuple(results)

    def copy(self, node: Node, operands: Iterable[str]) -> tuple[str, ...]:
        """Append a node of another graph over this graph's operands, with its declared types and names."""
        operands = tuple(operands)
        moved = tuple(self.types[operand] for operand in operands)
        types = node.types
        try:
            inferred = results_of(node.op, moved)
        except RuleError as error:
            raise NpuqError(f"{node.place}: {node.op.name}: {error}") from None
        if not all(new.accepts(old) for new, old in zip(inferred, types, strict=True)):
            types = inferred
        results: list[str] = []
        for result, type_ in zip(node.results, types, strict=True):
            results.append(result if result not in self.types else self.fresh(result))
            self.types[results[-1]] = type_
        self.nodes.append(replace(node, operands=operands, results=tuple(results), types=types))
        return tuple(results)

    def build(self, outputs: Mapping[str, str], *, prune: bool = True) -> Graph:
        """The graph so far; `prune` leaves out nodes and constants that no output needs."""
        nodes, constants = tuple(self.nodes), self.constants
        if prune:
            needed = set(outputs.values())
            kept: list[Node] = []
            for node in reversed(nodes):
                if needed.intersection(node.results):
                    kept.append(node)
                    needed.update(node.operands)
            nodes = tuple(reversed(kept))
            constants = {name: constant for name, constant in constants.items() if name in needed}
        return Graph(self.name, self.inputs, constants, nodes, outputs)


Rewrite = Callable[[Builder, Node, tuple[str, ...]], "tuple[str, ...] | str | None"]


def rewrite(graph: Graph, rule: Rewrite, *, entry: Callable[[Builder, str], str] | None = None) -> Graph:
    """Rebuild a graph node by node, in order, leaving out what nothing uses afterwards.

    `rule(builder, node, operands)` sees each node of the old graph with the names that its operands have in the new
    one. It appends what it likes to the builder and gives the names that stand for the node's results; None
    keeps the node as it is. A name of the old graph is free for new nodes from its own node's turn on. `entry(builder,
    name)` gives the value that the nodes read in the place of a graph input.
    """
    builder = Builder(graph.name, reserved=set(graph.producers))
    renamed: dict[str, str] = {}
    for name, type_ in graph.inputs.items():
        renamed[name] = builder.input(name, type_)
    for name, constant in graph.constants.items():
        renamed[name] = builder.constant(constant, name)
    if entry is not None:
        renamed.update({name: entry(builder, name) for name in graph.inputs})
    for node in graph.nodes:
        operands = tuple(renamed[operand] for operand in node.operands)
        builder.reserved.difference_update(node.results)
        results = rule(builder, node, operands)
        if results is None:
            results = builder.copy(node, operands)
        elif isinstance(results, str):
            results = (results,)
        assert len(results) == len(node.results), (
            f"{node.op.name}: {len(results)} names for {len(node.results)} results"
        )
        renamed.update(zip(node.results, results, strict=True))
    return builder.build({name: renamed[value] for name, value in graph.outputs.items()})
