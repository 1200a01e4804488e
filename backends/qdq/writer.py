"""From a graph to an ONNX model: names, constants, and the table of exporters that the other modules fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from npuq.ir import DType, Graph, Node, NpuqError, Op, RuleError, TensorType, require

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

OPSET = 21
"""The first opset whose QuantizeLinear has 16 and 4 bits."""

FIRST_OPSET = 13
"""The first opset whose QuantizeLinear has a scale per channel."""

AXES_AS_OPERAND = 18
"""The first opset whose reductions take axes as an operand; `ReduceSum` always does here."""

LARGEST = (1 << 31) - 1
"""The greatest size of a protobuf message, in bytes."""

Export = Callable[..., None]
"""A function of a `Writer` and of the op to write."""


def registers(table: dict[type[Op], Export]) -> Callable[..., Callable[[Export], Export]]:
    """A decorator that registers the function that writes the nodes of its ops."""

    def of(*ops: type[Op]) -> Callable[[Export], Export]:
        def register(write: Export) -> Export:
            for op in ops:
                assert op not in table, op.name
                table[op] = write
            return write

        return register

    return of


EXPORTERS: dict[type[Op], Export] = {}
"""The function that writes each op."""

exports = registers(EXPORTERS)


def to_onnx(graph: Graph, *, opset: int = OPSET) -> ModelProto:
    """Write a float or fake-quant graph as an ONNX model of an opset, 13 or later.

    Inputs, outputs and inner values keep their names; a value with the name of another value's output becomes
    `name.raw`. Raises `NpuqError` for ops that ONNX lacks, such as integer ones, and for what the opset lacks, such as
    16-bit integers before 21.
    """
    require_opset(opset)
    write = Writer(graph, opset)
    for node in graph.nodes:
        export = EXPORTERS.get(type(node.op))
        if export is None:
            raise NpuqError(f"{node.place}: {node.op.name} has no ONNX form; export the fake-quant graph instead")
        write.at(node, export)
    return write.model()


@dataclass
class Writer:
    """A model under construction; `node` is the one that is written now."""

    graph: Graph
    opset: int = OPSET
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    types: dict[str, TensorType] = field(default_factory=dict)
    node: Node = field(init=False)
    _taken: set[str] = field(default_factory=set)
    _known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.graph
        size = sum(constant.type.bytes for constant in graph.constants.values())
        if size > LARGEST:
            raise NpuqError(f"{graph.name}: {size} bytes of constants, an ONNX file holds at most {LARGEST}")
        self.types.update(graph.types)
        self._taken.update(graph.types, graph.outputs)
        self.names.update({name: name for name in graph.inputs})
        for name, value in graph.outputs.items():
            if value in graph.producers:
                self.names.setdefault(value, name)
        used = set(self.names.values()) | set(graph.outputs)
        for value in graph.types:
            if value not in self.names:
                self.names[value] = self.fresh(f"{value}.raw") if value in used else value

    def at(self, node: Node, export: Export) -> None:
        """Write a node; its errors get its location."""
        self.node = node
        try:
            export(self, node.op)
        except RuleError as error:
            raise NpuqError(f"{node.place}: {node.op.name}: {error}") from None

    def model(self, **metadata: str) -> ModelProto:
        """Build the model, without nodes that no output needs."""
        from onnx import helper

        graph, nodes = self.graph, list(self.nodes)
        for name, value in graph.outputs.items():
            if self.names[value] != name:
                nodes.append(helper.make_node("Identity", [self.names[value]], [name], name=name))
        live, needed = _needed(nodes, graph.outputs)
        made = {name for node in live for name in node.output}
        stored = [_tensor(known.array, self.names[name]) for name, known in graph.constants.items()]
        inner = {self.names[result]: graph.types[result] for node in graph.nodes for result in node.results}
        proto = helper.make_graph(
            live,
            graph.name,
            [_info(name, type_) for name, type_ in graph.inputs.items()],
            [_info(name, graph.types[value]) for name, value in graph.outputs.items()],
            [tensor for tensor in (*stored, *self.tensors) if tensor.name in needed],
            value_info=[_info(name, type_) for name, type_ in inner.items() if name in made - graph.outputs.keys()],
        )
        imports = [helper.make_opsetid("", self.opset)]
        version = helper.find_min_ir_version_for(imports)
        model = helper.make_model(proto, opset_imports=imports, ir_version=version, producer_name="npuq")
        helper.set_model_props(model, metadata)
        return model

    def fresh(self, wanted: str) -> str:
        """Return a name, with a number appended if it is in use."""
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}.{count}"
        self._taken.add(name)
        return name

    @property
    def operands(self) -> list[str]:
        return [self.names[operand] for operand in self.node.operands]

    def operand_type(self, index: int) -> TensorType:
        return self.types[self.node.operands[index]]

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

    def cast(self, x: str, dtype: DType) -> str:
        """Cast x; between integers, ONNX keeps the low bits."""
        return self.step("Cast", x, to=element_type(dtype))

    def store(self, x: str) -> None:
        """Cast x to the node's result."""
        self.last("Cast", x, to=element_type(self.node.type.dtype))

    def over(self, op: str, axes: tuple[int, ...], **attributes: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
        """The operands after the data, and the attributes, of a reduction over axes."""
        if self.opset < AXES_AS_OPERAND and op != "ReduceSum":
            return (), {"axes": axes, **attributes}
        return (self.integers(axes, "axes"),), {"noop_with_empty_axes": 1, **attributes}

    def step(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append an operator for an inner value of the node; return the value's name."""
        name = self.fresh(f"{self.names[self.node.results[0]]}.{op.lower()}")
        self._append(op, inputs, [name], attributes)
        return name

    def last(self, op: str, *inputs: str, **attributes: Any) -> None:
        """Append the operator that makes the node's results."""
        self._append(op, inputs, [self.names[result] for result in self.node.results], attributes)

    def second(self, op: str, *inputs: str, **attributes: Any) -> None:
        """Append the operator whose second result is the node's; nothing reads its first one."""
        name = self.names[self.node.result]
        self._append(op, inputs, [self.fresh(f"{name}.first"), name], attributes)

    def _append(self, op: str, inputs: tuple[str, ...], outputs: list[str], attributes: dict[str, Any]) -> None:
        from onnx import helper

        if self.opset != OPSET:
            _require_known(op, self.opset, inputs, attributes)
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], **attributes))


