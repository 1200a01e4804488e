"""ONNX models to float graphs."""

from __future__ import annotations

from . import (
    einsum,
    matrix,
    movement,
    normalization,
    pointwise,
    quantization,
    recurrent,
    reduce,
    resize,
    scatter,
    sequences,
    shapes,
    structure,
    window,
)
from .judge import original
from .load import Problem, check, load
from .registry import Context, Node, converts, operators

__all__ = [
    "Context",
    "Node",
    "Problem",
    "check",
    "converts",
    "einsum",
    "load",
    "matrix",
    "movement",
    "normalization",
    "operators",
    "original",
    "pointwise",
    "quantization",
    "recurrent",
    "reduce",
    "resize",
    "scatter",
    "sequences",
    "shapes",
    "structure",
    "window",
]
