"""The converter of general products: einsum and dense layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from npuq.ir import ops

from ..context import Ints
from .registry import Equation, converts


@dataclass(frozen=True, slots=True)
class Side:
    """One operand of a product: its batch axes, free axes, and summed axes."""

    index: int
    shape: Ints
    batch: Ints
    free: Ints
    summed: Ints

    @classmethod
    def of(cls, index: int, shape: Ints, batch: Ints, summed: Ints) -> Side:
        free = tuple(axis for axis in range(len(shape)) if axis not in (*batch, *summed))
        return cls(index, shape, tuple(batch), free, tuple(summed))

    def sizes(self, axes: Ints) -> Ints:
        return tuple(self.shape[axis] for axis in axes)


@converts("dot_general")
def dot_general(equation: Equation) -> str:
    """Move batch axes first and multiply; constant weights are rearranged at import and become the right operand."""
    (summed, batch) = equation.params["dimension_numbers"]
    sides = [Side.of(index, equation.shapes[index], batch[index], summed[index]) for index in (0, 1)]
    swapped = equation.array(0) is not None and equation.array(1) is None
    left, right = sides[::-1] if swapped else sides
    rows, columns = _left(equation, left), _right(equation, right)
    product = equation.add(ops.MatMul(), rows, columns)
    shape = left.sizes(left.batch) + left.sizes(left.free) + right.sizes(right.free)
    product = equation.reshaped(product, shape)
    if not swapped:
        return product
    start, middle = len(left.batch), len(left.batch) + len(left.free)
    order = [*range(start), *range(middle, len(shape)), *range(start, middle)]
    return equation.transposed(product, order)


def _left(equation: Equation, side: Side) -> str:
    """[*batch, *rows, inner]; with a batch, the rows are one axis."""
    moved = equation.transposed(equation.full(side.index), side.batch + side.free + side.summed)
    rows = (math.prod(side.sizes(side.free)),) if side.batch else side.sizes(side.free) or (1,)
    return equation.reshaped(moved, (*side.sizes(side.batch), *rows, math.prod(side.sizes(side.summed))))


def _right(equation: Equation, side: Side) -> str:
    """[*batch, inner, columns]."""
    order = side.batch + side.summed + side.free
    inner, columns = math.prod(side.sizes(side.summed)), math.prod(side.sizes(side.free))
    shape = (*side.sizes(side.batch), inner, columns)
    known = equation.weight(side.index, lambda array: np.transpose(array, order).reshape(shape))
    if known is not None:
        return known
    return equation.reshaped(equation.transposed(equation.full(side.index), order), shape)
