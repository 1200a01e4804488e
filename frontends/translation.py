"""One operator under translation, for formats that find a converter by the operator's name alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from npuq.ir import Op, TensorType

from .context import Context, front

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Translation:
    """An operator under translation; the context's node holds its operands."""

    context: Context

    @property
    def operands(self) -> tuple[str | None, ...]:
        return self.context.node.operands

    @property
    def x(self) -> str:
        """The first operand."""
        return self.operand(0)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first operand."""
        return self.type(self.x).shape

    def operand(self, index: int) -> str:
        return self.context.node.operand(index)

    def all_operands(self) -> tuple[str, ...]:
        return self.context.node.all_operands()

    def type(self, name: str) -> TensorType:
        return self.context.type(name)

    def axis(self, axis: int, rank: int | None = None) -> int:
        """An axis of the first operand, or of `rank` axes, counted from the front."""
        return front(axis, len(self.shape) if rank is None else rank)

    def number(self, value: float, name: str = "c") -> str:
        """A scalar of the first operand's element type."""
        return self.context.constant(np.asarray(value, self.type(self.x).dtype.numpy), name)

    def add(self, op: Op, *operands: str) -> str:
        """Append an op; the default operand is the operator's first."""
        return self.context.add(op, *(operands or (self.x,)))


def registering(converters: dict[str, C]) -> Callable[..., Callable[[C], C]]:
    """Return a decorator that registers a converter under the names of operators."""

    def converts(*operators: str) -> Callable[[C], C]:
        def register(convert: C) -> C:
            for operator in operators:
                assert operator not in converters, operator
                converters[operator] = convert
            return convert

        return register

    return converts
