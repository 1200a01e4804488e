"""Bytes to programs: the file is untrusted and checked before use."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from npuq.ir import Constant, DType, Graph, Node, NpuqError, ParseError, Quantization, TensorType, make_op, one_line
from npuq.passes.target import Target

from ..memory import ALIGNMENT, LARGEST, Plan, Slot
from .contents import Contents, KnownAnswer, check
from .flat import ELEMENT_TYPES, Reader, schema, unpack
from .layout import Placement, Role, place_constants
from .write import HEADER, MAGIC, VERSION, content_digest

DEEPEST = 6
"""The deepest nesting of an attribute's tuples."""

HIGHEST_RANK = 32

DAMAGE = struct.error, ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError
"""The errors of the FlatBuffers runtime and NumPy for damaged files."""


def from_bytes(data: bytes, source: str = "program") -> Contents:
    """Read and check a whole file.

    Raises `ParseError`, starting with `source`, for no program, another version, a truncated or damaged file, or a
    content that violates a rule of the IR, the target or the memory plan.
    """
    try:
        content = _content(data)
        with np.errstate(all="raise"):
            return check(_ContentsReader(content).contents(schema.Program.GetRootAs(content, 0)))
    except NpuqError as error:
        raise ParseError(f"{source}: {one_line(error)}") from None
    except DAMAGE as error:
        raise ParseError(f"{source}: damaged content: {one_line(error)}") from None


def _content(data: bytes) -> bytes:
    """The FlatBuffer of a file, once header, length and hash agree."""
    if data[: len(MAGIC)] != MAGIC:
        raise ParseError(f"not an NPU program: it starts with {data[:4]!r}, {MAGIC!r} wanted")
    if len(data) < HEADER.size:
        raise ParseError(f"cut short: {len(data)} bytes, the header alone has {HEADER.size}")
    _, version, length, digest = HEADER.unpack_from(data)
    if version != VERSION:
        raise ParseError(f"format version {version}, this npuq reads {VERSION}; emit the program again")
    content = data[HEADER.size :]
    if len(content) != length:
        raise ParseError(f"cut short or too long: {len(content)} bytes of content, {length} recorded")
    if any(data[HEADER.size - 16 : HEADER.size]) or content_digest(content) != digest:
        raise ParseError("damaged: the content does not have the recorded SHA-256")
    return content