def require_opset(opset: int) -> None:
    """Raise `NpuqError` unless an opset is supported."""
    from onnx import defs

    if not FIRST_OPSET <= opset <= defs.onnx_opset_version():
        newest = defs.onnx_opset_version()
        raise NpuqError(f"opset {opset}: {FIRST_OPSET} (the first with scales per channel) to {newest} wanted")


def _require_known(op: str, opset: int, inputs: tuple[str, ...], attributes: Mapping[str, Any]) -> None:
    """Raise `RuleError` if an opset lacks an operator, one of its attributes, or the number of operands."""
    fitting = [
        since
        for since, (operands, names) in _versions(op).items()
        if len(inputs) <= operands and names.issuperset(attributes)
    ]
    now = max((since for since in _versions(op) if since <= opset), default=0)
    require(now in fitting, f"{op} in this form needs opset {min(fitting, default=OPSET)}, not {opset}")


@cache
def _versions(op: str) -> dict[int, tuple[int, frozenset[str]]]:
    """The greatest number of operands and the attributes of an operator, by the opset that introduced them."""
    from onnx import defs

    schemas = (one for one in defs.get_all_schemas_with_history() if one.name == op and not one.domain)
    return {one.since_version: (one.max_input, frozenset(one.attributes)) for one in schemas}


def pads(padding: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """All widths before, then all after."""
    return tuple(before for before, _ in padding) + tuple(after for _, after in padding)


def element_type(dtype: DType) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(dtype.numpy))


def _needed(nodes: Iterable[NodeProto], outputs: Iterable[str]) -> tuple[list[NodeProto], set[str]]:
    """The nodes that outputs need, and the names that they read."""
    needed = set(outputs)
    live = []
    for node in reversed(list(nodes)):
        if needed.intersection(node.output):
            live.append(node)
            needed.update(node.input)
            for attribute in node.attribute:
                needed.update(name for inner in attribute.g.node for name in inner.input)
    return live[::-1], needed


def _info(name: str, type_: TensorType) -> ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(name, element_type(type_.dtype), type_.shape)


def _tensor(array: np.ndarray, name: str) -> TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(array, name)
