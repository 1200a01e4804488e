"""Integer graphs as standard ONNX models that compute the same integers, bit for bit."""

from __future__ import annotations

from . import movement, nonlinear, pointwise, products, recurrent, window
from .writer import EMITTERS, Interface, as_interface, to_exact_onnx

__all__ = [
    "EMITTERS",
    "Interface",
    "as_interface",
    "movement",
    "nonlinear",
    "pointwise",
    "products",
    "recurrent",
    "to_exact_onnx",
    "window",
]
