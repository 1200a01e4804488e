"""From a graph to an ONNX model: names, constants, and the table of exporters that the other modules fill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from npuq.ir import Graph, Node, NpuqError, Op, RuleError, TensorType

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

OPSET = 21
"""The first opset whose QuantizeLinear knows 16 and 4 bits."""

IR_VERSION = 10
"""The version of the file format that came with `OPSET`."""

LARGEST = (1 << 31) - 1
"""The most bytes that one protobuf message holds."""

Export = Callable[["Writer", Node], None]
E = TypeVar("E", bound=Export)

EXPORTERS: dict[type[Op], Export] = {}
"""Who writes each op."""


def exports(*ops: type[Op]) -> Callable[[E], E]:
    """Register the function that writes nodes of these ops."""

    def register(export: E) -> E:
        for op in ops:
            assert op not in EXPORTERS, op.name
            EXPORTERS[op] = export
        return export

    return register


def to_onnx(graph: Graph) -> ModelProto:
    """Write a float or fake-quant graph as an ONNX model that any runtime of opset 21 executes.

    Inputs, outputs and inner values keep their names, except where an output's name belongs to another value: that
    one becomes `name.raw`. Raises `NpuqError` for ops that ONNX does not have, such as integer ones.
    """
    from onnx import helper

    size = sum(constant.type.bytes for constant in graph.constants.values())
    if size > LARGEST:
        raise NpuqError(f"{graph.name}: {size} bytes of constants, an ONNX file holds at most {LARGEST}")
    write = Writer(graph)
    for name, constant in graph.constants.items():
        write.tensors.append(_tensor(constant.array, write.names[name]))
    for node in graph.nodes:
        export = EXPORTERS.get(type(node.op))
        if export is None:
            raise NpuqError(f"{node.place}: {node.op.name} has no ONNX form; export the fake-quant graph instead")
        try:
            export(write, node)
        except RuleError as error:
            raise NpuqError(f"{node.place}: {node.op.name}: {error}") from None
    for name, value in graph.outputs.items():
        if write.names[value] != name:
            write.nodes.append(helper.make_node("Identity", [write.names[value]], [name], name=name))
    inner = [write.info(result, write.names[result]) for node in graph.nodes for result in node.results]
    proto = helper.make_graph(
        write.nodes,
        graph.name,
        [write.info(name, name) for name in graph.inputs],
        [write.info(value, name) for name, value in graph.outputs.items()],
        write.tensors,
        value_info=[info for info in inner if info.name not in graph.outputs],
    )
    return helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="npuq"
    )


@dataclass
class Writer:
    """A model under construction."""

    graph: Graph
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.graph
        self._taken.update(graph.types, graph.outputs)
        self.names.update({name: name for name in graph.inputs})
        for name, value in graph.outputs.items():
            if value in graph.producers:
                self.names.setdefault(value, name)
        given = set(self.names.values()) | set(graph.outputs)
        for value in graph.types:
            if value not in self.names:
                self.names[value] = self.fresh(f"{value}.raw") if value in given else value

    def fresh(self, wanted: str) -> str:
        """`wanted`, with a number behind it where that name is taken."""
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}.{count}"
        self._taken.add(name)
        return name

    def info(self, value: str, name: str) -> ValueInfoProto:
        """The declared type of a value under its ONNX name."""
        from onnx import helper

        type_ = self.graph.types[value]
        return helper.make_tensor_value_info(name, element_type(type_), type_.shape)

    def operands(self, node: Node) -> list[str]:
        """The ONNX names of a node's operands."""
        return [self.names[operand] for operand in node.operands]

    def constant(self, array: np.ndarray, stem: str) -> str:
        """An initializer with this content; equal ones are shared."""
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self.fresh(stem)
            self.tensors.append(_tensor(array, self._known[key]))
        return self._known[key]

    def integers(self, values: tuple[int, ...], stem: str) -> str:
        """A list of integers as ONNX takes shapes and axes."""
        return self.constant(np.asarray(values, np.int64), stem)

    def step(self, node: Node, op: str, *inputs: str, **attributes: Any) -> str:
        """Append an operator that makes an inner value of the node, and give that value's name."""
        name = self.fresh(f"{self.names[node.results[0]]}.{op.lower()}")
        self._append(op, inputs, [name], attributes)
        return name

    def last(self, node: Node, op: str, *inputs: str, **attributes: Any) -> None:
        """Append the operator that makes the node's results."""
        self._append(op, inputs, [self.names[result] for result in node.results], attributes)

    def _append(self, op: str, inputs: tuple[str, ...], outputs: list[str], attributes: dict[str, Any]) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], **attributes))


def element_type(type_: TensorType) -> int:
    """The number by which ONNX calls an element type."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(type_.dtype.numpy))


def _tensor(array: np.ndarray, name: str) -> TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(array, name)
