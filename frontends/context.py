"""The arguments of a converter: a node of the source, and the graph under construction; tables of converters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeVar

import jax
import numpy as np

from npuq.ir import Builder, DType, Op, RuleError, TensorType, ops, require, results_of
from npuq.ir.ops.window import Pads as Pads

EAGER = 1 << 14
"""Constants up to this many elements are folded at import, larger ones by fold-constants."""

LARGEST = 1 << 31
"""The greatest number of elements of a value."""

Ints = tuple[int, ...]
Floats = tuple[float, ...]
Float = float
T = TypeVar("T")
C = TypeVar("C")
_REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the user's file: its operands by their names in the new graph, its attributes as Python values.

    Attributes are int, float, str, tuples of these, or np.ndarray (tensors). An absent optional operand is None; an
    absent or unread output is "".
    """

    op: str
    loc: str
    operands: tuple[str | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def operand(self, index: int) -> str:
        """The name of a required operand."""
        name = self.optional(index)
        require(name is not None, f"operand {index} is missing")
        assert name is not None
        return name

    def optional(self, index: int) -> str | None:
        """The name of an operand, or None if it is absent."""
        return self.operands[index] if index < len(self.operands) else None

    def all_operands(self) -> tuple[str, ...]:
        """The names of all operands of a variadic operator: at least one, none absent."""
        return tuple(self.operand(index) for index in range(max(len(self.operands), 1)))

    def reads(self, index: int) -> bool:
        return index < len(self.outputs) and self.outputs[index] != ""

    def has(self, name: str) -> bool:
        return name in self.attributes

    def int(self, name: str, default: int = _REQUIRED) -> int:
        return self._attribute(name, int, "an int", default)

    def flag(self, name: str, default: bool = _REQUIRED) -> bool:
        """An int attribute that is 0 or 1."""
        value = self._attribute(name, int, "0 or 1", default)
        require(value in (0, 1), f"attribute {name!r} is {value}, 0 or 1 wanted")
        return bool(value)

    def float(self, name: str, default: Float = _REQUIRED) -> Float:
        return self._attribute(name, float, "a float", default)

    def string(self, name: str, default: str = _REQUIRED) -> str:
        return self._attribute(name, str, "a string", default)

    def ints(self, name: str, default: Ints = _REQUIRED) -> Ints:
        return self._tuple(name, int, "a list of ints", default)

    def floats(self, name: str, default: Floats = _REQUIRED) -> Floats:
        return self._tuple(name, float, "a list of floats", default)

    def tensor(self, name: str, default: np.ndarray = _REQUIRED) -> np.ndarray:
        return self._attribute(name, np.ndarray, "a tensor", default)

    def _attribute(self, name: str, kind: type[T], spelled: str, default: T) -> T:
        if name not in self.attributes:
            require(default is not _REQUIRED, f"attribute {name!r} is missing, {spelled} wanted")
            return default
        value = self.attributes[name]
        if not isinstance(value, kind):
            raise RuleError(f"attribute {name!r} must be {spelled}")
        return value

    def _tuple(self, name: str, kind: type[T], spelled: str, default: tuple[T, ...]) -> tuple[T, ...]:
        values = self._attribute(name, tuple, spelled, default)
        require(all(isinstance(value, kind) for value in values), f"attribute {name!r} must be {spelled}")
        return values


class Windows(TypedDict):
    """The fields of every pooling, an entry per spatial axis."""

    window: Ints
    stride: Ints
    padding: Pads
    dilation: Ints


@dataclass(slots=True)
class Context:
    """The graph under construction, and the node under translation.

    A converter reports a broken rule with `require(condition, reason)` or by raising `RuleError`; the loader adds the
    location and the operator. Only ONNX has an `opset`, `sequences` of tensors, and in `read` the number of times that
    the file reads each name.
    """

    builder: Builder
    node: Node
    opset: int = 0
    sequences: dict[str, tuple[str, ...]] = field(default_factory=dict)
    read: Mapping[str, int] = field(default_factory=dict)
    start: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = len(self.builder.nodes)

    def type(self, name: str) -> TensorType:
        """The type of a value; its shape is static."""
        require(name not in self.sequences, "a sequence stands where a tensor is wanted")
        return self.builder.types[name]

    def sequence(self, name: str) -> tuple[str, ...]:
        """The parts of a sequence."""
        require(name in self.sequences, "a tensor stands where a sequence is wanted")
        return self.sequences[name]

    def sequence_of(self, parts: tuple[str, ...]) -> str:
        """The name of a new sequence, which is no value of the graph."""
        name = f"sequence {len(self.sequences)}"
        self.sequences[name] = parts
        return name

    def known(self, name: str | None) -> np.ndarray | None:
        """The array of a constant; None if the value is computed or absent."""
        constant = self.builder.constants.get(name) if name is not None else None
        return None if constant is None else constant.array

    def required(self, index: int, what: str) -> np.ndarray:
        """The array of operand `index`, which must be a constant."""
        array = self.known(self.node.operand(index))
        require(array is not None, f"{what} must be a constant, not computed from the network's inputs")
        assert array is not None
        return array

    @property
    def x(self) -> str:
        """The first operand."""
        return self.node.operand(0)

    @property
    def shape(self) -> Ints:
        """The shape of the first operand."""
        return self.type(self.x).shape

    def operand(self, index: int) -> str:
        return self.node.operand(index)

    def axis(self, axis: int, rank: int | None = None) -> int:
        """An axis of the first operand, or of `rank` axes, counted from the front."""
        return front(axis, len(self.shape) if rank is None else rank)

    def integers(self, index: int, what: str) -> Ints:
        """The integers of the constant operand `index`, flattened."""
        array = self.required(index, what)
        require(array.dtype.kind in "iu" and array.ndim <= 1, f"{what} must be a list of integers")
        return tuple(int(value) for value in array.ravel())

    def constant(self, array: np.ndarray, name: str = "c") -> str:
        """Add a constant of the translation; `name` follows the name of the node's first output."""
        return self.builder.constant(array, f"{self._stem}.{name}")

    def number(self, value: Float, name: str = "c", like: str | None = None) -> str:
        """A scalar of the element type of `like`, by default the first operand."""
        return self.constant(np.asarray(value, self.type(like or self.x).dtype.numpy), name)

    def own_constant(self, array: np.ndarray) -> str:
        """Add the node's own constant, under the user's name."""
        self.builder.release(self._stem)
        return self.builder.constant(array, self._stem)

    def add(self, op: Op, *operands: str) -> str:
        """Append an op with one result."""
        (result,) = self.add_all(op, *operands)
        return result

    def add_all(self, op: Op, *operands: str) -> tuple[str, ...]:
        """Append an op with any number of results, by default of the first operand; `finish` names them.

        If all operands are constants, small results become constants.
        """
        operands = operands or (self.x,)
        types = results_of(op, tuple(self.type(operand) for operand in operands))
        for type_ in types:
            require_size(type_.shape)
        known = [self.known(operand) for operand in operands]
        if known and sum(type_.size for type_ in types) <= EAGER and all(array is not None for array in known):
            return tuple(self.constant(array, op.name) for array in _compute(op, known, types))
        names = [f"{self._stem}.{op.name}"] * len(types)
        return self.builder.add_all(op, *operands, names=names, loc=self.node.loc)

    def cast(self, x: str, dtype: DType) -> str:
        return x if self.type(x).dtype is dtype else self.add(ops.Cast(to=dtype), x)

    def move(self, op: Op, x: str) -> str:
        """Append an op that only moves elements."""
        return self.add(op, x)

    def reshaped(self, x: str, shape: Iterable[int]) -> str:
        shape = tuple(map(int, shape))
        return x if self.type(x).shape == shape else self.move(ops.Reshape(shape=shape), x)

    def unsqueezed(self, x: str, axis: int) -> str:
        """Insert an axis of size 1."""
        shape = self.type(x).shape
        return self.reshaped(x, (*shape[:axis], 1, *shape[axis:]))

    def sliced(self, x: str, ranges: Sequence[range]) -> str:
        """Select elements along each axis."""
        op = ops.Slice(
            starts=tuple(along.start for along in ranges),
            stops=tuple(along.stop for along in ranges),
            steps=tuple(along.step for along in ranges),
        )
        return self.move(op, x)

    def parts(self, x: str, axis: int, sizes: Iterable[int]) -> tuple[str, ...]:
        """Cut an axis into parts of these sizes."""
        whole = [range(size) for size in self.type(x).shape]
        bounds = itertools.pairwise(itertools.accumulate(sizes, initial=0))
        return tuple(self.sliced(x, [*whole[:axis], range(*bound), *whole[axis + 1 :]]) for bound in bounds)

    def finish(self, results: tuple[str, ...]) -> tuple[str, ...]:
        """Give the user's output names to the values of this converter; return its results under these names."""
        made = {name for node in self.builder.nodes[self.start :] for name in node.results}
        wanted: dict[str, str] = {}
        for result, output in zip(results, self.node.outputs, strict=False):
            if output and result in made:
                wanted.setdefault(result, output)
        self.builder.release(*wanted.values())
        renamed = self.builder.rename(wanted, self.start)
        return tuple(renamed.get(result, result) for result in results)

    @property
    def _stem(self) -> str:
        return next(filter(None, self.node.outputs), self.node.op)


def front(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    require(-rank <= axis < rank, f"axis {axis} of {rank} axes")
    return axis % rank


def require_size(shape: tuple[int, ...]) -> None:
    """Refuse a value of more than `LARGEST` elements, before anything is allocated for it."""
    require(all(size >= 0 for size in shape), f"a dimension must not be negative: {shape}")
    require(math.prod(shape) <= LARGEST, f"a value of shape {shape} has more than {LARGEST} elements")


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


def _compute(op: Op, operands: list[Any], types: tuple[TensorType, ...]) -> list[np.ndarray]:
    with jax.enable_x64(True):
        computed = op.evaluate(*(jax.numpy.asarray(array) for array in operands))
        results = computed if isinstance(computed, tuple) else (computed,)
        return [np.asarray(result, type_.dtype.numpy) for result, type_ in zip(results, types, strict=True)]
