"""Exporters of convolutions and poolings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npuq.ir.ops import conv, pool

from .writer import Writer, exports, pads


@exports(conv.Conv)
def convolution(write: Writer, op: conv.Conv) -> None:
    write.last("Conv", *write.operands, **_window(op), group=op.groups)


@exports(conv.ConvTranspose)
def transposed_convolution(write: Writer, op: conv.ConvTranspose) -> None:
    """ONNX crops but does not pad here: negative padding becomes padding of the result, before its bias."""
    x, w, *bias = write.operands
    attributes = {**_window(op), "group": op.groups, "output_padding": op.output_padding}
    if all(width >= 0 for around in op.padding for width in around):
        write.last("ConvTranspose", x, w, *bias, **attributes)
        return
    attributes["pads"] = pads(tuple((max(before, 0), max(after, 0)) for before, after in op.padding))
    grown = ((0, 0), (0, 0), *((max(-before, 0), max(-after, 0)) for before, after in op.padding))
    widths = write.integers(pads(grown), "pads")
    cropped = write.step("ConvTranspose", x, w, **attributes)
    if not bias:
        write.last("Pad", cropped, widths)
        return
    column = write.integers((1, -1) + (1,) * len(op.padding), "shape")
    write.last("Add", write.step("Pad", cropped, widths), write.step("Reshape", *bias, column))


@exports(pool.MaxPool)
def max_pool(write: Writer, op: pool.MaxPool) -> None:
    """Runtimes refuse padding of a whole window; it becomes an op of its own."""
    (x,) = write.operands
    attributes = {**_window(op), "kernel_shape": op.window}
    if _wide(op):
        x, attributes["pads"] = _padded(write, x, op, write.node.type.dtype.limit(-1)), pads(((0, 0),) * len(op.window))
    write.last("MaxPool", x, **attributes)


@exports(pool.AveragePool)
def average_pool(write: Writer, op: pool.AveragePool) -> None:
    """ONNX cannot count only a part of the padding: a factor then corrects the mean over all."""
    (x,) = write.operands
    attributes = {**_window(op), "kernel_shape": op.window}
    if not _wide(op) and not (op.count_padding and any(op.uncounted)):
        write.last("AveragePool", x, **attributes, count_include_pad=int(op.count_padding))
        return
    dtype = write.node.type.dtype
    attributes["pads"] = pads(((0, 0),) * len(op.window))
    padded = _padded(write, x, op, np.zeros((), dtype.numpy))
    factor = math.prod(op.window) / op.counts(write.operand_type(0).shape[2:])
    mean = write.step("AveragePool", padded, **attributes)
    write.last("Mul", mean, write.constant(factor.astype(dtype.numpy), "factor"))


Windowed = conv.Conv | conv.ConvTranspose | pool.MaxPool | pool.AveragePool


def _window(op: Windowed) -> dict[str, Any]:
    return {"strides": op.stride, "dilations": op.dilation, "pads": pads(op.padding)}


def _wide(op: pool.MaxPool | pool.AveragePool) -> bool:
    """Whether the padding holds a whole window."""
    return any(max(around) >= size for around, size in zip(op.padding, op.window, strict=True))


def _padded(write: Writer, x: str, op: pool.MaxPool | pool.AveragePool, value: np.ndarray) -> str:
    """Pad the operand with an op of its own."""
    widths = write.integers(pads(((0, 0), (0, 0), *op.padding)), "pads")
    return write.step("Pad", x, widths, write.constant(value, "value"))
