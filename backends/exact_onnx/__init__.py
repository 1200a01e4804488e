"""Integer graphs as standard ONNX models that compute the same integers, bit for bit."""

from __future__ import annotations

from . import edge, matrix, movement, pointwise, window
from .writer import EMITTERS, INTERFACES, Interface, to_exact_onnx

__all__ = [
    "EMITTERS",
    "INTERFACES",
    "Interface",
    "edge",
    "matrix",
    "movement",
    "pointwise",
    "to_exact_onnx",
    "window",
]
