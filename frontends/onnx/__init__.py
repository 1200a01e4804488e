"""ONNX models to float graphs."""

from __future__ import annotations

from . import movement, pointwise, reduce, resize, shapes, structure
from .load import Problem, check, load
from .registry import Context, Node, converts, operators

__all__ = [
    "Context",
    "Node",
    "Problem",
    "check",
    "converts",
    "load",
    "movement",
    "operators",
    "pointwise",
    "reduce",
    "resize",
    "shapes",
    "structure",
]
