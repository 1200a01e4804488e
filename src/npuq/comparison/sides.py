"""The sides of a comparison: a graph to run, or a dump to read, value by value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from npuq.ir import Graph, NpuqError, TensorType, evaluate_by_node
from npuq.ir.ops.quant import Dequantize, Quantize

from .dump import Dump, Dumped

Arrays = list[np.ndarray]
Read = Callable[[int, Sequence[np.ndarray], Sequence[np.ndarray]], Arrays]
"""The named values of one run by its number, its inputs and, of a graph, what the values' readers get instead."""


@dataclass(frozen=True)
class Layer:
    """A value that a side computes: its number in the program, its op, and its location in the user's file."""

    index: int
    name: str
    op: str
    place: str


class GraphSide:
    """A graph of any level."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.name = graph, graph.name

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        return {
            name: Layer(index, name, node.op.name, node.place)
            for index, node in enumerate(self.graph.nodes)
            for name in node.results
        }

    def type(self, name: str) -> TensorType:
        """The type of the value that is compared under a name."""
        return self.graph.types[self.used(name)]

    def used(self, name: str) -> str:
        """The value that is compared under a name: the dequantized one where a quantize is the only reader."""
        graph = self.graph
        user = graph.only_user(name) if name not in graph.returned else None
        if user is None or not isinstance(user.op, Quantize):
            return name
        readers = [node for node in graph.users[user.result] if isinstance(node.op, Dequantize)]
        return readers[0].result if readers else name

    def reader(self, names: Sequence[str]) -> Read:
        """The values that are compared under the names."""
        run = evaluate_by_node(self.graph, [self.used(name) for name in names])
        return lambda _, inputs, replacements: run(inputs, replacements)


class DumpSide:
    """A dump; `other` has the types of values without an index."""

    def __init__(self, dump: Dump, other: Mapping[str, TensorType]) -> None:
        self.dump, self.name, self.other = dump, dump.name, other

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        known = [value for value in self.dump.results.values() if value.type or self._fits(value)]
        return {value.name: Layer(index, value.name, value.op, value.place) for index, value in enumerate(known)}

    def type(self, name: str) -> TensorType:
        """The type of a value, from the index or from the other side."""
        value = self.dump.results[name]
        if value.type is not None:
            return value.type
        other = self.other[name]
        dtype = other.dtype.of(value.read().dtype)
        return TensorType(dtype, other.shape, other.quant if dtype is other.dtype else None)

    def reader(self, names: Sequence[str]) -> Read:
        """The dumped values."""
        return reader({name: self.type(name) for name in names}, self.dump.results)

    def _fits(self, value: Dumped) -> bool:
        shape = self.other[value.name].shape if value.name in self.other else None
        return shape is not None and value.read().size % max(int(np.prod(shape)), 1) == 0


Side = GraphSide | DumpSide


def reader(types: Mapping[str, TensorType], values: Mapping[str, Dumped]) -> Read:
    """Values of a dump by run."""
    arrays = {name: values[name].read().reshape(-1, *type_.shape) for name, type_ in types.items()}

    def read(index: int, inputs: Sequence[np.ndarray], replacements: Sequence[np.ndarray]) -> Arrays:
        short = next((name for name, array in arrays.items() if index >= len(array)), None)
        if short is not None:
            held = f"{values[short].file}: {len(arrays[short])} samples"
            raise NpuqError(f"{held}, but the other side has more; compare the same samples")
        return [array[index] for array in arrays.values()]

    return read


def recorded_inputs(dump: Dump, types: Mapping[str, TensorType]) -> Iterator[Arrays]:
    """The inputs that a dump was made with, run by run; raises `NpuqError` where it does not hold them."""
    lacking = [name for name in types if name not in dump.inputs]
    if lacking:
        raise NpuqError(f"{dump.folder}: it does not hold the input {lacking[0]!r}; give --data")
    known = {name: value.type for name, value in dump.inputs.items() if value.type is not None}
    read = reader({name: known[name] for name in types}, dump.inputs)
    for index in range(samples_of(dump)):
        yield read(index, (), ())


def samples_of(dump: Dump) -> int:
    """The number of samples that each value of the index has."""
    values = (*dump.inputs.values(), *dump.results.values())
    return min((len(value.read()) for value in values if value.type), default=0)
