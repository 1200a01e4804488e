"""Float and fake-quant graphs as standard ONNX models, with QuantizeLinear and DequantizeLinear pairs."""

from __future__ import annotations

from . import indexing, movement, normalization, pointwise, window
from .writer import EXPORTERS, require_opset, to_onnx

__all__ = ["EXPORTERS", "indexing", "movement", "normalization", "pointwise", "require_opset", "to_onnx", "window"]
