"""Checks that a file of weights is complete, which paddle2onnx does not check."""

from __future__ import annotations

import math
from pathlib import Path

from npuq.ir import NpuqError, RuleError, require

BYTES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2}
"""The size of an element by Paddle's number for its type."""


def require_whole(path: Path) -> None:
    """Require a sequence of complete tensors and nothing after it; raises `NpuqError`.

    A tensor is a u32 of version 0, a u64 number of levels of detail, for each a u64 size and so many bytes, a u32 of
    version 0, an i32 size and so many bytes of a description, and the elements.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            count = 0
            while file.tell() < size:
                count += 1
                require(_number(file.read(4)) == 0, f"tensor {count} is not of version 0")
                for _ in range(_number(file.read(8))):
                    file.seek(_number(file.read(8)), 1)
                    require(file.tell() < size, f"tensor {count} is cut off")
                require(_number(file.read(4)) == 0, f"tensor {count} is not of version 0")
                bytes_ = _bytes(file.read(min(_number(file.read(4)), size)))
                end = file.tell() + bytes_
                require(end <= size, f"tensor {count} of {bytes_} bytes is cut off, {end - size} are missing")
                file.seek(end)
    except OSError as error:
        raise NpuqError(f"{path}: cannot be read: {error.strerror}") from None
    except RuleError as error:
        raise NpuqError(f"{path.name}: not a complete file of weights: {error}") from None


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _bytes(description: bytes) -> int:
    """Return a tensor's size in bytes by its description: a protobuf message of a type (1) and sizes (2)."""
    kind, sizes, at = 0, [], 0
    while at < len(description):
        tag, at = _varint(description, at)
        value, at = _varint(description, at)
        if tag == 8:
            kind = value
        elif tag == 16:
            sizes.append(value)
        elif tag == 18:
            end = at + value
            while at < end:
                one, at = _varint(description, at)
                sizes.append(one)
        else:
            raise RuleError("its description is damaged")
    require(kind in BYTES, f"elements of type {kind} are not known")
    return math.prod(sizes) * BYTES[kind]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a protobuf integer and the position after it."""
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
    raise RuleError("its description is damaged")
