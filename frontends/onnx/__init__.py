"""ONNX models to float graphs."""

from __future__ import annotations

from . import structure
from .registry import Context, Node, converts, operators

__all__ = ["Context", "Node", "converts", "operators", "structure"]
