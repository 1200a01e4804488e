"""JAX functions and Flax modules to float graphs, by way of their jaxprs."""

from __future__ import annotations

from . import arithmetic, control, matrix, movement, reduction, window
from .load import original, to_graph

__all__ = ["arithmetic", "control", "matrix", "movement", "original", "reduction", "to_graph", "window"]
