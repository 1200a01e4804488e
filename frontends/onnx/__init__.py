"""ONNX models to float graphs."""

from . import operators
from .load import to_graph
from .reference import original
from .registry import apply, supported

__all__ = ["apply", "operators", "original", "supported", "to_graph"]
