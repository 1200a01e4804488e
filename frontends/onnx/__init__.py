"""ONNX models to float graphs."""

from __future__ import annotations

from .load import Problem, check, load
from .operators import constant as structure
from .operators import dynamic_quantization as dynamic
from .operators import (
    einsum,
    matrix,
    movement,
    normalization,
    pointwise,
    quantization,
    recurrent,
    reduce,
    resize,
    sample,
    scatter,
    sequences,
    shapes,
    window,
)
from .operators import qlinear as operator_oriented
from .reference import original
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
