"""From an integer graph to an ONNX model: the interface, the layouts, and the table of emitters of integer ops."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from npuq.ir import Builder, DType, Graph, Node, NpuqError, Op, TensorType, require
from npuq.ir.ops.logic import Cast
from npuq.ir.ops.quant import Dequantize, Quantize

from ..qdq.writer import EXPORTERS, Writer, element_type, registers

if TYPE_CHECKING:
    from onnx import ModelProto

Interface = Literal["integer", "fixed", "float"]
"""The inputs and outputs: the program's integers; floats in and integers as floats out; floats."""

LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
"""The orders of axes for channels last and channels first."""

Emit = Callable[..., None]
"""A function of an `ExactWriter` and of the op to write."""
Body = Callable[[list[str], list[str]], tuple[list[str], str]]
"""From the states and entries of a step to the next states and its results."""

EMITTERS: dict[type[Op], Emit] = {}
"""The emitter of each integer op; float ops of host segments use the QDQ exporters."""

emits = registers(EMITTERS)


def to_exact_onnx(graph: Graph, *, interface: Interface = "fixed") -> ModelProto:
    """Write an integer graph as a plain ONNX model of opset 21 whose integers are the graph's, bit for bit.

    `interface`: "integer" has the graph's own types; "fixed" has float32 inputs, which the model quantizes by rule Q1,
    and integers in float32 as outputs; "float" has float32 inputs, and outputs dequantized by rule Q2. Values without a
    scale keep their type. The metadata hold scales and zero points. Raises `NpuqError` for an op without an exact form,
    and for weights that are not constants.
    """
    shown = graph if interface == "integer" else _between_floats(graph, interface)
    write = ExactWriter(shown)
    for node in shown.nodes:
        write.at(node, _emitter(node))
    return write.model(**_metadata(graph, interface))


def as_interface(name: str) -> Interface:
    for known in get_args(Interface):
        if known == name:
            return cast(Interface, known)
    raise NpuqError(f"there is no interface {name!r}; there are {', '.join(get_args(Interface))}")


def _between_floats(graph: Graph, interface: Interface) -> Graph:
    """Give the graph float inputs, which it quantizes, and float outputs."""
    builder = Builder(graph.name, reserved=set(graph.types))
    entered = {}
    for name, type_ in graph.inputs.items():
        builder.release(name)
        if type_.quant is None:
            builder.input(name, type_)
            continue
        builder.input(name, TensorType(DType.F32, type_.shape))
        entered[name] = builder.add(Quantize.to(type_.dtype, type_.quant), name, name=f"{name}.q")
    builder.constants.update(graph.constants)
    builder.types.update({name: known.type for name, known in graph.constants.items()})
    for node in graph.nodes:
        builder.release(*node.results)
        builder.copy(node, (entered.get(operand, operand) for operand in node.operands))
    outputs = {}
    for public, value in graph.outputs.items():
        # A returned input is returned as its integers, under another name than the floats.
        name = builder.fresh(f"{public}.out") if public in entered else public
        inner, type_ = entered.get(value, value), graph.types[value]
        if type_.quant is None:
            outputs[name] = inner
        elif interface == "float":
            outputs[name] = builder.add(Dequantize.of(type_.quant), inner, name=f"{name}.dq")
        else:
            # The verifier refuses a cast of quantized integers; this graph is not verified again.
            outputs[name] = builder.fresh(f"{name}.fixed")
            cast = Node(Cast(to=DType.F32), (inner,), (outputs[name],), (TensorType(DType.F32, type_.shape),))
            builder.types[outputs[name]] = cast.type
            builder.nodes.append(cast)
    return builder.build(outputs)


def _emitter(node: Node) -> Emit:
    emit = EMITTERS.get(type(node.op)) or EXPORTERS.get(type(node.op))
    if emit is None:
        raise NpuqError(f"{node.place}: {node.op.name} has no exact ONNX form; the .npuq program runs it")
    return emit


