"""Converters of operators that move pixels to channels or batches."""

from __future__ import annotations

import math

from npuq.ir import ops, require

from .registry import Operation, converts


@converts("SPACE_TO_BATCH_ND")
def space_to_batch(operation: Operation) -> str:
    """Move blocks of the padded spatial axes to the batch, a part of dilated convolutions in TFLite."""
    block, flat, shape = operation.integers(1, "the block"), operation.integers(2, "the padding"), operation.shape
    count = len(block)
    require(count < len(shape) and len(flat) == 2 * count and min(block) > 0, f"blocks of {block} of shape {shape}")
    pads = ((0, 0), *zip(flat[::2], flat[1::2], strict=True), *((0, 0),) * (len(shape) - 1 - count))
    x = operation.move(ops.Pad(padding=pads), operation.x)
    n, *padded = operation.type(x).shape
    space, rest = padded[:count], padded[count:]
    require(all(size % one == 0 for size, one in zip(space, block, strict=True)), f"{space} in blocks of {block}")
    parts = [part for size, one in zip(space, block, strict=True) for part in (size // one, one)]
    order = (*range(2, 2 + 2 * count, 2), 0, *range(1, 1 + 2 * count, 2), *range(1 + 2 * count, len(shape) + count))
    turned = operation.move(ops.Transpose(order=order), operation.reshaped(x, (n, *parts, *rest)))
    return operation.reshaped(turned, (n * math.prod(block), *parts[::2], *rest))


@converts("BATCH_TO_SPACE_ND")
def batch_to_space(operation: Operation) -> str:
    """The inverse, cropped."""
    block, flat, shape = operation.integers(1, "the block"), operation.integers(2, "the crops"), operation.shape
    count = len(block)
    require(count < len(shape) and len(flat) == 2 * count and min(block) > 0, f"blocks of {block} of shape {shape}")
    n, space, rest = shape[0] // math.prod(block), shape[1 : 1 + count], shape[1 + count :]
    require(n * math.prod(block) == shape[0], f"a batch of {shape[0]} in blocks of {block}")
    pairs = [axis for one in range(count) for axis in (count + 1 + one, one)]
    order = (count, *pairs, *range(2 * count + 1, len(shape) + count))
    turned = operation.move(ops.Transpose(order=order), operation.reshaped(operation.x, (*block, n, *space, *rest)))
    whole = [size * one for size, one in zip(space, block, strict=True)]
    x = operation.reshaped(turned, (n, *whole, *rest))
    inside = [range(before, size - after) for size, before, after in zip(whole, flat[::2], flat[1::2], strict=True)]
    return operation.sliced(x, [range(n), *inside, *map(range, rest)])


@converts("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def blocks(operation: Operation) -> str:
    block = operation.options["block"]
    n, h, w, c = operation.shape if len(operation.shape) == 4 else (0, 0, 0, 0)
    require(block > 0 and n > 0, f"blocks of {block} of shape {operation.shape}")
    if operation.spec.name == "SPACE_TO_DEPTH":
        require(h % block == w % block == 0, f"{h} x {w} pixels in blocks of {block}")
        split_, shape = (n, h // block, block, w // block, block, c), (n, h // block, w // block, c * block * block)
    else:
        require(c % (block * block) == 0, f"{c} channels in blocks of {block}")
        split_, shape = (n, h, w, block, block, c // block**2), (n, h * block, w * block, c // block**2)
    order = (0, 1, 3, 2, 4, 5)
    turned = operation.move(ops.Transpose(order=order), operation.reshaped(operation.x, split_))
    return operation.reshaped(turned, shape)
