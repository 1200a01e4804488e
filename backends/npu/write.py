"""Programs to bytes: the same program gives the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npuq.ir import Constant, DType, Graph, Node, TensorType

from ..memory import ALIGNMENT, Plan
from .contents import Contents
from .flat import ELEMENT_TYPES, Writer, pack, schema
from .layout import LAYER_ALIGNMENT, place_constants

MAGIC = b"NPUQ"
VERSION = 2
HEADER = struct.Struct("<4sIQ32s16x")
"""Magic, version, bytes of content, SHA-256 of magic, version, length and content; padded to 64 bytes."""


def to_bytes(contents: Contents) -> bytes:
    """The whole file: header and FlatBuffer."""
    content = _content(contents)
    return HEADER.pack(MAGIC, VERSION, len(content), content_digest(content)) + content


def content_digest(content: bytes | memoryview) -> bytes:
    """SHA-256 over the header's other fields and the content."""
    hash_ = hashlib.sha256(MAGIC + struct.pack("<IQ", VERSION, len(content)))
    hash_.update(content)
    return hash_.digest()


def _content(contents: Contents) -> bytes:
    graph = contents.graph
    writer = Writer()
    numbers = {name: index for index, name in enumerate(graph.types)}
    answers = [
        writer.table("KnownAnswer", Inputs=_tensors(writer, answer.inputs), Outputs=_tensors(writer, answer.outputs))
        for answer in contents.known_answers
    ]
    root = writer.table(
        "Program",
        KnownAnswers=writer.tables(answers),
        Instructions=writer.tables([_instruction(writer, node, numbers) for node in graph.nodes]),
        Plan=_plan(writer, contents.plan, numbers),
        **_constants(writer, graph, numbers),
        Outputs=writer.tables(
            [
                writer.table("Output", Name=writer.text(name), Value=numbers[value])
                for name, value in graph.outputs.items()
            ]
        ),
        Inputs=writer.numbers([numbers[name] for name in graph.inputs], np.uint32),
        Values=writer.tables([_value(writer, name, type_) for name, type_ in graph.types.items()]),
        Target=writer.tables([_attribute(writer, *field) for field in contents.target.values().items()]),
        Name=writer.text(graph.name),
    )
    return writer.finish(root)


def _tensors(writer: Writer, constants: Sequence[Constant]) -> int | None:
    return writer.tables(
        [writer.table("Tensor", Data=writer.blob(pack(constant.array), ALIGNMENT)) for constant in constants]
    )


def _instruction(writer: Writer, node: Node, numbers: Mapping[str, int]) -> int:
    return writer.table(
        "Instruction",
        Op=writer.text(node.op.name),
        Attributes=writer.tables(_fields(writer, node.op)),
        Operands=writer.numbers([numbers[operand] for operand in node.operands], np.uint32),
        Results=writer.numbers([numbers[result] for result in node.results], np.uint32),
        Loc=writer.text(node.loc),
        Host=writer.text(node.host),
    )


def _plan(writer: Writer, plan: Plan, numbers: Mapping[str, int]) -> int:
    slots = [
        writer.table(
            "Slot", Value=numbers[slot.value], Offset=slot.offset, Size=slot.size, First=slot.first, Last=slot.last
        )
        for slot in plan.slots
    ]
    return writer.table("Plan", ArenaSize=plan.arena_size, Alignment=ALIGNMENT, Slots=writer.tables(slots))


def _constants(writer: Writer, graph: Graph, numbers: Mapping[str, int]) -> dict[str, int | None]:
    data = bytearray()
    tables: list[int] = []
    for place in place_constants(graph):
        data += bytes(place.offset - len(data)) + pack(graph.constants[place.name].array)
        fields = {"Offset": place.offset, "Size": place.size, "Role": int(place.role)}
        tables.append(writer.table("Constant", Value=numbers[place.name], **fields))
    return {"Constants": writer.tables(tables), "Data": writer.blob(bytes(data), LAYER_ALIGNMENT)}


def _value(writer: Writer, name: str, type_: TensorType) -> int:
    fields: dict[str, Any] = {
        "Name": writer.text(name),
        "Type": ELEMENT_TYPES.index(type_.dtype),
        "Shape": writer.numbers(type_.shape, np.int64),
    }
    if type_.quant is not None:
        fields["Scales"] = writer.numbers(type_.quant.scales, np.float32)
        fields["ZeroPoints"] = writer.numbers(type_.quant.zero_points, np.int64)
        fields["Axis"] = -1 if type_.quant.axis is None else type_.quant.axis
    return writer.table("Value", **fields)


def _fields(writer: Writer, value: Any) -> list[int]:
    """Write every field of a dataclass, defaults too: a changed default does not change a file's meaning."""
    return [_attribute(writer, field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]


def _attribute(writer: Writer, name: str, value: Any) -> int:
    """Write a named value; its kind is that of the Python value."""
    kind, fields = schema.Kind, dict[str, Any]()
    match value:
        case None:
            fields["Kind"] = kind.None_
        case bool():
            fields.update(Kind=kind.Bool, Integers=writer.numbers([int(value)], np.int64))
        case DType():
            fields.update(Kind=kind.ElementType, Integers=writer.numbers([ELEMENT_TYPES.index(value)], np.int64))
        case int():
            fields.update(Kind=kind.Int, Integers=writer.numbers([value], np.int64))
        case float():
            fields.update(Kind=kind.Float, Numbers=writer.numbers([value], np.float64))
        case str():
            fields.update(Kind=kind.String, Text=writer.text(value))
        case tuple() if value and all(type(item) is int for item in value):
            fields.update(Kind=kind.Tuple, Integers=writer.numbers(value, np.int64))
        case tuple() if value and all(type(item) is float for item in value):
            fields.update(Kind=kind.Tuple, Numbers=writer.numbers(value, np.float64))
        case _:
            assert isinstance(value, tuple), f"{name}={value!r}"
            fields.update(Kind=kind.Tuple, Items=writer.tables([_attribute(writer, "", item) for item in value]))
    return writer.table("Attribute", Name=writer.text(name), **fields)
