"""The generated FlatBuffers code behind tables by name, vectors and packed arrays; reading trusts no length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np

from npuq.ir import Constant, DType, ParseError, TensorType

from . import schema as generated

schema: Any = generated  # untyped generated code

ELEMENT_TYPES = tuple(DType)
"""Element types by their number in the file."""


class Writer:
    """Appends to one FlatBuffer; a table is written after the objects that it points to."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1 << 16)

    def table(self, kind: str, **fields: Any) -> int:
        """Write a table from its fields, in the schema's camel case; those left out or None keep their defaults."""
        getattr(schema, f"{kind}Start")(self.builder)
        for field, value in fields.items():
            if value is not None:
                getattr(schema, f"{kind}Add{field}")(self.builder, value)
        return int(getattr(schema, f"{kind}End")(self.builder))

    def text(self, text: str) -> int | None:
        """Write a string, equal ones once; None for the empty one."""
        return int(self.builder.CreateSharedString(text)) if text else None

    def tables(self, offsets: Sequence[int]) -> int | None:
        """Write a vector of tables; None for an empty one."""
        if not offsets:
            return None
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def numbers(self, numbers: Sequence[int] | Sequence[float], dtype: type[np.generic]) -> int | None:
        """Write a vector of numbers; None for an empty one."""
        if len(numbers) == 0:
            return None
        return int(self.builder.CreateNumpyVector(np.asarray(numbers, dtype)))

    def blob(self, data: bytes, alignment: int) -> int | None:
        """Write a vector of bytes whose first one is aligned; None for an empty one."""
        if not data:
            return None
        self.builder.StartVector(1, len(data), alignment)
        self.builder.head -= len(data)
        self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
        return int(self.builder.EndVector())

    def finish(self, root: int) -> bytes:
        self.builder.Finish(root, file_identifier=b"NPUQ")
        return bytes(self.builder.Output())


class Reader:
    """Reads strings and vectors of one FlatBuffer, in total no more than the file's size.

    Tables of a damaged file may share vectors and so claim far more than the file's bytes.
    """

    def __init__(self, content: bytes) -> None:
        self.left = len(content)

    def spend(self, cost: int, what: str) -> None:
        """Subtract `cost` from the bytes left; raise `ParseError` when none are left."""
        self.left -= cost
        if self.left < 0:
            raise ParseError(f"{what}: more than a file of this size can hold")

    def text(self, text: bytes | None) -> str:
        """A string, empty if omitted. Equal strings are shared, so they cost little."""
        if text is None:
            return ""
        self.spend(len(text) // 16, "strings")
        return text.decode("utf-8")

    def tables(self, length: int, item: Callable[[int], Any], what: str) -> list[Any]:
        """The tables of a vector."""
        self.spend(4 * length, what)
        return [item(index) for index in range(length)]

    def numbers(self, numbers: Any, what: str) -> list[Any]:
        """The numbers of a vector; the accessor gives 0 for an omitted one."""
        if isinstance(numbers, int):
            return []
        self.spend(numbers.nbytes, what)
        return list(numbers.tolist())

    def blob(self, numbers: Any) -> np.ndarray:
        """The bytes of a vector, without a copy."""
        return np.zeros(0, np.uint8) if isinstance(numbers, int) else np.asarray(numbers)


def pack(array: np.ndarray) -> bytes:
    """The bytes of an array: little endian, row major, two 4-bit elements to a byte.

    The first is the low half; an odd last one is padded with zero.
    """
    if DType.of(array.dtype) is not DType.I4:
        data: bytes = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return data
    halves = array.astype(np.int8).ravel().view(np.uint8) & 15
    pairs = np.append(halves, np.zeros(len(halves) % 2, np.uint8)).reshape(-1, 2)
    return bytes((pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8))


def unpack(data: np.ndarray, type_: TensorType) -> Constant:
    """Read an array of `type_` from its bytes, a uint8 array; raises `ParseError` for a wrong number of bytes."""
    if data.size != type_.bytes:
        raise ParseError(f"{data.size} bytes of data for {type_.bytes} of a {type_}")
    if type_.dtype is DType.I4:
        halves = np.stack([data & 15, data >> 4], axis=-1).ravel()[: type_.size]
        array = (halves.astype(np.int8) ^ 8) - 8
        return Constant(type_, array.astype(DType.I4.numpy).reshape(type_.shape))
    if type_.dtype is DType.BOOL and data.size and data.max() > 1:
        raise ParseError("a bool is neither 0 nor 1")
    little = type_.dtype.numpy.newbyteorder("<")
    return Constant(type_, data.view(little).astype(type_.dtype.numpy, copy=False).reshape(type_.shape))
