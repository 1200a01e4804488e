"""Ops over operands whose axes stand in another order, as channels last instead of first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from npuq.ir import Op
from npuq.ir.ops.reduce import CumSum, Normalization, Position, Reduction
from npuq.ir.ops.resize import Resize
from npuq.ir.ops.shape import Concat, Expand, Pad, Slice, Tile

Order = tuple[int, ...]
O = TypeVar("O", bound=Op)  # noqa: E741  # the usual letter for "an op"

PER_AXIS: Mapping[type[Op], tuple[str, ...]] = {
    Slice: ("starts", "stops", "steps"),
    Pad: ("padding",),
    Tile: ("repeats",),
    Expand: ("shape",),
    Resize: ("shape", "scales", "roi"),
}
"""The attributes that have an entry for each axis; an optional one may be empty."""


def reordered(op: O, places: Order) -> O:
    """The op for operands whose axis i stands at `places[i]`."""
    inverse = sorted(range(len(places)), key=places.__getitem__)
    entries = ((name, getattr(op, name)) for name in PER_AXIS.get(type(op), ()))
    changed: dict[str, Any] = {name: tuple(values[axis] for axis in inverse) for name, values in entries if values}
    if isinstance(op, (Concat, CumSum, Normalization, Position)):
        changed["axis"] = places[op.axis]
    if isinstance(op, Reduction):
        changed["axes"] = tuple(sorted(places[axis] for axis in op.axes))
    return replace(op, **changed)  # type: ignore[type-var]  # every registered op is a dataclass
