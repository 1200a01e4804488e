"""Arrays as the bytes of the file: little endian, row major, two 4-bit elements to a byte."""

from __future__ import annotations

import numpy as np

from npuq.ir import Constant, DType, ParseError, TensorType


def pack(array: np.ndarray) -> bytes:
    """The bytes of an array; the first of two 4-bit elements is the low half, a last odd one is padded with zero."""
    if DType.of(array.dtype) is not DType.I4:
        data: bytes = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return data
    halves = array.astype(np.int8).ravel().view(np.uint8) & 15
    pairs = np.append(halves, np.zeros(len(halves) % 2, np.uint8)).reshape(-1, 2)
    return bytes((pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8))


def unpack(data: np.ndarray, type_: TensorType) -> Constant:
    """The array of `type_` in exactly its bytes, given as uint8; raises `ParseError` where their number is wrong."""
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
