"""An NPU program executed from the bytes of its file alone, in NumPy int64: a reference for the product's execution.

Nothing but the generated FlatBuffers accessors is shared with the product: not the loader, not the ops.
"""

from __future__ import annotations

import hashlib
import importlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.oracle.ops import ORACLE
from tests.oracle.shape_ops import SHAPE_OPS

schema: Any = importlib.import_module("npuq.backends.npu.schema")  # untyped generated code

OPS = {**ORACLE, **SHAPE_OPS}
ELEMENTS = ("f2", "bf16", "f4", "f8", "?", "i4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
FOUR_BITS = 5
NAMES = ("f16", "bf16", "f32", "f64", "bool", "i4", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64")


@dataclass(frozen=True)
class Value:
    """A tensor of the file, by name; `slot` is its place in the arena."""

    name: str
    element: int
    shape: tuple[int, ...]

    def decode(self, data: bytes) -> np.ndarray:
        """The elements as int64, or as floats."""
        if self.element == FOUR_BITS:
            halves = [half for byte in data for half in (byte & 15, byte >> 4)]
            numbers = [half - 16 if half > 7 else half for half in halves][: int(np.prod(self.shape))]
            return np.array(numbers, np.int64).reshape(self.shape)
        array = np.frombuffer(data, "<" + ELEMENTS[self.element]).reshape(self.shape)
        return array if ELEMENTS[self.element][0] == "f" else array.astype(np.int64)

    def encode(self, array: np.ndarray) -> bytes:
        """The bytes of a computed value, which must fit the element type."""
        stored = array.astype("<" + ELEMENTS[self.element])
        assert np.array_equal(stored, array), f"%{self.name} leaves {NAMES[self.element]}"
        return stored.tobytes()


@dataclass(frozen=True)
class Execution:
    """Every value by its name, and the names of the outputs with theirs."""

    values: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def execute(file: bytes, inputs: Sequence[np.ndarray], *, arena: bool = False) -> Execution:
    """Run the program on integers; with `arena` every value is kept only in the bytes that the memory plan gives it."""
    program = _open(file)
    values = [_value(program.Values(index)) for index in range(program.ValuesLength())]
    known = _constants(program, values)
    memory = _Arena(program, values) if arena else None
    seen: dict[int, np.ndarray] = {}

    def store(index: int, array: np.ndarray) -> None:
        assert array.shape == values[index].shape, f"%{values[index].name}: {array.shape}"
        values[index].encode(array)
        seen[index] = array
        if memory is not None:
            memory.write(index, array)

    def load(index: int) -> np.ndarray:
        if index in known:
            return known[index]
        return seen[index] if memory is None else memory.read(index)

    for position, array in enumerate(inputs):
        wide = array.astype(np.int64) if array.dtype.kind in "iu" else array
        store(program.Inputs(position), wide)
    for step in range(program.InstructionsLength()):
        instruction = program.Instructions(step)
        operands = [load(instruction.Operands(index)) for index in range(instruction.OperandsLength())]
        computed = OPS[instruction.Op().decode()](_attributes(instruction), *operands)
        results = computed if isinstance(computed, tuple) else (computed,)
        assert instruction.ResultsLength() == len(results)
        for place, result in enumerate(results):
            store(instruction.Results(place), result)
    outputs = [program.Outputs(index) for index in range(program.OutputsLength())]
    return Execution(
        {values[index].name: array for index, array in seen.items()},
        {output.Name().decode(): load(output.Value()) for output in outputs},
    )


def known_answers(file: bytes) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """The inputs and outputs that the file promises."""
    program = _open(file)
    values = [_value(program.Values(index)) for index in range(program.ValuesLength())]
    found = []
    for index in range(program.KnownAnswersLength()):
        answer = program.KnownAnswers(index)
        inputs = [
            values[program.Inputs(at)].decode(answer.Inputs(at).DataAsNumpy().tobytes())
            for at in range(answer.InputsLength())
        ]
        outputs = [
            values[program.Outputs(at).Value()].decode(answer.Outputs(at).DataAsNumpy().tobytes())
            for at in range(answer.OutputsLength())
        ]
        found.append((inputs, outputs))
    return found


class _Arena:
    """The machine's memory, filled with junk at first."""

    def __init__(self, program: Any, values: list[Value]) -> None:
        plan = program.Plan()
        self.values = values
        self.memory = np.full(plan.ArenaSize(), 0xA5, np.uint8)
        slots = [plan.Slots(index) for index in range(plan.SlotsLength())]
        self.slots = {slot.Value(): (slot.Offset(), slot.Size()) for slot in slots}

    def write(self, index: int, array: np.ndarray) -> None:
        offset, size = self.slots[index]
        data = self.values[index].encode(array)
        assert len(data) == size
        assert offset + size <= self.memory.size
        self.memory[offset : offset + size] = np.frombuffer(data, np.uint8)

    def read(self, index: int) -> np.ndarray:
        offset, size = self.slots[index]
        return self.values[index].decode(self.memory[offset : offset + size].tobytes())


def _open(file: bytes) -> Any:
    """The FlatBuffer behind the 64 bytes of header."""
    magic, version, length, digest = struct.unpack_from("<4sIQ32s", file)
    assert (magic, version, length) == (b"NPUQ", 2, len(file) - 64)
    assert hashlib.sha256(file[:16] + file[64:]).digest() == digest
    return schema.Program.GetRootAs(file[64:], 0)


def _value(table: Any) -> Value:
    return Value(table.Name().decode(), table.Type(), tuple(table.Shape(axis) for axis in range(table.ShapeLength())))


def _constants(program: Any, values: list[Value]) -> dict[int, np.ndarray]:
    data = b"" if program.DataIsNone() else program.DataAsNumpy().tobytes()
    found = {}
    for index in range(program.ConstantsLength()):
        constant = program.Constants(index)
        part = data[constant.Offset() : constant.Offset() + constant.Size()]
        found[constant.Value()] = values[constant.Value()].decode(part)
    return found


def _attributes(instruction: Any) -> dict[str, Any]:
    tables = [instruction.Attributes(index) for index in range(instruction.AttributesLength())]
    return {table.Name().decode(): _attribute(table) for table in tables}


def _attribute(table: Any) -> Any:
    kind = table.Kind()
    integers = [table.Integers(index) for index in range(table.IntegersLength())]
    numbers = [table.Numbers(index) for index in range(table.NumbersLength())]
    if kind == schema.Kind.Tuple:
        items = [_attribute(table.Items(index)) for index in range(table.ItemsLength())]
        return tuple(integers or numbers or items)
    if kind == schema.Kind.String:
        return (table.Text() or b"").decode()
    if kind == schema.Kind.ElementType:
        return NAMES[integers[0]]
    if kind == schema.Kind.None_:
        return None
    if kind == schema.Kind.Bool:
        return bool(integers[0])
    return (integers or numbers)[0]
