"""Reads and checks TFLite files: tensors with data and scales, operators with options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from npuq.ir import DType, ParseError, Quantization, RuleError, require
from npuq.ir.formats.flatbuffers import Table
from npuq.ir.formats.tflite import CUSTOM, ELEMENTS, MARK, OPERATORS, options_of

from ..context import require_size
from ..files import read_bytes

QUANTIZED = ("u1", "i1", "i4", "<i2")
"""The element types of activations and weights that may have scales."""

BIASES = ("<i4", "<i8")


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor of the file: its unique name, and its array if it is constant.

    `open` has -1 where the shape may change. Unsigned 8-bit integers with scales become signed ones, 128 less.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    open: tuple[int, ...]
    array: np.ndarray | None
    quant: Quantization | None

    @property
    def is_quantized(self) -> bool:
        """Whether its integers represent reals."""
        return self.quant is not None and self.dtype in (DType.I4, DType.I8, DType.I16)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: its name; its tensors by number, -1 for absent ones; its options."""

    name: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Model:
    tensors: tuple[Tensor | RuleError, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]

    def tensor(self, number: int) -> Tensor:
        """Return a tensor, or raise the reason why it cannot be used."""
        require(0 <= number < len(self.tensors), f"there is no tensor {number}, the graph has {len(self.tensors)}")
        found = self.tensors[number]
        if isinstance(found, RuleError):
            raise found
        return found


def read_model(path: Path) -> Model:
    """Read a file; raises `ParseError` if it is damaged."""
    data = read_bytes(path)
    try:
        return _model(data)
    except ParseError as error:
        raise ParseError(f"{path.name}: not a TFLite model: {error}") from None


def _model(data: bytes) -> Model:
    root = Table.root(data, MARK)
    version, graphs = root.integer(0, "u32"), root.tables(2)
    if version != 3:
        raise ParseError(f"its version is {version}, 3 wanted")
    if not graphs:
        raise ParseError("it holds no graph")
    graph, codes, buffers = graphs[0], root.tables(1), root.tables(4)
    tables = graph.tables(0)
    operators = tuple(_operator(table, codes) for table in graph.tables(3))
    computed = {*_ints(graph, 1), *(number for operator in operators for number in operator.outputs)}
    names = _names([table.text(3) for table in tables], computed)
    tensors = tuple(_tensor(table, name, buffers, data) for table, name in zip(tables, names, strict=True))
    return Model(tensors, _ints(graph, 1), _ints(graph, 2), operators)


def _names(stored: list[str], computed: set[int]) -> list[str]:
    """Return a unique name for every tensor: the part before the semicolons that join the names of fused ops.

    If an activation and its weights share a name, the activation gets it.
    """
    found: dict[str, int] = {}
    for number in sorted(range(len(stored)), key=lambda number: number not in computed):
        first = stored[number].partition(";")[0] or f"tensor{number}"
        count, free = 0, first
        while free in found:
            count += 1
            free = f"{first}.{count}"
        found[free] = number
    return sorted(found, key=found.__getitem__)


def _ints(table: Table, slot: int) -> tuple[int, ...]:
    return tuple(map(int, table.numbers(slot, "<i4")))


def _tensor(table: Table, name: str, buffers: tuple[Table, ...], data: bytes) -> Tensor | RuleError:
    """Read a tensor; its error is raised when it is used."""
    try:
        number = table.integer(1, "i8")
        require(number in ELEMENTS, f"an element type of number {number} is not supported")
        element, shape = ELEMENTS[number], _ints(table, 0)
        require_size(shape)
        require(not table.has(6), "sparse numbers are not supported")
        quant = _quantization(table.table(4), element)
        array = _array(table.integer(2, "u32"), element, shape, buffers, data)
        if element == "u1" and quant is not None:
            element, quant = (
                "i1",
                Quantization(quant.scales, tuple(zero - 128 for zero in quant.zero_points), quant.axis),
            )
            array = None if array is None else (array.astype(np.int16) - 128).astype(np.int8)
        dtype = DType.I4 if element == "i4" else DType.of(np.dtype(element))
        return Tensor(name, dtype, shape, _ints(table, 7) or shape, array, quant)
    except RuleError as error:
        return RuleError(f"tensor {name!r}: {error}")


def _quantization(table: Table | None, element: str) -> Quantization | None:
    """Read the scales of integers; scales of other types have no meaning."""
    if table is None or element not in (*QUANTIZED, *BIASES):
        return None
    scales, zero_points = table.numbers(2, "<f4"), table.numbers(3, "<i8")
    if not scales.size:
        return None
    require(table.integer(4, "u8") == 0, "custom quantization is not supported")
    require(zero_points.size in (0, scales.size), f"{scales.size} scales, {zero_points.size} zero points")
    zeros = tuple(map(int, zero_points)) if zero_points.size else (0,) * scales.size
    return Quantization(tuple(map(float, scales)), zeros, None if scales.size == 1 else table.integer(6, "i32"))


def _array(
    number: int, element: str, shape: tuple[int, ...], buffers: tuple[Table, ...], data: bytes
) -> np.ndarray | None:
    """Read the array of a constant tensor; files beyond 2 GiB store it after the tables."""
    require(number < len(buffers), f"there is no buffer {number}, the file has {len(buffers)}")
    buffer = buffers[number]
    start, size = buffer.integer(1, "u64"), buffer.integer(2, "u64")
    if start > 1:
        require(start + size <= len(data), f"numbers at {start} to {start + size} of {len(data)} bytes")
        stored = np.frombuffer(memoryview(data)[start : start + size], np.uint8)
    else:
        stored = buffer.numbers(0, "u1")
    count = math.prod(shape)
    if not stored.size and (count or number == 0):
        return None
    wanted = (count + 1) // 2 if element == "i4" else count * np.dtype(element).itemsize
    require(stored.size == wanted, f"{stored.size} bytes for shape {shape}, {wanted} wanted")
    if element == "i4":
        pairs = stored.view(np.int8)
        low, high = (pairs << 4) >> 4, pairs >> 4
        return np.stack([low, high], 1).ravel()[:count].reshape(shape).astype(ml_dtypes.int4)
    return np.frombuffer(stored.tobytes(), element).reshape(shape)


def _operator(table: Table, codes: tuple[Table, ...]) -> Operator:
    place = table.integer(0, "u32")
    if place >= len(codes):
        raise ParseError(f"operator code {place} of {len(codes)}")
    code = codes[place]
    number = max(code.integer(0, "i8"), code.integer(3, "i32"))
    if number == CUSTOM:
        name = code.text(1) or "without a name"
    else:
        name = OPERATORS[number] if 0 <= number < len(OPERATORS) else f"operator {number}"
    options = table.table(4)
    return Operator(name, number == CUSTOM, _ints(table, 1), _ints(table, 2), _options(name, options))


def _options(name: str, table: Table | None) -> dict[str, Any]:
    """Read the options by name, with defaults for missing ones."""
    found: dict[str, Any] = {}
    for option, field in options_of(name).items():
        if field.type == "i32s":
            found[option] = () if table is None else _ints(table, field.slot)
        else:
            found[option] = field.default if table is None else table.number(field.slot, field.type, field.default)
    return found
