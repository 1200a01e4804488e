"""Converters, one function per Caffe layer type, and their argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npuq.ir import RuleError, require

from ..context import Context, registering
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


@dataclass(slots=True, kw_only=True)
class Layer(Context):
    """One layer under translation."""

    spec: Spec

    @property
    def message(self) -> Any:
        """The parameters; a missing field has Caffe's default."""
        return self.spec.message

    def weight(self, index: int, what: str, *shape: int) -> str:
        """The stored weights number `index` as a constant of the wanted shape: old files pad shapes with ones."""
        return self.constant(self.array(index, what, *shape), what)

    def array(self, index: int, what: str, *shape: int) -> np.ndarray:
        """The stored weights number `index` as an array of the wanted shape."""
        stored = self.spec.weights
        require(index < len(stored), f"the weights file holds {len(stored)} arrays for it, its {what} is missing")
        found = stored[index]
        own, wanted = (tuple(size for size in sizes if size != 1) for sizes in (found.shape, shape))
        flat = found.ndim <= 4 and found.size == np.prod(shape, dtype=np.int64) and len(own) <= 1
        require(own == wanted or flat, f"{what} of shape {found.shape}, {shape} wanted: do the files belong together?")
        return found.reshape(shape)

    def onnx(self, operator: str, *operands: str | None, **attributes: Any) -> str:
        return apply(self, operator, operands, attributes)


Converter = Callable[[Layer], "str | tuple[str, ...]"]

CONVERTERS: dict[str, Converter] = {}
"""The converters by layer type; each returns the values of the layer's tops."""

converts = registering(CONVERTERS)


def translate(layer: Layer) -> tuple[str, ...]:
    """Run a layer's converter; its results get the names in the context."""
    returned = CONVERTERS[layer.spec.type](layer)
    results = (returned,) if isinstance(returned, str) else returned
    if len(results) != len(layer.spec.tops):
        raise RuleError(f"{len(layer.spec.tops)} tops, {len(results)} wanted")
    return layer.finish(results)
