"""The builder that makes a graph node by node, and the rewriting of a graph by a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .errors import NpuqError, RuleError, require
from .graph import Constant, Graph, Node
from .op import Op, results_of
from .types import Quantization, TensorType


@dataclass
class Builder:
    """Makes a graph node by node: infers types, keeps names unique, drops what nothing uses."""

    name: str
    inputs: dict[str, TensorType] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    reserved: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    """The values of the graph that `rewrite` rebuilds, under their names in this one."""
    _known: dict[tuple[TensorType, str], str] = field(default_factory=dict)
    _free: dict[str, int] = field(default_factory=dict)
    """The least number behind a name that may be free."""
    _places: dict[str, int] = field(default_factory=dict)
    _placed: int = 0

    def producer(self, name: str) -> Node | None:
        """The node that makes a value; inputs and constants have none."""
        for place in range(self._placed, len(self.nodes)):
            self._places.update(dict.fromkeys(self.nodes[place].results, place))
        self._placed = len(self.nodes)
        return self.nodes[self._places[name]] if name in self._places else None

    def rename(self, wanted: Mapping[str, str], start: int) -> dict[str, str]:
        """Rename values that the nodes from `start` on make; gives the names that are free by the old ones."""
        renamed = {}
        for name, other in wanted.items():
            self._places.pop(name, None)
            renamed[name] = chosen = self.fresh(other)
            self.types[chosen] = self.types.pop(name)
            self.release(name)
        for place in range(start, len(self.nodes) if renamed else start):
            node = self.nodes[place]
            operands, results = (tuple(renamed.get(one, one) for one in part) for part in (node.operands, node.results))
            self.nodes[place] = replace(node, operands=operands, results=results)
        self._placed = min(self._placed, start)
        return renamed

    def fresh(self, wanted: str) -> str:
        """`wanted`, or `wanted.1`, `wanted.2`, ... where that name is taken."""
        if wanted not in self.types and wanted not in self.reserved:
            return wanted
        count = self._free.get(wanted, 1)
        while (name := f"{wanted}.{count}") in self.types or name in self.reserved:
            count += 1
        self._free[wanted] = count
        return name

    def release(self, *names: str) -> None:
        """Let new values have names that were reserved, or whose values are gone."""
        self.reserved.difference_update(names)
        for name in names:
            stem, _, count = name.rpartition(".")
            if stem in self._free and count.isdecimal():
                self._free[stem] = min(self._free[stem], int(count))

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

    def keep(self, node: Node) -> tuple[str, ...]:
        """Append a node whose operands have the names and types that it was made for."""
        self.types.update(zip(node.results, node.types, strict=True))
        self.nodes.append(node)
        return node.results

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
    """Rebuild a graph node by node, in order, leaving out what nothing uses afterwards; give an equal one itself back.

    `rule(builder, node, operands)` sees each node of the old graph with the names that its operands have in the new
    one. It appends what it likes to the builder and gives the names that stand for the node's results; None
    keeps the node as it is. A name of the old graph is free for new nodes from its own node's turn on. `entry(builder,
    name)` gives the value that the nodes read in the place of a graph input.
    """
    builder = Builder(graph.name, reserved=set(graph.producers))
    renamed = builder.renamed
    for name, type_ in graph.inputs.items():
        renamed[name] = builder.input(name, type_)
    for name, constant in graph.constants.items():
        renamed[name] = builder.constant(constant, name)
    if entry is not None:
        renamed.update({name: entry(builder, name) for name in graph.inputs})
    for node in graph.nodes:
        operands = tuple(renamed[operand] for operand in node.operands)
        builder.release(*node.results)
        results = rule(builder, node, operands)
        if results is None:
            same = operands == node.operands and all(builder.types[name] is graph.types[name] for name in operands)
            kept = same and builder.types.keys().isdisjoint(node.results)
            results = builder.keep(node) if kept else builder.copy(node, operands)
        elif isinstance(results, str):
            results = (results,)
        assert len(results) == len(node.results), (
            f"{node.op.name}: {len(results)} names for {len(node.results)} results"
        )
        renamed.update(zip(node.results, results, strict=True))
    built = builder.build({name: renamed[value] for name, value in graph.outputs.items()})
    return graph if built == graph else built
