"""From float ops to integer ops: one table, filled by one module per family."""

from __future__ import annotations

from . import division, indexing, matrix, movement, norm, pointwise, recurrent, reduction, window
from .registry import LOWERINGS, Kind, Lowering, activations, kind_of

__all__ = [
    "LOWERINGS",
    "Kind",
    "Lowering",
    "activations",
    "division",
    "indexing",
    "kind_of",
    "matrix",
    "movement",
    "norm",
    "pointwise",
    "recurrent",
    "reduction",
    "window",
]