def _metadata(graph: Graph, interface: Interface) -> dict[str, str]:
    """The metadata that say what the integers of inputs and outputs mean."""
    ends = {"inputs": graph.inputs, "outputs": {name: graph.types[value] for name, value in graph.outputs.items()}}
    found = {
        f"npuq.{side}": json.dumps(
            {
                name: {"dtype": type_.dtype.value, "scale": type_.quant.scale, "zero_point": type_.quant.zero_point}
                for name, type_ in types.items()
                if type_.quant is not None and type_.quant.axis is None
            }
        )
        for side, types in ends.items()
    }
    return {"npuq.interface": interface, **found}


@dataclass
class ExactWriter(Writer):
    """A model under construction, with the channels-first forms of its values."""

    planes: dict[str, str] = field(default_factory=dict)

    def known(self, index: int, what: str) -> np.ndarray:
        """The integers of an operand that must be a constant, as int64."""
        array = self.graph.constant(self.node.operands[index])
        require(array is not None, f"computed {what}; the exact ONNX form wants them as constants")
        assert array is not None
        return array.astype(np.int64)

    def factors(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Multipliers and shifts, operands `index` and the next; one of each has no axes."""
        both = self.known(index, "multipliers"), self.known(index + 1, "shifts")
        m, s = (factor.reshape(()) if factor.shape == (1,) else factor for factor in both)
        return m, s

    def centred(self, index: int, zero_point: int, dtype: DType) -> str:
        """An operand less its zero point, in a wider element type."""
        wide = self.cast(self.operands[index], dtype)
        return self.step("Sub", wide, self.scalar(zero_point, dtype.numpy)) if zero_point else wide

    def first(self, index: int) -> str:
        """An operand [N, H, W, C] as [N, C, H, W]."""
        value = self.node.operands[index]
        if value not in self.planes:
            self.planes[value] = self.step("Transpose", self.names[value], perm=FIRST)
        return self.planes[value]

    def cast_to(self, name: str, x: str, dtype: DType) -> None:
        """Cast x to the value `name`."""
        self._append("Cast", (x,), [name], {"to": element_type(dtype)})

    def scan(self, body: Body, states: list[str], entries: list[str], *, backwards: bool) -> tuple[str, list[str]]:
        """Scan a body over the first axis of `entries` with int64 states; return its results and the last states.

        The body's constants are outside of it, where ONNX makes them visible.
        """
        from onnx import helper

        around, self.nodes = self.nodes, []
        before = [self.fresh(f"{state}.before") for state in states]
        now = [self.fresh(f"{entry}.now") for entry in entries]
        after, result = body(before, now)
        results = [self.step("Identity", value) for value in (*after, result)]
        inside, self.nodes = self.nodes, around
        kinds = [DType.I64] * len(states) + [DType.I64, DType.BOOL][: len(entries)]
        graph = helper.make_graph(
            inside,
            f"{self.names[self.node.results[0]]}.step",
            [
                helper.make_tensor_value_info(name, element_type(kind), None)
                for name, kind in zip(before + now, kinds, strict=True)
            ],
            [helper.make_tensor_value_info(name, element_type(DType.I64), None) for name in results],
        )
        way = [int(backwards)]
        outputs = [self.fresh(f"{self.names[self.node.results[0]]}.scan") for _ in results]
        attributes = {
            "body": graph,
            "num_scan_inputs": len(entries),
            "scan_input_directions": way * len(entries),
            "scan_output_directions": way,
        }
        self._append("Scan", (*states, *entries), outputs, attributes)
        return outputs[-1], outputs[:-1]

    def store_first(self, x: str) -> None:
        """Let x [N, C, H, W], of a wider element type, be the node's result [N, H, W, C]."""
        plane = self.cast(x, self.node.type.dtype)
        self.planes[self.node.result] = plane
        self.last("Transpose", plane, perm=LAST)

    def scalar(self, value: Any, dtype: Any = np.int64) -> str:
        return self.constant(np.asarray(value, dtype), "c")
