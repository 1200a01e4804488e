"""Converters of primitives that move elements."""

from __future__ import annotations

import numpy as np

from npuq.ir import ops, require

from ..context import Ints
from .registry import Equation, Known, converts


@converts("broadcast_in_dim")
def broadcast_in_dim(equation: Equation) -> str:
    """New axes get the size 1; readers of the result broadcast."""
    x = equation.narrow(0)
    shape = [1] * len(equation.params["shape"])
    for axis, size in zip(equation.params["broadcast_dimensions"], equation.type(x).shape, strict=True):
        shape[axis] = size
    return _with_ones(equation, x, shape)


@converts("reshape", "squeeze", "expand_dims")
def reshape(equation: Equation) -> str:
    require(equation.params.get("dimensions") is None or equation.node.op != "reshape", "an order of dimensions")
    shape = equation.result().shape
    known = equation.weight(0, lambda array: array.reshape(shape))
    return _with_ones(equation, equation.full(0), shape) if known is None else known


def _with_ones(equation: Equation, x: str, shape: Ints | list[int]) -> str:
    """A reshape; if it restores axes that a reduction removed, the reduction keeps them."""
    node = equation.builder.producer(x)
    if node is not None and isinstance(node.op, ops.Reduction) and not node.op.keep:
        before = equation.type(node.operands[0]).shape
        full = tuple(1 if axis in node.op.axes else size for axis, size in enumerate(before))
        if full == tuple(shape):
            return equation.add(type(node.op)(axes=node.op.axes, keep=True), node.operands[0])
    return equation.reshaped(x, shape)


@converts("transpose")
def transpose(equation: Equation) -> str:
    order = equation.params["permutation"]
    known = equation.weight(0, lambda array: array.transpose(order))
    return equation.transposed(equation.narrow(0), order) if known is None else known


@converts("rev")
def reverse(equation: Equation) -> str:
    turned, sizes = equation.params["dimensions"], enumerate(equation.shapes[0])
    ranges = [range(size - 1, -1, -1) if axis in turned else range(size) for axis, size in sizes]
    return equation.sliced(equation.full(0), ranges)


@converts("slice")
def slice_(equation: Equation) -> str:
    steps = equation.params["strides"] or (1,) * len(equation.shapes[0])
    bounds = zip(equation.params["start_indices"], equation.params["limit_indices"], steps, strict=True)
    return equation.sliced(equation.full(0), [range(start, stop, step) for start, stop, step in bounds])


@converts("dynamic_slice")
def dynamic_slice(equation: Equation) -> str:
    """Only at a constant position, which is clamped."""
    shape, sizes = equation.shapes[0], equation.params["slice_sizes"]
    starts = [equation.uniform(index) for index in range(1, len(equation.operands))]
    ranges = []
    for start, size, whole in zip(starts, sizes, shape, strict=True):
        require(start is not None, "the place of a slice is computed from the inputs")
        first = min(max(int(start or 0), 0), whole - size)
        ranges.append(range(first, first + size))
    return equation.sliced(equation.full(0), ranges)


@converts("split")
def split(equation: Equation) -> tuple[str, ...]:
    return equation.parts(equation.full(0), equation.params["axis"], equation.params["sizes"])


@converts("concatenate")
def concatenate(equation: Equation) -> str:
    parts = [equation.full(index) for index in range(len(equation.operands))]
    return parts[0] if len(parts) == 1 else equation.add(ops.Concat(axis=equation.params["dimension"]), *parts)


@converts("stack")
def stack(equation: Equation) -> str:
    axis = equation.params["axis"]
    parts = [equation.unsqueezed(equation.full(index), axis) for index in range(len(equation.operands))]
    return parts[0] if len(parts) == 1 else equation.add(ops.Concat(axis=axis), *parts)


