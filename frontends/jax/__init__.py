"""JAX functions and Flax modules to float graphs, by way of their jaxprs."""

from __future__ import annotations

from . import arithmetic, control, matrix, movement, reduction, window
from .load import check, load, original

__all__ = [
    "arithmetic",
    "check",
    "control",
    "load",
    "matrix",
    "movement",
    "original",
    "reduction",
    "window",
]
