"""ONNX files to float graphs: translates the nodes in order, folds constants, collects every problem."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npuq.ir import Builder, Graph, NpuqError, ParseError, RuleError, one_line, require, verify

from ..context import Context, Node
from ..problem import DAMAGE, Outcome, Problems
from ..specialize import Shapes, Values
from .control import CONTROL, Scope
from .functions import body, has_body, inline_functions, is_standard, nodes_within, subgraphs
from .operators.dynamic_quantization import fuse_dynamic
from .read import opsets, read_array, read_model, require_names
from .registry import convert, find
from .signature import inputs, resolve
from .specialize import specialize

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto


def to_graph(
    source: str | Path | ModelProto,
    shapes: Shapes | None = None,
    *,
    values: Values | None = None,
    outputs: Sequence[str] | None = None,
) -> Outcome:
    """Translate an ONNX model, a path or a ModelProto, to a float graph with static shapes.

    `shapes` gives the sizes of inputs that the file leaves open; an open batch alone becomes 1. `values` fixes inputs
    by name; `outputs` selects other values as outputs. Raises `ParseError` for damaged files.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        label, name, folder = path.name, path.stem, path.parent
    else:
        name = label = " ".join(str(source.graph.name).split()) or "model"
        folder = None
    try:
        model = read_model(Path(source)) if isinstance(source, (str, Path)) else source
        versions = opsets(model)
        model = specialize(model, values, outputs)
        model = fuse_dynamic(inline_functions(model))
        require_names(model.graph)
        importer = _Importer(label, folder, versions, Builder(name), Problems(label))
        return importer.problems, importer.run(model.graph, shapes or {})
    except RuleError as error:
        raise NpuqError(f"{label}: {one_line(error)}") from None
    except DAMAGE as error:
        raise ParseError(f"{label}: damaged: {one_line(error)}") from error


