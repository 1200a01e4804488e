"""ONNX models to float graphs."""

from __future__ import annotations

from . import (
    dynamic,
    einsum,
    matrix,
    movement,
    normalization,
    operator_oriented,
    pointwise,
    quantization,
    recurrent,
    reduce,
    resize,
    sample,
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
    "dynamic",
    "einsum",
    "load",
    "matrix",
    "movement",
    "normalization",
    "operator_oriented",
    "operators",
    "original",
    "pointwise",
    "quantization",
    "recurrent",
    "reduce",
    "resize",
    "sample",
    "scatter",
    "sequences",
    "shapes",
    "structure",
    "window",
]
