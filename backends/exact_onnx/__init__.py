"""Integer graphs as standard ONNX models that compute the same integers, bit for bit."""

from __future__ import annotations

from . import matrix, movement, nonlinear, pointwise, quantize, recurrent, window
from .writer import EMITTERS, Interface, as_interface, to_exact_onnx

__all__ = [
    "EMITTERS",
    "Interface",
    "as_interface",
    "matrix",
    "movement",
    "nonlinear",
    "pointwise",
    "quantize",
    "recurrent",
    "to_exact_onnx",
    "window",
]
