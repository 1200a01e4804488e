"""JAX functions and Flax modules to float graphs, by way of their jaxprs."""

from __future__ import annotations

from . import arithmetic, control, matrix, movement, reduction, window
from .load import check, load, original
from .registry import Equation, converts, primitives

__all__ = [
    "Equation",
    "arithmetic",
    "check",
    "control",
    "converts",
    "load",
    "matrix",
    "movement",
    "original",
    "primitives",
    "reduction",
    "window",
]
