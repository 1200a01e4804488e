"""ONNX models to float graphs."""

from . import operators
from .load import check, load
from .reference import original
from .registry import apply, supported

__all__ = ["apply", "check", "load", "operators", "original", "supported"]
