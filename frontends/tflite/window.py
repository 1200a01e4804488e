"""Converters of convolutions and poolings: channels last in the file, channels first in the IR."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npuq.ir import ops, require

from ..context import Ints, Pads
from .registry import Operation, converts

OIHW = (0, 3, 1, 2)
"""The order of axes that converts weights [O, H, W, I]."""


def _padding(operation: Operation, sizes: Ints, window: Ints, stride: Ints, dilation: Ints) -> Pads:
    """The padding; SAME gives a size that depends only on the stride, with an odd element at the end."""
    number = operation.options["padding"]
    require(number in (0, 1), f"padding of number {number}, SAME (0) or VALID (1) wanted")
    require(min(*window, *stride, *dilation) > 0, f"window {window}, stride {stride}, dilation {dilation}")
    if number == 1:
        return ((0, 0),) * len(sizes)
    every = zip(sizes, window, stride, dilation, strict=True)
    wanted = (
        max((-(-size // step) - 1) * step + (width - 1) * hole + 1 - size, 0) for size, width, step, hole in every
    )
    return tuple((total // 2, total - total // 2) for total in wanted)


def _pair(operation: Operation, name: str) -> Ints:
    return operation.options[f"{name}_h"], operation.options[f"{name}_w"]


@converts("CONV_2D", "DEPTHWISE_CONV_2D")
def convolution(operation: Operation) -> str:
    """Depthwise weights are [1, H, W, O]; the channels determine the groups of other convolutions."""
    depthwise = operation.spec.name == "DEPTHWISE_CONV_2D"
    weight = operation.weight(1, (3, 0, 1, 2) if depthwise else OIHW)
    x = operation.first(operation.x)
    (_, channels, *space), (_, each, *window) = operation.type(x).shape, operation.type(weight).shape
    require(each > 0 and channels % each == 0, f"{channels} channels in, a multiple of {each} wanted")
    stride, dilation = _pair(operation, "stride"), _pair(operation, "dilation")
    op = ops.Conv(
        stride=stride,
        padding=_padding(operation, tuple(space), tuple(window), stride, dilation),
        dilation=dilation,
        groups=channels if depthwise else channels // each,
    )
    return operation.last(operation.add(op, x, weight, *operation.bias(2, weight)))


@converts("TRANSPOSE_CONV")
def transposed_convolution(operation: Operation) -> str:
    """The first operand is the result's shape; the third is the data."""
    shape = operation.integers(0, "the shape of the result")
    require(len(shape) == 4, f"a result of shape {shape}, 4 axes wanted")
    names, tensors = operation.node.operands, operation.inputs
    node = replace(operation.node, operands=names[2:3] + names[1:2] + names[3:])
    data = replace(operation, node=node, inputs=tensors[2:3] + tensors[1:2] + tensors[3:])
    weight, x = data.weight(1, (3, 0, 1, 2)), data.first(data.x)
    window, stride = data.type(weight).shape[2:], _pair(operation, "stride")
    pads = _padding(operation, shape[1:3], window, stride, (1, 1))
    space = data.type(x).shape[2:]
    each = zip(shape[1:3], space, window, stride, pads, strict=True)
    extra = tuple(out - ((size - 1) * step + width - sum(pad)) for out, size, width, step, pad in each)
    require(min(extra) >= 0, f"a result of shape {shape} of {space}, window {window} and stride {stride}")
    op = ops.ConvTranspose(stride=stride, padding=pads, dilation=(1, 1), output_padding=extra)
    return data.last(data.add(op, x, weight, *data.bias(2, weight)))


@converts("FULLY_CONNECTED")
def fully_connected(operation: Operation) -> str:
    """All axes but the last are rows, joined unless `keep_num_dims` is set."""
    require(operation.options["format"] == 0, "shuffled weights are not supported")
    weight = operation.weight(1, (1, 0))
    inputs, shape = operation.type(weight).shape[0], operation.shape
    size = int(np.prod(shape, dtype=np.int64))
    kept = operation.options["keep"] and len(shape) > 0
    require(inputs > 0 and size % inputs == 0, f"{size} elements in rows of {inputs}")
    x = operation.reshaped(operation.x, shape if kept else (size // inputs, inputs))
    return operation.activated(operation.add(ops.MatMul(), x, weight, *operation.bias(2, weight)))


@converts("BATCH_MATMUL")
def batch_matmul(operation: Operation) -> str:
    operands = []
    for name, index in (("adjoint_x", 0), ("adjoint_y", 1)):
        operand = operation.operand(index)
        rank = operation.type(operand).rank
        require(rank >= 2, f"an operand of rank {rank}, 2 wanted")
        order = (*range(rank - 2), rank - 1, rank - 2)
        operands.append(operation.move(ops.Transpose(order=order), operand) if operation.options[name] else operand)
    return operation.add(ops.MatMul(), *operands)


@converts("MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D")
def pooling(operation: Operation) -> str:
    """Padding is not counted; L2_POOL_2D is the root of the mean square.

    A maximum is quantized before its activation: it selects integers and has no accumulator to clamp.
    """
    window, stride, dilation = _pair(operation, "window"), _pair(operation, "stride"), (1, 1)
    x = operation.first(operation.x)
    padding = _padding(operation, operation.type(x).shape[2:], window, stride, dilation)
    if operation.spec.name == "MAX_POOL_2D":
        y = operation.add(ops.MaxPool(window=window, stride=stride, padding=padding, dilation=dilation), x)
        return operation.last(operation.scaled(y))
    op = ops.AveragePool(window=window, stride=stride, padding=padding, dilation=dilation)
    if operation.spec.name == "AVERAGE_POOL_2D":
        return operation.last(operation.add(op, x))
    mean = operation.add(op, operation.add(ops.Mul(), x, x))
    return operation.last(operation.add(ops.Sqrt(), mean))