@converts("pad")
def pad(equation: Equation) -> str:
    """Negative padding removes elements; padding between elements is not supported."""
    value = equation.uniform(1)
    config = tuple(tuple(map(int, along)) for along in equation.params["padding_config"])
    require(value is not None, "the padding value is computed from the inputs")
    require(all(inner == 0 for _, _, inner in config), "padding between elements is not supported")
    x, shape = equation.full(0), equation.shapes[0]
    if any(min(before, after) < 0 for before, after, _ in config):
        cut = zip(shape, config, strict=True)
        x = equation.sliced(x, [range(max(-before, 0), size - max(-after, 0)) for size, (before, after, _) in cut])
    padding = tuple((max(before, 0), max(after, 0)) for before, after, _ in config)
    return equation.add(ops.Pad(padding=padding, value=value or 0.0), x) if any(map(any, padding)) else x


@converts("iota")
def iota(equation: Equation) -> Known:
    type_, axis = equation.result(), equation.params["dimension"]
    along = np.arange(type_.shape[axis], dtype=type_.dtype.numpy)
    return Known(along.reshape([-1 if at == axis else 1 for at in range(type_.rank)]), "iota")


@converts("gather")
def gather(equation: Equation) -> str:
    """Full slices along one axis, as from indexing and `take`; indices outside are clamped, not filled."""
    numbers = equation.params["dimension_numbers"]
    shape, sizes = equation.shapes[0], tuple(equation.params["slice_sizes"])
    require(not numbers.operand_batching_dims, "gathering with batch axes is not supported")
    if equation.array(1) is not None and not equation.shapes[1][:-1]:
        return _at(equation, shape, sizes, numbers)
    axes = tuple(numbers.start_index_map)
    require(len(axes) == 1 and numbers.collapsed_slice_dims == axes, "gathering along several axes is not supported")
    (axis,) = axes
    whole = tuple(1 if at == axis else size for at, size in enumerate(shape))
    require(sizes == whole, "gathering parts of slices is not supported")
    indices = _unwrapped(equation, equation.reshaped(equation.full(1), equation.shapes[1][:-1]), shape[axis])
    taken = equation.add(ops.Gather(axis=axis), equation.full(0), indices)
    count = len(equation.shapes[1]) - 1
    rank = len(shape) - 1 + count
    batch = [at for at in range(rank) if at not in numbers.offset_dims]
    places = [*numbers.offset_dims[:axis], *batch, *numbers.offset_dims[axis:]]
    return equation.transposed(taken, np.argsort(places).tolist())


def _at(equation: Equation, shape: Ints, sizes: Ints, numbers: object) -> str:
    known = equation.array(1)
    assert known is not None
    starts = [0] * len(shape)
    for axis, start in zip(numbers.start_index_map, known.array.ravel(), strict=True):  # type: ignore[attr-defined]  # JAX's own type
        starts[axis] = min(max(int(start), 0), shape[axis] - sizes[axis])
    ranges = [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]
    part = equation.sliced(equation.full(0), ranges)
    return equation.reshaped(part, equation.result().shape)


def _unwrapped(equation: Equation, indices: str, size: int) -> str:
    """Return the indices before negative ones were shifted, since the op handles negative indices."""
    node = equation.builder.producer(indices)
    while node is not None and node.op.name == "reshape":
        if equation.type(node.operands[0]).size != equation.type(indices).size:
            return indices
        node = equation.builder.producer(node.operands[0])
    if node is None or not isinstance(node.op, ops.Where):
        return indices
    which, wrapped, plain = node.operands
    test, sum_ = equation.builder.producer(which), equation.builder.producer(wrapped)
    if test is None or sum_ is None or not isinstance(test.op, ops.Less) or not isinstance(sum_.op, ops.Add):
        return indices
    added, zero = equation.known(sum_.operands[1]), equation.known(test.operands[1])
    fits = test.operands[0] == sum_.operands[0] == plain and zero is not None and added is not None
    if fits and np.all(zero == 0) and np.all(added == size):
        return equation.reshaped(plain, equation.type(indices).shape)
    return indices