@dataclass
class _Importer:
    label: str
    folder: Path | None
    opsets: Mapping[str, int]
    builder: Builder
    problems: Problems
    read: Counter[str] = field(default_factory=Counter)
    sequences: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def run(self, proto: GraphProto, shapes: Shapes) -> Graph | None:
        """Translate the whole graph."""
        self.note(proto)
        self.read.update(result.name for result in proto.output)
        require(len(proto.output) > 0, "the model has no outputs")
        require(len({result.name for result in proto.output}) == len(proto.output), "two outputs have one name")
        scope: Scope = ChainMap()
        try:
            types = resolve(inputs(proto), shapes)
        except RuleError as error:
            self.problems.note("input", self.label, str(error))
            self.note_unknown(proto)
            return None
        for name, type_ in types.items():
            scope[name] = self.builder.input(name, type_)
        returned = self.graph(proto, scope)
        if self.problems:
            return None
        for result, value in zip(proto.output, returned, strict=True):
            require(value not in self.sequences, f"output {result.name!r} is a sequence, a tensor wanted")
        outputs = {result.name: value for result, value in zip(proto.output, returned, strict=True)}
        return verify(self.builder.build({name: value for name, value in outputs.items() if value is not None}))

    def note(self, proto: GraphProto) -> None:
        """Record the names that a graph reads, and reserve them for its values."""
        for node in nodes_within(proto):
            self.read.update(node.input)
            self.read.update(result.name for branch in subgraphs(node) for result in branch.output)
            self.builder.reserved.update(node.output)

    def graph(self, proto: GraphProto, scope: Scope) -> list[str | None]:
        """Translate the nodes of a graph or a branch; return its results."""
        for tensor in proto.initializer:
            if tensor.name in self.read:
                self.builder.release(tensor.name)
                scope[tensor.name] = self.builder.constant(read_array(tensor, self.folder), tensor.name)
        for tensor in proto.sparse_initializer:
            require(tensor.values.name not in self.read, f"initializer {tensor.values.name!r} is sparse")
        for node in proto.node:
            self.node(node, scope)
        return [self.value(result.name, scope, "output") for result in proto.output]

    def value(self, name: str, scope: Scope, what: str) -> str | None:
        require(name in scope, f"{what} {name!r} is not defined, or only later")
        return scope[name]

    def node(self, proto: NodeProto, scope: Scope) -> None:
        """Translate one node, or record its problem and continue without its results."""
        place = f"{self.label}:{proto.name or next(filter(None, proto.output), proto.op_type)}"
        results: tuple[str | None, ...] | None = None
        with self.problems.noted(proto.op_type, place):
            results = self.results(proto, place, scope)
        for index, output in enumerate(proto.output):
            if output and (results is None or index < len(results)):
                require(output not in scope.maps[0], f"two values are named {output!r}")
                scope[output] = None if results is None else results[index]

    def results(self, proto: NodeProto, place: str, scope: Scope) -> tuple[str | None, ...] | None:
        """Return the values of a node's outputs, or None if one of its operands has a problem."""
        domain, opset = self.kind(proto)
        control = domain == "" and proto.op_type in CONTROL and not (proto.op_type == "Scan" and opset < 9)
        converter = None if control else find(proto.op_type, opset, domain)
        if converter is None and not control and not has_body(proto.op_type, domain, opset):
            self.problems.note(proto.op_type, place, *self.unknown(proto))
            return None
        bodies = {attribute.name: attribute.g for attribute in proto.attribute if attribute.HasField("g")}
        operands = tuple(self.value(name, scope, "operand") if name else None for name in proto.input)
        if any(name and operand is None for name, operand in zip(proto.input, operands, strict=True)):
            for body_ in bodies.values() if control else ():
                self.note_unknown(body_)
            return None
        if converter is None and not control:
            return self.composed(proto, scope)
        read = tuple(name if name in self.read else "" for name in proto.output)
        attributes = {attribute.name: self.attribute(attribute) for attribute in proto.attribute}
        node = Node(proto.op_type, place, operands, read, attributes)
        if converter is None:
            return tuple(CONTROL[proto.op_type](self, node, bodies, scope))
        return convert(Context(self.builder, node, opset, self.sequences, self.read), converter)

    def kind(self, proto: NodeProto) -> tuple[str, int]:
        """The domain of an operator, "" for ONNX's own, and its opset."""
        domain = "" if is_standard(proto.domain) else proto.domain
        return domain, self.opsets.get(domain, 1)

    def composed(self, proto: NodeProto, scope: Scope) -> tuple[str | None, ...]:
        types = {name: self.builder.types[str(scope[name])] for name in proto.input if name}
        graph = body(proto, types, self.opsets[""], next(filter(None, proto.output), proto.op_type))
        self.note(graph)
        inner = scope.new_child()
        for part in graph.node:
            self.node(part, inner)
        for index, name in enumerate(proto.output):
            require(name in inner or name not in self.read, f"output {index} ({name!r}) is not supported")
        return tuple(inner.get(name) for name in proto.output)

    def attribute(self, proto: AttributeProto) -> Any:
        """An attribute as a Python value; None for kinds that no supported operator has."""
        from onnx import AttributeProto, helper

        if proto.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            return None
        value = helper.get_attribute_value(proto)
        if proto.type == AttributeProto.TENSOR:
            return read_array(value, self.folder)
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, (int, float)):
            return value
        plain = isinstance(value, (list, tuple)) or hasattr(value, "__len__")
        return tuple(item.decode() if isinstance(item, bytes) else item for item in value) if plain else None

    def note_unknown(self, proto: GraphProto) -> None:
        """Record the operators without a converter in a graph that cannot be translated."""
        for node in nodes_within(proto):
            domain, opset = self.kind(node)
            known = find(node.op_type, opset, domain) is not None or has_body(node.op_type, domain, opset)
            if not known and not (domain == "" and node.op_type in CONTROL):
                place = f"{self.label}:{node.name or node.output[0]}"
                self.problems.note(node.op_type, place, *self.unknown(node))

    def unknown(self, proto: NodeProto) -> tuple[str, str]:
        """Reason and remedy for an operator that has no converter."""
        from onnx import defs

        domain, opset = self.kind(proto)
        spelled = f"{domain}.{proto.op_type}" if domain else proto.op_type
        if domain not in ("", "ai.onnx.ml") or not defs.has(proto.op_type, domain=domain):
            return f"no converter for '{spelled}', which is no ONNX operator", "export with standard operators"
        return f"no converter for ONNX '{spelled}' (opset {opset})", "export the model without it"
