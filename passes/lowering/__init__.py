"""From float ops to integer ops: one table, filled by one module per family."""

from __future__ import annotations

from . import division, matrix, movement, norm, pointwise, recurrent, reduction, window
from . import indexing as places
from .registry import LOWERINGS, Kind, Lowering, activations

__all__ = [
    "LOWERINGS",
    "Kind",
    "Lowering",
    "activations",
    "division",
    "matrix",
    "movement",
    "norm",
    "places",
    "pointwise",
    "recurrent",
    "reduction",
    "window",
]
