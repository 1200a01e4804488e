"""Converters, one function per Caffe layer type, and their argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from npuq.ir import Op, RuleError, TensorType, require

from ..context import Context, Node
from ..onnx import apply


@dataclass(frozen=True, slots=True)
class Spec:
    """A layer of the files: names of its blobs, its parameters as a message, its weights."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Any
    weights: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer under translation; its operands are named as in the new graph."""

    spec: Spec
    operands: tuple[str, ...]
    context: Context

    @property
    def message(self) -> Any:
        """The parameters; a missing field has Caffe's default."""
        return self.spec.message

    @property
    def x(self) -> str:
        """The first operand."""
        require(len(self.operands) > 0, "no bottom, one wanted")
        return self.operands[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first operand."""
        return self.context.type(self.x).shape

    def type(self, name: str) -> TensorType:
        return self.context.type(name)

    def axis(self, axis: int, operand: str | None = None) -> int:
        """An axis of an operand, by default the first, counted from the front."""
        rank = self.context.type(self.x if operand is None else operand).rank
        require(-rank <= axis < rank, f"axis {axis} of {rank} axes")
        return axis % rank

    def weight(self, index: int, what: str, *shape: int) -> str:
        """The stored weights number `index` as a constant of the wanted shape: old files pad shapes with ones."""
        return self.context.constant(self.array(index, what, *shape), what)

    def array(self, index: int, what: str, *shape: int) -> np.ndarray:
        """The stored weights number `index` as an array of the wanted shape."""
        stored = self.spec.weights
        require(index < len(stored), f"the weights file holds {len(stored)} arrays for it, its {what} is missing")
        found = stored[index]
        own, wanted = (tuple(size for size in sizes if size != 1) for sizes in (found.shape, shape))
        flat = found.ndim <= 4 and found.size == np.prod(shape, dtype=np.int64) and len(own) <= 1
        require(own == wanted or flat, f"{what} of shape {found.shape}, {shape} wanted: do the files belong together?")
        return found.reshape(shape)

    def number(self, value: float, name: str = "c") -> str:
        """A scalar of the first operand's element type."""
        return self.context.constant(np.asarray(value, self.context.type(self.x).dtype.numpy), name)

    def add(self, op: Op, *operands: str) -> str:
        """Append an op; the default operand is the layer's first."""
        return self.context.add(op, *(operands or (self.x,)))

    def onnx(self, operator: str, *operands: str, **attributes: Any) -> str:
        """Append the translation of an ONNX operator."""
        return apply(self.context, operator, operands, attributes)


Converter = Callable[[Layer], "str | tuple[str, ...]"]

_CONVERTERS: dict[str, Converter] = {}


def converts(*types: str) -> Callable[[Converter], Converter]:
    """Register the converter of layer types; it returns the values of the layer's tops."""

    def register(convert: Converter) -> Converter:
        for type_ in types:
            assert type_ not in _CONVERTERS, type_
            _CONVERTERS[type_] = convert
        return convert

    return register


def layers() -> Mapping[str, Converter]:
    """The converters by layer type."""
    return _CONVERTERS


def translate(layer: Layer) -> tuple[str, ...]:
    """Run a layer's converter; its results get the names in the context."""
    returned = _CONVERTERS[layer.spec.type](layer)
    results = (returned,) if isinstance(returned, str) else returned
    if len(results) != len(layer.spec.tops):
        raise RuleError(f"{len(layer.spec.tops)} tops, {len(results)} wanted")
    return layer.context.finish(results)


def context(builder: Any, spec: Spec, place: str, names: tuple[str, ...]) -> Context:
    """The context of a layer: its location and the names of its values."""
    return Context(builder, Node(spec.type, place, (), names, {}))
