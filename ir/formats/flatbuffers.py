"""FlatBuffers as they lie in a file: tables, vectors and numbers, every place checked before it is read."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from ..errors import ParseError

FORMATS = {"bool": "<?", "i8": "<b", "u8": "<B", "i32": "<i", "u32": "<I", "u64": "<Q", "f32": "<f"}
"""How numbers lie in a file, by their types."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a buffer; its fields are numbered slots, of which a file may lack any."""

    data: memoryview
    place: int

    @classmethod
    def root(cls, data: bytes, mark: bytes) -> Table:
        """The outermost table of a file with this mark behind its first four bytes."""
        if len(data) < 8 or data[4:8] != mark:
            raise ParseError(f"these {len(data)} bytes lack the mark {mark.decode()}")
        return cls(memoryview(data), int(_number(memoryview(data), "<I", 0)))

    def number(self, slot: int, type_: str, default: float = 0) -> float | int | bool:
        """The number in a slot, or the default where the file leaves it out."""
        place = self._field(slot)
        return default if place is None else _number(self.data, FORMATS[type_], place)

    def integer(self, slot: int, type_: str, default: int = 0) -> int:
        return int(self.number(slot, type_, default))

    def table(self, slot: int) -> Table | None:
        """The table that a slot points to."""
        place = self._field(slot)
        return None if place is None else Table(self.data, self._pointed(place))

    def tables(self, slot: int) -> tuple[Table, ...]:
        """The tables of a vector; none where the file leaves it out."""
        start, count = self._vector(slot, 4)
        return tuple(Table(self.data, self._pointed(start + 4 * index)) for index in range(count))

    def numbers(self, slot: int, dtype: str) -> np.ndarray:
        """The numbers of a vector, empty where the file leaves it out."""
        size = np.dtype(dtype).itemsize
        start, count = self._vector(slot, size)
        return np.frombuffer(self.data[start : start + count * size], dtype)

    def text(self, slot: int) -> str:
        """The text of a slot in one line; bytes that are none are replaced."""
        start, count = self._vector(slot, 1)
        return " ".join(bytes(self.data[start : start + count]).decode(errors="replace").split())

    def has(self, slot: int) -> bool:
        """Whether the file holds this field."""
        return self._field(slot) is not None

    def _field(self, slot: int) -> int | None:
        """Where a slot's content lies."""
        table = self.place - int(_number(self.data, "<i", self.place))
        size = int(_number(self.data, "<H", table))
        if 4 + 2 * slot + 2 > size:
            return None
        offset = int(_number(self.data, "<H", table + 4 + 2 * slot))
        return self.place + offset if offset else None

    def _pointed(self, place: int) -> int:
        return place + int(_number(self.data, "<I", place))

    def _vector(self, slot: int, size: int) -> tuple[int, int]:
        """The first element's place and the number of elements of a vector, which lies inside the file."""
        place = self._field(slot)
        if place is None:
            return 0, 0
        start = self._pointed(place)
        count = int(_number(self.data, "<I", start))
        if start + 4 + count * size > len(self.data):
            raise ParseError(f"a vector of {count} x {size} bytes at {start} of {len(self.data)}")
        return start + 4, count


def _number(data: memoryview, format_: str, place: int) -> float | int | bool:
    if not 0 <= place <= len(data) - struct.calcsize(format_):
        raise ParseError(f"it points to byte {place} of {len(data)}")
    number: float | int | bool = struct.unpack_from(format_, data, place)[0]
    return number
