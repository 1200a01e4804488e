"""How to quantize: everything that `npuq.quantize` is told but the network, the data and the target."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from npuq.ir import DType, Graph, NpuqError
from npuq.passes.calibration.thresholds import require_share
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.canonical.normalize_input import normalize_input
from npuq.passes.lowering.plan import Held
from npuq.passes.lowering.tables import require_length
from npuq.passes.pipeline import Pipeline, chain
from npuq.passes.precision import CALIBRATED_BITS, Precision, Precisions
from npuq.passes.target import Target

EFFORTS = (0, 1, 2)
INPUT_DTYPES = {"int8": DType.I8, "uint8": DType.U8, "int16": DType.I16, "float32": None, "None": None}
"""What inputs of the program can be; None is left to the compiler."""

LEARNED_BITS = 4
"""With effort 2 the rounding of weights of up to so many bits is learned; finer steps have nothing to win by it."""


def is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def require_kind(fits: bool, option: str, value: object, wanted: str) -> None:
    """Raise `NpuqError` unless an option's value `fits`."""
    if not fits:
        raise NpuqError(f"{option}: {value!r}, {wanted} wanted")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The options of `npuq.quantize`, whose docstring says what they do."""

    method: str | None = None
    bits: int | None = None
    weight_bits: int | None = None
    precision: Mapping[str, Precision] = field(default_factory=dict)
    lut_len: int | None = None
    percentile: float = 0.99999
    unify_input_scale: bool = False
    layer_threshold: float | None = None
    input_dtype: str | Sequence[str] | Mapping[str, str] | None = None
    effort: int = 1
    scales: str | Path | Mapping[str, Any] | None = None
    mean: Sequence[float] | float | None = None
    std: Sequence[float] | float | None = None

    @property
    def every(self) -> Precision:
        """The precision of nodes that `precision` does not name."""
        return Precision(self.bits, self.method, self.weight_bits)

    @property
    def is_coarse(self) -> bool:
        """Whether the rounding of some weights is to be learned."""
        widths = (one.weight_bits for one in (self.every, *self.precision.values()))
        return self.effort > 1 and any(bits is not None and bits <= LEARNED_BITS for bits in widths)

    def check(self, graph: Graph, target: Target) -> None:
        """Raise `NpuqError` for an option that a graph or a target cannot have, before any work."""
        self._check_types()
        Precisions(self.every).check(graph, target)
        if self.effort not in EFFORTS:
            raise NpuqError(f"effort {self.effort!r}; one of {', '.join(map(str, EFFORTS))} wanted")
        if self.layer_threshold is not None and not self.layer_threshold > 0:
            raise NpuqError(f"layer_threshold {self.layer_threshold!r}; a number above 0 wanted")
        self.input_dtypes(graph)
        require_share(self.percentile)
        require_length(self.lut_len, target)

    def unused(self, precision: Precisions, held: Collection[Held]) -> tuple[str, ...]:
        """A note for each option that changes nothing, given how nodes and values are held."""
        methods = {self.method, *(one.method for one in precision.nodes.values())}
        notes = []
        if self.lut_len is not None and all(bits <= CALIBRATED_BITS for _, bits in held):
            notes.append(f"lut_len {self.lut_len} has no effect: no value is held at 16 bits")
        if self.percentile != Recipe.percentile and "percentile" not in methods:
            notes.append(f"percentile {self.percentile!r} has no effect: no value is calibrated by this method")
        return tuple(notes)

    def _check_types(self) -> None:
        """Raise `NpuqError` for options that are of another kind altogether."""
        for option in ("bits", "weight_bits", "lut_len", "effort"):
            value = getattr(self, option)
            require_kind(value is None or is_whole(value), option, value, "a whole number")
        for option in ("percentile", "layer_threshold"):
            value = getattr(self, option)
            left_out = value is None and option == "layer_threshold"
            require_kind(left_out or is_number(value), option, value, "a number")
        for option in ("mean", "std"):
            value = getattr(self, option)
            fits = value is None or np.asarray(value).dtype.kind in "iuf"
            require_kind(fits, option, value, "numbers")
        fits = isinstance(self.precision, Mapping) and all(isinstance(name, str) for name in self.precision)
        require_kind(fits, "precision", self.precision, "Precision by the names of nodes")
        for name, one in self.precision.items():
            require_kind(isinstance(one, Precision), f"precision of {name}", one, "a Precision")
        fits = self.input_dtype is None or isinstance(self.input_dtype, str | Sequence | Mapping)
        require_kind(fits, "input_dtype", self.input_dtype, "a type, or one for each input")
        fits = self.scales is None or isinstance(self.scales, str | Path | Mapping)
        require_kind(fits, "scales", self.scales, "a file, or entries by the names of values")

    def input_dtypes(self, graph: Graph) -> dict[str, DType]:
        """The types that inputs of a graph are to have, where one is chosen; raises `NpuqError` for others."""
        said = self.input_dtype
        if said is None:
            return {}
        if isinstance(said, str):
            said = {name: said for name, type_ in graph.inputs.items() if type_.dtype.is_float}
        elif not isinstance(said, Mapping):
            if len(said) != len(graph.inputs):
                raise NpuqError(f"input_dtype: {len(said)} types for {len(graph.inputs)} inputs; one for each wanted")
            said = dict(zip(graph.inputs, said, strict=True))
        for name, dtype in said.items():
            if name not in graph.inputs:
                raise NpuqError(f"input_dtype: there is no input {name!r}; there are {', '.join(graph.inputs)}")
            if dtype not in INPUT_DTYPES:
                raise NpuqError(f"input_dtype of {name}: {dtype!r}; one of {', '.join(INPUT_DTYPES)} wanted")
        chosen = {name: INPUT_DTYPES[dtype] for name, dtype in said.items()}
        return {name: dtype for name, dtype in chosen.items() if dtype is not None}

    def prepare(self) -> Pipeline:
        """The passes before calibration: the canonical form, behind (x - mean) / std where these are given."""
        if self.mean is None and self.std is None:
            return chain(canonicalize())
        numbers = {"mean": (0.0,) if self.mean is None else self.mean, "std": (1.0,) if self.std is None else self.std}
        named = {key: tuple(np.atleast_1d(part).tolist()) for key, part in numbers.items()}
        return chain(normalize_input(**named), canonicalize())
