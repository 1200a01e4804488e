"""Converters, one function per JAX primitive, and their argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npuq.ir import DType, Node, TensorType, ops, require

from ..context import Context, Ints, registering


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A parameter or another known array that is not in the graph yet; it is added in the form that is read."""

    array: np.ndarray
    name: str


@dataclass(slots=True, kw_only=True)
class Equation(Context):
    """One equation of a jaxpr under translation.

    The value of an operand may have size 1 where the jaxpr broadcasts: pointwise converters read it with `narrow`, all
    others with `full`. `inline` translates a jaxpr over operands and returns its results.
    """

    params: Mapping[str, Any]
    operands: Sequence[str | Known]
    shapes: Sequence[Ints]
    results: Sequence[Any]
    inline: Callable[[Any, Sequence[Result | None]], tuple[Result, ...]]
    _read: dict[int, str] = field(default_factory=dict)

    def narrow(self, index: int) -> str:
        """Operand `index` unbroadcast: its shape broadcasts to that of the jaxpr."""
        operand = self.operands[index]
        if isinstance(operand, str):
            return operand
        if index not in self._read:
            self._read[index] = self.builder.constant(operand.array, operand.name)
        return self._read[index]

    def full(self, index: int) -> str:
        """Operand `index` in its shape in the jaxpr."""
        return self.expanded(self.narrow(index), self.shapes[index])

    def expanded(self, name: str, shape: Ints) -> str:
        return name if self.type(name).shape == shape else self.add(ops.Expand(shape=shape), name)

    def array(self, index: int) -> Known | None:
        """The array of operand `index` in its full shape, or None if it is computed."""
        operand = self.operands[index]
        if isinstance(operand, Known):
            return Known(np.broadcast_to(operand.array, self.shapes[index]), operand.name)
        constant = self.builder.constants.get(operand)
        return None if constant is None else Known(np.broadcast_to(constant.array, self.shapes[index]), operand)

    def uniform(self, index: int) -> float | None:
        """The number that a constant operand repeats, or None."""
        known = self.array(index)
        if known is None or not known.array.size or not np.all(known.array == known.array.flat[0]):
            return None
        return float(known.array.flat[0])

    def result(self, index: int = 0) -> TensorType:
        aval = self.results[index].aval
        return TensorType(DType.of(aval.dtype), tuple(int(size) for size in aval.shape))

    def producer(self, name: str) -> Node | None:
        return self.builder.producer(name)

    def reshaped(self, name: str, shape: Iterable[int]) -> str:
        """Reshape a value; constants are folded."""
        shape = tuple(int(size) for size in shape)
        if self.type(name).shape == shape:
            return name
        known = self.builder.constants.get(name)
        if known is not None:
            return self.builder.constant(known.array.reshape(shape), name)
        return self.add(ops.Reshape(shape=shape), name)

    def transposed(self, name: str, order: Sequence[int]) -> str:
        """Transpose a value; a reshape if only axes of size 1 move."""
        order = tuple(int(axis) for axis in order)
        if order == tuple(range(len(order))):
            return name
        known = self.builder.constants.get(name)
        if known is not None:
            return self.builder.constant(np.transpose(known.array, order), name)
        shape = self.type(name).shape
        moved = [axis for axis in order if shape[axis] != 1]
        if moved == sorted(moved):
            return self.add(ops.Reshape(shape=tuple(shape[axis] for axis in order)), name)
        return self.add(ops.Transpose(order=order), name)

    def weight(self, index: int, shape: Callable[[np.ndarray], np.ndarray]) -> str | None:
        """Add a constant operand, rearranged, under its own name; None if it is computed."""
        known = self.array(index)
        if known is None:
            return None
        return self.builder.constant(np.ascontiguousarray(shape(known.array)), known.name)

    def require_plain(self, **wanted: Any) -> None:
        for name, value in wanted.items():
            actual = self.params.get(name, value)
            require(actual == value, f"{name}={actual} is not supported")


Result = str | Known
Converter = Callable[[Equation], "Result | tuple[Result, ...]"]

CONVERTERS: dict[str, Converter] = {}
"""The converters by the names of primitives in a jaxpr."""

converts = registering(CONVERTERS)
