"""ONNX models to float graphs."""

from __future__ import annotations

from . import (
    matrix,
    movement,
    normalization,
    pointwise,
    quantization,
    recurrent,
    reduce,
    resize,
    shapes,
    structure,
    window,
)
from .load import Problem, check, load
from .registry import Context, Node, converts, operators

__all__ = [
    "Context",
    "Node",
    "Problem",
    "check",
    "converts",
    "load",
    "matrix",
    "movement",
    "normalization",
    "operators",
    "pointwise",
    "quantization",
    "recurrent",
    "reduce",
    "resize",
    "shapes",
    "structure",
    "window",
]