class _ContentsReader(Reader):
    """One method per table of the schema."""

    def contents(self, file: Any) -> Contents:
        target = Target.of(dict(self.attributes(file.TargetLength(), file.Target)))
        self.values = [self.value(value) for value in self.tables(file.ValuesLength(), file.Values, "values")]
        graph = self.graph(file)
        plan = self.plan(file.Plan())
        answers = self.tables(file.KnownAnswersLength(), file.KnownAnswers, "known answers")
        return Contents(graph, target, plan, tuple(self.answer(answer, graph) for answer in answers))

    def value(self, value: Any) -> tuple[str, TensorType]:
        scales = tuple(self.numbers(value.ScalesAsNumpy(), "scales"))
        zero_points = tuple(self.numbers(value.ZeroPointsAsNumpy(), "zero points"))
        axis = None if value.Axis() == -1 else value.Axis()
        quant = Quantization(scales, zero_points, axis) if scales or zero_points else None
        type_ = TensorType(_element_type(value.Type()), tuple(self.numbers(value.ShapeAsNumpy(), "sizes")), quant)
        name = self.text(value.Name())
        if type_.bytes > LARGEST or type_.rank > HIGHEST_RANK:
            raise ParseError(f"%{name}: a {type_} is larger than any program's")
        return name, type_

    def graph(self, file: Any) -> Graph:
        """The graph; indices must follow the numbering of values."""
        values = self.values
        inputs = self.numbers(file.InputsAsNumpy(), "inputs")
        tables = self.tables(file.ConstantsLength(), file.Constants, "constants")
        results_from = len(inputs) + len(tables)
        _expect("inputs", inputs, range(len(inputs)))
        _expect("constants", sorted(table.Value() for table in tables), range(len(inputs), results_from))
        data = self.blob(file.DataAsNumpy())
        arrays = {table.Value(): self.constant(table, data) for table in tables}
        instructions = self.tables(file.InstructionsLength(), file.Instructions, "instructions")
        nodes = tuple(self.node(instruction) for instruction in instructions)
        named = [
            (self.text(output.Name()), values[output.Value()][0])
            for output in self.tables(file.OutputsLength(), file.Outputs, "outputs")
        ]
        graph = Graph(
            self.text(file.Name()),
            dict(values[: len(inputs)]),
            {values[index][0]: arrays[index] for index in range(len(inputs), results_from)},
            nodes,
            dict(named),
        )
        results = [result for node in nodes for result in node.results]
        _expect("results", results, [name for name, _ in values[results_from:]])
        if len({name for name, _ in values}) != len(values) or len(graph.outputs) != len(named):
            raise ParseError("two values or two outputs have one name")
        _expect("constants' places", [self.placement(table) for table in tables], place_constants(graph))
        return graph

    def constant(self, table: Any, data: np.ndarray) -> Constant:
        name, type_ = self.values[table.Value()]
        offset, size = table.Offset(), table.Size()
        if offset + size > data.size:
            raise ParseError(f"%{name}: bytes {offset} to {offset + size} of {data.size}")
        return unpack(data[offset : offset + size], type_)

    def placement(self, table: Any) -> Placement:
        return Placement(self.values[table.Value()][0], table.Offset(), table.Size(), Role(table.Role()))

    def node(self, instruction: Any) -> Node:
        name = self.text(instruction.Op())
        attributes = dict(self.attributes(instruction.AttributesLength(), instruction.Attributes))
        operands = self.numbers(instruction.OperandsAsNumpy(), "operands")
        results = [self.values[index] for index in self.numbers(instruction.ResultsAsNumpy(), "results")]
        if not results:
            raise ParseError(f"instruction {name} has no results")
        return Node(
            make_op(name, attributes),
            tuple(self.values[index][0] for index in operands),
            tuple(result for result, _ in results),
            tuple(type_ for _, type_ in results),
            self.text(instruction.Loc()),
            self.text(instruction.Host()),
        )

    def plan(self, plan: Any) -> Plan:
        if plan is None or plan.Alignment() != ALIGNMENT:
            raise ParseError(f"memory plan: an alignment of {ALIGNMENT} wanted")
        slots = tuple(
            Slot(self.values[slot.Value()][0], slot.Offset(), slot.Size(), slot.First(), slot.Last())
            for slot in self.tables(plan.SlotsLength(), plan.Slots, "slots")
        )
        return Plan(plan.ArenaSize(), slots)

    def answer(self, answer: Any, graph: Graph) -> KnownAnswer:
        inputs = self.tables(answer.InputsLength(), answer.Inputs, "inputs of a known answer")
        outputs = self.tables(answer.OutputsLength(), answer.Outputs, "outputs of a known answer")
        if len(inputs) != len(graph.inputs) or len(outputs) != len(graph.outputs):
            raise ParseError(f"a known answer has {len(inputs)} inputs and {len(outputs)} outputs")
        return KnownAnswer(self.arrays(inputs, graph.input_types), self.arrays(outputs, graph.output_types))

    def arrays(self, tensors: list[Any], types: tuple[TensorType, ...]) -> tuple[Constant, ...]:
        return tuple(
            unpack(self.blob(tensor.DataAsNumpy()), type_) for tensor, type_ in zip(tensors, types, strict=True)
        )

    def attributes(self, length: int, item: Callable[[int], Any], depth: int = 0) -> list[tuple[str, Any]]:
        tables = self.tables(length, item, "attributes")
        found = [(self.text(table.Name()), self.attribute(table, depth)) for table in tables]
        if depth == 0 and len(dict(found)) != len(found):
            raise ParseError("an attribute occurs twice")
        return found

    def attribute(self, table: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise ParseError(f"attributes nest deeper than {DEEPEST}")
        kind, kinds = table.Kind(), schema.Kind
        integers = self.numbers(table.IntegersAsNumpy(), "integers")
        numbers = self.numbers(table.NumbersAsNumpy(), "numbers")
        if kind == kinds.Tuple:
            items = self.attributes(table.ItemsLength(), table.Items, depth + 1)
            return tuple(integers or numbers or (value for _, value in items))
        if kind == kinds.Bool and integers in ([0], [1]):
            return bool(integers[0])
        if kind == kinds.Int and len(integers) == 1:
            return integers[0]
        if kind == kinds.Float and len(numbers) == 1:
            return numbers[0]
        if kind == kinds.ElementType and len(integers) == 1:
            return _element_type(integers[0])
        if kind == kinds.String:
            return self.text(table.Text())
        if kind == kinds.None_:
            return None
        raise ParseError(f"attribute {self.text(table.Name())!r} has no value of its kind, {kind}")


def _element_type(number: int) -> DType:
    if not 0 <= number < len(ELEMENT_TYPES):
        raise ParseError(f"there is no element type {number}")
    return ELEMENT_TYPES[number]


def _expect(what: str, found: Any, wanted: Any) -> None:
    """Require a numbering."""
    if list(found) != list(wanted):
        raise ParseError(f"{what} are not numbered as the format requires")
