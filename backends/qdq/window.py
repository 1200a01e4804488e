"""Exporters of convolutions and poolings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npuq.ir import Node
from npuq.ir.ops import conv, pool

from .writer import Writer, exports, pads


@exports(conv.Conv)
def convolution(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, conv.Conv)
    write.last(node, "Conv", *write.operands(node), **_window(op), group=op.groups)


@exports(conv.ConvTranspose)
def transposed_convolution(write: Writer, node: Node) -> None:
    """ONNX crops but does not pad here: negative padding becomes padding of the result, before its bias."""
    op = node.op
    assert isinstance(op, conv.ConvTranspose)
    x, w, *bias = write.operands(node)
    attributes = {**_window(op), "group": op.groups, "output_padding": op.output_padding}
    if all(width >= 0 for around in op.padding for width in around):
        write.last(node, "ConvTranspose", x, w, *bias, **attributes)
        return
    attributes["pads"] = pads(tuple((max(before, 0), max(after, 0)) for before, after in op.padding))
    grown = ((0, 0), (0, 0), *((max(-before, 0), max(-after, 0)) for before, after in op.padding))
    widths = write.integers(pads(grown), "pads")
    cropped = write.step(node, "ConvTranspose", x, w, **attributes)
    if not bias:
        write.last(node, "Pad", cropped, widths)
        return
    column = write.integers((1, -1) + (1,) * len(op.padding), "shape")
    write.last(node, "Add", write.step(node, "Pad", cropped, widths), write.step(node, "Reshape", *bias, column))


@exports(pool.MaxPool)
def max_pool(write: Writer, node: Node) -> None:
    """Runtimes refuse padding of a whole window; it becomes an op of its own."""
    op = node.op
    assert isinstance(op, pool.MaxPool)
    (x,) = write.operands(node)
    attributes = {**_window(op), "kernel_shape": op.window}
    if _wide(op):
        dtype = node.type.dtype
        least = np.asarray(-math.inf if dtype.is_float else dtype.range[0]).astype(dtype.numpy)
        x, attributes["pads"] = _padded(write, node, x, op, least), pads(((0, 0),) * len(op.window))
    write.last(node, "MaxPool", x, **attributes)


@exports(pool.AveragePool)
def average_pool(write: Writer, node: Node) -> None:
    """ONNX cannot count only a part of the padding: a factor then corrects the mean over all."""
    op = node.op
    assert isinstance(op, pool.AveragePool)
    (x,) = write.operands(node)
    attributes = {**_window(op), "kernel_shape": op.window}
    if not _wide(op) and not (op.count_padding and any(op.uncounted)):
        write.last(node, "AveragePool", x, **attributes, count_include_pad=int(op.count_padding))
        return
    dtype = node.type.dtype
    attributes["pads"] = pads(((0, 0),) * len(op.window))
    padded = _padded(write, node, x, op, np.zeros((), dtype.numpy))
    factor = math.prod(op.window) / op.counts(write.types[node.operands[0]].shape[2:])
    mean = write.step(node, "AveragePool", padded, **attributes)
    write.last(node, "Mul", mean, write.constant(factor.astype(dtype.numpy), "factor"))


Windowed = conv.Conv | conv.ConvTranspose | pool.MaxPool | pool.AveragePool


def _window(op: Windowed) -> dict[str, Any]:
    return {"strides": op.stride, "dilations": op.dilation, "pads": pads(op.padding)}


def _wide(op: pool.MaxPool | pool.AveragePool) -> bool:
    """Whether the padding holds a whole window."""
    return any(max(around) >= size for around, size in zip(op.padding, op.window, strict=True))


def _padded(write: Writer, node: Node, x: str, op: pool.MaxPool | pool.AveragePool, value: np.ndarray) -> str:
    """Pad the operand with an op of its own."""
    widths = write.integers(pads(((0, 0), (0, 0), *op.padding)), "pads")
    return write.step(node, "Pad", x, widths, write.constant(value, "value"))
